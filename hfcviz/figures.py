"""Plotly figures from plain arrays. One colour and one marker for each role, everywhere; colours can be told apart by
colour-blind readers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

COLOURS = {"clean": "#0072B2", "noise": "#8C8C8C", "attack": "#D55E00", "hidden": "#C24F9B"}
"""Blue, grey, vermilion and purple, after Okabe & Ito 2008 (jfly.uni-koeln.de/color), the purple darkened for white
paper.
"""
CLASS_COLOURS = ("#0072B2", "#56B4E9", "#004B76", "#7FA7C9")
"""Clean classes are shades of the clean colour; shape tells them apart as well."""
CLASS_SYMBOLS = ("circle", "square", "pentagon", "hexagon")
SYMBOLS = {"clean": "circle", "noise": "diamond", "attack": "triangle-up", "hidden": "star"}
INK = "#5F6B76"
"""Grey that reads on white and on a dark page."""


@dataclass(frozen=True, eq=False)
class Group:
    """Points of one kind: xy (N, 2), ids (N,), role, and the class's number for clean points; hollow for held-out
    ones.
    """

    label: str
    role: str
    xy: np.ndarray
    ids: Sequence[str]
    class_index: int | None = None
    hollow: bool = False


@dataclass(frozen=True, eq=False)
class Own:
    """The chosen scan in one role: its point (2,) and, where the view is exact, its path (S, 2) over the attack's
    steps.
    """

    label: str
    role: str
    point: np.ndarray
    path: np.ndarray | None = None


def _base(figure: go.Figure, height: int, **layout: object) -> go.Figure:
    figure.update_layout(
        template="plotly_white",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        height=height,
        margin={"l": 8, "r": 8, "t": 34, "b": 8},
        font={"family": "Source Sans Pro, Helvetica, Arial, sans-serif", "size": 13},
        legend={"orientation": "h", "yanchor": "top", "y": -0.14, "x": 0, "itemsizing": "constant"},
        hoverlabel={"namelength": -1},
    )
    figure.update_layout(**layout)
    return figure


def _image(image: np.ndarray, hover: str) -> go.Heatmap | go.Image:
    """image: (C, H, W) in [0, 1]."""
    if len(image) == 3:
        return go.Image(z=np.moveaxis(np.round(image * 255).astype(np.uint8), 0, -1), hoverinfo="skip")
    return go.Heatmap(z=image[0], zmin=0, zmax=1, colorscale="gray", showscale=False, hovertemplate=hover)


def _tidy_image_axes(figure: go.Figure, count: int) -> None:
    top = {"constrain": "domain", "constraintoward": "top"}  # whatever the width, titles of neighbouring figures align
    for place in range(1, count + 1):
        anchor = f"x{place}" if place > 1 else "x"
        figure.update_xaxes(visible=False, constrain="domain", row=1, col=place)
        figure.update_yaxes(visible=False, autorange="reversed", scaleanchor=anchor, row=1, col=place, **top)


def scan_panels(images: Mapping[str, np.ndarray], labels: Mapping[str, str], captions: Mapping[str, str]) -> go.Figure:
    """Versions of a scan side by side in one window: {role: (C, H, W) in [0, 1]}, what each is called, and a line
    under each.
    """
    figure = make_subplots(rows=1, cols=len(images), horizontal_spacing=0.015)
    for place, (role, image) in enumerate(images.items(), 1):
        figure.add_trace(_image(image, "row %{y}, column %{x}<br>grey level %{z:.3f}<extra></extra>"), row=1, col=place)
        _title(figure, place, len(images), labels[role], COLOURS[role], captions[role])
    _tidy_image_axes(figure, len(images))
    return _base(figure, 250, margin={"l": 4, "r": 4, "t": 30, "b": 30}, showlegend=False)


def difference_panels(differences: Mapping[str, np.ndarray], labels: Mapping[str, str], eps: float) -> go.Figure:
    """What each attack added, {role: (C, H, W)}, on one zero-centred scale of +-eps (a fraction; shown in 1/255)."""
    figure = make_subplots(rows=1, cols=len(differences), horizontal_spacing=0.015)
    bound = (eps or 1 / 255) * 255
    gain = 127.5 / bound
    for place, (role, difference) in enumerate(differences.items(), 1):
        shown = difference[np.abs(difference).reshape(len(difference), -1).max(1).argmax()] * 255
        last = place == len(differences)
        figure.add_trace(
            go.Heatmap(
                z=shown,
                zmin=-bound,
                zmax=bound,
                colorscale="RdBu_r",
                showscale=last,
                colorbar={
                    "title": {"text": "change, n/255", "side": "right"},
                    "thickness": 10,
                    "len": 0.9,
                    "nticks": 5,
                },
                hovertemplate="row %{y}, column %{x}<br>change %{z:+.2f}/255<extra></extra>",
            ),
            row=1,
            col=place,
        )
        _title(figure, place, len(differences), f"{labels[role]} − scan", COLOURS[role], f"shown × {gain:.3g}")
    _tidy_image_axes(figure, len(differences))
    return _base(figure, 250, margin={"l": 4, "r": 4, "t": 30, "b": 30}, showlegend=False)


def _title(figure: go.Figure, place: int, count: int, text: str, colour: str, caption: str) -> None:
    number = place if place > 1 else ""
    common = {
        "xref": f"x{number} domain",
        "yref": f"y{number} domain",
        "x": 0.5,
        "showarrow": False,
        "xanchor": "center",
    }
    figure.add_annotation(text=f"<b>{text}</b>", y=1.0, yanchor="bottom", font={"color": colour, "size": 15}, **common)
    figure.add_annotation(text=caption, y=0.0, yanchor="top", font={"size": 13}, **common)


def layer_scatter(
    groups: Sequence[Group], own: Sequence[Own], axes: tuple[str, str], *, ticks: bool, title: str = ""
) -> go.Figure:
    """Features of one layer in the plane: groups of points, the chosen scan's own points on top, its paths as lines."""
    figure = go.Figure()
    for group in groups:
        symbol, colour = SYMBOLS[group.role], COLOURS[group.role]
        if group.class_index is not None:
            colour = CLASS_COLOURS[group.class_index % len(CLASS_COLOURS)]
            symbol = CLASS_SYMBOLS[group.class_index % len(CLASS_SYMBOLS)]
        figure.add_trace(
            go.Scatter(
                x=group.xy[:, 0],
                y=group.xy[:, 1],
                mode="markers",
                name=group.label,
                customdata=list(group.ids),
                hovertemplate=f"{group.label}<br>%{{customdata}}<extra></extra>",
                marker={
                    "symbol": symbol + ("-open" if group.hollow else ""),
                    "color": colour,
                    "size": 7 if group.role == "clean" else 8,
                    "opacity": 0.85 if group.hollow else 0.55,
                    "line": {"width": 1.2 if group.hollow else 0, "color": colour},
                },
            )
        )
    for one in own:
        if one.path is not None:
            figure.add_trace(
                go.Scatter(
                    x=one.path[:, 0],
                    y=one.path[:, 1],
                    mode="lines+markers",
                    name=f"path of {one.label}",
                    showlegend=False,
                    line={"color": COLOURS[one.role], "width": 2},
                    marker={"size": 3},
                    customdata=list(range(len(one.path))),
                    hovertemplate=f"{one.label}, step %{{customdata}}<extra></extra>",
                )
            )
    for one in own:
        figure.add_trace(
            go.Scatter(
                x=[one.point[0]],
                y=[one.point[1]],
                mode="markers+text",
                name=f"this scan: {one.label}",
                showlegend=False,
                text=[f"<b>{one.label}</b>" if one.role != "noise" else ""],  # it lies on the scan's own point
                textposition="top center",
                textfont={"color": COLOURS[one.role], "size": 13},
                hovertemplate=f"this scan: {one.label}<extra></extra>",
                marker={
                    "symbol": SYMBOLS[one.role],
                    "color": COLOURS[one.role],
                    "size": 17,
                    "line": {"width": 2, "color": "white"},
                },
            )
        )
    figure.update_xaxes(title=axes[0], showticklabels=ticks, zeroline=False, showgrid=ticks)
    figure.update_yaxes(title=axes[1], showticklabels=ticks, zeroline=False, showgrid=ticks)
    return _base(figure, 520, title={"text": title, "font": {"size": 14}}, dragmode="pan")


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
        go.Scatter(x=names, y=_squash(np.ones(len(names))), name="clean scans, 95 %", showlegend=False, **band)
    )
    figure.add_trace(
        go.Scatter(
            x=names,
            y=_squash(lower),
            name="clean scans, 5 to 95 %",
            fill="tonexty",
            fillcolor="rgba(0,114,178,0.16)",
            **band,
        )
    )
    for role, series in values.items():
        figure.add_trace(
            go.Scatter(
                x=names,
                y=_squash(series),
                mode="lines+markers",
                name=labels[role],
                line={"color": COLOURS[role], "width": 2.5 if role in ("attack", "hidden") else 1.5},
                marker={"symbol": SYMBOLS[role], "size": 10},
                customdata=np.round(series, 2),
                hovertemplate=f"{labels[role]}<br>%{{x}}: %{{customdata}}<extra></extra>",
            )
        )
    ticks = [-10, -3, -1, 0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10000]
    largest = max(float(np.max(series)) for series in values.values())
    smallest = min(float(np.min(series)) for series in values.values())
    shown = [tick for tick in ticks if smallest * 1.5 - 3 <= tick <= max(largest * 3, 3)]
    figure.update_yaxes(
        title="distance from clean<br>(0 = median, 1 = 95 % quantile)",
        tickvals=[float(_squash(tick)) for tick in shown],
        ticktext=[f"{tick:g}" for tick in shown],
        zeroline=False,
    )
    figure.update_xaxes(title="layer, from input to output")
    return _base(figure, 370, legend={"orientation": "h", "yanchor": "top", "y": -0.42, "x": 0, "traceorder": "normal"})


def _squash(values: np.ndarray | float) -> np.ndarray:
    """Linear near 0, logarithmic far out, for either sign."""
    return np.arcsinh(np.asarray(values, dtype=float) * 2)


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
    return _base(figure, 330, legend={"orientation": "h", "yanchor": "top", "y": -0.22, "x": 0})


def verdict_map(caught: Mapping[str, np.ndarray], detectors: Sequence[str], layers: Sequence[str]) -> go.Figure:
    """Layer by detector: {what: (D, L) bool}, filled where the detector flags the version by that layer alone."""
    figure = make_subplots(
        rows=1, cols=len(caught), subplot_titles=list(caught), horizontal_spacing=0.06, shared_yaxes=True
    )
    for place, (what, flags) in enumerate(caught.items(), 1):
        words = np.where(flags, "caught", "passes")
        figure.add_trace(
            go.Heatmap(
                z=flags.astype(int),
                x=list(layers),
                y=list(detectors),
                zmin=0,
                zmax=1,
                colorscale=[[0, "rgba(140,140,140,0.15)"], [1, COLOURS["attack"]]],
                showscale=False,
                xgap=2,
                ygap=2,
                text=words,
                texttemplate="%{text}",
                textfont={"size": 11},
                hovertemplate=f"{what}<br>%{{y}} in %{{x}}: %{{text}}<extra></extra>",
            ),
            row=1,
            col=place,
        )
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(showgrid=False)
    return _base(figure, 300)


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
    return _base(figure, 300)
