"""What is made of a result is made once, and anew when the result or the view of it is another."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest


def page():
    import itertools

    import streamlit as st

    from hfcviz.ui.kept import kept

    turns = st.session_state.setdefault("turns", itertools.count())
    result, equal = st.session_state.setdefault("results", ([1], [1]))
    steps = {
        "first": ("figure", result, ["layer1", "PCA"]),
        "the same": ("figure", result, ["layer1", "PCA"]),
        "another view": ("figure", result, ["layer2", "PCA"]),
        "another result, though equal": ("figure", equal, ["layer2", "PCA"]),
        "another place": ("table", equal, ["layer2", "PCA"]),
        "the place of before": ("figure", equal, ["layer2", "PCA"]),
        "the first again": ("figure", result, ["layer1", "PCA"]),
    }
    st.session_state.found = {what: kept(*step, lambda: next(turns)) for what, step in steps.items()}


def test_the_last_one_of_a_place_is_kept_for_its_session():
    app = AppTest.from_function(page).run()
    assert not app.exception
    assert list(app.session_state["found"].values()) == [0, 0, 1, 2, 3, 2, 4]
    app.run()
    assert list(app.session_state["found"].values()) == [4, 4, 5, 6, 3, 6, 7], "first and table were still there"
    other = AppTest.from_function(page).run()
    assert list(other.session_state["found"].values()) == [0, 0, 1, 2, 3, 2, 4], "another session begins with nothing"


def selecting():
    import streamlit as st

    from hfcviz.ui import linked

    st.session_state.chosen = frozenset()
    found = [linked.anew()]
    for ids in (["a"], ["a"], ["a", "b"], []):
        linked.select(ids)
        found.append(linked.anew())
    linked.select(["a"])
    st.session_state.found = [*found, linked.anew()]


def test_a_page_knows_when_other_scans_are_selected_than_at_its_last_drawing():
    app = AppTest.from_function(selecting).run()
    assert not app.exception
    assert app.session_state["found"] == [False, True, False, True, False, True]
