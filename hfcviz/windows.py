"""Which values are shown black and white. A display window changes what people see, never what a network gets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hfcviz.resampling import percentiles
from hfcviz.scans import Window

CT_WINDOWS = {"lung": (-600, 1500), "mediastinum": (50, 350), "bone": (400, 1800), "brain": (40, 80)}
"""(level, width) in HU, as on Radiopaedia's page "Windowing (CT)", https://radiopaedia.org/articles/windowing-ct."""
NETWORK, FULL = "as the network sees it", "full range"
PERCENTILES = {f"percentiles {least:g} to {most:g}": (least, most) for least, most in ((0.5, 99.5), (2, 98))}
UNITLESS = (*PERCENTILES, FULL)
"""What is offered beside NETWORK for values without a unit, as on the network's grid."""


def from_level(level: float, width: float) -> Window:
    """(low, high) of a level and a width."""
    return level - width / 2, level + width / 2


def offered(
    image: np.ndarray, network: Window, *, modality: str = "", unit: str = "", header: Sequence[tuple[str, Window]] = ()
) -> dict[str, Window]:
    """Windows to choose from, by the name that people read; the first is what the network sees.

    The header's own windows follow, then for CT (values in HU) the usual presets, for all else percentiles, and the full range.
    """
    found = {NETWORK: network}
    found |= {f"header: {label} ({window[0]:g} to {window[1]:g})": window for label, window in header}
    if unit == "HU" or (modality == "CT" and not unit):
        found |= {f"CT {name}": from_level(*values) for name, values in CT_WINDOWS.items()}
    else:
        found |= {name: percentiles(image, *pair) for name, pair in PERCENTILES.items()}
    low, high = float(image.min()), float(image.max())
    found[FULL] = (low, high if high > low else low + 1)
    return {name: window for name, window in found.items() if window[0] < window[1]}
