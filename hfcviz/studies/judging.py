"""What studies say of an attack: how often it reaches its target, and how well each detector tells it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hfcviz.attacks import Attack
from hfcviz.metrics import separation
from hfcviz.settings import InputError, Progress, silent
from hfcviz.studies.findings import Row, mean_row, share_row
from hfcviz.studies.lab import Lab


def verdicts(
    lab: Lab, attack: Attack, penalty: Any = None, combine: str = "sum", progress: Progress = silent
) -> tuple[Row, dict[str, Row]]:
    """What comes of an attack: of the whole, and by detector.

    Whole: success and confidence (probability of the target) over all chosen scans, with intervals, attacked (their
    number) and mean_tpr90 over detectors. By detector: what `separation` says of the scans that judge, whether the target
    was reached or not. The detectors are trained on the same attack without a penalty.
    """
    scores = lab.scores(attack, attack, penalty, combine, progress)
    version, targets = lab.version(attack, penalty, combine), lab.chosen().targets
    told = {name: separation(*pair) for name, pair in scores.items()}
    sure = version.seen.probabilities[np.arange(len(targets)), targets]
    whole = share_row("success", lab.success(version)) | mean_row("confidence", sure) | {"attacked": len(targets)}
    whole["mean_tpr90"] = float(np.mean([one["tpr90"] for one in told.values()]))
    return whole, told


def numbers(name: str, words: tuple[str, ...], least: float, most: float, *, whole: bool = False) -> tuple[float, ...]:
    """A list of numbers given as text, each once and in order; InputError, in the name of the setting, for anything else."""
    kind = "whole numbers" if whole else "numbers"
    found = set()
    for word in words:
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not least <= value <= most or (whole and value != int(value)):
            raise InputError(f"{name} must be {kind} between {least:g} and {most:g}; got {word!r}.")
        found.add(int(value) if whole else value)
    return tuple(sorted(found))
