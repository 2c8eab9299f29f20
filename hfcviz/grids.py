"""A finished outcome on the grid on which people look at it: its scan's own, in the scan's units, or the network's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hfcviz.outcome import Outcome
from hfcviz.palette import digits
from hfcviz.resampling import Placement, on_own_grid, place
from hfcviz.scans import Scan, Window


@dataclass(frozen=True, eq=False)
class Shown:
    """The scan, and what each attack adds to it.

    scan: the grid and the units that are shown. changes: {role: (C, *network's spatial)} in [0, 1] units. placement: how the two
    hang together. own: whether it is the scan's own grid, or the network's.
    """

    scan: Scan
    changes: Mapping[str, np.ndarray]
    placement: Placement
    own: bool

    def change(self, role: str, at: Mapping[int, int] | None = None) -> np.ndarray:
        """What an attack adds, (C, *spatial) in the scan's units; `at` as in `resampling.on_own_grid`."""
        return on_own_grid(self.changes[role], self.placement, at)

    def version(self, role: str, at: Mapping[int, int] | None = None) -> np.ndarray:
        """The scan in a role, (C, *spatial) in its units: the scan itself for "clean", else the scan plus the change."""
        image = self.scan.image
        for axis, index in (at or {}).items():
            image = np.take(image, [index], axis + 1)
        return image if role == "clean" else image + self.change(role, at)

    @cached_property
    def beyond(self) -> float:
        """The share of the scan's values, about a million of them, that lie beyond the network's window: black or white to the network."""
        low, high = self.placement.window
        values = self.scan.image.ravel("K")[:: self.scan.image.size // 2**20 | 1]
        return float(np.mean((values < low) | (values > high)))

    @property
    def unit(self) -> str:
        """What people read behind a value."""
        return self.scan.unit or ("grey levels" if self.own else "of the network's range")


def shown(
    outcome: Outcome,
    scan: Scan | None = None,
    window: Window | None = None,
    *,
    affine: np.ndarray | None = None,
) -> Shown:
    """An outcome on its scan's own grid where the scan is known, prepared with this window; else on the network's.

    affine: of the network's grid, (4, 4) to RAS+ mm, where the data set knows it. Raises InputError where the scan does not fit.
    """
    clean = outcome.x[outcome.row("clean")]
    changes = {role: outcome.x[outcome.row(role)] - clean for role in outcome.roles if role in ("attack", "hidden")}
    if scan is not None:
        return Shown(scan, changes, place(scan, clean.shape, window), True)
    spacing = None if affine is None else tuple(np.linalg.norm(affine[:3, : clean.ndim - 1], axis=0).tolist())
    grid = Scan(clean, affine, spacing, outcome.recipe["scan"]["name"], window=(0.0, 1.0))
    return Shown(grid, changes, Placement(clean.shape, clean.shape, clean.shape[1:], (0.0, 1.0)), False)


def in_units(eps: float, window: Window, unit: str = "") -> str:
    """eps, a fraction of the window, in the scan's units: "23.5 HU at this window (-160 to 240)"."""
    low, high = window
    return f"{digits(eps * (high - low))} {unit or 'grey levels'} at this window ({low:g} to {high:g})"


def beyond_line(seen: Shown) -> str | None:
    """What to know where much of a scan lies beyond the network's window; None where it does not: percentiles alone cut off 1 %."""
    if not seen.own or seen.beyond < 0.02:
        return None
    low, high = seen.placement.window
    what = "voxels" if seen.scan.image.ndim == 4 else "pixels"
    return (
        f"{seen.beyond:.0%} of the scan's {what} lie beyond the window ({low:g} to {high:g}), black or white to the network: "
        "there, hardly anything of a change is left when the attacked file is read again."
    )


def eps_report(outcome: Outcome, seen: Shown) -> dict[str, Any]:
    """What report.json says beside `report()`: eps in the scan's units, where the scan is known."""
    if not seen.own:
        return {}
    eps, (low, high) = outcome.recipe["plan"]["attack"]["eps"], seen.placement.window
    return {"eps_in_scan_units": {"eps": eps * (high - low), "unit": seen.scan.unit, "window": [low, high]}}
