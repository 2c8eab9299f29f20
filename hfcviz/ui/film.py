"""The attack as a film: played in the browser, or moved step by step; nothing else on the page is drawn again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from hfcviz import panels
from hfcviz.bundle import Bundle
from hfcviz.film import left_out, make_film, recorded, step_line
from hfcviz.film_figures import FRAME_MS, NARROWEST, film_figure
from hfcviz.film_sheet import Film
from hfcviz.outcome import Outcome
from hfcviz.store import digest
from hfcviz.ui import views
from hfcviz.ui.film_controls import controls
from hfcviz.ui.kept import kept
from hfcviz.ui.run import lead, saying

if TYPE_CHECKING:
    import plotly.graph_objects as go

ALT = (
    "Both attacks at one step: the attacked scan, what was added, each detector's verdict, confidence and loss up to the end, the distance "
    "from clean scans in each layer, and the scan's way through the PCA view of some layers."
)


@st.fragment
def film(outcome: Outcome, bundle: Bundle) -> None:
    """The film, made when its section is opened."""
    with st.expander("The attack as a film, step by step", key="film.open", on_change="rerun") as section:
        if not section.open:
            return
        if not recorded(outcome):
            st.info("This result was made before films were kept: press Run to make it again.", icon=":material/info:")
            return
        layer = st.session_state.layer  # of the scatter, which is drawn again without this
        with saying("Making the film", st.empty()):
            shown, figure, lines = _reel(outcome, bundle, layer)
        steps = [str(step) for step in shown.steps]
        controls(digest(outcome.recipe), "film", steps, lines, FRAME_MS)
        lead()
        # The browser's own smoothing would hide which pixels change. Where the page is narrow, it scrolls the figure sideways.
        st.html(
            "<style>.st-key-chart-film image {image-rendering: pixelated} .st-key-film_scroll {overflow-x: auto} "
            f".st-key-film_scroll .st-key-film_box {{flex: none; min-width: {NARROWEST}px}}</style>"
        )
        with st.container(key="film_scroll"), st.container(key="film_box"):
            views.chart(figure, "film", ALT, view={"layer": layer})
        st.caption(_about(outcome, shown))
        if outcome.recipe["plan"]["penalty"] is not None:
            about = f"Squared distance from the target's clean mixture in {layer} over the steps."
            views.chart(
                panels.distance_figure(outcome, bundle.reference, layer), "distance", about, view={"layer": layer}
            )


def _reel(outcome: Outcome, bundle: Bundle, layer: str) -> tuple[Film, go.Figure, list[str]]:
    """The film of what is shown, its figure, and a line for each step: made once for a result and layer."""

    def make() -> tuple[Film, go.Figure, list[str]]:
        made = make_film(outcome, bundle.reference, bundle.about["class_names"], layer)
        return made, film_figure(made), [step_line(outcome, made, frame) for frame in range(len(made.steps))]

    return kept("film", outcome, layer, make)


def _about(outcome: Outcome, shown: Film) -> str:
    """What stands in the figure, in small print."""
    every = int(shown.steps[1] - shown.steps[0])
    parts = [
        "Both attacks start from the same noise and take the same steps." if len(shown.changes) > 1 else "",
        "Of a volume, its middle axial slice is shown." if outcome.x.ndim == 5 else "",
        f"Every {every}th step is kept." if every > 3 else ("Every second step is kept." if every == 2 else ""),
        "Clean training scans are faint; each PCA view is fitted on them.",
    ]
    if missing := left_out(outcome):
        parts.append(
            f"{', '.join(missing)} cannot be asked at every step: dropout acts before the last layer of this network."
        )
    return " ".join(part for part in parts if part)
