"""Study: can the constraint's own score tell clean scans from occluded ones and from ones with pasted lesions?"""

from __future__ import annotations

from collections.abc import Callable
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
from hfcviz.studies.lab import Lab

if TYPE_CHECKING:
    import plotly.graph_objects as go

DARK = 0.1
"""Up to this grey, of a range from 0 to 1, a pixel may be air around the body."""
SMALLEST = 0.01
"""Share of the pixels below which what is brighter is taken for no body, and everything is the body."""


@dataclass(frozen=True)
class Place:
    """Where one scan changes: within `radius` pixels of the centre, and only in the body."""

    gap: Tensor
    """(*spatial) distance of each pixel from the centre, in pixels; infinite outside the body."""
    radius: float

    @property
    def ball(self) -> Tensor:
        """(*spatial) 1 inside and 0 elsewhere; nothing at radius 0."""
        return (self.gap < self.radius).float()

    @property
    def soft(self) -> Tensor:
        """(*spatial) 1 in the inner half, from there straight down to 0 at the edge."""
        return (2 * (self.radius - self.gap)).clamp(min=0).div(max(self.radius, 1e-6)).clamp(max=1)


def grey_ball(image: Tensor, other: Tensor, place: Place) -> Tensor:
    """Everything within the ball becomes middle grey."""
    return image + place.ball * (0.5 - image)


def black_ball(image: Tensor, other: Tensor, place: Place) -> Tensor:
    """Everything within the ball becomes black."""
    return image * (1 - place.ball)


def pasted(image: Tensor, other: Tensor, place: Place) -> Tensor:
    """A part of another scan, with a soft edge."""
    return image + place.soft * (other - image)


def bright_ball(image: Tensor, other: Tensor, place: Place) -> Tensor:
    """A soft ball, brighter by three tenths of the range."""
    return (image + 0.3 * place.soft).clamp(max=1)


CHANGES: dict[str, Callable[[Tensor, Tensor, Place], Tensor]] = {
    "grey ball": grey_ball,
    "black ball": black_ball,
    "pasted tissue": pasted,
    "bright ball": bright_ball,
}
"""`change(image, other, place)` of an image (C, *spatial) in [0, 1]; other: a scan of another class, moved so that a place
in its body lies at the centre. Two hide what is there, two add what is not.
"""


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


def body_of(image: Tensor) -> Tensor:
    """(*spatial) bool of an image (C, *spatial): what is brighter than air, holes filled; everything where that is next to
    nothing.
    """
    from scipy.ndimage import binary_fill_holes

    body = torch.from_numpy(binary_fill_holes(image.mean(0).numpy() > DARK))
    return body if body.float().mean() >= SMALLEST else torch.ones_like(body)


def _centre(body: Tensor, rng: np.random.Generator) -> Tensor:
    """A pixel of the body by chance, (dims,)."""
    inside = body.nonzero()
    return inside[int(rng.integers(len(inside)))]


def place_of(body: Tensor, centre: Tensor, percent: float) -> Place:
    """The ball about a centre (dims,) whose diameter is so many percent of the shortest side."""
    axes = [torch.arange(side) - int(at) for side, at in zip(body.shape, centre, strict=True)]
    squares = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(0)
    gap = torch.where(body, squares.float().sqrt(), torch.inf)
    return Place(gap, percent / 100 * min(body.shape) / 2)


def moved(other: Tensor, there: Tensor, here: Tensor) -> Tensor:
    """The image (C, *spatial), shifted so that the pixel `there` comes to lie `here`; its edge is continued."""
    for axis, (a, b) in enumerate(zip(there.tolist(), here.tolist(), strict=True), 1):
        side = other.shape[axis]
        other = other.index_select(axis, (torch.arange(side) - b + a).clamp(0, side - 1))
    return other


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
        centre = _centre(body, rng)
        donor = torch.from_numpy(test.images(rng.choice(np.flatnonzero(test.y != label), 1))[0])
        other = moved(donor, _centre(body_of(donor), rng), centre)
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
