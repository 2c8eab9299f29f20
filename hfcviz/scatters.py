"""Features in the plane, one layer or all of them, from plain arrays; selected scans stand out and the others dim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from hfcviz.palette import CLASS_COLOURS, CLASS_SYMBOLS, COLOURS, DIM, INK, SYMBOLS, drawn, panels, set_axes

COLUMNS = 4
"""Panels in a row of `layer_grid`."""
NOBODY: AbstractSet[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Group:
    """Points of one kind: xy (N, 2), ids (N,), role, and the class's number for clean points; hollow for held-out
    ones; hover (N,): what the mouse reads, by default label and id.
    """

    label: str
    role: str
    xy: np.ndarray
    ids: Sequence[str]
    class_index: int | None = None
    hollow: bool = False
    hover: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Own:
    """The chosen scan in one role: its point (2,) and, where the view is exact, its path (S, 2) over the attack's
    steps; hover: what the mouse reads.
    """

    label: str
    role: str
    point: np.ndarray
    path: np.ndarray | None = None
    hover: str = ""


def layer_scatter(
    groups: Sequence[Group],
    own: Sequence[Own],
    axes: tuple[str, str],
    *,
    ticks: bool,
    title: str = "",
    chosen: AbstractSet[str] = NOBODY,
) -> go.Figure:
    """Features of one layer in the plane: groups of points, the chosen scan's own points on top, its paths as lines.

    chosen: ids that are selected. A point's customdata is [id].
    """
    traces = [_points(one, chosen, [[name] for name in one.ids], 7 if one.role == "clean" else 8) for one in groups]
    traces += [_path(one) for one in own if one.path is not None]
    traces += [_own_point(one, 17, written=one.role != "noise") for one in own]  # noise lies on the scan's own point
    bare = {"showticklabels": ticks, "zeroline": False, "showgrid": ticks}
    layout: dict[str, Any] = {
        "xaxis": bare | {"title": {"text": axes[0]}},
        "yaxis": bare | {"title": {"text": axes[1]}},
    }
    if title:
        layout["title"] = {"text": title, "font": {"size": 14}}
    return drawn(traces, 520, **layout, dragmode="lasso")


def layer_grid(
    layers: Mapping[str, tuple[Sequence[Group], Sequence[Own]]], *, chosen: AbstractSet[str] = NOBODY
) -> go.Figure:
    """The same groups in every layer, a panel for each in order of depth; a point's customdata is [id, layer].

    Axes have neither ticks nor names, as pictures of different layers share no scale.
    """
    names = list(layers)
    rows = -(-len(names) // COLUMNS)
    layout = panels(
        rows,
        COLUMNS,
        subplot_titles=names,
        horizontal_spacing=0.012,
        vertical_spacing=0.13 / rows + 0.02,
    )
    traces: list[dict[str, Any]] = []
    for place, (layer, (groups, own)) in enumerate(layers.items()):
        points = [_points(group, chosen, [[name, layer] for name in group.ids], 5) for group in groups]
        rest = [_path(one) for one in own if one.path is not None] + [_own_point(one, 12, written=False) for one in own]
        where = {"xaxis": f"x{place + 1}", "yaxis": f"y{place + 1}"}
        traces += [one | where | {"legendgroup": one["name"], "showlegend": place == 0} for one in points]
        traces += [one | where | {"legendgroup": one["name"]} for one in rest]
    for letter in "xy":
        set_axes(layout, letter, showticklabels=False, showgrid=False, zeroline=False)
        set_axes(layout, letter, showline=True, mirror=True, linecolor=INK, linewidth=0.5)
        for place in range(len(names), rows * COLUMNS):
            layout[f"{letter}axis{place + 1}"]["visible"] = False
    for note in layout["annotations"]:  # names of layers stand clear of their frames
        note |= {"yshift": 7, "font": {"size": 13}}
    return drawn(
        traces,
        240 * rows + 60,
        **layout,
        dragmode="pan",  # a click opens a layer, and Streamlit hears clicks in this mode alone
        legend={"orientation": "h", "yanchor": "top", "y": -0.03, "x": 0, "itemsizing": "constant"},
    )


def _points(group: Group, chosen: AbstractSet[str], data: list[list[str]], size: int) -> dict[str, Any]:
    symbol, colour = SYMBOLS[group.role], COLOURS[group.role]
    if group.class_index is not None:
        colour = CLASS_COLOURS[group.class_index % len(CLASS_COLOURS)]
        symbol = CLASS_SYMBOLS[group.class_index % len(CLASS_SYMBOLS)]
    return dict(
        type="scatter",
        x=group.xy[:, 0],
        y=group.xy[:, 1],
        mode="markers",
        name=group.label,
        customdata=data,
        hovertext=list(group.hover) or [f"{group.label}<br>{name}" for name in group.ids],
        hovertemplate="%{hovertext}<extra></extra>",
        selectedpoints=[row for row, name in enumerate(group.ids) if name in chosen] if chosen else None,
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": DIM}},
        marker={
            "symbol": symbol + ("-open" if group.hollow else ""),
            "color": colour,
            "size": size,
            "opacity": 0.85 if group.hollow else 0.55,
            "line": {"width": 1.2 if group.hollow else 0, "color": colour},
        },
    )


def _path(one: Own) -> dict[str, Any]:
    assert one.path is not None
    return dict(
        type="scatter",
        x=one.path[:, 0],
        y=one.path[:, 1],
        mode="lines",
        name=f"path of {one.label}",
        showlegend=False,
        line={"color": COLOURS[one.role], "width": 2},
        hovertext=[f"{one.label}, step {step}" for step in range(len(one.path))],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _own_point(one: Own, size: int, *, written: bool) -> dict[str, Any]:
    return dict(
        type="scatter",
        x=[one.point[0]],
        y=[one.point[1]],
        mode="markers+text",
        name=f"this scan: {one.label}",
        showlegend=False,
        text=[f"<b>{one.label}</b>" if written else ""],
        textposition="top center",
        textfont={"color": COLOURS[one.role], "size": 13},
        hovertext=[one.hover or f"this scan: {one.label}"],
        hovertemplate="%{hovertext}<extra></extra>",
        unselected={"marker": {"opacity": 1}, "textfont": {"color": COLOURS[one.role]}},
        marker={
            "symbol": SYMBOLS[one.role],
            "color": COLOURS[one.role],
            "size": size,
            "line": {"width": 2, "color": "white"},
        },
    )
