"""The browser app: `make run`, or `streamlit run app.py`."""

import streamlit as st

from hfcviz.ui import links, state

PAGES = {
    "explore": st.Page("hfcviz/ui/pages/explore.py", title="Explore", icon=":material/scatter_plot:", default=True),
    "cohort": st.Page("hfcviz/ui/pages/cohort.py", title="Cohort", icon=":material/groups:", url_path="cohort"),
    "data": st.Page(
        "hfcviz/ui/pages/data_model.py", title="Data & model", icon=":material/radiology:", url_path="data"
    ),
}

NOTE = "hfcviz is for research and teaching. It is not a medical device and not for clinical use."

st.set_page_config(
    page_title="hfcviz",
    page_icon="assets/icon.png",
    layout="wide",
    menu_items={"About": f"How adversarial medical images hide in a network's features. {NOTE}"},
)
# Streamlit's own Stop only breaks off the drawing of the page; beside the Stop of a run it is taken for that one.
st.html("<style>[data-testid=stStatusWidget] button {display: none}</style>")
state.start()
links.open_link()
page = st.navigation(list(PAGES.values()), position="top")
links.say()
page.run()
st.caption(NOTE)
links.keep(page.url_path)
