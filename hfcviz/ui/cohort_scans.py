"""The scans of the Cohort page: where they lie, which of them are selected, and all of them in a table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import streamlit as st

from hfcviz.bundle import Bundle
from hfcviz.cohort import Judged
from hfcviz.ui import cohort_views, linked, state, views
from hfcviz.ui.run import lead

HELP = "Tick rows to select scans; click a column's head to sort by it. The numbers are how many detectors catch each version."
SHOWN = 12
"""Thumbnails of selected scans that are shown at a time."""


@st.fragment
def choose(judged: Judged, bundle: Bundle, labels: dict[str, str], chosen: frozenset[str]) -> None:
    """The scatter, and beside it the scans that are selected in it; chosen: with which the rest of the page was drawn."""
    with views.side_by_side():
        left, right = st.container(key="wide_cohort"), st.container(key="side_selection")
    with right:
        st.subheader("The selected scans")
        _selection(judged, bundle, labels)
    if linked.chosen() != chosen:
        lead()  # the browser has dimmed the other points already, and draws the list before the page
    cohort_views.of_page(chosen)
    with left:
        st.subheader("Select scans by lasso or box", help=cohort_views.HELP["scatter"])
        cohort_views.scatter(judged, bundle, labels)


def _selection(judged: Judged, bundle: Bundle, labels: dict[str, str]) -> None:
    """The selected scans with their verdicts, to open or to export."""
    chosen = [judged.ids[row] for row in judged.places(linked.chosen())]

    def export() -> bytes:
        rows = judged.table(frozenset(chosen) if chosen else None)
        return pd.DataFrame(rows).to_csv(index=False).encode()

    what = f"{len(chosen)} selected" if chosen else f"all {len(judged.ids)}"
    with st.container(horizontal=True):
        st.download_button(
            f"CSV of {what} scans",
            export,
            "cohort.csv",
            "text/csv",
            icon=":material/download:",
            on_click="ignore",
            help="A line for each scan: class, target, and the score and verdict of every detector for every version.",
        )
        linked.let_go("cohort")
    if not chosen:
        st.caption("Nothing is selected: draw around points in the scatter. The export holds every held-out scan.")
        return
    pages = -(-len(chosen) // SHOWN)
    page = (
        st.number_input(
            f"Page (1 to {pages})", 1, pages, 1, key=f"cohort.page.{pages}", width=160, help=f"{SHOWN} scans a page."
        )
        if pages > 1
        else 1
    )
    place, names = {name: row for row, name in enumerate(judged.ids)}, bundle.about["class_names"]
    if not state.has_images():
        st.caption(f"Their pictures are not here. {bundle.note}")
    with st.container(horizontal=True, gap="small", height=470):
        for name in chosen[(page - 1) * SHOWN : page * SHOWN]:
            scan = state.scan_of(name)
            label = names[int(judged.labels[place[name]])]
            with st.container(width=128, gap="small"):
                if scan is not None:
                    st.image(state.thumbnail(scan.x), width="stretch", alt=f"{name}, {label}")
                verdicts = [
                    f"{labels[role]}: {sum(bool(judged.caught(one, role)[place[name]]) for one in judged.scores)} of "
                    f"{len(judged.scores)}"
                    for role in judged.attacks
                ]
                st.caption(f"{label}, caught by  \n" + "  \n".join(verdicts))
                if scan is None:
                    st.caption(Path(name).name)
                elif st.button(Path(name).name, key=f"open.{name}", help="Open on the Explore page", width="stretch"):
                    state.use(scan)
                linked.tick(name, "cohort")


@st.fragment
def scans_table(judged: Judged, bundle: Bundle, labels: dict[str, str], chosen: frozenset[str]) -> None:
    """Every held-out scan in a row, to be selected from, once it is opened; chosen: with which the rest of the page was drawn."""
    cohort_views.of_page(chosen)
    box = st.expander("Every held-out scan in a table", on_change="rerun", key="cohort.table")
    if box.open:
        with box:
            st.caption(HELP)
            _lines(judged, bundle, labels)


def _lines(judged: Judged, bundle: Bundle, labels: dict[str, str]) -> None:
    names, count = bundle.about["class_names"], len(judged.scores)
    lines = []
    for row, name in enumerate(judged.ids):
        line: dict[str, object] = {"scan": Path(name).name, "class": names[int(judged.labels[row])]}
        for role in judged.roles:
            caught = sum(bool(judged.caught(one, role)[row]) for one in judged.scores)
            line[f"{labels[role]}: caught by, of {count}"] = caught
        for role in judged.attacks:
            line[f"{labels[role]}: target reached"] = bool(judged.fooled[role][row])
        lines.append(line)
    linked.table(
        pd.DataFrame(lines), judged.ids, "table", "Every held-out scan with how many detectors catch each version"
    )
