"""Charts of distances, scores and verdicts, from plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hfcviz.palette import COLOURS, INK, SYMBOLS, dressed, in_cell


def depth_strip(
    layers: Sequence[str], values: Mapping[str, np.ndarray], labels: Mapping[str, str], lower: np.ndarray
) -> go.Figure:
    """How untypical each version is in each layer: {role: (L,)} on a scale where 0 is the clean median and 1 the
    clean 95 % quantile; lower: (L,) the clean 5 % quantile on that scale, the other edge of the band.
    """
    figure = go.Figure()
    names = list(layers)
    band = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    figure.add_trace(
        go.Scatter(x=names, y=squash(np.ones(len(names))), name="clean scans, 95 %", showlegend=False, **band)
    )
    figure.add_trace(
        go.Scatter(
            x=names,
            y=squash(lower),
            name="clean, 5 to 95 %",
            fill="tonexty",
            fillcolor="rgba(0,114,178,0.16)",
            **band,
        )
    )
    for role, series in values.items():
        figure.add_trace(
            go.Scatter(
                x=names,
                y=squash(series),
                mode="lines+markers",
                name=labels[role],
                line={"color": COLOURS[role], "width": 2.5 if role in ("attack", "hidden") else 1.5},
                marker={"symbol": SYMBOLS[role], "size": 10},
                customdata=np.asarray(series, dtype=float),
                hovertemplate=f"{labels[role]}<br>%{{x}}: %{{customdata:.4~g}}<extra></extra>",
            )
        )
    figure.update_yaxes(
        title="distance from clean<br>(0 = median, 1 = 95 % quantile)",
        zeroline=False,
        **squashed_ticks(np.concatenate(list(values.values()))),
    )
    figure.update_xaxes(title="layer, from input to output")
    # Above, as names of layers may be long and then stand aslant.
    return dressed(
        figure, 370, legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0, "traceorder": "normal"}
    )


def squash(values: np.ndarray | float) -> np.ndarray:
    """Linear near 0, logarithmic far out, for either sign."""
    return np.arcsinh(np.asarray(values, dtype=float) * 2)


def squashed_ticks(values: np.ndarray) -> dict[str, list[Any]]:
    """Marks of an axis of squashed values, about as far as these reach, as plotly takes them."""
    ticks = [-10, -3, -1, 0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10000]
    # 0 and 1, the clean scans, are always named.
    least, most = min(float(np.min(values)) * 1.5 - 3, 0), max(float(np.max(values)) * 3, 3)
    shown = [tick for tick in ticks if least <= tick <= most]
    return {"tickvals": [float(squash(tick)) for tick in shown], "ticktext": [f"{tick:g}" for tick in shown]}


def detector_chart(
    ranks: Mapping[str, Mapping[str, float]], labels: Mapping[str, str], caught_above: float = 90.0
) -> go.Figure:
    """Where each version's score lies among clean scans: {detector: {role: percentile}}; above `caught_above` it is
    flagged.
    """
    figure = go.Figure()
    detectors = list(ranks)
    figure.add_vrect(x0=caught_above, x1=101.5, fillcolor=COLOURS["attack"], opacity=0.10, line_width=0)
    figure.add_vline(x=caught_above, line={"color": INK, "dash": "dot", "width": 1})
    figure.add_annotation(
        **{"x": caught_above, "y": 1.0, "yref": "paper", "xanchor": "right", "yanchor": "bottom", "showarrow": False},
        text="threshold: 10 % of clean scans are flagged",
        font={"size": 11, "color": INK},
    )
    for role in next(iter(ranks.values())):
        figure.add_trace(
            go.Scatter(
                x=[ranks[name][role] for name in detectors],
                y=detectors,
                mode="markers",
                name=labels[role],
                cliponaxis=False,  # more suspicious than all clean scans is at the very edge
                marker={
                    "symbol": SYMBOLS[role],
                    "color": COLOURS[role],
                    "size": 13,
                    "line": {"width": 1, "color": "white"},
                },
                hovertemplate=f"{labels[role]}, %{{y}}<br>above %{{x:.0f}} % of clean scans<extra></extra>",
            )
        )
    figure.update_xaxes(
        title="more suspicious than … % of clean scans",
        range=[-1.5, 101.5],
        tickvals=[0, 25, 50, 75, 90, 100],
        zeroline=False,
    )
    figure.update_yaxes(categoryorder="array", categoryarray=detectors[::-1])
    return dressed(figure, 330, legend={"orientation": "h", "yanchor": "top", "y": -0.22, "x": 0})


def auc_dots(
    aucs: Mapping[str, Mapping[str, tuple[float, float, float]]], labels: Mapping[str, str], title: str = "AUC"
) -> go.Figure:
    """AUC with its interval, a line for each detector: {detector: {role: (auc, low, high)}}. Left of 0.5 a detector is inverted."""
    figure, names = go.Figure(), list(aucs)
    figure.add_vrect(x0=0, x1=0.5, fillcolor=COLOURS["clean"], opacity=0.07, line_width=0)
    figure.add_vline(x=0.5, line={"color": INK, "dash": "dot", "width": 1})
    for what, x in (("inverted", 0.25), ("works", 0.75)):
        figure.add_annotation(text=what, x=x, y=1, yref="paper", yanchor="bottom", showarrow=False, font={"size": 12})
    for role in next(iter(aucs.values())):
        auc, low, high = np.array([aucs[name][role] for name in names]).T
        figure.add_trace(
            go.Scatter(
                x=auc,
                y=names,
                mode="markers",
                name=labels[role],
                error_x={"type": "data", "array": high - auc, "arrayminus": auc - low, "thickness": 2, "width": 0},
                customdata=np.stack([low, high], 1),
                hovertemplate=f"{labels[role]}, %{{y}}<br>AUC %{{x:.3f}}"
                "<br>95 % interval %{customdata[0]:.3f} to %{customdata[1]:.3f}<extra></extra>",
                marker={
                    "symbol": SYMBOLS[role],
                    "color": COLOURS[role],
                    "size": 13,
                    "line": {"width": 1, "color": "white"},
                },
            )
        )
    figure.update_xaxes(title=title, range=[-0.02, 1.02], tickvals=[0, 0.25, 0.5, 0.75, 1], zeroline=False)
    figure.update_yaxes(categoryorder="array", categoryarray=names[::-1])
    return dressed(figure, 330, legend={"orientation": "h", "yanchor": "top", "y": -0.22, "x": 0})


VERDICTS = ((0.0, "#DDE1E5"), (1.0, COLOURS["attack"]))
"""Cells of what passes and of what is caught."""


def verdict_map(caught: Mapping[str, np.ndarray], detectors: Sequence[str], layers: Sequence[str]) -> go.Figure:
    """Layer by detector: {what: (D, L) bool}, filled where the detector flags the version by that layer alone."""
    figure = make_subplots(
        rows=1, cols=len(caught), subplot_titles=list(caught), horizontal_spacing=0.06, shared_yaxes=True
    )
    for place, (what, flags) in enumerate(caught.items(), 1):
        words = np.where(flags, "caught", "passes")
        shown = [
            [in_cell(word, VERDICTS, flag) for word, flag in zip(*row, strict=True)]
            for row in zip(words, flags.astype(int), strict=True)
        ]
        figure.add_trace(
            go.Heatmap(
                z=flags.astype(int),
                x=list(layers),
                y=list(detectors),
                zmin=0,
                zmax=1,
                colorscale=VERDICTS,
                showscale=False,
                xgap=2,
                ygap=2,
                text=shown,
                texttemplate="%{text}",
                textfont={"size": 11},
                hovertext=words,
                hovertemplate=f"{what}<br>%{{y}} in %{{x}}: %{{hovertext}}<extra></extra>",
            ),
            row=1,
            col=place,
        )
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(showgrid=False)
    return dressed(figure, 300)


def trace_lines(
    series: Mapping[str, np.ndarray], labels: Mapping[str, str], title: str, bounds: tuple[float, float] | None
) -> go.Figure:
    """One value over the attack's steps: {role: (S,)}."""
    figure = go.Figure()
    for role, values in series.items():
        figure.add_trace(
            go.Scatter(
                x=np.arange(len(values)),
                y=values,
                mode="lines",
                name=labels[role],
                line={"color": COLOURS[role], "width": 2.5, "dash": "dash" if role == "hidden" else "solid"},
                hovertemplate=f"{labels[role]}, step %{{x}}<br>%{{y:.4g}}<extra></extra>",
            )
        )
    figure.update_xaxes(title="step", zeroline=False)
    figure.update_yaxes(title=title, zeroline=False, **({"range": bounds} if bounds else {"type": "log"}))
    return dressed(figure, 300)
