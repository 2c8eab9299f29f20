"""The parts of the Explore page."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from hfcviz import exports, panels
from hfcviz.detectors import DETECTORS
from hfcviz.grids import Shown, eps_report, in_units
from hfcviz.outcome import Outcome, attacked, report, role_labels
from hfcviz.ui import publishing, state
from hfcviz.ui.once import Parts, for_page

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    import plotly.graph_objects as go
    from streamlit.delta_generator import DeltaGenerator
    from streamlit.elements.lib.layout_utils import Height

HELP = {
    "scatter": "Each point is one scan: the mean of every channel of one layer, brought down to two dimensions. "
    "Distances in t-SNE and UMAP mean little; read the numbers on the right.",
    "depth": "Negative log-likelihood of each version under the mixture of clean scans of the class that the "
    "network predicts, "
    "scaled so that 0 is the clean median and 1 the clean 95 % quantile. Far above 1: out of the data.",
    "detectors": "The share of clean scans that look less suspicious than this one. Thresholds come from clean "
    "scans alone. "
    "A score at the far left is more typical than almost any clean scan.",
}


def chart(
    figure: go.Figure,
    key: str,
    alt: str,
    height: Height = "content",
    *,
    view: Mapping[str, Any] | None = None,
    content: publishing.Content | None = None,
) -> None:
    """A figure with its alternative text and, below it, its export; the camera in its corner saves it as SVG.

    view: what was chosen for it, for its recipe. content: of what the recipe is; by default the result that is shown.
    """
    plot(figure, key, alt, height)
    export(figure, key, alt, view, content)


def plot(figure: go.Figure | Parts, key: str, alt: str, height: Height = "content") -> None:
    """The figure alone."""
    options = {"displaylogo": False, "toImageButtonOptions": {"format": "svg", "filename": f"hfcviz-{key}"}}
    st.plotly_chart(for_page(figure, key), theme=None, key=f"chart.{key}", config=options, alt=alt, height=height)


def export(
    figure: go.Figure | Parts,
    key: str,
    alt: str,
    view: Mapping[str, Any] | None = None,
    content: publishing.Content | None = None,
) -> None:
    """The button that exports a figure; see `chart`."""
    outcome = st.session_state.get("outcome")
    if content is None and outcome is not None:
        content = publishing.of_outcome(outcome, state.bundle().about["class_names"])
    publishing.export(figure, key, alt, view or {}, content)


def side_by_side() -> DeltaGenerator:
    """A row for one container keyed `wide_...` and one keyed `side_...`, which come to lie below each other on a narrow page."""
    st.html(
        "<style>div:has(> [class*='st-key-wide_']) {flex: 3 1 480px !important}"
        "div:has(> [class*='st-key-side_']) {flex: 2 1 320px !important}</style>"
    )
    return st.container(horizontal=True, gap="medium")


def place(key: str) -> DeltaGenerator:
    """A container that has its room before anything is in it, so that nothing else takes it, and jumps.

    Not `st.empty()`, which keeps the room too, but throws out what the last drawing left there before something new has come.
    """
    room = st.container(key=key, gap=None)
    room.html("<i></i>")
    return room.container()


def headline(outcome: Outcome, names: tuple[str, ...], grid: Shown) -> str:
    """The result in one or two sentences."""
    chances, labels = outcome.activations.probabilities, role_labels(outcome)
    parts = []
    for role in attacked(outcome):
        row = outcome.row(role)
        seen = int(chances[row].argmax())
        done = "turns" if seen == outcome.target else "fails to turn"
        caught = sum(bool(outcome.caught(name)[row]) for name in outcome.scores)
        before, after = names[int(chances[0].argmax())], names[outcome.target]
        parts.append(
            f"**{labels[role]}** {done} *{before}* into *{after}* ({chances[row, outcome.target]:.1%}) "
            f"and is caught by **{caught} of {len(outcome.scores)}** detectors"
        )
    eps = outcome.recipe["plan"]["attack"]["eps"]
    most = f"{eps * 255:.3g}/255" + (f" = {in_units(eps, grid.placement.window, grid.scan.unit)}" if grid.own else "")
    what = "pixel" if outcome.x.ndim == 4 else "voxel"
    return "; ".join(parts) + f". No {what} changes by more than {most}."


def detector_table(outcome: Outcome) -> None:
    """Score, threshold and verdict of every detector for every version."""
    labels, rows = role_labels(outcome), []
    for name, scores in outcome.scores.items():
        row = {
            "detector": name,
            "looks at": re.split("[:,]", type(DETECTORS[name]).__doc__ or "")[0],
            "threshold": outcome.thresholds[name],
        }
        for role in outcome.roles:
            verdict = "caught" if outcome.caught(name)[outcome.row(role)] else "passes"
            row[labels[role]] = f"{scores[outcome.row(role)]:.4g}  {verdict}"
        rows.append(row)
    table = pd.DataFrame(rows)
    roles = [labels[role] for role in outcome.roles]
    styled = table.style.map(
        lambda cell: (
            "background-color: rgba(213, 94, 0, 0.22); font-weight: 600" if str(cell).endswith("caught") else ""
        ),
        subset=roles,
    )
    st.dataframe(
        styled.format({"threshold": "{:.4g}"}),
        hide_index=True,
        alt="Detector scores, thresholds and verdicts",
        column_config={"looks at": st.column_config.TextColumn(width=420)},
    )
    st.caption(
        "A version is caught when its score lies above the threshold; each threshold is the 90 % quantile of clean "
        "validation scans, "
        "so one clean scan in ten is flagged too. The detectors were trained on noise and plain PGD, never on the "
        "constrained attack."
    )


@st.fragment
def layer_verdicts(outcome: Outcome) -> None:
    """Which layers a detector would flag, by attack, once it is opened."""
    with st.expander("Scores and verdicts layer by layer", on_change="rerun", key="verdicts") as section:
        if section.open:
            chart(panels.layer_figure(outcome), "layers", "Verdict of each detector in each layer, for each attack.")


def downloads(outcome: Outcome, names: tuple[str, ...], seen: Shown) -> None:
    """The report, and attacked scans and perturbations as files."""
    labels, clean = role_labels(outcome), outcome.x[outcome.row("clean")]
    content = report(outcome, names) | eps_report(outcome, seen)
    with st.container(horizontal=True):
        about = "The numbers, and the recipe that makes them again."
        _download("Report (JSON)", json.dumps(content, indent=2), "report.json", about)
        for role in attacked(outcome):
            with st.popover(
                f"{labels[role]}: files",
                icon=":material/download:",
                help="The attacked scan, and what was added to it.",
            ):
                _files(seen, role, labels[role], clean, outcome.x[outcome.row(role)])


def _files(seen: Shown, role: str, label: str, clean: np.ndarray, x: np.ndarray) -> None:
    """One attacked scan and what was added to it: of an image as the network sees it, and on the scan's grid where that is known."""
    if x.ndim == 3:
        _download("Attacked scan (PNG, 16 bit)", lambda: exports.png(x), f"{label}.png", "As the network sees it.")
    if x.ndim == 3 and len(x) == 1:
        about = "Black is -1, white is 1, and the grey between, 32768 of 65535, is no change."
        _download(
            "Perturbation (PNG, 16 bit)",
            lambda: exports.perturbation_png(x, clean),
            f"{label} perturbation.png",
            about,
        )
    grid = "the scan's own grid, in its units" if seen.own else "the network's grid, in its range from 0 to 1"
    for name, make in exports.files(seen, role, f"{label} ").items():
        what = "Perturbation" if "perturbation" in name else "Attacked scan"
        _download(f"{what} (NIfTI)", make, name, f"On {grid}: scan + perturbation = attacked scan.")


def _download(label: str, data: str | bytes | Callable[[], bytes], name: str, about: str) -> None:
    kind = next((kind for end, kind in exports.KINDS.items() if name.endswith(end)), "application/json")
    icon = ":material/download:"
    st.download_button(label, data, name, kind, help=about, icon=icon, on_click="ignore", key=f"download.{name}")
