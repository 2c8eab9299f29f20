"""Cohort: every held-out scan at once, what each detector makes of them, and the scans behind a selection."""

import streamlit as st

from hfcviz.cohort import judge
from hfcviz.ui import cohort_views, state, views
from hfcviz.ui.run import computed, watch

bundle = state.bundle()
finished = state.collect("cohort_job")
if finished is not None:
    st.session_state.cohort = finished
reference = st.session_state.cohort or bundle.reference

st.title("Who notices, over a whole cohort")
cohort_views.about(reference, bundle)
cohort_views.study_form(bundle)
if st.session_state.cohort_job is not None:
    watch(st.session_state.cohort_job, "cohort_job")

judged = computed(
    "judged", reference.digest, "The detectors judge the cohort", lambda progress: judge(reference, progress=progress)
)
if judged is not None:
    labels = cohort_views.role_names(reference)
    cohort_views.table(judged, labels)
    with views.side_by_side():
        left, right = st.container(key="wide_cohort"), st.container(key="side_selection")
    with left:
        st.subheader("Select scans by lasso or box", help=cohort_views.HELP["scatter"])
        cohort_views.scatter(judged, reference, labels)
    with right:
        st.subheader("The selected scans")
        cohort_views.selection(judged, bundle, labels)
    st.subheader("How well each detector separates", help=cohort_views.HELP["roc"])
    cohort_views.roc_curves(judged, labels)
    st.subheader("Scores of one detector", help=cohort_views.HELP["scores"])
    cohort_views.scores(judged, labels)
    st.subheader("Which layer gives the attack away", help=cohort_views.HELP["layers"])
    cohort_views.layers(judged, list(reference.train.layers), labels)
