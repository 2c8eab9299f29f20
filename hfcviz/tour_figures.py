"""The figures of the tour, drawn from one bundled result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hfcviz import charts, cohort_charts, figures, layer_views, panels
from hfcviz.bundle import Bundle
from hfcviz.outcome import Outcome, captions, role_labels
from hfcviz.projections import Embedding
from hfcviz.scans import flat
from hfcviz.tour_facts import clean_range, last_layer, rows_at, usual_run, ways

if TYPE_CHECKING:
    import plotly.graph_objects as go

LETTERS = 15
"""Size of the type in the figures, for a class room."""


@dataclass(frozen=True, eq=False)
class Material:
    """What all steps draw from: a bundle, its first result, and views of the last layer, {"PCA": ..., "UMAP": ...}."""

    bundle: Bundle
    outcome: Outcome
    views: Mapping[str, Embedding]


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure, what it shows in words, and a line below it."""

    figure: go.Figure
    alt: str
    caption: str = ""


def gather(bundle: Bundle, maps: Mapping[str, Embedding]) -> Material:
    """The material of a bundle with a first result; maps: its bundled positions, {"PCA layer4.1": ..., "UMAP layer4.1": ...}."""
    outcome = bundle.first
    assert outcome is not None
    layer = last_layer(outcome)
    return Material(bundle, outcome, {method: maps[f"{method} {layer}"] for method in ("PCA", "UMAP")})


def for_a_class(pictures: Sequence[Picture]) -> None:
    """Give the figures large type, and sizes with which all of them are on one screen."""
    for picture in pictures:
        figure = picture.figure
        figure.update_layout(font_size=LETTERS, legend_font_size=LETTERS, height=300 if len(pictures) > 1 else 500)
        figure.update_xaxes(tickfont_size=LETTERS, title_font_size=LETTERS)
        figure.update_yaxes(tickfont_size=LETTERS, title_font_size=LETTERS)
        figure.for_each_annotation(lambda note: note.update(font_size=LETTERS))
        figure.update_traces(textfont_size=LETTERS, selector={"mode": "markers+text"})


def _images(material: Material, roles: Sequence[str]) -> go.Figure:
    outcome = material.outcome
    said = captions(outcome, material.bundle.about["class_names"])
    images = {role: flat(outcome.x[outcome.row(role)]) for role in roles}
    return figures.scan_panels(images, role_labels(outcome), {role: said[role] for role in roles})


def _scatter(material: Material, method: str = "PCA", hide: Sequence[str] = ()) -> go.Figure:
    """The last layer; without the traces whose names contain one of `hide`, in the same frame as with all of them."""
    outcome, bundle, view = material.outcome, material.bundle, material.views[method]
    figure = layer_views.scatter_figure(
        outcome, bundle.reference, last_layer(outcome), view, bundle.about["class_names"]
    )
    low, high = view.xy.min(0), view.xy.max(0)
    rim = 0.05 * (high - low)
    figure.update_xaxes(range=[low[0] - rim[0], high[0] + rim[0]])
    figure.update_yaxes(range=[low[1] - rim[1], high[1] + rim[1]])
    figure.update_layout(legend={"yanchor": "bottom", "y": 1.02})  # below, it would meet the axis in so low a figure
    return _without(figure, hide)


def _without(figure: go.Figure, names: Sequence[str]) -> go.Figure:
    figure.data = [trace for trace in figure.data if not any(name in (trace.name or "") for name in names)]
    return figure


def _hidden(material: Material) -> str:
    return role_labels(material.outcome)["hidden"]


def sees(material: Material) -> list[Picture]:
    """The scan, and its place among clean scans."""
    hide = [*list(role_labels(material.outcome).values())[1:], "noise"]
    return [
        Picture(_images(material, ["clean"]), "The scan with the network's prediction."),
        Picture(
            _scatter(material, hide=hide),
            "PCA of the last layer's features: clean scans of both classes, and this scan among them.",
            f"{material.views['PCA'].note}.",
        ),
    ]


def nobody_sees(material: Material) -> list[Picture]:
    """Scan and PGD version, and the change, amplified."""
    outcome = material.outcome
    change = {"attack": flat(outcome.x[outcome.row("attack")] - outcome.x[0])}
    return [
        Picture(_images(material, ["clean", "attack"]), "The scan and its PGD version, which look the same."),
        Picture(
            figures.difference_panels(change, role_labels(outcome), outcome.recipe["plan"]["attack"]["eps"]),
            "What PGD added to the scan, many times amplified.",
        ),
    ]


def one_direction(material: Material) -> list[Picture]:
    """PGD's way along the gradient's direction, step by step, and in the plane."""
    outcome, labels = material.outcome, role_labels(material.outcome)
    way = {"attack": ways(material.bundle, outcome)["attack"]}
    low, high = clean_range(material.bundle, outcome)
    values = [*way["attack"], low, high]
    rim = 0.05 * (max(values) - min(values))
    target = material.bundle.about["class_names"][outcome.target]
    figure = charts.trace_lines(
        way, labels, "place along the<br>fixed direction", (min(values) - rim, max(values) + rim)
    )
    figure.add_hrect(y0=low, y1=high, fillcolor="rgba(0,114,178,0.16)", line_width=0)
    figure.add_annotation(
        **{"x": len(way["attack"]) - 1, "y": low, "xanchor": "right", "yanchor": "top", "showarrow": False},
        text=f"90 % of clean {target} scans",
    )
    eps = f", {outcome.recipe['plan']['attack']['eps'] * 255:g}/255"
    return [
        Picture(
            figure, "How far PGD's feature has come along the fixed direction at each step, and where clean scans lie."
        ),
        Picture(
            _scatter(material, hide=[_hidden(material), "noise", eps]),
            "PCA of the last layer: the way of the scan's feature under PGD, from one class through the other and beyond.",
        ),
    ]


def outliers(material: Material) -> list[Picture]:
    """PGD over depth, and that of the whole cohort in the plane."""
    hide = [_hidden(material)]
    return [
        Picture(
            _without(panels.depth_figure(material.outcome), hide),
            "Distance of scan, noise and PGD from the clean scans in every layer.",
        ),
        Picture(
            _scatter(material, hide=hide),
            "PCA of the last layer: the PGD versions of the cohort lie beyond both clean classes.",
        ),
    ]


def detectors(material: Material) -> list[Picture]:
    """Scores of scan, noise and PGD among clean scans."""
    return [
        Picture(
            _without(panels.detector_figure(material.outcome), [_hidden(material)]),
            "Percentile of the scores of scan, noise and PGD among clean scans, for each detector.",
        )
    ]


def hides(material: Material) -> list[Picture]:
    """PGD+HFC beside PGD, over depth and in the plane."""
    return [
        Picture(
            panels.depth_figure(material.outcome),
            "Distance of scan, noise, PGD and PGD+HFC from the clean scans in every layer.",
        ),
        Picture(_scatter(material), "PCA of the last layer: PGD+HFC ends among the clean scans of the target's class."),
    ]


def picture(material: Material) -> list[Picture]:
    """One layer in two projections."""
    return [
        Picture(
            _scatter(material, "UMAP"),
            "UMAP of the same features of the last layer.",
            f"{material.views['UMAP'].note}.",
        ),
        Picture(_scatter(material), "PCA of the same features of the last layer.", f"{material.views['PCA'].note}."),
    ]


def _dots(material: Material, attack: str) -> go.Figure:
    """AUC of every detector with intervals for one attack of the published runs, without and with the constraint."""
    aucs: dict[str, dict[str, tuple[float, float, float]]] = {}
    for row in rows_at(material.bundle):
        if row["attack"] == attack:
            role = "attack" if row["penalty"] == "none" else "hidden"
            aucs.setdefault(row["detector"], {})[role] = row["auc"], row["auc_low"], row["auc_high"]
    return charts.auc_dots(aucs, _labels(attack), "AUC, 95 % interval")


def _labels(attack: str) -> dict[str, str]:
    return {"clean": "clean", "noise": "noise", "attack": attack, "hidden": f"{attack}+HFC"}


def cohort(material: Material) -> list[Picture]:
    """AUC of every detector for the usual attack."""
    name = usual_run(material.bundle)[0]
    return [Picture(_dots(material, name), f"AUC of each detector for {name} and {name}+HFC over the cohort.")]


def betrays(material: Material) -> list[Picture]:
    """Scores of the most inverted detector, and what FGSM leaves visible."""
    name, eps = usual_run(material.bundle)
    judged = material.bundle.runs.load(name, eps)
    inverted = min(judged.scores, key=lambda one: next(r["auc"] for r in judged.rows if _is(r, one, "hidden")))
    strips = cohort_charts.score_strips(
        judged.scores[inverted],
        judged.ids,
        (),
        judged.thresholds[inverted],
        _labels(name),
        f"score of {inverted} (higher is more suspicious)",
    )
    return [
        Picture(strips, f"Scores of {inverted}: PGD lies right of the clean scans, PGD+HFC left of them."),
        Picture(_dots(material, "FGSM"), "AUC of each detector for FGSM and FGSM+HFC: hardly any difference."),
    ]


def _is(row: dict, detector: str, role: str) -> bool:
    return bool(row["detector"] == detector and row["role"] == role)


def defender(material: Material) -> list[Picture]:
    """AUC of every detector for every attack."""
    rows = rows_at(material.bundle)
    aucs: dict[str, dict[str, dict[str, float]]] = {"attack": {}, "hidden": {}}
    for row in rows:
        by = aucs["attack" if row["penalty"] == "none" else "hidden"]
        by.setdefault(row["detector"], {})[row["attack"]] = row["auc"]
    attacks = list(dict.fromkeys(row["attack"] for row in rows))
    labels = {"attack": "without HFC", "hidden": "with HFC"}
    return [
        Picture(
            cohort_charts.auc_map(aucs, attacks, labels), "AUC of each detector for every attack, without and with HFC."
        )
    ]
