"""The attack as a film: played in the browser, or moved step by step; nothing else on the page is drawn again."""

from __future__ import annotations

import streamlit as st

from hfcviz import panels
from hfcviz.bundle import Bundle
from hfcviz.film import left_out, make_film, recorded, step_line
from hfcviz.film_figures import Film, Sheet, film_figure, film_sheet
from hfcviz.outcome import Outcome
from hfcviz.store import digest
from hfcviz.ui import views

HELP = {
    "step": "Drag, use the arrow keys, or press b and n to go one picture back or to the next. *Play* in the figure goes on from here.",
}
ALT = (
    "Both attacks at one step: the attacked scan, what was added, each detector's verdict, confidence and loss up to the end, the distance "
    "from clean scans in each layer, and the scan's way through the PCA view of some layers."
)


@st.fragment
def film(outcome: Outcome, bundle: Bundle, layer: str) -> None:
    """The film, made when its section is opened."""
    with st.expander("The attack as a film, step by step", key="film.open", on_change="rerun") as section:
        if not section.open:
            return
        if not recorded(outcome):
            st.info("This result was made before films were kept: press Run to make it again.", icon=":material/info:")
            return
        key = f"film.step.{digest(outcome.recipe)[:12]}"
        shown, sheet = _reel(outcome, bundle, layer)
        steps = [int(step) for step in shown.steps]
        at = _step(steps, key)
        # The browser's own smoothing would hide which pixels change.
        st.html("<style>.st-key-chart-film image {image-rendering: pixelated}</style>")
        views.chart(film_figure(sheet, at), "film", ALT)
        st.markdown(step_line(outcome, shown, at))
        st.caption(_about(outcome, shown))
        if outcome.recipe["plan"]["penalty"] is not None:
            about = f"Squared distance from the target's clean mixture in {layer} over the steps."
            views.chart(panels.distance_figure(outcome, bundle.reference, layer), "distance", about)


def _reel(outcome: Outcome, bundle: Bundle, layer: str) -> tuple[Film, Sheet]:
    """The film of what is shown, made once for a result and layer."""
    kept = st.session_state.get("film")
    if kept is None or kept[0] is not outcome or kept[1] != layer:
        made = make_film(outcome, bundle.reference, bundle.about["class_names"], layer)
        kept = st.session_state.film = (outcome, layer, made, film_sheet(made))
    return kept[2], kept[3]


def _step(steps: list[int], key: str) -> int:
    """The number of the kept step that is chosen, by slider, buttons or keys."""
    if key not in st.session_state:
        st.session_state[key] = steps[0]

    def move(by: int) -> None:
        place = steps.index(st.session_state[key]) + by
        st.session_state[key] = steps[min(max(place, 0), len(steps) - 1)]

    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.button("Back", icon=":material/skip_previous:", key=f"{key}.back", on_click=move, args=(-1,), shortcut="b")
        st.button("Next", icon=":material/skip_next:", key=f"{key}.next", on_click=move, args=(1,), shortcut="n")
        chosen = st.select_slider("Step of the attack", steps, key=key, help=HELP["step"], persist_state="session")
    return steps.index(chosen)


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
