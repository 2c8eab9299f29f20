"""What a figure of planes shows: rows of pictures with their coordinates, and the scale of their values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

Span = tuple[float, float]
OPPOSITE = dict(zip("LRAPSI", "RLPAIS", strict=True))
"""Of the letters at the edges of a picture."""


@dataclass(frozen=True)
class Axis:
    """A coordinate along a picture: of the first pixel's centre, the step from pixel to pixel, its name, its unit."""

    first: float
    step: float
    name: str
    unit: str = "mm"

    def at(self, pixel: float) -> float:
        """The coordinate of a pixel."""
        return self.first + self.step * pixel

    def said(self, variable: str) -> str:
        """The coordinate in a hover text; one in the patient has a sign, as it may lie on either side."""
        if self.name in OPPOSITE:
            return f"{OPPOSITE[self.name]}–{self.name} %{{{variable}:+.1f}} {self.unit}"
        return f"{self.name} %{{{variable}:.{1 if self.unit else 0}f}}" + (f" {self.unit}" if self.unit else "")


@dataclass(frozen=True, eq=False)
class Row:
    """One plane: what each version shows in it, {role: (C, rows, columns)} in the scan's units, and what each attack adds.

    across, down: the coordinates of columns and rows, in one unit, so that proportions are true. place: (row, column) of the
    crosshair. letters: at the top, right, bottom and left edge. None draws none of them.
    """

    title: str
    versions: Mapping[str, np.ndarray]
    changes: Mapping[str, np.ndarray]
    across: Axis
    down: Axis
    place: tuple[int, int] | None = None
    letters: tuple[str, str, str, str] | None = None

    @property
    def sides(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = next(iter(self.versions.values())).shape[-2:]
        return rows, columns


@dataclass(frozen=True)
class Scale:
    """What values mean: the window (low, high) of black and white, eps as a fraction of `span`, and the unit of all but eps."""

    window: Span
    eps: float
    span: float = 1.0
    unit: str = ""

    @property
    def bound(self) -> float:
        """eps in the scan's units; of no attack at all, the smallest change that 8 bits show."""
        return (self.eps or 1 / 255) * self.span


def cropped(row: Row, zoom: float) -> Row:
    """The part of a plane about its crosshair, or about its middle, that is shown at this zoom."""
    if zoom <= 1:
        return row
    centre = row.place or (row.sides[0] // 2, row.sides[1] // 2)
    cuts = []
    for side, at in zip(row.sides, centre, strict=True):
        length = max(1, round(side / zoom))
        start = min(max(at - length // 2, 0), side - length)
        cuts.append(slice(start, start + length))
    down, across = cuts

    def cut(pictures: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {role: picture[:, down, across] for role, picture in pictures.items()}

    return replace(
        row,
        versions=cut(row.versions),
        changes=cut(row.changes),
        across=replace(row.across, first=row.across.at(across.start)),
        down=replace(row.down, first=row.down.at(down.start)),
        place=row.place and (row.place[0] - down.start, row.place[1] - across.start),
    )


def ranges_of(row: Row) -> tuple[Span, Span]:
    """What is shown of the columns and of the rows, edge to edge."""
    rows, columns = row.sides
    return (row.across.at(-0.5), row.across.at(columns - 0.5)), (row.down.at(-0.5), row.down.at(rows - 0.5))
