"""The features of the Explore page: one layer or all of them, linked to the selection; drawn again without the rest of the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from hfcviz import hovers, layer_views
from hfcviz.bundle import Bundle
from hfcviz.cohort import Judged
from hfcviz.figure_sets import cohort_labels
from hfcviz.outcome import Outcome
from hfcviz.projections import PROJECTIONS, Embedding
from hfcviz.settings import Progress
from hfcviz.store import digest
from hfcviz.ui import linked, links, state
from hfcviz.ui.kept import kept
from hfcviz.ui.run import computed, lead, saying

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

HELP = {
    "layer": "Drag, or use the arrow keys: from the network's first block to its last feature, the penultimate one.",
    "method": "PCA is exact and linear, fitted on clean scans; t-SNE and UMAP show neighbourhoods and are fitted on all points.",
    "layers_shown": "All layers: one small picture for each, every one rotated or mirrored to lie like the one before. A click on a "
    "point opens its layer; lasso and box, above the figure's corner, select scans.",
}


@st.fragment
def features(outcome: Outcome, bundle: Bundle) -> None:
    """The scatter with its controls, what it is and is not evidence of, and the selected scans."""
    links.keep()  # only this part is drawn again when its controls move
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        method = _method()
        shown = st.segmented_control(
            "Show",
            [linked.ONE, linked.ALL],
            default=linked.ONE,
            key="layers_shown",
            required=True,
            help=HELP["layers_shown"],
            persist_state="session",
        )
        linked.let_go("explore")
        note = st.empty()
    layer = _layer(outcome)
    picture, words = st.container(), st.container()
    with words:
        st.caption(f"**{hovers.evidence(outcome, layer)}**")
        _selected(bundle.judged)
    if linked.anew():  # where they were chosen the browser has dimmed the others already
        lead()
    with picture:
        if shown == linked.ALL:
            _all_layers(outcome, bundle, method, note)
        else:
            _one_layer(outcome, bundle, layer, method)


def _one_layer(outcome: Outcome, bundle: Bundle, layer: str, method: str) -> None:
    embedding = _embedding(outcome, bundle, layer, method)
    if embedding is None:
        return
    reference, names = bundle.reference, bundle.about["class_names"]
    chosen: dict[str, Any] = {"judged": bundle.judged, "chosen": linked.chosen()}
    figure = kept(
        "scatter",
        outcome,
        (layer, method, linked.chosen()),
        lambda: layer_views.scatter_figure(outcome, reference, layer, embedding, names, **chosen),
    )
    view = {"layer": layer, "method": method, "selected": sorted(linked.chosen())}
    linked.chart(figure, "scatter", f"{method} of the features of {layer}.", view=view)
    path = ", lines: its way over the steps." if embedding.exact else "."
    st.caption(f"{embedding.statement} {_points(bundle)}{path}")


def _all_layers(outcome: Outcome, bundle: Bundle, method: str, note: DeltaGenerator) -> None:
    """note: an empty place that says what is under way."""
    found = _all_embeddings(outcome, bundle, method)
    if found is None:
        return
    reference, names = bundle.reference, bundle.about["class_names"]
    chosen: dict[str, Any] = {"judged": bundle.judged, "chosen": linked.chosen()}
    with saying("Drawing every layer", note):  # a browser is busy with it for longer than people wait without a word
        lead()
        figure = kept(
            "grid",
            outcome,
            (method, linked.chosen()),
            lambda: layer_views.grid_figure(outcome, reference, found, names, **chosen),
        )
    about = f"{method} of the features of every layer, one panel each."
    linked.chart(figure, "grid", about, view={"method": method, "selected": sorted(linked.chosen())})
    sure = [one.trustworthiness for one in found.values()]
    st.caption(
        f"{next(iter(found.values())).note}, for each layer on its own; trustworthiness from {min(sure):.2f} to {max(sure):.2f}. "
        f"Panels are rotated or mirrored to lie like the one before, never stretched. {_points(bundle)}."
    )


def _points(bundle: Bundle) -> str:
    """Which points are whose."""
    eps = bundle.reference.recipe["attack"]["eps"] * 255
    return f"Small points: the cohort, attacked at {eps:g}/255, selectable. Large points: this scan"


def _method() -> str:
    found = st.segmented_control(
        "Projection",
        list(PROJECTIONS),
        default="PCA",
        key="method",
        required=True,
        help=HELP["method"],
        persist_state="session",
    )
    return found or "PCA"


def _layer(outcome: Outcome) -> str:
    layers = list(outcome.activations.layers)
    if st.session_state.get("layer") not in layers:  # of another network
        st.session_state.pop("layer", None)
    found: str = st.select_slider(
        "Layer, from input to output",
        layers,
        value=layers[-1],
        key="layer",
        help=HELP["layer"],
        persist_state="session",
    )
    return found


def _embedding(outcome: Outcome, bundle: Bundle, layer: str, method: str) -> Embedding | None:
    """Positions of one layer; slow ones come from a job, and the page stays alive: None until it is done."""
    found = state.known_embedding(outcome, layer, method)
    if found is None and method == "PCA":
        found = layer_views.embed_layer(outcome, bundle.reference, layer, PROJECTIONS["PCA"])
    if found is None:
        found = computed(
            "view",
            (digest(outcome.recipe), layer, method),
            f"{method} of {layer}",
            lambda progress: layer_views.embed_layer(
                outcome, bundle.reference, layer, PROJECTIONS[method], progress=progress
            ),
        )
    if found is not None:
        state.keep_embedding(outcome, layer, method, found)
    return found


def _all_embeddings(outcome: Outcome, bundle: Bundle, method: str) -> dict[str, Embedding] | None:
    """The same of every layer; what is known already is not computed again."""
    layers = list(outcome.activations.layers)
    known = {layer: state.known_embedding(outcome, layer, method) for layer in layers}
    missing = [layer for layer, one in known.items() if one is None]

    def work(progress: Progress) -> dict[str, Embedding]:
        made = {}
        for place, layer in enumerate(missing):
            progress(place / len(missing), f"{method} of {layer}")
            made[layer] = layer_views.embed_layer(outcome, bundle.reference, layer, PROJECTIONS[method])
        return made

    made: dict[str, Embedding] | None = {}
    if missing and method == "PCA":
        made = work(lambda fraction, what: None)
    elif missing:
        made = computed("view", (digest(outcome.recipe), "all", method), f"{method} of every layer", work)
        if made is None:
            return None
    for layer, one in (made or {}).items():
        state.keep_embedding(outcome, layer, method, one)
    found = {layer: state.known_embedding(outcome, layer, method) for layer in layers}
    return {layer: one for layer, one in found.items() if one is not None}


def _selected(judged: Judged | None) -> None:
    """What is selected, in a line and a table; its place is kept where nothing is."""
    chosen = linked.chosen()
    if not chosen:
        st.caption(
            "Nothing is selected. Draw around points: the same scans are marked in every layer and on the Cohort page."
        )
        return
    if judged is None:
        st.caption(f"{len(chosen)} selected.")
        return
    rows = judged.places(chosen)
    if not len(rows):
        st.caption(f"{len(chosen)} selected, of which the detectors here have judged none.")
        return
    elsewhere = "" if len(rows) == len(chosen) else f", {len(chosen) - len(rows)} more that are not shown here"
    names = cohort_labels(judged)
    parts = [
        {"": names[role]} | {name: f"{share:.0%}" for name, share in by_detector.items()}
        for role, by_detector in judged.shares_caught(rows).items()
    ]
    st.caption(f"{len(rows)} selected{elsewhere}: how many of them each detector catches.")
    st.dataframe(pd.DataFrame(parts), hide_index=True, alt="Share of the selected scans that each detector catches")
    st.page_link("hfcviz/ui/pages/cohort.py", label="See them on the Cohort page", icon=":material/groups:")
