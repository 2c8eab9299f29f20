"""The browser app: `make run`, or `streamlit run app.py`."""

from pathlib import Path

import streamlit as st

from hfcviz.ui import links, state, warmup
from hfcviz.ui.run import RUN_KEY, STOP_KEY
from hfcviz.ui.sliders import NEXT_KEY, PREVIOUS_KEY

PAGES = {
    "explore": st.Page("hfcviz/ui/pages/explore.py", title="Explore", icon=":material/scatter_plot:", default=True),
    "tour": st.Page("hfcviz/ui/pages/tour.py", title="Tour", icon=":material/school:", url_path="tour"),
    "cohort": st.Page("hfcviz/ui/pages/cohort.py", title="Cohort", icon=":material/groups:", url_path="cohort"),
    "studies": st.Page("hfcviz/ui/pages/studies.py", title="Studies", icon=":material/science:", url_path="studies"),
    "data": st.Page(
        "hfcviz/ui/pages/data_model.py", title="Data & model", icon=":material/radiology:", url_path="data"
    ),
    "glossary": st.Page(
        "hfcviz/ui/pages/glossary.py", title="Glossary", icon=":material/menu_book:", url_path="glossary"
    ),
}

NOTE = "hfcviz is for research and teaching. It is not a medical device and not for clinical use."

KEYS = f"""
| key | does |
|---|---|
| {RUN_KEY.replace("Mod", "Ctrl or Cmd")} | runs the attack, on the Explore page |
| {STOP_KEY} | stops what runs |
| {PREVIOUS_KEY}, {NEXT_KEY} | previous and next slice of a volume, on the Explore page; of three planes, of the axial one |
| arrow keys | move the slider that has the focus: layer, slice, zoom, step |
| Tab, Shift+Tab | go to the next control, or back |
| Space, Enter | press the button that has the focus |
"""

st.set_page_config(
    page_title="hfcviz",
    page_icon="assets/icon.png",
    layout="wide",
    menu_items={"About": f"How adversarial medical images hide in a network's features. {NOTE}"},
)
st.html(Path(__file__).parent / "hfcviz" / "ui" / "look.css")
state.start()
links.open_link()
page = st.navigation(list(PAGES.values()), position="top")
# Streamlit takes the side bar of another page away once all is drawn, and what was drawn beside it had to be drawn again.
st.html(f"<style>[data-testid='stSidebar'] {{ {'' if page is PAGES['explore'] else 'display: none'} }}</style>")
links.arrive(page.url_path)
page.run()
with st.container(horizontal=True, vertical_alignment="center"):
    st.caption(NOTE, width="content")
    with st.popover("Keys", icon=":material/keyboard:", type="tertiary", help="What the keyboard does."):
        st.markdown(KEYS)
links.keep()
warmup.start(state.bundle())
