"""The figures of the Cohort page, linked by a selection of scans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from hfcviz import cohort_charts
from hfcviz.bundle import Bundle
from hfcviz.cohort import Judged, by_role, curve, embed_cohort, selected_marks
from hfcviz.projections import PROJECTIONS, Embedding
from hfcviz.settings import Progress
from hfcviz.store import digest
from hfcviz.ui import publishing, state
from hfcviz.ui.run import computed
from hfcviz.ui.views import chart

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
SHOWN = 12
"""Thumbnails of selected scans that are shown at a time."""


def scatter(judged: Judged, labels: dict[str, str]) -> None:
    """The features of one layer, to be selected from."""
    layers = list(judged.layer_names)
    one, two = st.columns([1, 1], vertical_alignment="bottom")
    layer = one.select_slider(
        "Layer, from input to output", layers, value=layers[-1], key=f"cohort.layer.{len(layers)}.{layers[-1]}"
    )
    methods = list(PROJECTIONS) if judged.features else ["PCA"]
    method = two.segmented_control(
        "Projection",
        methods,
        default="PCA",
        key=f"cohort.method.{len(methods)}",
        required=True,
        help=None
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
    xy = by_role(judged, found)
    figure = cohort_charts.cohort_scatter(
        xy,
        judged.ids,
        judged.labels,
        judged.places(st.session_state.chosen).tolist(),
        labels,
        found.axes,
        ticks=found.exact,
    )
    st.plotly_chart(
        figure,
        key="cohort.scatter",
        on_select=_select,
        selection_mode=("lasso", "box", "points"),
        config={"displaylogo": False, "toImageButtonOptions": {"format": "svg", "filename": "hfcviz-cohort"}},
        alt=f"{method} of the features of {layer}, every held-out scan in every version.",
    )
    about, view = f"{method} of the features of {layer}, every held-out scan.", {"layer": layer, "method": method}
    publishing.export(figure, "cohort", about, view | _view(judged), _content(judged))
    st.caption(f"{found.note}.")


def _content(judged: Judged) -> publishing.Content:
    """Of the recipes of this cohort's figures."""
    return lambda: {"recipe": judged.recipe}


def _view(judged: Judged) -> dict[str, Any]:
    return {"selected": [judged.ids[row] for row in judged.places(st.session_state.chosen)]}


def _select() -> None:
    points = st.session_state["cohort.scatter"].selection.points
    st.session_state.chosen = frozenset(point["customdata"][0] for point in points)


def selection(judged: Judged, bundle: Bundle, labels: dict[str, str]) -> None:
    """The selected scans with their verdicts, to open or to export."""
    chosen = [judged.ids[row] for row in judged.places(st.session_state.chosen)]
    export = pd.DataFrame(judged.table(frozenset(chosen) if chosen else None)).to_csv(index=False)
    what = f"{len(chosen)} selected" if chosen else f"all {len(judged.ids)}"
    with st.container(horizontal=True):
        st.download_button(
            f"CSV of {what} scans", export, "cohort.csv", "text/csv", icon=":material/download:", on_click="ignore"
        )
        if chosen and st.button("Let go", key="cohort.clear", icon=":material/deselect:"):
            st.session_state.chosen = frozenset()
            st.rerun()
    if not chosen:
        st.caption("Nothing is selected: draw around points in the scatter. The export holds every held-out scan.")
        return
    pages = -(-len(chosen) // SHOWN)
    page = (
        st.number_input(f"Page (1 to {pages})", 1, pages, 1, key=f"cohort.page.{pages}", width=160) if pages > 1 else 1
    )
    place, names = {name: row for row, name in enumerate(judged.ids)}, bundle.about["class_names"]
    if not state.has_images():
        st.caption(f"Their pictures are not here. {bundle.note}")
    with st.container(horizontal=True, gap="small", height=470):
        for name in chosen[(page - 1) * SHOWN : page * SHOWN]:
            scan = state.scan_of(name)
            label = names[int(judged.labels[place[name]])]
            with st.container(width=128, gap="small"):
                if scan is not None:
                    st.image(state.thumbnail(scan.x), width="stretch", alt=f"{name}, {label}")
                verdicts = [
                    f"{labels[role]}: {sum(bool(judged.caught(one, role)[place[name]]) for one in judged.scores)} of "
                    f"{len(judged.scores)}"
                    for role in judged.attacks
                ]
                st.caption(f"{label}, caught by  \n" + "  \n".join(verdicts))
                if scan is None:
                    st.caption(Path(name).name)
                elif st.button(Path(name).name, key=f"open.{name}", help="Open on the Explore page", width="stretch"):
                    st.session_state.scan = scan
                    st.session_state.job_message = None
                    st.switch_page("hfcviz/ui/pages/explore.py")


def roc_curves(judged: Judged, labels: dict[str, str]) -> None:
    """A panel for each detector; selected scans lie on the curves."""
    chosen = judged.places(st.session_state.chosen)
    curves = {name: {role: curve(judged, name, role) for role in judged.attacks} for name in judged.scores}
    marks = selected_marks(judged, chosen) if len(chosen) else {}
    chart(
        cohort_charts.roc_grid(curves, marks, labels),
        "roc",
        "ROC curves of every detector for both attacks.",
        view=_view(judged),
        content=_content(judged),
    )


def scores(judged: Judged, labels: dict[str, str]) -> None:
    """Histogram and points of one detector's scores."""
    name = st.segmented_control(
        "Detector", list(judged.scores), default=next(iter(judged.scores)), key="cohort.detector", required=True
    )
    name = name or next(iter(judged.scores))
    figure = cohort_charts.score_strips(
        judged.scores[name],
        judged.ids,
        judged.places(st.session_state.chosen).tolist(),
        judged.thresholds[name],
        labels,
        f"score of {name} (higher is more suspicious)",
    )
    about, view = f"Scores of {name} for every version of the held-out scans, with the threshold.", {"detector": name}
    chart(figure, "scores", about, view=view | _view(judged), content=_content(judged))


def layers(judged: Judged, labels: dict[str, str]) -> None:
    """AUC of every detector in every layer alone."""
    aucs = {
        role: {row["detector"]: row["layers"] for row in judged.rows if row["role"] == role and row["layers"]}
        for role in judged.attacks
    }
    chart(
        cohort_charts.auc_map(aucs, judged.layer_names, labels),
        "auc-map",
        "AUC of each detector in each layer alone, for both attacks.",
        content=_content(judged),
    )
