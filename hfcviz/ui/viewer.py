"""The scan, its attacked versions and what was added, to be scrolled, windowed and blinked; it alone is drawn again when one does."""

from __future__ import annotations

from typing import Any

import streamlit as st

from hfcviz import panels, plane_figures, planes, slices, windows
from hfcviz.grids import Shown, beyond_line
from hfcviz.links import BOTH
from hfcviz.outcome import Outcome, attacked, role_labels
from hfcviz.scans import Window, sides
from hfcviz.ui import links, views
from hfcviz.ui.kept import kept
from hfcviz.ui.links import CUSTOM, THREE
from hfcviz.ui.once import ROOM, Parts
from hfcviz.ui.sliders import KEEP, sliders, view_key

HELP = {
    "view": "Three planes through one crosshair, or one of them.",
    "window": "Which values are shown black and white. It changes what you see, never what the network gets.",
    "changes": "Whose difference from the scan is shown, on one scale centred at zero.",
    "radiological": "The patient's right on the left of axial and coronal planes, as radiologists read them. Off: neurological, the "
    "other way round. Sagittal planes look the same in both.",
    "blink": "Buttons below the pictures let scan and attacked scan take turns in one place: the eye sees what moves. "
    "It stops by itself after ten seconds, and with another slice.",
    "zoom": "About the crosshair, the same in every picture. Wheel and mouse zoom too, until the slice changes.",
    "level": "The value in the middle of the grey scale, in the scan's units.",
    "width": "How many units lie between black and white.",
}


@st.fragment
def viewer(outcome: Outcome, seen: Shown, names: tuple[str, ...], bundle: str) -> None:
    """Pictures with their controls; a slider redraws nothing else on the page."""
    key = view_key(bundle, outcome.recipe["scan"]["sha256"], seen.scan.image.shape[1:])
    if seen.scan.image.ndim == 4:
        _volume(outcome, seen, names, key)
    else:
        _image(outcome, seen, names, key)
    links.keep_later()


def _image(outcome: Outcome, seen: Shown, names: tuple[str, ...], key: str) -> None:
    pictures = st.container(key="pictures")  # what one came for stands first
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        window = _window(windows_of(seen), key)
        blink = _blink(outcome, key)
        st.caption(grid_line(seen))
    with pictures:
        if seen.own or blink or window != seen.placement.window:
            parts = slices.slices_parts(outcome, seen, names, slices.centre(seen), window=window, blink=blink)
            view = {"window": list(window), "grid": _grid(seen)} | ({"blink": blink} if blink else {})
            _draw(parts, 1 + 2 * len(seen.changes), _alt(outcome, "the scan"), view)
            return
        with views.side_by_side():
            versions, changes = st.container(key="wide_images"), views.place("side_images")
        with versions:
            about = "The scan and its attacked versions in one grey window."
            affine = seen.scan.affine
            figure = kept("scan", outcome, None, lambda: panels.scan_figure(outcome, names, affine))
            views.chart(figure, "scan", about)
        with changes:
            about = "What each attack added, on one zero-centred scale."
            views.chart(
                kept("difference", outcome, None, lambda: panels.difference_figure(outcome)), "difference", about
            )


def _volume(outcome: Outcome, seen: Shown, names: tuple[str, ...], key: str) -> None:
    labels, roles = role_labels(outcome), attacked(outcome)
    scan = seen.scan
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        view = st.segmented_control(
            "View", [THREE, *planes.PLANES], default=THREE, key=f"view.{key}", required=True, help=HELP["view"], **KEEP
        )
        window = _window(windows_of(seen), key)
        changes = roles
        if len(roles) > 1:
            chosen = st.segmented_control(
                "Difference",
                [*roles, BOTH],
                default=roles[-1],
                format_func=lambda role: labels.get(role, role),
                key=f"changes.{key}",
                required=True,
                help=HELP["changes"],
                **KEEP,
            )
            changes = roles if chosen == BOTH else [chosen or roles[-1]]
        zoom = st.select_slider("Zoom", list(slices.ZOOMS), key=f"zoom.{key}", help=HELP["zoom"], width=140, **KEEP)
        radiological = st.toggle(
            "Radiological", value=True, key=f"radiological.{key}", help=HELP["radiological"], **KEEP
        )
        blink = _blink(outcome, key)
    shown = list(planes.PLANES) if view in (THREE, None) else [view]
    index = sliders(seen, key, shown[0])
    parts = slices.slices_parts(
        outcome,
        seen,
        names,
        index,
        names=shown,
        radiological=radiological,
        window=window,
        changes=changes,
        zoom=zoom,
        blink=blink,
    )
    view = {"names": list(shown), "index": list(index), "radiological": radiological, "window": list(window)}
    view |= {"changes": list(changes), "zoom": zoom, "grid": _grid(seen)} | ({"blink": blink} if blink else {})
    # One plane may fill a large screen; three are to be seen at once.
    widest = plane_figures.WIDTH if len(shown) > 1 else None
    _draw(parts, 1 + len(roles) + len(changes), _alt(outcome, ", ".join(shown)), view, widest=widest)
    order = "radiological order" if radiological else "neurological order"
    unknown = " The data does not say how the patient lies, so there are no letters." if scan.affine is None else ""
    if scan.affine is not None and planes.oblique(scan.affine):
        order += "; slices lie obliquely to the patient, and the mm of a slice are those of its middle"
    st.caption(f"{slices.crosshair_line(outcome, seen, index)} {grid_line(seen)} Shown in {order}.{unknown}")


def _grid(seen: Shown) -> str:
    return "own" if seen.own else "network"


def _draw(parts: Parts, columns: int, alt: str, view: dict[str, Any], *, widest: int | None = None) -> None:
    """The figure in its own proportions, as wide as the page but not wider than `widest`; view: what its recipe says."""
    layout, below = parts["layout"], ROOM["planes"]["b"]
    margin = layout["margin"]
    beside, above = margin["l"] + margin["r"], margin["t"] + below
    inner = layout["height"] - margin["t"] - margin["b"]
    least = beside + columns * plane_figures.NARROWEST
    # Plotly knows no height that follows the width; the box does: margins and buttons keep their size, pictures grow and shrink.
    # Below its least width, where titles would run into each other, the page scrolls it sideways.
    most = "none" if widest is None else f"{widest}px"
    width = f"max({least}px, 100cqw)" if widest is None else f"clamp({least}px, 100cqw, {widest}px)"
    ratio = inner / (plane_figures.WIDTH - beside)
    height = f"calc({inner + above}px + ({width} - {plane_figures.WIDTH}px) * {ratio:.4f})"
    st.html(
        "<style>.st-key-planes_scroll {overflow-x: auto; container-type: inline-size} "
        f".st-key-planes_scroll .st-key-planes_box {{flex: none; min-width: {least}px; max-width: {most}; height: {height}}} "
        # In sight where there is something to scroll: Streamlit shows it below the mouse alone.
        ".st-key-planes_scroll {scrollbar-color: #808495 transparent !important} "
        f".st-key-planes_export {{position: relative; max-width: {most}; pointer-events: none}} "
        ".st-key-planes_export button {pointer-events: auto} "
        # Beside the buttons that blink, in the room that is kept for them, so that nothing below moves when they come; a telephone has
        # no room beside them.
        f"@media (min-width: 600px) {{.st-key-planes_export {{margin-top: -{below + 8}px}}}}</style>"
    )
    with st.container(key="planes_scroll"), st.container(key="planes_box"):
        # With the height of the box where that is widest, a browser draws it once; else it measures the box, and draws again.
        views.plot(parts | {"layout": layout | {"height": inner + above}}, "planes", alt, height="stretch")
    with st.container(key="planes_export"):
        views.export(parts, "planes", alt, view)


def windows_of(seen: Shown) -> dict[str, Window]:
    """The windows that suit what is shown."""
    scan = seen.scan
    about: dict[str, Any] = {"modality": scan.modality, "unit": scan.unit, "header": scan.windows}
    return kept("windows", seen, None, lambda: windows.offered(scan.image, seen.placement.window, **about))


def _window(options: dict[str, Window], key: str) -> Window:
    if st.session_state.get(f"window.{key}", CUSTOM) not in (*options, CUSTOM):  # a link's, which this scan has not
        del st.session_state[f"window.{key}"]
    name = st.selectbox("Window", [*options, CUSTOM], key=f"window.{key}", help=HELP["window"], width=230, **KEEP)
    if name in options:
        return options[name]
    low, high = next(iter(options.values()))
    level = st.number_input("Level", value=(low + high) / 2, key=f"level.{key}", help=HELP["level"], width=130, **KEEP)
    width = st.number_input(
        "Width", min_value=1e-6, value=high - low, key=f"width.{key}", help=HELP["width"], width=130, **KEEP
    )
    return windows.from_level(level, width)


def _blink(outcome: Outcome, key: str) -> str | None:
    """The role that takes turns with the scan: the last, which has the constraint where there is one."""
    wanted = st.toggle("Blink", key=f"blink.{key}", help=HELP["blink"], **KEEP)
    return attacked(outcome)[-1] if wanted else None


def grid_line(seen: Shown) -> str:
    """Which grid is shown."""
    scan = seen.scan
    what = "voxels" if scan.image.ndim == 4 else "pixels"
    size = f"{sides(scan.image.shape[1:])} {what}"
    if scan.spacing is not None:
        size += f" of {' x '.join(f'{mm:.3g}' for mm in scan.spacing)} mm"
    if not seen.own:
        return f"Shown on the network's grid, {size}."
    network = sides(seen.placement.input_shape[1:])
    back = (
        f"the network's {what} are the same"
        if scan.image.shape[1:] == seen.placement.sizes  # not the input's: unequal spacing may need other sides
        else f"changes are brought back from the network's {network} by interpolation"
    )
    return f"Shown on the scan's own grid, {size}; {back}. {beyond_line(seen) or ''}".strip()


def _alt(outcome: Outcome, what: str) -> str:
    labels = role_labels(outcome)
    names = ", ".join(labels[role] for role in ["clean", *attacked(outcome)])
    return f"{what}: {names} and what was added, at one place, in one window."
