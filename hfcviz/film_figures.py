"""The attack as a film: one figure whose frames are the steps, played in the browser alone. From plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from hfcviz.charts import squash, squashed_ticks
from hfcviz.palette import CLASS_COLOURS, CLASS_SYMBOLS, COLOURS, INK, SHADOW, SYMBOLS, digits, look
from hfcviz.plane_figures import grey_png, signed_png

FRAME_MS = 300
"""How long a step is seen. Nothing flashes, it starts on a click and ends at the last step."""
NARROWEST = 780
"""Pixels of width below which words run into each other."""
ROWS = {"pictures": (26, 200), "lamps": (14, 0), "charts": (68, 165), "views": (62, 130)}
"""Pixels above and of each row, in this order; a row of lamps is LAMPS high for each attack."""
LAMPS, TOP, BOTTOM, GAP = 54, 30, 22, 0.05
SHADES = 31
"""Of red and of blue in a difference."""
DASH = {"attack": "solid", "hidden": "dash"}


@dataclass(frozen=True, eq=False)
class View:
    """The PCA view of a layer: clean points of each class, [(P, 2)], and the way of each attack, {role: (S, 2)}."""

    clouds: Sequence[np.ndarray]
    paths: Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Film:
    """What is shown at the F kept steps of S, of each attack {role: ...}; all in step.

    steps: (F,), the kept ones; eps: a fraction; clean: (C, rows, columns) in [0, 1]; changes: {role: F pictures like it}; said: {role: F
    words in the picture}; confidence: {role: (S,)} of `target`; terms: {role: {name: (S,)}}, the loss first; depths: {role: (L, F)} where
    0 is the clean median and 1 the clean 95 % quantile, lower: (L,) the 5 % quantile; views: {layer: View}, `chosen` stands out; scores:
    {role: {detector: (F,)}}, caught above thresholds.
    """

    steps: np.ndarray
    labels: Mapping[str, str]
    eps: float
    clean: np.ndarray
    changes: Mapping[str, Sequence[np.ndarray]]
    said: Mapping[str, Sequence[str]]
    target: str
    confidence: Mapping[str, np.ndarray]
    terms: Mapping[str, Mapping[str, np.ndarray]]
    layers: Sequence[str]
    depths: Mapping[str, np.ndarray]
    lower: np.ndarray
    views: Mapping[str, View]
    chosen: str
    scores: Mapping[str, Mapping[str, np.ndarray]]
    thresholds: Mapping[str, float]


class _Sheet:
    """A film in the making: what stands still, and what moves with the named steps."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.data: list[dict[str, Any]] = []
        self.layout: dict[str, Any] = {"annotations": []}
        self.moving: list[int] = []
        self.states: list[list[dict[str, Any]]] = [[] for _ in names]
        self.images: list[list[dict[str, Any]]] = [[] for _ in names]
        self.places = 0

    def axes(self, across: tuple[float, float], up: tuple[float, float], x: dict, y: dict) -> dict[str, str]:
        """A new pair of axes in a part of the sheet; what a trace needs to lie on them."""
        self.places += 1
        tail = "" if self.places == 1 else str(self.places)
        self.layout[f"xaxis{tail}"] = {"domain": across, "anchor": f"y{tail}", "zeroline": False} | x
        self.layout[f"yaxis{tail}"] = {"domain": up, "anchor": f"x{tail}", "zeroline": False} | y
        return {"xaxis": f"x{tail}", "yaxis": f"y{tail}"}

    def still(self, place: dict[str, str], **trace: Any) -> None:
        """A trace that does not move."""
        self.data.append({"type": "scatter", "hoverinfo": "skip"} | place | trace)

    def moves(self, place: dict[str, str], states: Sequence[dict[str, Any]], **trace: Any) -> None:
        """A trace of which these parts differ from step to step."""
        self.moving.append(len(self.data))
        self.still(place, **trace)
        for step, state in zip(self.states, states, strict=True):
            step.append({"type": "scatter"} | state)

    def pictures(self, place: dict[str, str], sides: tuple[int, int], name: str, sources: Sequence[str]) -> None:
        """An encoded picture for each step, (rows, columns), that fills its axes.

        An image of the layout, since one among the traces is loaded anew with each step and would flicker.
        """
        at = {
            "xref": place["xaxis"],
            "yref": place["yaxis"],
            "x": -0.5,
            "y": -0.5,
            "sizex": sides[1],
            "sizey": sides[0],
        }
        at |= {"sizing": "stretch", "layer": "below", "name": name}
        for step, source in zip(self.images, sources, strict=True):
            step.append(at | {"source": source})

    def title(self, place: dict[str, str], text: str) -> None:
        """A heading above a pair of axes."""
        at = {"xref": f"{place['xaxis']} domain", "yref": f"{place['yaxis']} domain", "x": 0.5, "y": 1}
        at |= {"xanchor": "center", "yanchor": "bottom", "yshift": 2, "showarrow": False, "font": {"size": 13}}
        self.layout["annotations"].append(at | {"text": text})


def film_figure(film: Film) -> go.Figure:
    """All attacks in step, standing at the first: pictures and differences, lamps of the detectors, curves, the strip over depth, and the
    way through the PCA view of some layers. A frame for each kept step, called like it, and buttons that play them.
    """
    sheet, roles = _Sheet([str(step) for step in film.steps]), list(film.changes)
    heights = {name: (above, own or LAMPS * len(roles)) for name, (above, own) in ROWS.items()}
    inner = top = sum(map(sum, heights.values()))
    bands = {}
    for name, (above, own) in heights.items():
        bands[name] = (max(0.0, (top - above - own) / inner), (top - above) / inner)
        top -= above + own
    _pictures(sheet, film, roles, bands["pictures"])
    _lamps(sheet, film, roles, bands["lamps"])
    _charts(sheet, film, roles, bands["charts"])
    _views(sheet, film, bands["views"])
    frames = [
        {"name": name, "traces": sheet.moving, "data": states, "layout": {"images": images}}
        for name, states, images in zip(sheet.names, sheet.states, sheet.images, strict=True)
    ]
    data = list(sheet.data)
    for number, state in zip(sheet.moving, sheet.states[0], strict=True):
        data[number] = data[number] | state
    layout = look(inner + TOP + BOTTOM) | sheet.layout | {"images": sheet.images[0]}
    layout |= {"margin": {"l": 58, "r": 12, "t": TOP, "b": BOTTOM, "pad": 0}, "updatemenus": [_buttons()]}
    layout |= {"dragmode": False, "showlegend": False}
    return go.Figure({"data": data, "layout": layout, "frames": frames})


def _columns(count: int, gap: float = GAP) -> list[tuple[float, float]]:
    width = (1 - gap * (count - 1)) / count
    return [(place * (width + gap), place * (width + gap) + width) for place in range(count)]


def _pictures(sheet: _Sheet, film: Film, roles: list[str], band: tuple[float, float]) -> None:
    rows, columns = film.clean.shape[1:]
    bound = film.eps or 1 / 255
    parts = [(role, kind) for role in roles for kind in ("version", "change")]
    for across, (role, kind) in zip(_columns(len(parts), 0.01), parts, strict=True):
        x = {"visible": False, "constrain": "domain", "range": (-0.5, columns - 0.5)}
        y = {"visible": False, "constrain": "domain", "range": (rows - 0.5, -0.5)}
        place = sheet.axes(across, band, x, y)
        sheet.layout["yaxis" + place["yaxis"][1:]]["scaleanchor"] = place["xaxis"]
        if kind == "version":
            name = film.labels[role]
            sources = [grey_png(film.clean + change, (0, 1)) for change in film.changes[role]]
        else:
            name = f"{film.labels[role]} − scan, ±{digits(bound * 255)}/255"
            sources = [signed_png(_shades(_largest(change), bound), bound) for change in film.changes[role]]
        sheet.pictures(place, (rows, columns), name, sources)
        sheet.title(place, f"<b style='color:{COLOURS[role]}'>{name}</b>")
        if kind == "version":
            corners = {
                "x": [0.03 * columns] * 2,
                "y": [0.05 * rows, 0.95 * rows],
                "textposition": ["bottom right", "top right"],
            }
            font = {"color": "white", "size": 14, "shadow": SHADOW}
            states = [
                {"text": [f"<b>{said}</b>", f"<b>step {step}</b>"]}
                for said, step in zip(film.said[role], sheet.names, strict=True)
            ]
            sheet.moves(place, states, mode="text", name=f"said of {film.labels[role]}", textfont=font, **corners)


def _shades(change: np.ndarray, bound: float) -> np.ndarray:
    """With no more shades than the eye tells apart: a quarter fewer bytes for the browser."""
    return np.rint(change * np.float32(SHADES / bound)) * np.float32(bound / SHADES)


def _largest(change: np.ndarray) -> np.ndarray:
    """The channel that changes most, (1, rows, columns)."""
    return change[np.abs(change).reshape(len(change), -1).max(1).argmax()][None]


def _lamps(sheet: _Sheet, film: Film, roles: list[str], band: tuple[float, float]) -> None:
    names = [name for name in film.thresholds if all(name in film.scores[role] for role in roles)]
    ticks = [f"<b>{name}</b><br>limit {digits(film.thresholds[name])}" for name in names]
    x = {"range": (-0.5, len(names) - 0.5), "tickvals": list(range(len(names))), "ticktext": ticks, "showgrid": False}
    words = [f"<b style='color:{COLOURS[role]}'>{film.labels[role].replace('+', '<br>+')}</b>" for role in roles]
    y = {"range": (len(roles) - 0.5, -0.5), "tickvals": list(range(len(roles))), "ticktext": words, "showgrid": False}
    place = sheet.axes((0, 1), band, x, y)
    spots = [(row, role, column, name) for row, role in enumerate(roles) for column, name in enumerate(names)]
    # A trace for each state, not one whose symbols change: a browser would draw shapes between the two.
    for state, symbol, colour in (("caught", "x", COLOURS["attack"]), ("passes", "circle-open", COLOURS["clean"])):
        states = []
        for frame in range(len(film.steps)):
            scores = [float(film.scores[role][name][frame]) for _, role, _, name in spots]
            lit = [
                (score > film.thresholds[name]) == (state == "caught")
                for score, (*_, name) in zip(scores, spots, strict=True)
            ]
            lamps = [
                (row, digits(score)) if on else (None, "")
                for on, score, (row, *_) in zip(lit, scores, spots, strict=True)
            ]
            text = [f"{state}<br>{score}" for _, score in lamps]
            states.append({"y": [row for row, _ in lamps], "text": text})
        marker = {"symbol": symbol, "color": colour, "size": 17, "line": {"width": 2.5 if state == "passes" else 0}}
        font = {"size": 12, "weight": "bold" if state == "caught" else "normal"}
        about = {"x": [column - 0.25 for _, _, column, _ in spots], "marker": marker, "textfont": font}
        sheet.moves(place, states, mode="markers+text", name=state, textposition="middle right", **about)


def _charts(sheet: _Sheet, film: Film, roles: list[str], band: tuple[float, float]) -> None:
    confidence, loss, depth = _columns(3, 0.075)
    step = {"title": {"text": "step", "standoff": 2, "font": {"size": 12}}, "nticks": 6}
    place = sheet.axes(confidence, band, step, {"range": (-0.04, 1.04)})
    sheet.title(place, f"probability of {film.target}")
    for role in roles:
        _curve(sheet, film, place, role, film.confidence[role], film.labels[role])
    place = sheet.axes(
        loss, band, step, {"type": "log", "exponentformat": "power", "nticks": 5, "tickfont": {"size": 11}}
    )
    sheet.title(place, _loss_title(film, roles))
    for role in roles:
        first, *constraint = film.terms[role]
        for name in constraint:
            bold = name == film.chosen
            line = {"color": COLOURS[role], "width": 2 if bold else 1, "dash": "dot" if bold else "solid"}
            about = {"name": f"constraint in {name}", "opacity": 0.9 if bold else 0.35}
            _line(sheet, place, film.terms[role][name], line, **about)
        _curve(sheet, film, place, role, film.terms[role][first], f"{film.labels[role]}, {first}")
    _depth(sheet, film, roles, depth, band)


def _loss_title(film: Film, roles: list[str]) -> str:
    first, *constraint = film.terms[roles[-1]]
    if film.chosen in constraint:
        return f"{first}; constraint: thin, {film.chosen} dotted"
    return f"{first}; constraint: thin" if constraint else first


def _line(sheet: _Sheet, place: dict[str, str], values: np.ndarray, line: dict[str, Any], **rest: Any) -> None:
    where = {"x": list(range(len(values))), "y": values, "hoverinfo": "all"}
    sheet.still(place, mode="lines", line=line, hovertemplate="step %{x}: %{y:.4g}", **where, **rest)


def _curve(sheet: _Sheet, film: Film, place: dict[str, str], role: str, values: np.ndarray, name: str) -> None:
    """A curve over the steps with a mark that moves along."""
    _line(sheet, place, values, {"color": COLOURS[role], "width": 2.5, "dash": DASH[role]}, name=name)
    marks = [{"x": [int(step)], "y": [float(values[step])]} for step in film.steps]
    sheet.moves(place, marks, mode="markers", name=f"{name}, now", marker=_mark(role, 12))


def _mark(role: str, size: int) -> dict[str, Any]:
    line = {"width": 1.5, "color": "white"}
    return {"symbol": SYMBOLS[role], "color": COLOURS[role], "size": size, "line": line}


def _depth(sheet: _Sheet, film: Film, roles: list[str], across: tuple[float, float], band: tuple[float, float]) -> None:
    everything = np.concatenate([film.depths[role].ravel() for role in roles] + [film.lower, [1.0]])
    least, most = float(squash(everything.min())), float(squash(everything.max()))
    room = 0.06 * (most - least)
    numbers = list(range(len(film.layers)))
    x = {"tickvals": numbers, "ticktext": list(film.layers), "tickangle": 35, "tickfont": {"size": 10}}
    y = {"range": (least - room, most + room)} | squashed_ticks(everything)
    place = sheet.axes(across, band, x, y)
    sheet.title(place, "distance from clean scans, by layer")
    edge = {"x": numbers, "mode": "lines", "line": {"width": 0}}
    sheet.still(place, y=squash(np.ones(len(numbers))), name="clean scans, 95 %", **edge)
    fill = {"fill": "tonexty", "fillcolor": "rgba(0,114,178,0.16)"}
    sheet.still(place, y=squash(film.lower), name="clean scans, 5 to 95 %", **edge, **fill)
    for role in roles:
        # Lists, since a browser does not unpack the arrays of frames.
        states = [
            {"y": squash(values).tolist(), "customdata": values.round(2).tolist()} for values in film.depths[role].T
        ]
        hover = f"{film.labels[role]}<br>%{{customdata}}<extra></extra>"
        line = {"color": COLOURS[role], "width": 2.5, "dash": DASH[role]}
        about = {"name": f"{film.labels[role]} by layer", "marker": _mark(role, 9), "hovertemplate": hover}
        sheet.moves(place, states, x=numbers, mode="lines+markers", line=line, hoverinfo="all", **about)


def _views(sheet: _Sheet, film: Film, band: tuple[float, float]) -> None:
    for across, (layer, view) in zip(_columns(len(film.views), 0.015), film.views.items(), strict=True):
        bare = {"showticklabels": False, "showgrid": False, "mirror": True, "linecolor": INK, "linewidth": 1}
        place = sheet.axes(across, band, bare | {"title": {"text": "PC 1", "standoff": 0, "font": {"size": 11}}}, bare)
        sheet.title(place, f"<b>{layer}</b>" if layer == film.chosen else layer)
        for index, cloud in enumerate(view.clouds):
            colour, symbol = CLASS_COLOURS[index % len(CLASS_COLOURS)], CLASS_SYMBOLS[index % len(CLASS_SYMBOLS)]
            marker = {"color": colour, "symbol": symbol, "size": 4, "opacity": 0.35}
            sheet.still(place, x=cloud[:, 0], y=cloud[:, 1], mode="markers", name="clean", marker=marker)
        for role, path in view.paths.items():
            line = {"color": COLOURS[role], "width": 1.5, "dash": DASH[role]}
            name = f"path of {film.labels[role]} in {layer}"
            sheet.still(place, x=path[:, 0], y=path[:, 1], mode="lines", name=name, line=line, opacity=0.5)
        for role, path in view.paths.items():
            points = [{"x": [float(path[step, 0])], "y": [float(path[step, 1])]} for step in film.steps]
            sheet.moves(place, points, mode="markers", name=f"{film.labels[role]} in {layer}", marker=_mark(role, 13))


def _buttons() -> dict[str, Any]:
    """Play from the step that is shown, and stop at any: for those who have the figure alone, in a file."""
    common = {"mode": "immediate", "transition": {"duration": 0}}
    play = [None, common | {"fromcurrent": True, "frame": {"duration": FRAME_MS, "redraw": False}}]
    pause = [[None], common | {"frame": {"duration": 0, "redraw": False}}]
    return {
        "type": "buttons",
        "direction": "right",
        "showactive": False,
        "x": 0,
        "y": 1,
        "xanchor": "left",
        "yanchor": "bottom",
        "pad": {"b": 24, "t": 0, "l": 0, "r": 0},
        "bgcolor": "rgba(127,127,127,0.12)",
        "bordercolor": INK,
        "font": {"size": 14},
        "buttons": [
            {"label": "▶ Play", "method": "animate", "args": play},
            {"label": "❚❚ Pause", "method": "animate", "args": pause},
        ],
    }
