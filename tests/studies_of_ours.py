"""A small study for tests of what stands around studies: how often PGD and PGD+HFC reach their target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from hfcviz.palette import COLOURS, dressed
from hfcviz.penalties import HFC
from hfcviz.reference import shares
from hfcviz.settings import InputError, Settings, setting
from hfcviz.studies.catalogue import Study
from hfcviz.studies.findings import Row, share_row
from hfcviz.studies.lab import Lab


@dataclass(frozen=True)
class Tally(Settings):
    """Its settings: one number, one list, and one whose name the budget has too."""

    weight: float = setting(1.0, "Weight of the constraint.", least=0, most=100)
    kinds: tuple[str, ...] = setting(("PGD", "PGD+HFC"), "Which attacks are counted.")
    steps: tuple[str, ...] = setting((), "Other numbers of steps, beside that of the budget.")


def check(lab: Lab, settings: Tally, beside: Lab | None) -> None:
    wrong = [kind for kind in settings.kinds if kind not in ("PGD", "PGD+HFC")]
    if wrong or not settings.kinds:
        raise InputError(f"Tally.kinds must be of PGD, PGD+HFC; got {', '.join(wrong) or 'none'}: choose some.")


def run(lab: Lab, settings: Tally, beside: Lab | None, progress) -> list[Row]:
    rows: list[Row] = []
    labs = {lab.classifier.name: lab} | ({} if beside is None else {f"beside {beside.classifier.name}": beside})
    share = shares(progress, {f"{kind} on {name}": 1 / len(labs) / 2 for kind in settings.kinds for name in labs})
    for name, one in labs.items():
        for kind in settings.kinds:
            penalty = None if kind == "PGD" else HFC(weight=settings.weight)
            version = one.version(one.budget.attack, penalty, progress=share(f"{kind} on {name}"))
            hits = one.success(version)
            rows.append({"attack": kind, "network": name, "n": len(hits), **share_row("success", hits)})
    return rows


def shows(rows: list[Row]) -> str:
    return f"The best attack reaches its target in {max(row['success'] for row in rows):.0%} of the scans."


def draw(rows: Sequence[Row]) -> go.Figure:
    figure = go.Figure()
    for kind, role in (("PGD", "attack"), ("PGD+HFC", "hidden")):
        own = [row for row in rows if row["attack"] == kind]
        figure.add_bar(
            x=[r["network"] for r in own], y=[r["success"] for r in own], name=kind, marker_color=COLOURS[role]
        )
    figure.update_yaxes(title_text="target reached, share of scans")
    return dressed(figure, 300)


TALLY = Study(
    title="Tally",
    question="How often do attacks reach their target?",
    settings=Tally(),
    check=check,
    run=run,
    draw=draw,
    shows=shows,
    shows_not=lambda rows: "It does not show who notices.",
    reading="The higher, the better the attack.",
    alt="Bars of the share of scans in which each attack reaches its target.",
    beside="Counted beside the first.",
)
