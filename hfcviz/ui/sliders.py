"""The sliders of the viewer, one for each plane, with buttons and keys that step through the slices of the main one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from hfcviz import planes, slices
from hfcviz.grids import Shown

PREVIOUS_KEY, NEXT_KEY = "P", "N"
"""Streamlit takes no brackets; Page up and Page down, as all arrow keys, move the page or the slider that has the focus."""
KEEP: dict[str, Any] = {"persist_state": "session"}
"""So that another page and back leaves the view as it was."""
HELP = {
    "slice": "Drag, or use the arrow keys. The crosshair follows in the other planes. It starts in the middle of the body.",
    "previous": f"The slice before this one; the key {PREVIOUS_KEY} does the same.",
    "next": f"The slice after this one; the key {NEXT_KEY} does the same.",
}
LOOK = """<style>
div:has(> [class*="st-key-slice_main_"]) {flex: 1 1 300px !important}
div:has(> [class*="st-key-slice_other_"]) {flex: 1 1 170px !important}
.st-key-slice_previous, .st-key-slice_next {width: auto !important; flex: none !important}
:is(.st-key-slice_previous, .st-key-slice_next) [data-testid="stMarkdownContainer"] {position: absolute; width: 1px; height: 1px;
  overflow: hidden; clip-path: inset(50%)}
</style>"""
"""Where the page is narrow, sliders come to lie below each other. Of the buttons, icon and key are seen; their names are heard."""


def view_key(task: str, sha256: str, shape: Sequence[int]) -> str:
    """What the keys of the viewer's controls end with: slices and windows differ between scans, and between the two grids of one."""
    return f"{task}.{sha256[:8]}.{'x'.join(map(str, shape))}"


def slice_key(name: str, key: str) -> str:
    """The key of a plane's slider."""
    return f"slice.{name}.{key}"


def centre(seen: Shown, key: str) -> tuple[int, ...]:
    """Where the crosshair starts, worked out once for a scan."""
    kept = st.session_state.get("centre")
    if kept is None or kept[0] != key:
        kept = st.session_state.centre = (key, slices.centre(seen))
    found: tuple[int, ...] = kept[1]
    return found


def sliders(seen: Shown, key: str, main: str) -> tuple[int, int, int]:
    """The voxel under the crosshair, from a slider for each plane that has more than one slice; main: the plane with buttons and keys."""
    scan, index = seen.scan, list(centre(seen, key))
    st.html(LOOK)
    row = st.container(horizontal=True, vertical_alignment="bottom", gap="medium")
    for name, axis in planes.PLANES.items():
        count = scan.image.shape[axis + 1]
        if count == 1:
            continue
        kind = "main" if name == main else "other"
        place = row.container(
            key=f"slice_{kind}_{name}", horizontal=True, vertical_alignment="bottom", gap="small", wrap=False
        )
        mm = None if scan.affine is None else planes.along(scan.affine, scan.image.shape[1:], axis)
        with place:
            at = st.session_state.get(slice_key(name, key), index[axis])
            if name == main:
                _button("previous", name, key, at, -1, count)
            index[axis] = st.select_slider(
                f"{name.capitalize()} slice" + ("" if mm is None else ", mm"),
                list(range(count)),
                value=index[axis],
                format_func=lambda number, mm=mm: str(number) if mm is None else mm[number],
                key=slice_key(name, key),
                help=HELP["slice"],
                **KEEP,
            )
            if name == main:
                _button("next", name, key, at, 1, count)
    return index[0], index[1], index[2]


def _button(which: str, name: str, key: str, at: int, by: int, count: int) -> None:
    st.button(
        f"{which.capitalize()} slice",
        key=f"slice_{which}",
        icon=":material/chevron_left:" if by < 0 else ":material/chevron_right:",
        shortcut=PREVIOUS_KEY if by < 0 else NEXT_KEY,
        disabled=not 0 <= at + by < count,
        on_click=_step,
        args=(slice_key(name, key), at, by, count),
        help=HELP[which],
    )


def _step(slider: str, at: int, by: int, count: int) -> None:
    # From where the slider is now: a second press may come before the first one is drawn.
    st.session_state[slider] = min(max(st.session_state.get(slider, at) + by, 0), count - 1)
