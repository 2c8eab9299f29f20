"""What the detectors say of a whole cohort: scores of every scan, and how well each detector does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hfcviz.metrics import roc, separation, share_interval
from hfcviz.projections import PCA, TSNE, UMAP, Embedding, project
from hfcviz.reference import Reference
from hfcviz.settings import InputError, Progress, silent

NEGATIVES = ("clean", "noise")


@dataclass(frozen=True, eq=False)
class Judged:
    """The scans that no detector was trained on; row i of every array is the scan ids[i]."""

    ids: tuple[str, ...]
    labels: np.ndarray
    """(n,) true classes"""
    targets: np.ndarray
    """(n,) classes that the attacks aim at"""
    scores: dict[str, dict[str, np.ndarray]]
    """{detector: {role: (n,)}}"""
    thresholds: dict[str, float]
    fooled: dict[str, np.ndarray]
    """{attack role: (n,) bool}: the network sees the target."""
    rows: list[dict[str, Any]]
    """One for each detector and attack role: see `compare`."""
    overall: dict[str, dict[str, float]]
    """Success, confidence and size of each attack over the whole cohort: see `overall`."""
    linf: dict[str, np.ndarray]
    """{role: (n,)} largest change of a pixel, where it was kept."""
    layer_names: tuple[str, ...]
    """In order of depth."""
    views: dict[str, Embedding]
    """{layer: PCA view of all versions}; `by_role` takes the positions apart."""
    features: dict[str, dict[str, np.ndarray]]
    """{role: {layer: (n, C)}} pooled features for other views; empty where they were not kept."""
    recipe: dict[str, Any]
    """Of the cohort: attack_name, attack (its settings), dataset, model, seed."""
    predicted: dict[str, np.ndarray] = field(default_factory=dict)
    """{role: (n,)} the class that the network sees; this and what follows is empty where it was not kept."""
    confidence: dict[str, np.ndarray] = field(default_factory=dict)
    """{role: (n,)} its probability."""
    likelihood: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    """{role: {layer: (n,)}} log-likelihood under the mixture of clean scans of that class."""

    @property
    def attacks(self) -> list[str]:
        """The attack roles, "attack" first."""
        return list(self.fooled)

    @property
    def roles(self) -> list[str]:
        """All versions of a scan: "clean", "noise" and the attacks."""
        return list(next(iter(self.scores.values())))

    def caught(self, detector: str, role: str) -> np.ndarray:
        """(n,) bool: the score lies above the threshold."""
        return self.scores[detector][role] > self.thresholds[detector]

    def shares_caught(self, rows: np.ndarray) -> dict[str, dict[str, float]]:
        """{role: {detector: share}} of the scans in these rows, at least one, that each detector catches."""
        return {
            role: {name: float(self.caught(name, role)[rows].mean()) for name in self.scores} for role in self.roles
        }

    def places(self, chosen: Set[str]) -> np.ndarray:
        """Rows of the chosen ids that are here, in order."""
        return np.array([row for row, name in enumerate(self.ids) if name in chosen], dtype=int)

    def false_alarms(self, detector: str, scores: np.ndarray) -> np.ndarray:
        """(m,) share of the negatives that score at least as high: where a score lies along the ROC curve."""
        pool = np.sort(np.concatenate([self.scores[detector][role] for role in NEGATIVES]))
        return 1 - np.searchsorted(pool, scores, side="left") / len(pool)

    def table(self, chosen: Set[str] | None = None) -> list[dict[str, Any]]:
        """A row for each chosen scan (None: for every scan) with scores and verdicts, for export."""
        rows = range(len(self.ids)) if chosen is None else self.places(chosen)
        found = []
        for row in rows:
            line: dict[str, Any] = {
                "scan": self.ids[row],
                "label": int(self.labels[row]),
                "target": int(self.targets[row]),
            }
            for role, values in self.linf.items():
                line[f"{role} linf_255"] = float(values[row] * 255)
            for role in self.attacks:
                line[f"{role} reaches target"] = bool(self.fooled[role][row])
            for name, by_role in self.scores.items():
                for role, values in by_role.items():
                    line[f"{name} {role}"] = float(values[row])
                    line[f"{name} {role} caught"] = bool(self.caught(name, role)[row])
            found.append(line)
        return found


def judge(reference: Reference, *, progress: Progress = silent) -> Judged:
    """Ask all detectors about every scan that they were not trained on."""
    detectors = reference.detectors(progress=lambda fraction, what: progress(0.6 * fraction, what))
    parts = {role: reference.part(role, trains=False) for role in reference.cohort}
    scores = {name: {role: one.score(part) for role, part in parts.items()} for name, one in detectors.items()}
    progress(0.7, "intervals")
    rows = compare(reference)
    features = {role: dict(part.layers) for role, part in parts.items()}
    views = {layer: _view(features, layer, PCA()) for layer in reference.train.layers}
    likelihood = {
        role: {layer: -values for layer, values in detectors["GMM"].layer_scores(part).items()}
        for role, part in parts.items()
    }
    rest = np.flatnonzero(~reference.trains)
    attacks = [role for role in ("attack", "hidden") if role in parts]
    progress(1, "cohort")
    return Judged(
        ids=tuple(reference.ids[row] for row in rest),
        labels=reference.labels[rest],
        targets=reference.targets[rest],
        scores=scores,
        thresholds={name: float(one.threshold) for name, one in detectors.items()},
        fooled={role: parts[role].predicted == reference.targets[rest] for role in attacks},
        rows=rows,
        overall=overall(reference),
        linf={role: values[rest] for role, values in reference.linf.items()},
        layer_names=tuple(reference.train.layers),
        views=views,
        features=features,
        recipe=reference.recipe,
        predicted={role: part.predicted for role, part in parts.items()},
        confidence={role: part.confidence for role, part in parts.items()},
        likelihood=likelihood,
    )


def compare(reference: Reference, *, progress: Progress = silent) -> list[dict[str, Any]]:
    """One row for each detector and attack role, on the scans that the detectors never saw.

    Negatives are clean and noise; columns: detector, role, auc, auc_low, auc_high, two_sided, tpr90, tpr90_low,
    tpr90_high, n (adversarial), negatives, and layers {layer: auc of that layer alone}. Intervals are 95 % bootstrap
    intervals.
    """
    rows = []
    parts = {role: reference.part(role, trains=False) for role in reference.cohort}
    for name, detector in reference.detectors(progress=progress).items():
        by_layer = {role: detector.layer_scores(part) for role, part in parts.items()}
        scores = {
            role: detector.combine(by_layer[role]) if by_layer[role] else detector.score(parts[role]) for role in parts
        }
        negatives = np.concatenate([scores["clean"], scores["noise"]])
        for role in [role for role in ("attack", "hidden") if role in parts]:
            layers = {
                layer: roc(np.concatenate([by_layer["clean"][layer], by_layer["noise"][layer]]), own).auc
                for layer, own in by_layer[role].items()
            }
            rows.append({"detector": name, "role": role} | separation(negatives, scores[role]) | {"layers": layers})
    return rows


def overall(reference: Reference) -> dict[str, dict[str, float]]:
    """{attack role: ...} over all scans of the cohort, those that trained detectors included: success (the network puts
    the scan into the attack's target class) with its 95 % interval (Wilson's) success_low and success_high, mean_confidence in the
    target, linf_255 (largest change of a pixel; NaN where it was not kept), attacked (scans).
    """
    found: dict[str, dict[str, float]] = {}
    for role in [role for role in ("attack", "hidden") if role in reference.cohort]:
        versions, targets = reference.cohort[role], reference.targets
        hits = versions.predicted == targets
        found[role] = {
            "success": float(hits.mean()),
            "mean_confidence": float(versions.probabilities[np.arange(len(targets)), targets].mean()),
            "linf_255": float(reference.linf[role].max() * 255) if role in reference.linf else math.nan,
            "attacked": len(targets),
        }
        found[role] |= success_interval(found[role])
    return found


def success_interval(row: Mapping[str, float]) -> dict[str, float]:
    """success_low and success_high, Wilson's, of a row of `overall`."""
    n = int(row["attacked"])
    low, high = share_interval(round(row["success"] * n), n)
    return {"success_low": low, "success_high": high}


def curve(judged: Judged, detector: str, role: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Corners of the ROC curve of an attack against clean and noise, fpr (M,) and tpr (M,), and its AUC."""
    negatives = np.concatenate([judged.scores[detector][kind] for kind in NEGATIVES])
    found = roc(negatives, judged.scores[detector][role])
    return found.fpr, found.tpr, found.auc


def selected_marks(judged: Judged, places: np.ndarray) -> dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Where the scans in these rows lie along the ROC curves: {detector: {attack role: (fpr, tpr)}}."""
    found: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for name, by_kind in judged.scores.items():
        found[name] = {}
        for role in judged.attacks:
            own = by_kind[role][places]
            found[name][role] = judged.false_alarms(name, own), (by_kind[role][None] >= own[:, None]).mean(1)
    return found


def embed_cohort(judged: Judged, layer: str, method: PCA | TSNE | UMAP, *, progress: Progress = silent) -> Embedding:
    """Place the held-out scans of every role in the plane. InputError for t-SNE and UMAP where features were not kept."""
    if isinstance(method, PCA):
        return judged.views[layer]
    if not judged.features:
        raise InputError(
            "t-SNE and UMAP need the features, but of this run only the PCA view is kept: choose PCA, or evaluate it live."
        )
    return _view(judged.features, layer, method, progress)


def _view(
    features: dict[str, dict[str, np.ndarray]], layer: str, method: PCA | TSNE | UMAP, progress: Progress = silent
) -> Embedding:
    parts = [own[layer].astype(np.float32) for own in features.values()]
    z, clean = np.concatenate(parts), np.arange(sum(map(len, parts))) < len(parts[0])
    if isinstance(method, TSNE):  # a small cohort has fewer points than the usual perplexity wants
        method = method.replace(perplexity=min(method.perplexity, (len(z) - 1) / 3))
    return project(method, z, clean, progress=progress)


def by_role(judged: Judged, embedding: Embedding) -> dict[str, np.ndarray]:
    """The positions of an embedding of this cohort, {role: (n, 2)}."""
    return dict(zip(judged.roles, np.split(embedding.xy, len(judged.roles)), strict=True))
