"""The attack as a film: one figure whose frames are the steps, played in the browser alone. From plain arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import plotly.graph_objects as go

from hfcviz.charts import squash, squashed_ticks
from hfcviz.encoding import grey_png, signed_png
from hfcviz.film_sheet import Film, Sheet, roomy, stretches
from hfcviz.palette import CLASS_COLOURS, CLASS_SYMBOLS, COLOURS, INK, SHADOW, SYMBOLS, digits, look

FRAME_MS = 300
"""How long a step is seen. Nothing flashes, it starts on a click and ends at the last step."""
NARROWEST = 780
"""Pixels of width below which words run into each other."""
ROWS = {"pictures": (26, 200), "lamps": (14, 0), "charts": (68, 165), "views": (62, 130)}
"""Pixels above and of each row, in this order; a row of lamps is LAMPS high for each attack."""
LAMPS, TOP, BOTTOM = 54, 30, 22
SHADES = 31
"""Of red and of blue in a difference."""
TINY = 1e-8
"""Smaller losses are drawn as this: single precision knows 0 next, which has no logarithm."""
Scale = Callable[[Any], np.ndarray]
DASH = {"attack": "solid", "hidden": "dash"}


def film_figure(film: Film) -> go.Figure:
    """All attacks in step, standing at the first: pictures and differences, lamps of the detectors, curves, the strip over depth, and the
    way through the PCA view of some layers. A frame for each kept step, called like it, and buttons that play them.
    """
    sheet, roles = Sheet([str(step) for step in film.steps]), list(film.changes)
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
    layout |= {"margin": {"l": 58, "r": 16, "t": TOP, "b": BOTTOM, "pad": 0}, "updatemenus": [_buttons()]}
    layout |= {"dragmode": False, "showlegend": False}
    return go.Figure({"data": data, "layout": layout, "frames": frames})


def _pictures(sheet: Sheet, film: Film, roles: list[str], band: tuple[float, float]) -> None:
    rows, columns = film.clean.shape[1:]
    bound = film.eps or 1 / 255
    parts = [(role, kind) for role in roles for kind in ("version", "change")]
    for across, (role, kind) in zip(stretches(len(parts), 0.01), parts, strict=True):
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


def _lamps(sheet: Sheet, film: Film, roles: list[str], band: tuple[float, float]) -> None:
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


def _charts(sheet: Sheet, film: Film, roles: list[str], band: tuple[float, float]) -> None:
    confidence, loss, depth = stretches(3, 0.075)
    last = int(film.steps[-1])
    step = {"title": {"text": "step", "standoff": 2, "font": {"size": 12}}, "nticks": 6, "range": roomy([0, last])}
    place = sheet.axes(confidence, band, step, {"range": (-0.04, 1.04)})
    sheet.title(place, f"probability of {film.target}")
    for role in roles:
        _curve(sheet, film, place, role, film.confidence[role], film.labels[role])
    losses = np.concatenate([values for terms in film.terms.values() for values in terms.values()])
    if losses.min() < 0:  # the margin, which has no logarithm once the target wins
        scale: Scale = squash
        y: dict[str, Any] = {"range": roomy(squash(losses))} | squashed_ticks(losses)
    else:
        scale = partial(np.maximum, TINY)
        y = {"type": "log", "range": roomy(np.log10(scale(losses))), "exponentformat": "power", "nticks": 5}
    place = sheet.axes(loss, band, step, y | {"tickfont": {"size": 11}})
    first, *constrained = film.terms[roles[-1]]
    dotted = f", {film.chosen} dotted" if film.chosen in constrained else ""
    sheet.title(place, first + (f"; constraint: thin{dotted}" if constrained else ""))
    for role in roles:
        first, *constrained = film.terms[role]
        for name in constrained:
            bold = name == film.chosen
            line = {"color": COLOURS[role], "width": 2 if bold else 1, "dash": "dot" if bold else "solid"}
            about = {"name": f"constraint in {name}", "opacity": 0.9 if bold else 0.35}
            _line(sheet, place, film.terms[role][name], scale, line, **about)
        _curve(sheet, film, place, role, film.terms[role][first], f"{film.labels[role]}, {first}", scale)
    _depth(sheet, film, roles, depth, band)


def _line(
    sheet: Sheet, place: dict[str, str], values: np.ndarray, scale: Scale, line: dict[str, Any], **rest: Any
) -> None:
    where = {"x": list(range(len(values))), "y": scale(values), "customdata": values, "hoverinfo": "all"}
    sheet.still(place, mode="lines", line=line, hovertemplate="step %{x}: %{customdata:.4g}", **where, **rest)


def _curve(
    sheet: Sheet, film: Film, place: dict[str, str], role: str, values: np.ndarray, name: str, scale: Scale = np.asarray
) -> None:
    """A curve over the steps with a mark that moves along."""
    _line(sheet, place, values, scale, {"color": COLOURS[role], "width": 2.5, "dash": DASH[role]}, name=name)
    marks = [{"x": [int(step)], "y": [float(scale(values[step]))]} for step in film.steps]
    sheet.moves(place, marks, mode="markers", name=f"{name}, now", marker=_mark(role, 12))


def _mark(role: str, size: int) -> dict[str, Any]:
    line = {"width": 1.5, "color": "white"}
    return {"symbol": SYMBOLS[role], "color": COLOURS[role], "size": size, "line": line}


def _depth(sheet: Sheet, film: Film, roles: list[str], across: tuple[float, float], band: tuple[float, float]) -> None:
    everything = np.concatenate([film.depths[role].ravel() for role in roles] + [film.lower, [1.0]])
    numbers = list(range(len(film.layers)))
    x = {"tickvals": numbers, "ticktext": list(film.layers), "tickangle": -35, "tickfont": {"size": 10}}
    x |= {"range": roomy(numbers)}
    y = {"range": roomy(squash(everything))} | squashed_ticks(everything)
    place = sheet.axes(across, band, x, y)
    sheet.title(place, "distance from clean scans, by layer")
    edge = {"x": numbers, "mode": "lines", "line": {"width": 0}}
    sheet.still(place, y=squash(np.ones(len(numbers))), name="clean scans, 95 %", **edge)
    fill = {"fill": "tonexty", "fillcolor": "rgba(0,114,178,0.16)"}
    sheet.still(place, y=squash(film.lower), name="clean, 5 to 95 %", **edge, **fill)
    for role in roles:
        # Lists, since a browser does not unpack the arrays of frames.
        states = [
            {"y": squash(values).tolist(), "customdata": values.round(2).tolist()} for values in film.depths[role].T
        ]
        hover = f"{film.labels[role]}<br>%{{customdata}}<extra></extra>"
        line = {"color": COLOURS[role], "width": 2.5, "dash": DASH[role]}
        about = {"name": f"{film.labels[role]} by layer", "marker": _mark(role, 9), "hovertemplate": hover}
        sheet.moves(place, states, x=numbers, mode="lines+markers", line=line, hoverinfo="all", **about)


def _views(sheet: Sheet, film: Film, band: tuple[float, float]) -> None:
    for across, (layer, view) in zip(stretches(len(film.views), 0.015), film.views.items(), strict=True):
        bare = {"showticklabels": False, "showgrid": False, "mirror": True, "linecolor": INK, "linewidth": 1}
        ranges = [roomy(axis) for axis in np.concatenate([*view.clouds, *view.paths.values()]).T]
        title = {"text": "PC 1", "standoff": 0, "font": {"size": 11}}
        place = sheet.axes(across, band, bare | {"range": ranges[0], "title": title}, bare | {"range": ranges[1]})
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
