"""Explore: one scan, its attacked versions, the features of every layer and what the detectors say."""

import streamlit as st

from hfcviz import panels
from hfcviz.film import parting_line
from hfcviz.ui import controls, feature_views, film, publishing, state, status, viewer, views
from hfcviz.ui.kept import kept
from hfcviz.ui.method import explain
from hfcviz.ui.run import lead

bundle = state.bundle()
finished = state.collect("job")  # before the controls are drawn, which know whether a job runs
if finished is not None:
    st.session_state.outcome = finished
outcome = st.session_state.outcome
names = bundle.about["class_names"]
st.sidebar.caption(bundle.title)  # takes the room of all that comes there

st.title("How an adversarial scan hides")
if outcome is None:
    status.nothing_yet(bundle, st.session_state.scan)
else:
    seen = state.seen(outcome)
    st.container(key="headline").markdown(views.headline(outcome, names, seen))
above, pictures = views.place("strip_place"), st.container()
# What comes together the browser shows together, so what is waited for comes first: on the way in pictures, then answers to the controls.
arrived = st.session_state.arrived
if outcome is not None and arrived:
    with pictures:
        viewer.viewer(outcome, seen, names, bundle.name)
    lead()
plan = controls.sidebar(bundle)
with above:
    status.strip(outcome, bundle.reference, plan, st.session_state.scan)

if outcome is not None:
    if not arrived:
        with pictures:
            viewer.viewer(outcome, seen, names, bundle.name)
    with views.side_by_side():
        left, right = st.container(key="wide_features"), st.container(key="side_verdicts")
    with right:  # its heading takes its room
        st.subheader("Where the attack leaves the data", help=views.HELP["depth"])
    with left:
        st.subheader("Where the features lie", help=views.HELP["scatter"])
        feature_views.features(outcome, bundle)
    if arrived:
        lead()
    with right:
        about = "Distance of each version from the clean scans, layer by layer."
        views.chart(kept("depth", outcome, None, lambda: panels.depth_figure(outcome)), "depth", about)
        st.caption(parting_line(outcome))
        st.subheader("What the detectors say", help=views.HELP["detectors"])
        about = "Percentile of each version's detector score among clean scans."
        views.chart(kept("detectors", outcome, None, lambda: panels.detector_figure(outcome)), "detectors", about)
        status.caution(outcome, bundle.reference)

    views.detector_table(outcome)
    film.film(outcome, bundle)
    views.layer_verdicts(outcome)
    publishing.paper_figure(outcome, bundle, views.chart)
with st.expander("What am I looking at? The method in two minutes", expanded=outcome is None):
    explain(bundle)
if outcome is not None:
    views.downloads(outcome, names, seen)
