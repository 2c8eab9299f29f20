"""Studies: the paper's claims as experiments, each with what it shows and what it does not."""

import streamlit as st

from hfcviz.ui import state, study_form, study_views

bundle = state.bundle()
study_views.collect(bundle)

st.title("The paper's claims, put to the test")
st.markdown(
    f"**{bundle.title}**: each study asks one question of the network and its images, all attacks at equal eps, steps and seeds. "
    "The published run opens at once; run it again with other settings, or beside another network."
)
name = study_views.choose(bundle)
if name is not None:
    shown = study_views.shown(bundle, name)
    study_form.run_form(bundle, name, shown)
    study_views.strip(bundle, name, shown)
    if shown is None:
        study_views.nothing_yet(bundle, name)
    else:
        study_views.findings(shown, name)
