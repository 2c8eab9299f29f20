"""Slices of a finished outcome as people look at them: pictures through a crosshair, and what stands there in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hfcviz import planes
from hfcviz.grids import Shown, in_units
from hfcviz.outcome import Outcome, captions, role_labels
from hfcviz.palette import digits
from hfcviz.plane_figures import checked, plane_parts
from hfcviz.plane_rows import Axis, Row, Scale
from hfcviz.scans import Window, middle, sides
from hfcviz.settings import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import plotly.graph_objects as go

LARGEST = 1024
"""Pixels on a side of an image that is drawn; a larger one is thinned out."""

ZOOMS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""What the viewer offers."""
GRIDS = ("network", "own")


def centre(seen: Shown) -> tuple[int, ...]:
    """Where a viewer opens: in the middle of the body, as `scans.take_slice` does; of an image, its middle."""
    image = seen.scan.image
    if image.ndim == 3:
        return tuple(side // 2 for side in image.shape[1:])
    return tuple(middle(image, axis) for axis in range(3))


def slices_figure(
    outcome: Outcome, seen: Shown, class_names: tuple[str, ...], index: Sequence[int], **view: Any
) -> go.Figure:
    """The figure of `slices_parts`, which says what the view may hold."""
    return checked(slices_parts(outcome, seen, class_names, index, **view))


def slices_parts(
    outcome: Outcome,
    seen: Shown,
    class_names: tuple[str, ...],
    index: Sequence[int],
    *,
    names: Sequence[str] = tuple(planes.PLANES),
    radiological: bool = True,
    window: Window | None = None,
    changes: Sequence[str] = ("attack", "hidden"),
    zoom: float = 1.0,
    blink: str | None = None,
) -> dict[str, Any]:
    """Scan, attacked versions and differences on the grid of `seen`: the named planes through voxel `index`, or the image; as
    `plane_parts` has it.

    window: (low, high) in the scan's units; by default what the network sees.
    """
    wanted = [role for role in seen.changes if role in changes]
    if seen.scan.image.ndim == 3:
        rows = [_row(seen, wanted)]
    else:
        rows = [_slice_row(seen, name, index, wanted, radiological) for name in names]
    eps = outcome.recipe["plan"]["attack"]["eps"]
    scale = Scale(window or seen.placement.window, eps, seen.placement.span, seen.unit if seen.own else "")
    return plane_parts(rows, role_labels(outcome), captions(outcome, class_names), scale, zoom=zoom, blink=blink)


def read_view(view: Mapping[str, Any], seen: Shown) -> dict[str, Any]:
    """What `slices_parts` takes beside an outcome, from the view of a recipe as the viewer writes it; InputError where it is damaged.

    seen: what the figure is drawn on, which tells the voxels and the versions that there are.
    """
    shape, roles = seen.scan.image.shape[1:], list(seen.changes)
    # By key: the rule in words, and whether a value keeps it.
    rules: dict[str, tuple[str, Any]] = {
        "grid": (f"one of {', '.join(GRIDS)}", lambda value: value in GRIDS),
        "window": ("two numbers, the lower first", lambda value: _numbers(value, 2) and value[0] < value[1]),
        "changes": (f"a list of {', '.join(roles)}", lambda value: _names(value, roles)),
        "blink": (f"one of {', '.join(roles)}", lambda value: value in roles),
    }
    if len(shape) == 3:
        rules |= {
            "names": (f"a list of {', '.join(planes.PLANES)}", lambda value: _names(value, list(planes.PLANES))),
            "index": (f"a voxel of {sides(shape)}", lambda value: _voxel(value, shape)),
            "radiological": ("true or false", lambda value: isinstance(value, bool)),
            "zoom": (
                f"a number between {ZOOMS[0]:g} and {ZOOMS[-1]:g}",
                lambda value: _numbers([value], 1) and ZOOMS[0] <= value <= ZOOMS[-1],
            ),
        }
    found = {"index": centre(seen)}
    for key, value in view.items():
        rule, kept = rules.get(key, (f"left out, as it is none of {', '.join(rules)}", lambda value: False))
        if not kept(value):
            raise InputError(
                f"The {key[:40]} in the view of a recipe must be {rule}; got {repr(value)[:60]}: export the figure again."
            )
        if key != "grid":
            found[key] = tuple(value) if key == "window" else value
    return found


def _numbers(value: Any, count: int) -> bool:
    """Whether it is a list of so many finite numbers."""
    return (
        isinstance(value, list)
        and len(value) == count
        and all(type(one) in (int, float) and math.isfinite(one) for one in value)
    )


def _voxel(value: Any, shape: Sequence[int]) -> bool:
    return _numbers(value, len(shape)) and all(
        type(one) is int and 0 <= one < side for one, side in zip(value, shape, strict=True)
    )


def _names(value: Any, known: list[str]) -> bool:
    """Whether it is a list of some of the names, each once."""
    return isinstance(value, list) and 0 < len(value) and all(value.count(one) == 1 and one in known for one in value)


def _slice_row(seen: Shown, name: str, index: Sequence[int], changes: list[str], radiological: bool) -> Row:
    """One plane of a volume."""
    scan, axis = seen.scan, planes.PLANES[name]
    one = planes.plane(name, scan.image.shape[1:], index, scan.affine, scan.spacing, radiological=radiological)
    at = {axis: index[axis]}

    def shown_as(thick: np.ndarray) -> np.ndarray:
        return planes.picture(thick, name, 0, radiological=radiological)

    added = {role: shown_as(seen.change(role, at)) for role in seen.changes}
    clean = shown_as(np.take(scan.image, [index[axis]], axis + 1))
    versions = {"clean": clean} | {role: clean + change for role, change in added.items()}
    title = name
    if scan.affine is not None:
        title += f", {planes.along(scan.affine, scan.image.shape[1:], axis)[index[axis]]} mm"
    across, down = _coordinates(one)
    return Row(title, versions, {role: added[role] for role in changes}, across, down, one.place(index), one.letters)


def _row(seen: Shown, changes: list[str]) -> Row:
    """An image, without a crosshair; a large one is thinned out, as no page has room for its pixels."""
    scan = seen.scan
    one = planes.whole(scan.image.shape[1:], scan.affine, scan.spacing)
    thin = max(1, -(-max(one.shape) // LARGEST))
    added = {role: seen.change(role)[:, ::thin, ::thin] for role in seen.changes}
    clean = scan.image[:, ::thin, ::thin]
    versions = {"clean": clean} | {role: clean + change for role, change in added.items()}
    across, down = (replace(axis, step=axis.step * thin) for axis in _coordinates(one))
    return Row("", versions, {role: added[role] for role in changes}, across, down, None, one.letters)


def _coordinates(one: planes.Plane) -> tuple[Axis, Axis]:
    """Of columns and rows: in mm of the patient where the picture lies along the world's axes, else counted from its corner."""
    if edges := planes.edges(one):
        return Axis(*edges[0]), Axis(*edges[1])
    if one.spacing == (1.0, 1.0) and one.affine is None:
        return Axis(0, 1, "column", ""), Axis(0, 1, "row", "")
    return Axis(0, one.spacing[1], "across"), Axis(0, one.spacing[0], "down")


def crosshair_line(outcome: Outcome, seen: Shown, index: Sequence[int]) -> str:
    """Where the crosshair stands and what each version has there, in one line."""
    scan, labels = seen.scan, role_labels(outcome)
    where = "" if scan.affine is None else f"{planes.spoken(planes.position(scan.affine, index))}, "
    at = dict(enumerate(index))
    value = float(seen.version("clean", at).mean())
    changes = {labels[role]: float(seen.change(role, at).mean()) for role in seen.changes}
    if seen.own:
        said = [f"{label} {'+' if change >= 0 else ''}{digits(change)}" for label, change in changes.items()]
        here = f"Scan {digits(value, 4)} {seen.unit}"
    else:
        said = [f"{label} {change * 255:+.2f}/255" for label, change in changes.items()]
        here = f"Scan {value:.3f} of 1"
    return f"Crosshair: {where}voxel {', '.join(map(str, index))} (RAS+). {here}; {', '.join(said)}."


def eps_line(eps: float, seen: Shown) -> str:
    """eps as people read it, in the scan's units too where they are known: "eps 4/255 = 23.5 HU at this window (...)"."""
    said = f"eps {eps * 255:.3g}/255"
    return f"{said} = {in_units(eps, seen.placement.window, seen.scan.unit)}" if seen.own else said
