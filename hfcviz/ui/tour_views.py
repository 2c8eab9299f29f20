"""The parts of the Tour page."""

from __future__ import annotations

import streamlit as st

from hfcviz.tour import BUNDLE, TOUR, Step, pictures_of
from hfcviz.tour_facts import facts, last_layer
from hfcviz.tour_figures import Material, Picture, gather
from hfcviz.ui import linked, links, publishing, state, views

COUNT = len(TOUR)
KEY = links.STEP
"""Of the widget that holds the number of the step, counted from 1, and its name in the address."""
LOOK = """<style>
.stMainBlockContainer {padding-top: 4.5rem}
.st-key-tour_title h1 {font-size: 2rem; line-height: 1.2; min-height: 2.6rem}
.st-key-side_tour p {font-size: 1.3rem; line-height: 1.5}
.st-key-side_tour [data-testid=stCaptionContainer] p {font-size: 1rem}
</style>"""


@st.cache_resource(show_spinner=False)
def material() -> Material:
    """The bundled result and its views, once for the process."""
    return gather(state.named(BUNDLE), state.named(BUNDLE).maps)


@st.cache_resource(show_spinner=False, max_entries=COUNT)
def _pictures(number: int) -> dict[str, Picture]:
    """The pictures of a step, counted from 0, once for the process: they are the same for everybody."""
    return pictures_of(TOUR[number], material())


@st.cache_resource(show_spinner=False)
def numbers() -> dict[str, str]:
    """What the texts fill in, once for the process."""
    return facts(material().bundle, material().outcome)


def _go(by: int) -> None:
    st.session_state[KEY] = min(max(st.session_state[KEY] + by, 1), COUNT)


def steering() -> int:
    """Back, the list of steps, Next; gives the number of the step that is shown, which stands in the address too."""
    # Not bound to the address by Streamlit: a bound value forbids to switch to another page.
    if KEY not in st.session_state:
        wanted = st.query_params.get(KEY, "")
        st.session_state[KEY] = int(wanted) if wanted in map(str, range(1, COUNT + 1)) else 1
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        back, choice, onward = (st.container(width=width) for width in (170, "stretch", 170))
    with choice:
        number = st.selectbox(
            "Step",
            range(1, COUNT + 1),
            format_func=lambda number: f"{number} of {COUNT}: {TOUR[number - 1].name}",
            key=KEY,
            persist_state="session",
            help="All steps. It stands in the address, so that a reload or a link opens the same step.",
        )
    st.query_params[KEY] = str(number)
    back.button(
        "Back",
        key="tour.back",
        icon=":material/arrow_back:",
        shortcut="Left",
        disabled=number == 1,
        on_click=_go,
        args=(-1,),
        help="The step before this one; the left arrow key does the same.",
        width="stretch",
    )
    onward.button(
        "Next",
        key="tour.next",
        icon=":material/arrow_forward:",
        shortcut="Right",
        disabled=number == COUNT,
        on_click=_go,
        args=(1,),
        help="The step after this one; the right arrow key does the same.",
        type="primary",
        width="stretch",
    )
    return int(number)


def show(step: Step) -> None:
    """A step: its message, what to say and to ask, and its figures."""
    known = numbers()
    st.html(LOOK)
    with st.container(key="tour_title"):
        st.title(step.title.format(**known), anchor=False)
    with views.side_by_side():
        words, pictures = st.container(key="side_tour"), st.container(key="wide_tour")
    with words:
        st.markdown(step.text.format(**known))
        st.markdown(f"**Ask the class:** {step.question.format(**known)}")
        with st.expander("An answer", key=f"tour.answer.{step.name}"):
            st.markdown(step.answer.format(**known))
        _open_on_explore(step)
    with pictures:
        for name, picture in _pictures(TOUR.index(step)).items():
            # Not the default: what this session shows on Explore may be another result.
            content = publishing.of_outcome(material().outcome, material().bundle.about["class_names"])
            views.chart(picture.figure, name, picture.alt, content=content)
            if picture.caption:
                st.caption(picture.caption)


def _open_on_explore(step: Step) -> None:
    first = material().outcome
    busy = st.session_state.job is not None
    if st.button(
        "Open this view on Explore",
        key="tour.open",
        icon=":material/scatter_plot:",
        disabled=busy,
        help="Once the run under way has ended."
        if busy
        else f"The tour's result there, with {last_layer(first)} and {step.method} chosen.",
    ):
        if st.session_state.bundle_name != BUNDLE:
            state.choose(BUNDLE)
        st.session_state.outcome = first
        st.session_state.layer, st.session_state.method = last_layer(first), step.method
        st.session_state.layers_shown, st.session_state.job_message = linked.ONE, None
        st.switch_page("hfcviz/ui/pages/explore.py")
    if replaced := replaces():
        st.caption(replaced)


def replaces() -> str:
    """What opening the tour's result on Explore takes the place of; empty where it is shown there already."""
    shown, task = st.session_state.outcome, material().bundle.title
    if st.session_state.bundle_name != BUNDLE:
        return f"Explore then turns from {state.bundle().title} to {task}; the scan, result and selection that are chosen now are let go."
    if shown is material().outcome:
        return ""
    name = shown.recipe["scan"]["name"]
    return f"It takes the place of your result of {name}. The chosen scan and the controls stay: Run brings your result back."
