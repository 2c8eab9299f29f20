"""What a point of a scatter says when the mouse is on it: class, prediction, confidence, log-likelihood, verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import PurePath

import numpy as np

from hfcviz.activations import Activations
from hfcviz.cohort import Judged
from hfcviz.outcome import Outcome, role_labels


def of_activations(
    ids: Sequence[str], labels: Sequence[int], seen: Activations, kind: str, class_names: Sequence[str]
) -> list[str]:
    """A text for each of N samples, from what the network said of them; labels: true classes, kind: what they are."""
    return [
        "<br>".join(
            [
                f"<b>{_short(name)}</b>, {kind}",
                _seen(class_names, label, int(best), float(sure)),
            ]
        )
        for name, label, best, sure in zip(ids, labels, seen.predicted, seen.confidence, strict=True)
    ]


def of_cohort(judged: Judged, role: str, kind: str, class_names: Sequence[str], layer: str | None = None) -> list[str]:
    """A text for each scan of a judged cohort in one role, with what was kept of it; layer: of the log-likelihood."""
    known = _known(judged, role, kind, tuple(class_names))
    likelihood = judged.likelihood.get(role, {}).get(layer or "")
    if likelihood is None:
        return ["<br>".join(ends) for ends in known]
    found = zip(known, likelihood.tolist(), strict=True)
    return [f"{head}<br>log-likelihood in {layer}: {value:.4g}<br>{verdicts}" for (head, verdicts), value in found]


@lru_cache(maxsize=64)
def _known(judged: Judged, role: str, kind: str, class_names: tuple[str, ...]) -> list[tuple[str, str]]:
    """What does not depend on the layer, of each scan: before its log-likelihood and after it."""
    best, sure = judged.predicted.get(role), judged.confidence.get(role)
    texts = []
    for row, name in enumerate(judged.ids):
        lines = [f"<b>{_short(name)}</b>, {kind}"]
        label = int(judged.labels[row])
        if best is not None and sure is not None:
            lines.append(_seen(class_names, label, int(best[row]), float(sure[row])))
        else:
            lines.append(f"class {class_names[label]}")
            if role in judged.fooled:
                aim = class_names[int(judged.targets[row])]
                lines.append(f"{'seen' if judged.fooled[role][row] else 'not seen'} as {aim}, its target")
        caught = [one for one in judged.scores if judged.caught(one, role)[row]]
        texts.append(("<br>".join(lines), _verdicts(caught, len(judged.scores))))
    return texts


def of_outcome(outcome: Outcome, role: str, class_names: Sequence[str], layer: str) -> str:
    """The same for one version of the scan that is looked at, whose class may be unknown."""
    row = outcome.row(role)
    best = int(outcome.activations.predicted[row])
    lines = [
        f"<b>this scan: {role_labels(outcome)[role]}</b>",
        f"seen as {class_names[best]} ({outcome.activations.confidence[row]:.1%})",
    ]
    if "GMM" in outcome.layer_scores:
        place = list(outcome.activations.layers).index(layer)
        lines.append(f"log-likelihood in {layer}: {-float(outcome.layer_scores['GMM'][place, row]):.4g}")
    lines.append(_verdicts([name for name in outcome.scores if bool(outcome.caught(name)[row])], len(outcome.scores)))
    return "<br>".join(lines)


def evidence(outcome: Outcome, layer: str) -> str:
    """The number that a picture of a layer cannot replace: how far each version is from the clean scans in all dimensions."""
    place = list(outcome.activations.layers).index(layer)
    _, median, upper = outcome.depth_quantiles[place]
    scaled = (outcome.layer_scores["GMM"][place] - median) / max(upper - median, 1e-12)
    labels = role_labels(outcome)
    width = outcome.activations.layers[layer].shape[1]
    found = ", ".join(f"{labels[role]} {_rounded(scaled[outcome.row(role)])}" for role in outcome.roles)
    return (
        f"Distance in this picture is no evidence. In all {width} dimensions of {layer} (negative log-likelihood, 0 = clean "
        f"median, 1 = clean 95 % quantile): {found}."
    )


def _rounded(value: np.floating) -> str:
    return f"{value:z.1f}" if abs(value) < 100 else f"{value:.0f}"  # z: no -0.0


def _seen(class_names: Sequence[str], label: int, best: int, sure: float) -> str:
    return f"class {class_names[label]}, seen as {class_names[best]} ({sure:.1%})"


def _verdicts(caught: Sequence[str], count: int) -> str:
    return (
        f"caught by {', '.join(caught)} ({len(caught)} of {count})"
        if caught
        else f"caught by none of {count} detectors"
    )


@lru_cache(maxsize=8192)
def _short(name: str) -> str:
    return PurePath(name).name
