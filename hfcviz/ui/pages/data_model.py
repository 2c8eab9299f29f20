"""Data & model: choose a bundled scan or load one, and see whether the numbers can be trusted."""

import streamlit as st

from hfcviz.ui import data_views, state

bundle = state.bundle()

st.title("Data & model")
st.markdown(
    "Choose the scan that the Explore page attacks: a test scan that the detectors have never seen, or a file of "
    "your own. "
    "Below, the checks say what would make the numbers untrustworthy."
)
bundled, upload, model = st.tabs(["Bundled test scans", "A scan of your own", "Model and checks"], key="data_tab")
with bundled:
    data_views.gallery(bundle)
with upload:
    data_views.upload(bundle)
with model:
    data_views.model(bundle)
