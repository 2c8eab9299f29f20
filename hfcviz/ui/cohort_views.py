"""The figures of the Cohort page, linked by a selection of scans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from hfcviz import cohort_charts, hovers
from hfcviz.bundle import Bundle
from hfcviz.cohort import Judged, by_role, curve, embed_cohort, selected_marks
from hfcviz.projections import PROJECTIONS, Embedding
from hfcviz.settings import Progress
from hfcviz.store import digest
from hfcviz.ui import linked, links, publishing
from hfcviz.ui.feature_views import HELP as HELP_ALSO
from hfcviz.ui.kept import kept
from hfcviz.ui.run import computed
from hfcviz.ui.views import chart

if TYPE_CHECKING:
    import plotly.graph_objects as go

HELP = {
    "scatter": "Each point is one held-out scan in one version. Draw around points: the same scans are marked in the "
    "figures below, and listed with their verdicts. A double click on the figure lets go.",
    "roc": "Adversarial scans against clean and noisy ones, all of them unknown to the detectors. A curve below the "
    "diagonal is an inverted detector: it finds the attack more typical than clean scans. With a selection, each mark is "
    "one selected scan: as far right as clean and noisy scans score at least as high.",
    "scores": "Higher is more suspicious; the dotted line is the threshold, the 90 % quantile of clean validation scans. "
    "Scores beyond the edge are drawn at the edge.",
    "layers": "AUC of a detector that sees one layer alone. White is chance; blue is inverted.",
}


def scatter(judged: Judged, bundle: Bundle, labels: dict[str, str]) -> None:
    """The features of one layer, to be selected from."""
    layers = list(judged.layer_names)
    one, two = st.columns([1, 1], vertical_alignment="bottom")
    layer = one.select_slider(
        "Layer, from input to output",
        layers,
        value=layers[-1],
        key=f"cohort.layer.{len(layers)}.{layers[-1]}",
        help=HELP_ALSO["layer"],
        persist_state="session",
    )
    methods = list(PROJECTIONS) if judged.features else ["PCA"]
    method = two.segmented_control(
        "Projection",
        methods,
        default="PCA",
        key=f"cohort.method.{len(methods)}",
        required=True,
        persist_state="session",
        help=HELP_ALSO["method"]
        if judged.features
        else "Of this published run only the PCA view is kept; evaluate it live for others.",
    )
    method = method or "PCA"

    def embed(progress: Progress) -> Embedding:
        return embed_cohort(judged, layer, PROJECTIONS[method], progress=progress)

    found = embed_cohort(judged, layer, PROJECTIONS[method]) if method == "PCA" else None
    if found is None:
        found = computed(
            "cohort_view", (digest(judged.recipe, judged.ids), layer, method), f"{method} of {layer}", embed
        )
    if found is None:
        return
    names = bundle.about["class_names"]
    figure = kept(
        "cohort",
        judged,
        (layer, method, linked.chosen()),
        lambda: cohort_charts.cohort_scatter(
            by_role(judged, found),
            judged.ids,
            judged.labels,
            judged.places(linked.chosen()).tolist(),
            labels,
            found.axes,
            ticks=found.exact,
            hover={role: hovers.of_cohort(judged, role, labels[role], names, layer) for role in judged.roles},
        ),
    )
    about, view = (
        f"{method} of the features of {layer}, every held-out scan in every version.",
        {"layer": layer, "method": method},
    )
    linked.chart(figure, "cohort", about, view=view | _view(judged), content=_content(judged))
    st.caption(
        f"{found.statement} Distance in this picture is no evidence: the table above and the figures below are of all dimensions."
    )


def of_page(chosen: frozenset[str]) -> None:
    """In a part that is drawn again by itself: what is selected in it is for the whole page; chosen: with which the page was drawn."""
    if linked.chosen() != chosen:
        st.rerun()
    links.keep()


def _content(judged: Judged) -> publishing.Content:
    """Of the recipes of this cohort's figures."""
    return lambda: {"recipe": judged.recipe}


def _view(judged: Judged) -> dict[str, Any]:
    return {"selected": [judged.ids[row] for row in judged.places(linked.chosen())]}


def roc_curves(judged: Judged, labels: dict[str, str]) -> None:
    """A panel for each detector; selected scans lie on the curves."""
    chosen = judged.places(linked.chosen())

    def curves() -> dict[str, Any]:
        return {name: {role: curve(judged, name, role) for role in judged.attacks} for name in judged.scores}

    def draw() -> go.Figure:
        marks = selected_marks(judged, chosen) if len(chosen) else {}
        return cohort_charts.roc_grid(kept("curves", judged, None, curves), marks, labels)

    chart(
        kept("roc", judged, chosen.tolist(), draw),
        "roc",
        "ROC curves of every detector for both attacks.",
        view=_view(judged),
        content=_content(judged),
    )


@st.fragment
def scores(judged: Judged, labels: dict[str, str], chosen: frozenset[str]) -> None:
    """Histogram and points of one detector's scores; chosen: with which the rest of the page was drawn."""
    of_page(chosen)
    name = st.segmented_control(
        "Detector",
        list(judged.scores),
        default=next(iter(judged.scores)),
        key="cohort.detector",
        required=True,
        help="Whose scores are shown.",
        persist_state="session",
    )
    name = name or next(iter(judged.scores))
    chosen_rows = judged.places(linked.chosen()).tolist()
    figure = kept(
        "scores",
        judged,
        (name, chosen_rows),
        lambda: cohort_charts.score_strips(
            judged.scores[name],
            judged.ids,
            chosen_rows,
            judged.thresholds[name],
            labels,
            f"score of {name} (higher is more suspicious)",
        ),
    )
    about, view = f"Scores of {name} for every version of the held-out scans, with the threshold.", {"detector": name}
    linked.chart(figure, "scores", about, judged.ids, view=view | _view(judged), content=_content(judged))


def layers(judged: Judged, labels: dict[str, str]) -> None:
    """AUC of every detector in every layer alone."""

    def draw() -> go.Figure:
        aucs = {
            role: {row["detector"]: row["layers"] for row in judged.rows if row["role"] == role and row["layers"]}
            for role in judged.attacks
        }
        return cohort_charts.auc_map(aucs, judged.layer_names, labels)

    chart(
        kept("auc-map", judged, None, draw),
        "auc-map",
        "AUC of each detector in each layer alone, for both attacks.",
        content=_content(judged),
    )
