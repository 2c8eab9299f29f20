"""Slices of a scan and of its attacked versions, a row for each plane: in true proportions, one window, one crosshair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.colors import get_colorscale

from hfcviz import blinking
from hfcviz.encoding import grey_png, signed_png
from hfcviz.palette import COLOURS, CROSSHAIR, SHADOW, digits, look
from hfcviz.plane_rows import OPPOSITE, Row, Scale, Span, cropped, ranges_of

WIDTH, TALLEST = 1080, 420
"""Pixels: the width of the page for which heights are chosen (on a narrower one pictures shrink), and the most for one row."""
NARROWEST = 136
"""Pixels of a picture's width that its title needs."""
GAP, BETWEEN = 0.012, 8
"""Between columns, as a share of the width, and between rows, in pixels."""
MARGIN = {"l": 26, "r": 92, "t": 48, "b": 8}
"""Room for the names of the planes, the scale of the differences, and titles."""
BUTTONS = 48
"""Room below for the buttons of a figure that can blink."""
HOVER, KEPT = 60_000, 1_000_000
"""Values at most that the mouse tells, as each costs time with every slice, and that a figure holds for its table: seconds to write."""
SIDES = ("bottom center", "middle left", "top center", "middle right")
"""Where a letter at the top, right, bottom and left edge stands from its point: inside the picture."""


def plane_parts(
    rows: Sequence[Row],
    labels: Mapping[str, str],
    captions: Mapping[str, str],
    scale: Scale,
    *,
    zoom: float = 1.0,
    blink: str | None = None,
) -> dict[str, Any]:
    """Pictures in a grid: a row for each plane; the versions, then the differences on one scale of +-eps centred at zero. The data, layout
    and frames of a figure: plotly's checks are most of the time that a page would wait for a slice.

    captions: a line below the title of each version. zoom: about the crosshair, what lies outside is not drawn; zooming by hand is
    linked within a row. blink: the role whose column can alternate with the clean scan, in the browser alone, once a button is
    pressed. The mouse tells positions, and values where they are not too many to send. Differences are in 255ths where the scale is 1.
    """
    rows = [cropped(row, zoom) for row in rows]
    panels = [("version", role) for role in rows[0].versions] + [("change", role) for role in rows[0].changes]
    width = (1 - GAP * (len(panels) - 1)) / len(panels)
    room = (WIDTH - MARGIN["l"] - MARGIN["r"]) * width
    widest = max(row.sides[1] * row.across.step for row in rows)
    heights = [min(TALLEST, row.sides[0] * row.down.step / widest * room) for row in rows]
    inner = sum(heights) + BETWEEN * (len(rows) - 1)

    values = len(panels) * sum(row.sides[0] * row.sides[1] for row in rows)
    data: list[dict[str, Any]] = []
    overlays: list[int] = []
    layout: dict[str, Any] = {"annotations": []}
    top, place = 1.0, 0
    for row, height in zip(rows, heights, strict=True):
        first, bottom = place + 1, max(0.0, top - height / inner)
        ranges = ranges_of(row)
        for column, (kind, role) in enumerate(panels):
            place += 1
            left = column * (width + GAP)
            layout |= _axes(place, first, (left, left + width), (bottom, top), ranges)
            drawn = row.versions[role] if kind == "version" else _largest(row.changes[role])
            name = labels[role] if kind == "version" else f"{labels[role]} − scan"
            source = grey_png(drawn, scale.window) if kind == "version" else signed_png(drawn, scale.bound)
            data.append(
                _picture(row, place, source)
                | _values(
                    row, drawn if values <= KEPT else None, name, scale, told=values <= HOVER, added=kind == "change"
                )
            )
            if blink == role and kind == "version":
                overlays.append(len(data))
                clean = row.versions["clean"]
                over = _picture(row, place, grey_png(clean, scale.window))
                data.append(over | {"opacity": 0, "hoverinfo": "skip"})
            data += _marks(row, place, ranges, light=kind == "version")
            if first == 1:
                caption = captions.get(role, "") if kind == "version" else _bound(scale)
                layout["annotations"].append(_heading(left + width / 2, name, caption, COLOURS[role]))
        layout["annotations"].append(_plane_name(row.title, (top + bottom) / 2))
        top = bottom - BETWEEN / inner
    margin, frames = dict(MARGIN), []
    if rows[0].changes:
        data.append(_colour_bar(scale))
    if overlays:
        margin["b"] += BUTTONS
        frames = blinking.frames(data, overlays, rows[0], labels, str(blink))
        layout["updatemenus"] = [blinking.buttons(labels, str(blink), inner)]
    height = round(inner) + margin["t"] + margin["b"]
    layout |= look(height) | {"margin": margin, "showlegend": False, "dragmode": "pan", "template": "none"}
    return {"data": data, "layout": layout, "frames": frames}


def checked(parts: dict[str, Any]) -> go.Figure:
    """The figure of `plane_parts`, to be exported or read."""
    return go.Figure(parts)


def _largest(change: np.ndarray) -> np.ndarray:
    """The channel that changes most, (1, rows, columns)."""
    return change[np.abs(change).reshape(len(change), -1).max(1).argmax()][None]


def _axes(place: int, first: int, across: Span, down: Span, ranges: tuple[Span, Span]) -> dict[str, Any]:
    common = {"visible": False, "constrain": "domain"}
    x = common | {"domain": across, "anchor": _axis("y", place), "range": ranges[0]}
    y = common | {"domain": down, "anchor": _axis("x", place), "range": ranges[1][::-1], "constraintoward": "top"}
    y |= {"scaleanchor": _axis("x", place)}
    if place != first:
        x, y = x | {"matches": _axis("x", first)}, y | {"matches": _axis("y", first)}
    number = "" if place == 1 else place
    return {f"xaxis{number}": x, f"yaxis{number}": y}


def _axis(letter: str, place: int) -> str:
    return letter if place == 1 else f"{letter}{place}"


def _picture(row: Row, place: int, source: str) -> dict[str, Any]:
    """An encoded picture: a browser draws it several times quicker than a heat map."""
    return {
        "type": "image",
        "source": source,
        "x0": row.across.first,
        "dx": row.across.step,
        "y0": row.down.first,
        "dy": row.down.step,
        "xaxis": _axis("x", place),
        "yaxis": _axis("y", place),
    }


def _values(row: Row, values: np.ndarray | None, name: str, scale: Scale, *, told: bool, added: bool) -> dict[str, Any]:
    """What a picture shows, of one channel, in the units of the scale; the mouse tells the place and, if told, the value there."""
    towards = ", ".join(axis.name for axis in (row.across, row.down) if axis.name in OPPOSITE)
    where = f"{row.across.said('x')}, {row.down.said('y')}" + (f" (+ towards {towards})" if towards else "")
    about = {"name": name, "hovertemplate": f"{name}<br>{where}<extra></extra>"} | (
        {"meta": row.title} if row.title else {}
    )
    if values is None or len(values) != 1:
        return about
    levels = added and scale.span == 1  # as the bar of colours
    digits = 2 if levels else 3 if scale.span <= 2 else 1
    unit = "/255" if levels else f" {scale.unit or 'of 1'}"
    shown = np.ascontiguousarray(values[0], dtype=np.float32) * np.float32(255 if levels else 1)
    value = f"%{{customdata:{'+' if added else ''}.{digits}f}}{unit}"
    return (
        about | {"customdata": shown} | ({"hovertemplate": f"{name} {value}<br>{where}<extra></extra>"} if told else {})
    )


def _marks(row: Row, place: int, ranges: tuple[Span, Span], *, light: bool) -> list[dict[str, Any]]:
    """Crosshair and, of a version (light), letters of one picture, as one trace: every further one costs time with every slice.

    The crosshair has a hole, so that it does not cover what it points at, and ends before the letters, which stand inside the edges
    with a shadow. A difference has none: on white, dark red and dark blue in turn none reads, and the versions beside it have them.
    """
    (left, right), (top, bottom) = ranges
    xs: list[float | None] = []
    ys: list[float | None] = []
    words: list[str] = []
    if row.place is not None:
        x, y = row.across.at(row.place[1]), row.down.at(row.place[0])
        hole, room = 0.03 * max(right - left, bottom - top), 0.08 if row.letters else 0.0
        west, east = left + room * (right - left), right - room * (right - left)
        north, south = top + room * (bottom - top), bottom - room * (bottom - top)
        lines = ((west, y, x - hole, y), (x + hole, y, east, y), (x, north, x, y - hole), (x, y + hole, x, south))
        for a, b, c, d in lines:
            if a <= c and b <= d:
                xs, ys, words = [*xs, a, c, None], [*ys, b, d, None], [*words, "", "", ""]
    if row.letters is not None and light:
        middle = (left + right) / 2, (top + bottom) / 2
        spots = ((middle[0], top), (right, middle[1]), (middle[0], bottom), (left, middle[1]))
        for (x, y), letter in zip(spots, row.letters, strict=True):
            xs, ys, words = [*xs, x, None], [*ys, y, None], [*words, letter, ""]
    if not xs:
        return []
    sides = {"": "middle center"} | dict(zip(row.letters or (), SIDES, strict=False))
    return [
        {
            "type": "scatter",
            "mode": "lines+text",
            "name": "marks",
            "x": xs,
            "y": ys,
            "text": words,
            "textposition": [sides[word] for word in words],
            "textfont": {"color": "white", "size": 13, "shadow": SHADOW},
            "line": {"color": CROSSHAIR if light else "black", "width": 1},
            "hoverinfo": "skip",
            "xaxis": _axis("x", place),
            "yaxis": _axis("y", place),
        }
    ]


def _heading(x: float, name: str, caption: str, colour: str) -> dict[str, Any]:
    # No colour for the caption: the page's own reads on light and dark.
    text = f"<b style='color:{colour}'>{name}</b>" + (
        f"<br><span style='font-size:12px'>{caption}</span>" if caption else ""
    )
    at = {"x": x, "y": 1, "xref": "paper", "yref": "paper", "xanchor": "center", "yanchor": "bottom", "yshift": 2}
    return at | {"text": text, "showarrow": False, "font": {"size": 15}}


def _plane_name(text: str, y: float) -> dict[str, Any]:
    at = {"x": 0, "y": y, "xref": "paper", "yref": "paper", "xanchor": "right", "yanchor": "middle", "xshift": -3}
    return at | {"text": text, "textangle": -90, "showarrow": False, "font": {"size": 12}}


def _bound(scale: Scale) -> str:
    eps = f"±{(scale.eps or 1 / 255) * 255:.3g}/255"
    return eps if scale.span == 1 else f"{eps} = ±{digits(scale.bound)}"  # the bar of colours has the unit


def _colour_bar(scale: Scale) -> dict[str, Any]:
    """The scale of the differences; it hangs on a point that is not drawn."""
    in_scan = scale.span != 1
    bound = scale.bound if in_scan else scale.bound * 255
    title = f"change, {scale.unit or 'grey levels'}" if in_scan else "change, n/255"
    bar = {"title": {"text": title, "side": "right"}, "thickness": 10, "len": 0.9, "nticks": 5, "x": 1.005, "xpad": 4}
    marker = {"color": [0], "cmin": -bound, "cmax": bound, "colorscale": get_colorscale("RdBu_r")}
    marker |= {"showscale": True, "colorbar": bar}
    return {"type": "scatter", "x": [None], "y": [None], "mode": "markers", "hoverinfo": "skip", "marker": marker}
