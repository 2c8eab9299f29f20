"""Which cohort the Cohort page shows, and its tables."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import pandas as pd
import streamlit as st

from hfcviz.attacks import Attack
from hfcviz.bundle import Bundle
from hfcviz.cohort import Judged, judge
from hfcviz.figure_sets import cohort_labels
from hfcviz.links import usual_run
from hfcviz.settings import InputError, help_of
from hfcviz.tables import MEASURES, PAPER, grid_lines, paper_lines
from hfcviz.ui import state
from hfcviz.ui.run import computed

SHOW = (
    "AUC: the chance that an attack scores above a clean or noisy scan. Two-sided: the larger of AUC and 1 - AUC. TPR@90: attacks "
    "caught when one in ten clean and noisy scans is flagged. As in the paper: AUC in %, without > with the constraint."
)

T = TypeVar("T")


def guarded(draw: Callable[[Bundle], T], bundle: Bundle) -> T | None:
    """What a part of the page gives; where a file is damaged, a sentence in its place, and the rest still works."""
    try:
        return draw(bundle)
    except InputError as error:
        st.error(str(error), icon=":material/error:")
        return None


def published(bundle: Bundle) -> Judged | None:
    """All published attacks at one eps in a table, and the one of them that is looked at closer."""
    runs = bundle.runs
    if not runs.names:  # a bundle of one's own
        digest_, reference = bundle.reference.digest, bundle.reference
        return computed(
            "judged", digest_, "The detectors judge the cohort", lambda progress: judge(reference, progress=progress)
        )
    usual = usual_run(bundle)
    sizes = list(dict.fromkeys(eps for _, eps in runs.names))
    with st.container(horizontal=True):
        eps = st.segmented_control(
            "Published runs at eps",
            sizes,
            default=usual[1],
            format_func=lambda eps: f"{eps:g}/255",
            key=f"cohort.eps.{bundle.name}",
            required=True,
            help=help_of(Attack, "eps"),
            persist_state="session",
        )
        measure = st.segmented_control(
            "Show",
            [*MEASURES, PAPER],
            default="AUC",
            key="cohort.measure",
            required=True,
            help=SHOW,
            persist_state="session",
        )
    rows = [row for row in runs.rows if row["eps_255"] == eps]
    lines = paper_lines(rows) if measure == PAPER else grid_lines(rows, measure or "AUC")
    st.dataframe(
        pd.DataFrame(lines),
        hide_index=True,
        height="content",
        alt=f"{measure} of each detector for each attack, without and with the constraint, at {eps:g}/255",
    )
    one = rows[0]
    st.caption(
        f"{one['dataset']}, {one['model']}: {one['attacked']} attacked scans; detectors judged on {one['n']} of them against "
        f"{one['negatives']} clean and noisy ones; 95 % intervals, Wilson's of the target reached, else by bootstrap. "
        + ("AUC in %, without > with the constraint. " if measure == PAPER else "")
        + "Inverted: the whole interval lies below 0.5. Commands, dates and durations: docs/results.md."
    )
    names = [name for name, size in runs.names if size == eps]
    name = st.segmented_control(
        "Look closer at",
        names,
        default=usual[0] if usual[0] in names else names[0],
        key=f"cohort.run.{bundle.name}.{eps}",
        required=True,
        help="The attack, with and without the constraint, that table and figures below are about.",
        persist_state="session",
    )
    return _read(bundle.name, name or names[0], float(eps or sizes[0]))


@st.cache_resource(show_spinner=False, max_entries=64)
def _read(bundle_name: str, name: str, eps: float) -> Judged:
    return state.bundle().runs.load(name, eps)


def about(judged: Judged) -> None:
    """One sentence: which attack, how many scans, who judges."""
    attack, labels = judged.recipe["attack"], cohort_labels(judged)
    count, judges = int(next(iter(judged.overall.values()))["attacked"]), len(judged.ids)
    steps = "1 step" if attack["steps"] == 1 else f"{attack['steps']} steps"
    st.markdown(
        f"**{labels['attack']}** at {attack['eps'] * 255:.3g}/255, {steps}, with and without HFC at equal budget, on "
        f"{count} test scans that the network classifies correctly. Detectors are trained on "
        f"{count - judges} of them (clean, noise, {labels['attack']}); the table and the figures are on the other {judges}."
    )


def table(judged: Judged, labels: dict[str, str]) -> None:
    """What both attacks reach, and AUC and TPR@90 of every detector with intervals."""
    whole = "Over all attacked scans of the cohort, those that train the detectors included."
    with st.container(horizontal=True):
        for role in judged.attacks:
            found = judged.overall[role]
            st.metric(
                f"{labels[role]}: target reached",
                f"{found['success']:.1%}",
                f"{found['success_low']:.1%} to {found['success_high']:.1%}",
                delta_color="off",
                delta_arrow="off",
                help=f"{whole} Below: Wilson's 95 % interval.",
                width=190,
            )
            st.metric(f"{labels[role]}: mean confidence", f"{found['mean_confidence']:.3f}", help=whole, width=200)
            if not math.isnan(found["linf_255"]):
                st.metric(
                    f"{labels[role]}: largest change", f"{found['linf_255']:.2f}/255", help=f"L-inf. {whole}", width=200
                )
    by = {(row["detector"], row["role"]): row for row in judged.rows}
    lines: list[dict[str, Any]] = []
    for name in judged.scores:
        line: dict[str, Any] = {"detector": name}
        for role in judged.attacks:
            row = by[name, role]
            inverted = "  inverted" if row["auc_high"] < 0.5 else ""
            line[f"AUC {labels[role]}"] = f"{row['auc']:.2f} ({row['auc_low']:.2f} to {row['auc_high']:.2f}){inverted}"
            line[f"two-sided {labels[role]}"] = f"{row['two_sided']:.2f}"
            line[f"TPR@90 {labels[role]}"] = f"{row['tpr90']:.2f} ({row['tpr90_low']:.2f} to {row['tpr90_high']:.2f})"
        lines.append(line)
    st.dataframe(
        pd.DataFrame(lines),
        hide_index=True,
        height="content",
        alt="AUC and TPR@90 of each detector with 95 % intervals",
    )
    count = judged.rows[0]
    st.caption(
        f"{count['n']} attacked scans of each kind against {count['negatives']} clean and noisy ones; 95 % bootstrap intervals, which at "
        "0 and 1 have no width: that is not certainty, least of all with few scans. "
        "TPR@90: attacks caught when one in ten of the clean and noisy scans is flagged. Inverted: the whole interval lies "
        "below 0.5, so the detector finds the attack more typical than clean scans; the two-sided AUC shows what it still knows."
    )
