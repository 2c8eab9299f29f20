"""Data & model: choose the task, choose a scan or load one, and see whether the numbers can be trusted."""

import streamlit as st

from hfcviz.ui import data_views, state, upload

st.title("Data & model")
st.markdown(
    "Choose the task, and the scan that the Explore page attacks: a test scan that the detectors have never seen, or a "
    "file of your own. The third tab has the network, and checks of what would make its numbers untrustworthy."
)
data_views.task()
bundle = state.bundle()
gallery, own, model = st.tabs(["Test scans", "A scan of your own", "Model and checks"], key="data_tab")
with gallery:
    data_views.gallery(bundle)
with own:
    upload.upload(bundle)
with model:
    data_views.model(bundle)
