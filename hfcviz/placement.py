"""Where voxels lie: from a file's own axes to RAS+ order, and from positions of slices to an affine."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from hfcviz.scans import Scan, take_slice
from hfcviz.settings import InputError

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""From DICOM's and ITK's patient axes (left, back, up: PS3.3 C.7.6.2.1.1) to RAS+ (right, front, up), and back."""
NOWHERE = "It does not say how the patient lies: orientation is unknown."
UPRIGHT = LPS
"""As if frames of unknown place were axial slices: the first row at the front, the first column at the right, so that they
are shown the way they are stored."""


def plausible(spacing: Iterable[float]) -> tuple[float, ...] | None:
    """The spacing as plain numbers, if all lie between a picometre and a kilometre."""
    values = tuple(float(value) for value in spacing)
    return values if values and all(1e-9 < value < 1e6 for value in values) else None


def placed(scan: Scan, affine: np.ndarray | None, *, known: bool = True) -> Scan:
    """The scan, its image (C, i, j, k) as stored, with RAS+ axes: views of it are turned, nothing is resampled or copied.

    affine: (4, 4) from stored indices to RAS+ mm. known=False turns the axes likewise, but the scan then has no affine, spacing
    or orientation. A volume of one slice becomes an image in display order. Raises InputError for an affine that is
    singular, not finite or of impossible spacing.
    """
    from nibabel import affines, orientations

    affine = np.eye(4) if affine is None else np.array(affine, dtype=float)
    if (
        not np.isfinite(affine).all()
        or not plausible(affines.voxel_sizes(affine))
        or np.linalg.matrix_rank(affine[:3, :3] / affines.voxel_sizes(affine)) < 3
    ):
        raise InputError(
            f"{scan.name} must say where its voxels lie, but its affine is singular or not finite; correct its orientation."
        )
    turn = orientations.io_orientation(affine)
    codes = "".join(orientations.ornt2axcodes(turn))
    turned = affine @ orientations.inv_ornt_aff(turn, scan.image.shape[1:4])
    image = np.moveaxis(orientations.apply_orientation(np.moveaxis(scan.image, 0, -1), turn), -1, 0)
    flat = [axis for axis, side in enumerate(image.shape[1:]) if side == 1]
    found = dataclasses.replace(
        scan,
        image=image,
        affine=turned if known else None,
        spacing=plausible(affines.voxel_sizes(turned)) if known else None,
        stored_orientation=codes if known else "",
    )
    return dataclasses.replace(take_slice(found, flat[0], 0), name=scan.name) if flat else found


def unplaced(scan: Scan, spacing: tuple[float, ...] | None) -> Scan:
    """The scan (C, x, y[, z]) where its file does not say how it lies: a volume as stored, an image as rows and columns."""
    image = scan.image
    flat = [axis for axis in range(1, image.ndim) if image.shape[axis] == 1 and image.ndim == 4]
    if flat:
        image = np.squeeze(image, flat[-1])
        spacing = spacing and tuple(step for axis, step in enumerate(spacing, 1) if axis != flat[-1])
    if image.ndim == 3:
        return dataclasses.replace(scan, image=image.swapaxes(1, 2), spacing=spacing and spacing[::-1])
    return dataclasses.replace(scan, image=image, spacing=spacing, notices=(*scan.notices, NOWHERE))


def as_placed(buffer: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """A view of a buffer (slice, rows, columns), through which what is written lies forwards in memory once it is `placed`.

    affine: from (column, row, slice) to RAS+ mm.
    """
    from nibabel import orientations

    column, row, slot = (int(way) for way in orientations.io_orientation(affine)[:, 1])
    return buffer[::slot, ::row, ::column]


@dataclass(frozen=True, eq=False)
class Line:
    """Slices in their order along a line. order: (n,) of the given ones; slots: (n,) their places in the volume, which has gaps
    where slices are missing; affine: (4, 4) from (column, row, slot) to RAS+ mm; notices: what people should know.
    """

    order: np.ndarray
    slots: np.ndarray
    affine: np.ndarray
    notices: tuple[str, ...]


def line_up(label: str, positions: np.ndarray, orientation: np.ndarray, spacing: Sequence[float]) -> Line:
    """How parallel slices at different places make one volume (DICOM PS3.3 C.7.6.2.1.1).

    positions: (n, 3), n > 1, LPS mm of each first pixel; orientation: (2, 3), along a row and down a column; spacing: mm
    between rows and between columns. The distance of slices comes from their positions. Raises InputError for slices that lie
    in pieces too far apart.
    """
    normal = np.cross(orientation[0], orientation[1])
    depth = positions @ normal
    order = np.argsort(depth, kind="stable")
    depth, positions = depth[order], positions[order]
    between = np.diff(depth)
    step = float(np.median(between))
    whole = np.rint(between / step)
    count = len(depth)
    slots = np.arange(count)
    notices: list[str] = []
    if np.abs(between - whole * step).max() <= max(0.02 * step, 0.01) and whole.min() >= 1:
        slots = np.concatenate([[0], np.cumsum(whole)]).astype(int)
        missing = int(slots[-1]) + 1 - count
        if missing > count // 2:
            raise InputError(
                f"{label} must be one stack of slices, but {missing} are missing between its {count}; load the parts one by one."
            )
        if missing:
            gaps = [f"{int(n) - 1} after slice {place + 1}" for place, n in enumerate(whole) if n > 1]
            listed = ", ".join(gaps[:5]) + (", ..." if len(gaps) > 5 else "")
            notices.append(
                f"{missing} of its {slots[-1] + 1} slices are missing ({listed}, counted from its lower end); "
                "they were filled in between their neighbours."
            )
    else:
        notices.append(
            f"Its slices lie {between.min():.3g} to {between.max():.3g} mm apart; they were read as evenly spaced."
        )
    shift = (positions[-1] - positions[0]) / slots[-1]
    lean = float(np.degrees(np.arccos(np.clip(shift @ normal / np.linalg.norm(shift), -1, 1))))
    if lean > 0.5:
        notices.append(
            f"Its slices are shifted against each other by {lean:.1f} degrees (gantry tilt); its axes are not square."
        )
    strays = positions - positions[0] - slots[:, None] * shift
    if np.abs(strays - np.outer(strays @ normal, normal)).max() > 0.5 * min(spacing):
        notices.append("Its slices do not lie on one straight line; they were read as if they did.")
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = orientation[0] * spacing[1], orientation[1] * spacing[0]
    affine[:3, 2], affine[:3, 3] = shift, positions[0]
    return Line(order, slots, LPS @ affine, tuple(notices))
