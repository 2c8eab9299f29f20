"""Cohort: every held-out scan at once, what each detector makes of them, and the scans behind a selection."""

import streamlit as st

from hfcviz.figure_sets import cohort_labels
from hfcviz.ui import cohort_live, cohort_scans, cohort_tables, cohort_views, linked, state
from hfcviz.ui.run import lead

bundle = state.bundle()
finished = state.collect("cohort_job")
if finished is not None:
    st.session_state.cohort = finished

st.title("Who notices, over a whole cohort")
st.markdown(
    f"**{bundle.title}**: every attack without and with the constraint at equal eps, steps and seeds; every detector trained on "
    "one part of the scans, and judged on the others."
)
judged = st.session_state.cohort
if judged is None and not cohort_live.awaited():
    judged = cohort_tables.guarded(cohort_tables.published, bundle)
cohort_tables.guarded(cohort_live.live, bundle)
cohort_live.strip()
if judged is not None:
    labels = cohort_labels(judged)
    cohort_tables.about(judged)
    cohort_tables.table(judged, labels)
    cohort_scans.choose(judged, bundle, labels, linked.chosen())
    lead()
    cohort_scans.scans_table(judged, bundle, labels, linked.chosen())
    st.subheader("How well each detector separates", help=cohort_views.HELP["roc"])
    cohort_views.roc_curves(judged, labels)
    st.subheader("Scores of one detector", help=cohort_views.HELP["scores"])
    cohort_views.scores(judged, labels, linked.chosen())
    st.subheader("Which layer gives the attack away", help=cohort_views.HELP["layers"])
    cohort_views.layers(judged, labels)
