"""Orthogonal planes through a volume as a radiologist sees them: pictures, letters, crosshair, positions in mm."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hfcviz.scans import display_matrix, display_picture

PLANES = {"axial": 2, "coronal": 1, "sagittal": 0}
"""The planes by name, each with the axis of a RAS+ volume on which it stands; in the order in which they are shown."""
LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))
"""What the negative and the positive end of each world axis is called: left, right, posterior, anterior, inferior, superior."""
Letters = tuple[str, str, str, str]


@dataclass(frozen=True, eq=False)
class Plane:
    """One slice of a volume on the screen.

    matrix: (4, 4) from places (row, column, 0, 1) of the picture to indices (i, j, k, 1) of the volume. shape: (rows, columns).
    spacing: mm of a row and of a column. affine: (4, 4) from places to RAS+ mm. letters: at the top, right, bottom and left edge.
    affine and letters are None where nobody knows how the patient lies.
    """

    name: str
    matrix: np.ndarray
    shape: tuple[int, int]
    spacing: tuple[float, float]
    affine: np.ndarray | None
    letters: Letters | None

    def place(self, index: Sequence[int]) -> tuple[int, int]:
        """(row, column) of a voxel of this slice."""
        row, column, *_ = np.rint(np.linalg.solve(self.matrix, [*index, 1])).astype(int)
        return int(row), int(column)

    def index(self, row: int, column: int) -> tuple[int, int, int]:
        """The voxel at a place of the picture."""
        i, j, k, _ = np.rint(self.matrix @ [row, column, 0, 1]).astype(int)
        return int(i), int(j), int(k)


def plane(
    name: str,
    shape: Sequence[int],
    index: Sequence[int],
    affine: np.ndarray | None = None,
    spacing: Sequence[float] | None = None,
    *,
    radiological: bool = True,
) -> Plane:
    """The plane of that name through voxel `index` of a RAS+ volume of these three sides.

    Radiological order is that of `scans.take_slice`: the patient's right on the left of axial and coronal planes, as if seen from
    the feet and from the front. Neurological order mirrors these two; a sagittal plane looks to the left in both.
    """
    axis = PLANES[name]
    columns, rows = (other for other in range(3) if other != axis)
    matrix = display_matrix(shape, axis, index[axis])
    if not radiological and axis != 0:
        mirror = np.eye(4)
        mirror[1, 1], mirror[1, 3] = -1, shape[columns] - 1
        matrix = matrix @ mirror
    mm = tuple(spacing or (1.0, 1.0, 1.0))
    seen = None if affine is None else affine @ matrix
    found = None if seen is None else letters(seen)
    return Plane(name, matrix, (shape[rows], shape[columns]), (mm[rows], mm[columns]), seen, found)


def whole(shape: Sequence[int], affine: np.ndarray | None = None, spacing: Sequence[float] | None = None) -> Plane:
    """An image (rows, columns) as a plane: nothing is turned, and letters come from its affine where it has one."""
    found = None if affine is None else letters(affine)
    rows, columns = tuple(spacing or (1.0, 1.0))
    return Plane("", np.eye(4), (shape[0], shape[1]), (rows, columns), affine, found)


def picture(volume: np.ndarray, name: str, index: int, *, radiological: bool = True) -> np.ndarray:
    """(C, rows, columns) of a RAS+ volume (C, X, Y, Z), in the order of `plane`; a view."""
    shown = display_picture(volume, PLANES[name], index)
    return shown if radiological or PLANES[name] == 0 else shown[..., ::-1]


def letters(affine: np.ndarray) -> Letters:
    """What lies at the top, right, bottom and left edge of a picture with this affine, (4, 4) from (row, column) to RAS+ mm.

    Each axis of the picture takes the world axis that it follows most closely, none is taken twice.
    """
    directions = affine[:3, :3] / np.maximum(np.linalg.norm(affine[:3, :3], axis=0), 1e-12)
    row, column, _ = max(
        itertools.permutations(range(3)), key=lambda order: sum(abs(directions[order[one], one]) for one in range(3))
    )
    down, across = bool(directions[row, 0] > 0), bool(directions[column, 1] > 0)
    return LETTERS[row][not down], LETTERS[column][across], LETTERS[row][down], LETTERS[column][not across]


def position(affine: np.ndarray, index: Sequence[float]) -> tuple[float, float, float]:
    """Where a voxel, or a place of a picture, lies in RAS+ mm."""
    x, y, z = affine[:3, :3] @ np.resize([*index, 0], 3) + affine[:3, 3]
    return float(x), float(y), float(z)


def spoken(mm: Sequence[float]) -> str:
    """A position as people read it: "R 12.0, P 3.5, S 40.0 mm"."""
    return ", ".join(coordinate(axis, value) for axis, value in enumerate(mm)) + " mm"


def coordinate(axis: int, value: float) -> str:
    """One coordinate in RAS+ mm as people read it: "R 12.0", "P 3.5"."""
    return f"{LETTERS[axis][value >= 0]} {abs(value):.1f}"


def along(affine: np.ndarray, shape: Sequence[int], axis: int) -> tuple[str, ...]:
    """What each slice along an axis of a RAS+ volume is called: "S 40.0" for the middle of the slice, by its own world axis."""
    middle = [(side - 1) / 2 for side in shape]
    values = affine[axis] @ [*middle, 1] + affine[axis, axis] * (np.arange(shape[axis]) - middle[axis])
    return tuple(coordinate(axis, float(value)) for value in values)


def oblique(affine: np.ndarray) -> bool:
    """Whether the slices of a RAS+ volume lie obliquely to the patient, so that no slice has one position in mm."""
    off = affine[:3, :3] - np.diag(np.diag(affine[:3, :3]))
    return bool(np.abs(off).max() > 1e-3 * np.abs(np.diag(affine)[:3]).max())


def edges(one: Plane) -> tuple[tuple[float, float, str], tuple[float, float, str]] | None:
    """(first, step, letter) of the columns and of the rows: coordinates in mm that grow towards the right and the bottom edge, as
    in "L 12" or "P 3". None where there are none: no affine, or a plane that lies obliquely to the world's axes.
    """
    if one.affine is None or one.letters is None:
        return None
    found = []
    for axis, letter in ((1, one.letters[1]), (0, one.letters[2])):
        step = one.affine[:3, axis]
        world = int(np.abs(step).argmax())
        if np.abs(np.delete(step, world)).max() > 1e-3 * abs(step[world]):
            return None
        sign = 1.0 if letter == LETTERS[world][1] else -1.0
        found.append((float(sign * one.affine[world, 3]), float(sign * step[world]), letter))
    return found[0], found[1]
