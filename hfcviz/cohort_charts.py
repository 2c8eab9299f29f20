"""Charts of a whole cohort, from plain arrays; selected scans stand out and the others dim, but never disappear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from hfcviz.palette import CLASS_SYMBOLS, COLOURS, DIM, INK, SYMBOLS, drawn, in_cell, panels, set_axes


def roc_grid(
    curves: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray, float]]],
    marks: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]],
    labels: Mapping[str, str],
) -> go.Figure:
    """ROC curves, a panel for each detector: {detector: {role: (fpr, tpr, auc)}}; marks {detector: {role: (fpr, tpr)}}
    are where the selected scans lie.
    """
    names, columns = list(curves), 4
    rows = -(-len(names) // columns)
    layout = panels(
        rows,
        columns,
        subplot_titles=names,
        shared_xaxes=True,
        shared_yaxes=True,
        horizontal_spacing=0.03,
        vertical_spacing=0.14,
    )
    traces: list[dict[str, Any]] = []
    for place, name in enumerate(names):
        panel = {"type": "scatter", "xaxis": f"x{place + 1}", "yaxis": f"y{place + 1}"}
        line = {"color": INK, "dash": "dot", "width": 1}
        chance = {"x": [0, 1], "y": [0, 1], "mode": "lines", "line": line, "hoverinfo": "skip", "showlegend": False}
        traces.append(panel | chance)
        for role, (fpr, tpr, auc) in curves[name].items():
            chosen = marks.get(name, {}).get(role)
            traces.append(
                panel
                | {
                    "x": fpr,
                    "y": tpr,
                    "mode": "lines",
                    "name": labels[role],
                    "legendgroup": role,
                    "showlegend": place == 0,
                    "opacity": 1 if chosen is None else 0.4,
                    "line": {"color": COLOURS[role], "width": 2.5, "dash": "dash" if role == "hidden" else "solid"},
                    "hovertemplate": f"{labels[role]}, AUC {auc:.3f}<br>flags %{{x:.0%}} of clean and noise"
                    "<br>catches %{y:.0%}<extra></extra>",
                }
            )
            if chosen is not None:
                traces.append(
                    panel
                    | {
                        "x": chosen[0],
                        "y": chosen[1],
                        "mode": "markers",
                        "name": f"selected, {labels[role]}",
                        "showlegend": False,
                        "marker": {"symbol": SYMBOLS[role], "color": COLOURS[role], "size": 7},
                        "hovertemplate": f"a selected scan, {labels[role]}<extra></extra>",
                    }
                )
    for letter in "xy":
        set_axes(layout, letter, range=[-0.02, 1.02], tickformat=".0%", nticks=3, zeroline=False)
    for column in range(columns):
        layout[f"xaxis{_number((rows - 1) * columns + column)}"]["title"] = {"text": "clean and noise flagged"}
    for row in range(rows):
        layout[f"yaxis{_number(row * columns)}"]["title"] = {"text": "attacks caught"}
    return drawn(traces, 230 * rows + 60, **layout)


def _number(place: int) -> str:
    """How the axes of a panel end: xaxis, xaxis2, xaxis3 ..."""
    return str(place + 1) if place else ""


def score_strips(
    scores: Mapping[str, np.ndarray],
    ids: Sequence[str],
    chosen: Sequence[int],
    threshold: float,
    labels: Mapping[str, str],
    title: str,
) -> go.Figure:
    """Scores of one detector: for each role a histogram, and below it a point for each scan, {role: (n,)}."""
    roles = list(scores)
    layout = panels(2, 1, shared_xaxes=True, row_heights=[0.6, 0.4], vertical_spacing=0.03)
    pool, known = np.concatenate(list(scores.values())), np.concatenate([scores["clean"], scores["noise"], [threshold]])
    least, most = np.quantile(known, [0.01, 0.99])
    span = float(most - least) or 1.0
    low, high = max(float(pool.min()), least - 1.5 * span), min(float(pool.max()), most + 1.5 * span)
    margin = 0.03 * (high - low) or 1.0
    edges = {"start": low - margin, "end": high + margin, "size": (high - low + 2 * margin) / 50}
    traces: list[dict[str, Any]] = []
    # Far-out scores are drawn at the edge: a few of them would squeeze all others into one bar.
    for role in roles:
        shown = np.clip(scores[role], low, high)
        traces.append(
            {
                "type": "histogram",
                "x": shown,
                "xbins": edges,
                "autobinx": False,
                "name": labels[role],
                "legendgroup": role,
                "opacity": 0.55,
                "marker": {"color": COLOURS[role]},
                "hovertemplate": f"{labels[role]}: %{{y}} scans<extra></extra>",
                "xaxis": "x",
                "yaxis": "y",
            }
        )
        opacity = np.full(len(shown), DIM if len(chosen) else 0.6)
        opacity[list(chosen)] = 1.0
        traces.append(
            {
                "type": "scatter",
                "x": shown,
                "y": [labels[role]] * len(shown),
                "mode": "markers",
                "name": labels[role],
                "legendgroup": role,
                "showlegend": False,
                "customdata": np.stack([np.array(ids, dtype=object), scores[role]], 1),
                "hovertemplate": f"%{{customdata[0]}}, {labels[role]}<br>score %{{customdata[1]:.4g}}<extra></extra>",
                "marker": {"symbol": SYMBOLS[role], "color": COLOURS[role], "size": 8, "opacity": opacity},
                "xaxis": "x2",
                "yaxis": "y2",
            }
        )
    line = {"type": "line", "x0": threshold, "x1": threshold, "y0": 0, "y1": 1}
    line |= {"line": {"color": INK, "dash": "dot", "width": 1.5}}
    layout["shapes"] = [line | {"xref": x, "yref": f"{y} domain"} for x, y in (("x", "y"), ("x2", "y2"))]
    layout["xaxis2"] |= {"title": {"text": title}, "zeroline": False}
    layout["yaxis"] |= {"title": {"text": "scans"}}
    return drawn(
        traces,
        380,
        **layout,
        barmode="overlay",
        dragmode="select",
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
    )


def auc_map(
    aucs: Mapping[str, Mapping[str, Mapping[str, float]]], layers: Sequence[str], labels: Mapping[str, str]
) -> go.Figure:
    """AUC of each detector in each layer alone, a panel for each attack: {role: {detector: {layer: auc}}}. White is 0.5;
    below it, in the other colour, the detector is inverted.
    """
    layout = panels(
        1, len(aucs), subplot_titles=[labels[role] for role in aucs], shared_yaxes=True, horizontal_spacing=0.04
    )
    traces: list[dict[str, Any]] = []
    for place, by_detector in enumerate(aucs.values(), 1):
        names = list(by_detector)
        z = np.array([[by_detector[name][layer] for layer in layers] for name in names])
        traces.append(
            {
                "type": "heatmap",
                "xaxis": f"x{place}",
                "yaxis": f"y{place}",
                "z": z,
                "x": list(layers),
                "y": names,
                "zmin": 0,
                "zmax": 1,
                "colorscale": "RdBu_r",
                "text": [[in_cell(f"{value:.2f}", "RdBu_r", round(float(value), 2)) for value in row] for row in z],
                "texttemplate": "%{text}",
                "textfont": {"size": 11},
                "xgap": 2,
                "ygap": 2,
                "showscale": place == len(aucs),
                "colorbar": {
                    "title": {"text": "AUC", "side": "right"},
                    "thickness": 10,
                    "tickvals": [0, 0.5, 1],
                    "outlinewidth": 0,
                },
                "hovertemplate": "%{y} in %{x}: AUC %{z:.3f}<extra></extra>",
            }
        )
    set_axes(layout, "y", range=[len(names) - 0.5, -0.5], showgrid=False)  # the first one above
    set_axes(layout, "x", showgrid=False)
    return drawn(traces, 330, **layout)


def cohort_scatter(
    xy: Mapping[str, np.ndarray],
    ids: Sequence[str],
    classes: np.ndarray,
    chosen: Sequence[int],
    labels: Mapping[str, str],
    axes: tuple[str, str],
    *,
    ticks: bool,
    hover: Mapping[str, Sequence[str]] | None = None,
) -> go.Figure:
    """One layer's features of every scan in every role, {role: (n, 2)}; made to be selected from by lasso or box.

    hover: {role: (n,)} what the mouse reads, by default id and role.
    """
    traces = []
    for role, points in xy.items():
        symbol = [CLASS_SYMBOLS[c % len(CLASS_SYMBOLS)] for c in classes] if role == "clean" else SYMBOLS[role]
        traces.append(
            {
                "type": "scatter",
                "x": points[:, 0],
                "y": points[:, 1],
                "mode": "markers",
                "name": labels[role],
                "customdata": [[name] for name in ids],
                "hovertext": list(hover[role]) if hover else [f"{name}, {labels[role]}" for name in ids],
                "hovertemplate": "%{hovertext}<extra></extra>",
                "selectedpoints": list(chosen) if len(chosen) else None,
                "selected": {"marker": {"opacity": 1}},
                "unselected": {"marker": {"opacity": DIM}},
                "marker": {"symbol": symbol, "color": COLOURS[role], "size": 8, "opacity": 0.6},
            }
        )
    bare = {"showticklabels": ticks, "zeroline": False, "showgrid": ticks}
    layout: dict[str, Any] = {
        "xaxis": bare | {"title": {"text": axes[0]}},
        "yaxis": bare | {"title": {"text": axes[1]}},
    }
    return drawn(traces, 460, **layout, dragmode="lasso")
