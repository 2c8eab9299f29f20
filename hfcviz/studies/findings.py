"""What a study found: a table, a sentence on what it shows and one on what it does not, and the recipe of all that."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hfcviz.metrics import bootstrap_interval, share_interval
from hfcviz.settings import InputError

Row = dict[str, Any]


@dataclass(frozen=True)
class Findings:
    """Plain values only, so that a published run is a text file and its figure needs no network."""

    study: str
    """Name in STUDIES."""
    rows: list[Row]
    """One line of the table each: words and numbers, intervals as NAME_low and NAME_high."""
    shows: str
    shows_not: str
    recipe: dict[str, Any]

    def as_json(self) -> str:
        """As a text that `read_findings` takes, a line for each row; NaN is not among its values."""
        parts = {name: json.dumps(part, allow_nan=False) for name, part in asdict(self).items()}
        parts["rows"] = "[\n" + ",\n".join(json.dumps(row, allow_nan=False) for row in self.rows) + "\n]"
        return "{\n" + ",\n".join(f'"{name}": {part}' for name, part in parts.items()) + "\n}\n"


def read_findings(text: str, where: str = "The findings") -> Findings:
    """What as_json gave; InputError when it is something else."""
    try:
        found = Findings(**json.loads(text, parse_constant=_refuse))
        words = (found.study, found.shows, found.shows_not)
        if not all(isinstance(word, str) for word in words) or not all(isinstance(row, dict) for row in found.rows):
            raise TypeError("a part is of another kind")
        if not found.rows or not isinstance(found.recipe, dict):
            raise ValueError("there are no rows")
        return found
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{where} hold no study ({error}): run the study again.") from error


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no number")


def load_findings(path: Path) -> Findings:
    """Findings from a file; InputError when it is missing or damaged."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"The findings {path} cannot be read ({type(error).__name__}): run the study again."
        ) from error
    return read_findings(text, f"The findings {path}")


def mean_row(name: str, values: np.ndarray) -> Row:
    """{name, name_low, name_high}: the mean of values (n,) over scans with its 95 % bootstrap interval."""
    low, high = bootstrap_interval(lambda few: float(few.mean()), np.asarray(values, dtype=np.float64))
    return {name: float(np.mean(values)), f"{name}_low": low, f"{name}_high": high}


def share_row(name: str, hits: np.ndarray) -> Row:
    """The same for a share, of hits (n,) of bool, with Wilson's interval."""
    low, high = share_interval(int(np.count_nonzero(hits)), len(hits))
    return {name: float(np.mean(hits)), f"{name}_low": low, f"{name}_high": high}
