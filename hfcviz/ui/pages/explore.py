"""Explore: one scan, its attacked versions, the features of every layer and what the detectors say."""

import streamlit as st

from hfcviz import panels
from hfcviz.film import parting_line
from hfcviz.ui import controls, feature_views, film, publishing, state, status, viewer, views
from hfcviz.ui.method import explain

bundle = state.bundle()
finished = state.collect("job")  # before the controls are drawn, which know whether a job runs
if finished is not None:
    st.session_state.outcome = finished
plan = controls.sidebar(bundle)
outcome = st.session_state.outcome
names = bundle.about["class_names"]

st.title("How an adversarial scan hides")
if outcome is None:
    status.nothing_yet(bundle, st.session_state.scan)
else:
    seen = state.seen(outcome)
    st.container(key="headline").markdown(views.headline(outcome, names, seen))
status.strip(outcome, bundle.reference, plan, st.session_state.scan)

if outcome is not None:
    viewer.viewer(outcome, seen, names, bundle.name)

    with views.side_by_side():
        left, right = st.container(key="wide_features"), st.container(key="side_verdicts")
    with left:
        st.subheader("Where the features lie", help=views.HELP["scatter"])
        feature_views.features(outcome, bundle)
    with right:
        st.subheader("Where the attack leaves the data", help=views.HELP["depth"])
        views.chart(
            panels.depth_figure(outcome), "depth", "Distance of each version from the clean scans, layer by layer."
        )
        st.caption(parting_line(outcome))
        st.subheader("What the detectors say", help=views.HELP["detectors"])
        views.chart(
            panels.detector_figure(outcome),
            "detectors",
            "Percentile of each version's detector score among clean scans.",
        )
        status.caution(outcome, bundle.reference)

    views.detector_table(outcome)
    film.film(outcome, bundle)
    with st.expander("Scores and verdicts layer by layer"):
        views.layer_verdicts(outcome)
    paper = st.expander("Figure for a paper", on_change="rerun", key="paper")
    if paper.open:
        with paper:
            publishing.paper_figure(outcome, bundle, views.chart)
with st.expander("What am I looking at? The method in two minutes", expanded=outcome is None):
    explain(bundle)
if outcome is not None:
    views.downloads(outcome, names, seen)
