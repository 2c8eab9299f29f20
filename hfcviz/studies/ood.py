"""Study: can the constraint's own score tell clean scans from occluded ones and from ones with pasted lesions?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from hfcviz.activations import Activations, extract
from hfcviz.metrics import separation
from hfcviz.penalties import HFC, FittedHFC
from hfcviz.reference import shares
from hfcviz.settings import InputError, Progress, Settings, setting, silent
from hfcviz.store import digest
from hfcviz.studies.curves import Line, curves
from hfcviz.studies.findings import Row
from hfcviz.studies.foreign import CHANGES, body_of, centre_of, moved, place_of
from hfcviz.studies.lab import Lab

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Ood(Settings):
    """How scans leave the distribution of clean ones, and whose score is asked."""

    kinds: tuple[str, ...] = setting(tuple(CHANGES), f"What is changed, of {', '.join(CHANGES)}.", label="Changes")
    sizes: tuple[str, ...] = setting(
        ("5", "10", "20", "30", "40"), "Diameters of the changed ball, in percent of the shortest side.", label="Sizes"
    )
    components: int = setting(1, "Gaussians in each class's mixture (K).", label="Components K", least=1, most=256)

    def percents(self) -> list[float]:
        """The sizes as numbers, rising, 0 first; InputError where one is none between 0 and 100."""
        found = {0.0}
        for size in self.sizes:
            try:
                percent = float(size)
            except ValueError:
                percent = np.nan
            if not 0 <= percent <= 100:
                raise InputError(f"Ood.sizes must be numbers from 0 to 100 percent; got {size!r}.")
            found.add(percent)
        if found == {0.0}:
            raise InputError("Ood.sizes must hold a size above 0; got none: give 5 and 20, say.")
        return sorted(found)


def check(lab: Lab, settings: Ood, beside: Lab | None = None) -> None:
    """InputError for unknown changes, sizes that are no percentages, a K that the training images do not allow, and a test
    part of one class.
    """
    unknown = [kind for kind in settings.kinds if kind not in CHANGES]
    if unknown or not settings.kinds:
        raise InputError(f"Ood.kinds must be among {', '.join(CHANGES)}; got {', '.join(unknown) or 'none'}.")
    settings.percents()
    fewest = int(np.bincount(lab.labels, minlength=len(lab.classifier.class_names)).min())
    if settings.components >= fewest:
        raise InputError(
            f"Ood.components must be smaller than the training images of each class; got {settings.components} for {fewest}: "
            "lower K."
        )
    if len(np.unique(lab.dataset.splits["test"].y)) < 2:
        raise InputError(
            f"Tissue is pasted from scans of another class, but the test part of {lab.dataset.name} holds one class: add scans."
        )


def changed(lab: Lab, kind: str, percent: float) -> tuple[Tensor, np.ndarray]:
    """The chosen scans with one change each, (N, C, *spatial), and the share of the pixels that may have changed, (N,).

    The place is drawn by the scan's own seed and is the same for every kind and size, so that a larger change covers a
    smaller one; so is the scan from which tissue comes.
    """
    chosen, test = lab.chosen(), lab.dataset.splits["test"]
    images, shares_changed = [], []
    for image, label, seed in zip(chosen.x, chosen.labels, chosen.seeds, strict=True):
        rng = np.random.default_rng(seed)
        body = body_of(image)
        centre = centre_of(body, rng)
        donor = torch.from_numpy(test.images(rng.choice(np.flatnonzero(test.y != label), 1))[0])
        other = moved(donor, centre_of(body_of(donor), rng), centre)
        place = place_of(body, centre, percent)
        images.append(CHANGES[kind](image, other, place))
        shares_changed.append(float(place.ball.mean()))
    return torch.stack(images), np.array(shares_changed)


def seen(lab: Lab, x: Tensor, progress: Progress = silent) -> Activations:
    """Pooled features and logits of images, kept by their content: so equal images have equal features, to the last bit."""
    arrays = lab.kept(
        "features of changed scans",
        [digest(x.numpy())],
        lambda: extract(lab.classifier, x, progress=progress).to_arrays("seen"),
    )
    return Activations.from_arrays(arrays, "seen")


def scores_of(fitted: FittedHFC, seen: Activations) -> dict[tuple[str, str], np.ndarray]:
    """{(score, layer): (N,)}, higher for more suspicious; layer "all" is the mean over layers.

    distance, of each layer too: HFC's own terms with weight 1, the squared Mahalanobis distance to the most likely component
    of the predicted class's mixture / width; likelihood: minus the mixture's log-likelihood / width; confidence: how small the
    largest softmax probability is, in an order that rounding to 1 does not spoil. Hendrycks & Gimpel 2017, "A baseline for
    detecting misclassified and out-of-distribution examples", arxiv.org/abs/1610.02136.
    """
    predicted = torch.from_numpy(seen.predicted)
    layers = {name: torch.from_numpy(z) for name, z in seen.layers.items()}
    found: dict[tuple[str, str], np.ndarray] = {}
    terms = fitted({name: layers[name] for name in fitted.mixtures}, predicted)
    for name, distance in terms.items():
        found["distance", name] = distance.numpy().astype(np.float64)
    found["distance", "all"] = np.mean(list(found.values()), axis=0)
    surprise = []
    for name, mixtures in fitted.mixtures.items():
        by_class = torch.stack([mixture.log_prob(layers[name]) for mixture in mixtures])
        own = by_class.gather(0, predicted[None])[0] / -layers[name].shape[1]
        surprise.append(own.numpy().astype(np.float64))
    found["likelihood", "all"] = np.mean(surprise, axis=0)
    logits = np.sort(seen.logits.astype(np.float64), axis=1)
    # log((1 - p) / p) of the largest probability p: falls where p rises, also where p is 1 to the last digit.
    found["confidence", "all"] = np.logaddexp.reduce(logits[:, :-1] - logits[:, -1:], axis=1)
    return found


def run(lab: Lab, settings: Ood, beside: Lab | None = None, progress: Progress = silent) -> list[Row]:
    """Rows: one for each kind, size, score and layer, with the AUC of changed against clean scans.

    No detector is trained here, and mixtures know training images only, so all chosen scans judge. Size 0 is made, extracted
    and scored like every other size.
    """
    share = shares(progress, {"features": 0.3, "changes": 0.7})
    chosen, percents = lab.chosen(share("features")), settings.percents()
    fitted = lab.fitted(HFC(components=settings.components))
    assert isinstance(fitted, FittedHFC)
    clean = scores_of(fitted, seen(lab, chosen.x))
    rows: list[Row] = []
    steps = {f"{kind} of {percent:g} %": (kind, percent) for kind in settings.kinds for percent in percents}
    inner = shares(share("changes"), {step: 1 / len(steps) for step in steps})
    for step, (kind, percent) in steps.items():
        inner(step)(0, step)
        x, area = changed(lab, kind, percent)
        now = seen(lab, x, inner(step, f"{step}: "))
        about = {
            "kind": kind,
            "size": percent,
            "area": float(area.mean()),
            "misled": _mean(now.predicted != chosen.labels),
        }
        for (score, layer), values in scores_of(fitted, now).items():
            rows.append(about | {"score": score, "layer": layer} | separation(clean[score, layer], values))
    return rows


def _mean(values: np.ndarray) -> float:
    return float(values.mean())


def _of(rows: list[Row], **wanted: object) -> list[Row]:
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def _best_layer(rows: list[Row], kind: str, size: float) -> Row:
    """The layer whose distance tells this change best; of equal ones the shallowest."""
    own = [row for row in _of(rows, kind=kind, size=size, score="distance") if row["layer"] != "all"]
    return max(own, key=lambda row: row["auc"])


def shows(rows: list[Row]) -> str:
    """One sentence, of the rows alone: AUCs at the largest size, and the smallest size that is told from clean scans."""
    largest = max(row["size"] for row in rows)
    own = sorted(_of(rows, size=largest, score="distance", layer="all"), key=lambda row: -row["auc"])
    told, sizes = [f"{row['auc']:.2f} ({row['kind']})" for row in own], []
    for row in own:
        sure = [r["size"] for r in _of(rows, kind=row["kind"], score="distance", layer="all") if r["auc_low"] > 0.5]
        sizes.append(f"{min(sure):g} %" if sure else "no size")
    guesses = [row["auc"] for row in _of(rows, size=largest, score="confidence")]
    return (
        f"A change of {largest:g} % of the image's side is told by HFC's own score with an AUC of {', '.join(told)}, better than chance "
        f"from {', '.join(sizes)} on, and by the network's confidence with {min(guesses):.2f} to {max(guesses):.2f}."
    )


def shows_not(rows: list[Row]) -> str:
    """One sentence on how far the numbers reach."""
    misled = max(row["misled"] for row in rows)
    return (
        f"The changes are simulated on {rows[0]['n']} scans, no real artefacts or disease, and the score asks how far a scan lies from "
        f"the class that the network sees, which is a wrong one for up to {misled:.0%} of the changed scans."
    )


LINES = {
    "distance": ("HFC's score", "hidden", 0),
    "likelihood": ("log-likelihood", "hidden", 1),
    "confidence": ("confidence", "", 2),
}
"""Of each score: its words, its colour's role and its dash."""


def draw(rows: list[Row]) -> go.Figure:
    """AUC over the size of the change, a panel for each kind, a line for each score; the mouse reads the best layer too."""
    panels: dict[str, list[Line]] = {}
    for kind in dict.fromkeys(row["kind"] for row in rows):
        panels[kind] = []
        for score, (words, role, dash) in LINES.items():
            own = _of(rows, kind=kind, score=score, layer="all")
            said = [f"{row['size']:g} % of the side, {row['misled']:.0%} seen as another class" for row in own]
            if score == "distance":
                best = [_best_layer(rows, kind, row["size"]) for row in own]
                said = [f"{a}<br>best layer {b['layer']}: {b['auc']:.3f}" for a, b in zip(said, best, strict=True)]
            x, y, low, high = ([row[name] for row in own] for name in ("size", "auc", "auc_low", "auc_high"))
            panels[kind].append(Line(words, role, x, y, low, high, place=dash, said=said))
    return curves(panels, "size / % of the side", "AUC", y_range=(0, 1.02), at=0.5)
