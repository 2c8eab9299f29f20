"""The parts of the Cohort page."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from hfcviz import cohort_charts, jobs
from hfcviz.attacks import ATTACKS
from hfcviz.bundle import Bundle
from hfcviz.cohort import Judged, by_role, curve, embed_cohort, selected_marks
from hfcviz.evaluation import LEAST, Study, make_recipe, one_cohort
from hfcviz.projections import PROJECTIONS, Embedding
from hfcviz.reference import Reference
from hfcviz.settings import InputError, Progress
from hfcviz.store import digest
from hfcviz.ui import state
from hfcviz.ui.run import computed
from hfcviz.ui.views import chart

HELP = {
    "scatter": "Each point is one held-out scan in one version. Draw around points: the same scans are marked in the "
    "figures below, and listed with their verdicts. A double click on the figure lets go.",
    "roc": "Adversarial scans against clean and noisy ones, all of them unknown to the detectors. A curve below the "
    "diagonal is an inverted detector: it finds the attack more typical than clean scans. With a selection, each mark is "
    "one selected scan: as far right as clean and noisy scans score at least as high.",
    "scores": "Higher is more suspicious; the dotted line is the threshold, the 90 % quantile of clean validation scans. "
    "Scores beyond the edge are drawn at the edge.",
    "layers": "AUC of a detector that sees one layer alone. White is chance; blue is inverted.",
}
KEPT = 8
"""Live cohorts that stay on disk, the newest ones."""
SHOWN = 12
"""Thumbnails of selected scans that are shown at a time."""


def role_names(reference: Reference) -> dict[str, str]:
    """What people call each role in this cohort."""
    attack = reference.recipe["attack_name"]
    return {"clean": "clean", "noise": "noise", "attack": attack, "hidden": f"{attack}+HFC"}


def about(reference: Reference, bundle: Bundle) -> None:
    """One sentence: which attack, how many scans, who judges."""
    attack, labels = reference.recipe["attack"], role_names(reference)
    judges = int((~reference.trains).sum())
    steps = "1 step" if attack["steps"] == 1 else f"{attack['steps']} steps"
    st.markdown(
        f"**{labels['attack']}** at {attack['eps'] * 255:.3g}/255, {steps}, with and without HFC at equal budget, on "
        f"{len(reference.ids)} test scans that the network classifies correctly. Detectors are trained on "
        f"{len(reference.ids) - judges} of them (clean, noise, {labels['attack']}); the table and the figures are on the other {judges}."
    )


def study_form(bundle: Bundle) -> None:
    """Choose attack, eps and number of scans, and evaluate them live."""
    running = st.session_state.cohort_job is not None
    with st.expander("Evaluate another attack"):
        one, two, three, four = st.columns(4, vertical_alignment="bottom")
        name = one.selectbox("Attack", list(ATTACKS), key="cohort.attack")
        eps = two.number_input("eps (n/255)", value=8.0, format="%g", key="cohort.eps")
        limit = three.number_input("Scans", value=60, step=1, key="cohort.limit", help=f"{LEAST} or more.")
        start = four.button("Evaluate", disabled=running, icon=":material/play_arrow:", width="stretch")
        st.caption("What is finished is kept: the same choice goes on where it stopped.")
        if st.session_state.cohort is not None and st.button("Back to the bundled cohort", disabled=running):
            st.session_state.cohort = None
            st.rerun()
    # Below the expander, which would close if something came to stand above it.
    message = st.session_state.cohort_job_message
    if message is not None:
        (st.error if message[0] == "error" else st.info)(message[1])
    if start:
        st.session_state.cohort_job_message = None
        study = Study((name,), ("none", "HFC"), (eps / 255,), int(limit))
        base = state.store().folder / "cohorts"
        st.session_state.cohort_job = jobs.submit(
            lambda progress: _live(bundle, study, base, progress),
            f"{name} at {eps:g}/255 on {int(limit)} scans",
        )
        st.rerun()


def _live(bundle: Bundle, study: Study, base: Path, progress: Progress) -> Reference:
    """The cohort of a study, in a folder of its own below `base`, or for this once where that cannot be written."""
    classifier, dataset = bundle.classifier, bundle.dataset
    folder = base / digest(make_recipe(classifier, dataset, study))[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.touch()
        for old in sorted(base.iterdir(), key=lambda path: path.stat().st_mtime)[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
    except OSError:
        with tempfile.TemporaryDirectory() as once:
            return one_cohort(classifier, dataset, study, Path(once), progress=progress)
    return one_cohort(classifier, dataset, study, folder, progress=progress)


def table(judged: Judged, labels: dict[str, str]) -> None:
    """AUC and TPR@90 of every detector with intervals, or the paper's layout."""
    whole = "Over all attacked scans of the cohort, those that train the detectors included."
    with st.container(horizontal=True):
        for role in judged.attacks:
            found = judged.overall[role]
            st.metric(f"{labels[role]}: target reached", f"{found['success']:.1%}", help=whole, width=180)
            st.metric(f"{labels[role]}: mean confidence", f"{found['confidence']:.3f}", help=whole, width=200)
    paper = st.toggle("The paper's layout: AUC in %, without > with the constraint", key="cohort.paper")
    by = {(row["detector"], row["role"]): row for row in judged.rows}
    lines: list[dict[str, Any]] = []
    for name in judged.scores:
        line: dict[str, Any] = {"detector": name}
        if paper:
            line[labels["attack"]] = " > ".join(f"{100 * by[name, role]['auc']:.1f}" for role in judged.attacks)
        for role in judged.attacks if not paper else ():
            row = by[name, role]
            inverted = "  inverted" if row["auc_high"] < 0.5 else ""
            line[f"AUC {labels[role]}"] = f"{row['auc']:.2f} ({row['auc_low']:.2f} to {row['auc_high']:.2f}){inverted}"
            line[f"two-sided {labels[role]}"] = f"{row['two_sided']:.2f}"
            line[f"TPR@90 {labels[role]}"] = f"{row['tpr90']:.2f} ({row['tpr90_low']:.2f} to {row['tpr90_high']:.2f})"
        lines.append(line)
    st.dataframe(pd.DataFrame(lines), hide_index=True, alt="AUC and TPR@90 of each detector with 95 % intervals")
    count = judged.rows[0]
    st.caption(
        f"{count['n']} attacked scans of each kind against {count['negatives']} clean and noisy ones; 95 % bootstrap intervals. "
        "TPR@90: attacks caught when one in ten of the clean and noisy scans is flagged. Inverted: the whole interval lies "
        "below 0.5, so the detector finds the attack more typical than clean scans; the two-sided AUC shows what it still knows."
    )


def scatter(judged: Judged, reference: Reference, labels: dict[str, str]) -> None:
    """The features of one layer, to be selected from."""
    layers = list(reference.train.layers)
    one, two = st.columns([1, 1], vertical_alignment="bottom")
    layer = one.select_slider("Layer, from input to output", layers, value=layers[-1], key="cohort.layer")
    method = (
        two.segmented_control("Projection", list(PROJECTIONS), default="PCA", key="cohort.method", required=True)
        or "PCA"
    )

    def embed(progress: Progress) -> Embedding:
        return embed_cohort(reference, layer, PROJECTIONS[method], progress=progress)

    found = embed(lambda fraction, what: None) if method == "PCA" else None
    if found is None:
        found = computed("cohort_view", (reference.digest, layer, method), f"{method} of {layer}", embed)
    if found is None:
        return
    xy = by_role(reference, found)
    figure = cohort_charts.cohort_scatter(
        xy,
        judged.ids,
        judged.labels,
        judged.places(st.session_state.chosen).tolist(),
        labels,
        found.axes,
        ticks=found.exact,
    )
    st.plotly_chart(
        figure,
        key="cohort.scatter",
        on_select=_select,
        selection_mode=("lasso", "box", "points"),
        config={"displaylogo": False, "toImageButtonOptions": {"format": "svg", "filename": "hfcviz-cohort"}},
        alt=f"{method} of the features of {layer}, every held-out scan in every version.",
    )
    st.caption(f"{found.note}.")


def _select() -> None:
    points = st.session_state["cohort.scatter"].selection.points
    st.session_state.chosen = frozenset(point["customdata"][0] for point in points)


def selection(judged: Judged, bundle: Bundle, labels: dict[str, str]) -> None:
    """The selected scans with their verdicts, to open or to export."""
    chosen = [judged.ids[row] for row in judged.places(st.session_state.chosen)]
    export = pd.DataFrame(judged.table(frozenset(chosen) if chosen else None)).to_csv(index=False)
    what = f"{len(chosen)} selected" if chosen else f"all {len(judged.ids)}"
    with st.container(horizontal=True):
        st.download_button(
            f"CSV of {what} scans", export, "cohort.csv", "text/csv", icon=":material/download:", on_click="ignore"
        )
        if chosen and st.button("Let go", key="cohort.clear", icon=":material/deselect:"):
            st.session_state.chosen = frozenset()
            st.rerun()
    if not chosen:
        st.caption("Nothing is selected: draw around points in the scatter. The export holds every held-out scan.")
        return
    pages = -(-len(chosen) // SHOWN)
    page = (
        st.number_input(f"Page (1 to {pages})", 1, pages, 1, key=f"cohort.page.{pages}", width=160) if pages > 1 else 1
    )
    place = {name: row for row, name in enumerate(judged.ids)}
    with st.container(horizontal=True, gap="small", height=470):
        for name in chosen[(page - 1) * SHOWN : page * SHOWN]:
            try:
                scan = state.scan_of(name)
            except InputError:  # a cohort whose images are not here
                st.caption(name)
                continue
            with st.container(width=128, gap="small"):
                st.image(state.thumbnail(scan.x), width="stretch", alt=f"{scan.name}, {scan.label}")
                verdicts = [
                    f"{labels[role]}: {sum(bool(judged.caught(one, role)[place[name]]) for one in judged.scores)} of "
                    f"{len(judged.scores)}"
                    for role in judged.attacks
                ]
                st.caption(f"{scan.label}, caught by  \n" + "  \n".join(verdicts))
                if st.button(name, key=f"open.{name}", help="Open on the Explore page", width="stretch"):
                    st.session_state.scan = scan
                    st.session_state.job_message = None
                    st.switch_page("hfcviz/ui/pages/explore.py")


def roc_curves(judged: Judged, labels: dict[str, str]) -> None:
    """A panel for each detector; selected scans lie on the curves."""
    chosen = judged.places(st.session_state.chosen)
    curves = {name: {role: curve(judged, name, role) for role in judged.attacks} for name in judged.scores}
    marks = selected_marks(judged, chosen) if len(chosen) else {}
    chart(cohort_charts.roc_grid(curves, marks, labels), "roc", "ROC curves of every detector for both attacks.")


def scores(judged: Judged, labels: dict[str, str]) -> None:
    """Histogram and points of one detector's scores."""
    name = st.segmented_control(
        "Detector", list(judged.scores), default=next(iter(judged.scores)), key="cohort.detector", required=True
    )
    name = name or next(iter(judged.scores))
    figure = cohort_charts.score_strips(
        judged.scores[name],
        judged.ids,
        judged.places(st.session_state.chosen).tolist(),
        judged.thresholds[name],
        labels,
        f"score of {name} (higher is more suspicious)",
    )
    chart(figure, "scores", f"Scores of {name} for every version of the held-out scans, with the threshold.")


def layers(judged: Judged, names: list[str], labels: dict[str, str]) -> None:
    """AUC of every detector in every layer alone."""
    aucs = {
        role: {row["detector"]: row["layers"] for row in judged.rows if row["role"] == role and row["layers"]}
        for role in judged.attacks
    }
    chart(
        cohort_charts.auc_map(aucs, names, labels),
        "auc-map",
        "AUC of each detector in each layer alone, for both attacks.",
    )
