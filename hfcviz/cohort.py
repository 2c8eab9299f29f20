"""What the detectors say of a whole cohort: scores of every scan, and how well each detector does."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from hfcviz.metrics import roc
from hfcviz.projections import PCA, TSNE, UMAP, Embedding, project
from hfcviz.reference import Reference, compare, confidence, success
from hfcviz.settings import Progress, silent

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
    """One for each detector and attack role: see `reference.compare`."""
    overall: dict[str, dict[str, float]]
    """{attack role: {"success", "confidence"}} over all scans of the cohort, those that trained detectors included."""

    @property
    def attacks(self) -> list[str]:
        """The attack roles, "attack" first."""
        return list(self.fooled)

    def caught(self, detector: str, role: str) -> np.ndarray:
        """(n,) bool: the score lies above the threshold."""
        return self.scores[detector][role] > self.thresholds[detector]

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
        overall={
            role: {"success": success(reference, role), "confidence": confidence(reference, role)} for role in attacks
        },
    )


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


def embed_cohort(
    reference: Reference, layer: str, method: PCA | TSNE | UMAP, *, progress: Progress = silent
) -> Embedding:
    """Place the held-out scans of every role in the plane; `by_role` takes the positions apart."""
    parts = [reference.part(role, trains=False).layers[layer] for role in reference.cohort]
    z, clean = np.concatenate(parts), np.arange(sum(map(len, parts))) < len(parts[0])
    if isinstance(method, TSNE):  # a small cohort has fewer points than the usual perplexity wants
        method = method.replace(perplexity=min(method.perplexity, (len(z) - 1) / 3))
    return project(method, z, clean, progress=progress)


def by_role(reference: Reference, embedding: Embedding) -> dict[str, np.ndarray]:
    """The positions of embed_cohort, {role: (n, 2)}."""
    return dict(zip(reference.cohort, np.split(embedding.xy, len(reference.cohort)), strict=True))
