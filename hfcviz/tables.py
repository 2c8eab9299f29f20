"""Rows of an evaluation as CSV, JSON and Markdown."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hfcviz.ledger import write_text

Row = dict[str, Any]


def write_tables(rows: Sequence[Row], folder: Path) -> list[str]:
    """results.csv, results.json and results.md, each whole at any time; gives their names."""
    texts = {"results.csv": as_csv(rows), "results.json": as_json(rows), "results.md": as_markdown(rows)}
    for name, text in texts.items():
        write_text(folder / name, text)
    return list(texts)


def as_json(rows: Sequence[Row]) -> str:
    """All rows, AUC of single layers included."""
    return json.dumps(list(rows), indent=1) + "\n"


def as_csv(rows: Sequence[Row]) -> str:
    """One line a row; the AUC of each layer alone is a column "auc LAYER", empty for detectors without layers."""
    layers = list(dict.fromkeys(layer for row in rows for layer in row["layers"]))
    names = list(dict.fromkeys(name for row in rows for name in row if name != "layers"))
    text = io.StringIO()
    table = csv.DictWriter(text, [*names, *(f"auc {layer}" for layer in layers)], restval="", lineterminator="\n")
    table.writeheader()
    for row in rows:
        flat = {name: value for name, value in row.items() if name != "layers"}
        table.writerow(flat | {f"auc {layer}": value for layer, value in row["layers"].items()})
    return text.getvalue()


def as_markdown(rows: Sequence[Row]) -> str:
    """A table for each data set, model and eps, a line for each attack and penalty, AUC and TPR@90 with intervals."""
    found = []
    for dataset, model, eps in dict.fromkeys((row["dataset"], row["model"], row["eps_255"]) for row in rows):
        own = [row for row in rows if (row["dataset"], row["model"], row["eps_255"]) == (dataset, model, eps)]
        found.append(f"### {dataset}, {model}, eps {eps:g}/255\n")
        found.append(
            "| attack | penalty | detector | AUC (95 %) | two-sided AUC | TPR@90 (95 %) | success (95 %) | mean confidence | n |\n"
            "|---|---|---|---|---|---|---|---|---|"
        )
        for row in own:
            inverted = " inverted" if row["auc_high"] < 0.5 else ""
            found.append(
                f"| {row['attack']} | {row['penalty']} | {row['detector']} "
                f"| {row['auc']:.3f} ({row['auc_low']:.3f} to {row['auc_high']:.3f}){inverted} | {row['two_sided']:.3f} "
                f"| {row['tpr90']:.3f} ({row['tpr90_low']:.3f} to {row['tpr90_high']:.3f}) "
                f"| {row['success']:.1%} ({row['success_low']:.1%} to {row['success_high']:.1%}) of {row['attacked']} "
                f"| {row['mean_confidence']:.3f} "
                f"| {row['n']} against {row['negatives']} |"
            )
        found.append("")
    return "\n".join(found)


def as_paper(rows: Sequence[Row]) -> str:
    """The paper's layout as Markdown: a table for each data set and eps; see `paper_lines`."""
    found = []
    for dataset, eps in dict.fromkeys((row["dataset"], row["eps_255"]) for row in rows):
        lines = paper_lines([row for row in rows if (row["dataset"], row["eps_255"]) == (dataset, eps)])
        found.append(f"AUC in %, {dataset}, eps {eps:g}/255: without > with HFC\n")
        found.append("| " + " | ".join(lines[0]) + " |\n|---" + "|---" * (len(lines[0]) - 1) + "|")
        found += ["| " + " | ".join(line.values()) + " |" for line in lines]
        found.append("")
    return "\n".join(found)


def paper_lines(rows: Sequence[Row]) -> list[dict[str, str]]:
    """The paper's layout for rows of one eps: a line for each detector, a column for each attack, "AUC without > with" in %."""
    attacks, detectors = (list(dict.fromkeys(row[key] for row in rows)) for key in ("attack", "detector"))
    auc = {(row["attack"], row["detector"], row["penalty"]): row["auc"] for row in rows}

    def cell(attack: str, detector: str) -> str:
        values = [auc.get((attack, detector, penalty)) for penalty in ("none", "HFC")]
        return " > ".join("-" if value is None else f"{100 * value:.1f}" for value in values)

    return [{"detector": name} | {attack: cell(attack, name) for attack in attacks} for name in detectors]


MEASURES = {"AUC": "auc", "two-sided AUC": "two_sided", "TPR@90": "tpr90"}
"""What a grid can show: name for people, and column."""
PAPER = "as in the paper"
"""The name for people of the layout that `paper_lines` gives."""


def grid_lines(rows: Sequence[Row], measure: str) -> list[dict[str, str]]:
    """For rows of one eps: two lines for each detector, without and with the constraint, and a column for each attack.

    The first lines tell of the attacks themselves. A value has its 95 % interval where the rows have one.
    """
    attacks, detectors = (list(dict.fromkeys(row[key] for row in rows)) for key in ("attack", "detector"))
    column = MEASURES[measure]
    by = {(row["attack"], row["detector"], row["penalty"]): row for row in rows}

    def value(row: Row | None, column: str, form: str) -> str:
        if row is None:
            return "-"
        text = format(row[column], form)
        if f"{column}_low" in row:
            text += f" ({row[f'{column}_low']:{form}} to {row[f'{column}_high']:{form}})"
        return text + (" inverted" if column == "auc" and row["auc_high"] < 0.5 else "")

    found = []
    penalties = [name for name in ("none", "HFC") if any(row["penalty"] == name for row in rows)]
    wanted = [("target reached", None, "success", ".1%"), ("largest change, /255", None, "linf_255", ".2f")]
    for what, detector, key, form in [*wanted, *((name, name, column, ".2f") for name in detectors)]:
        for penalty in penalties:
            line = {measure: what, "constraint": penalty}
            for attack in attacks:
                line[attack] = value(by.get((attack, detector or detectors[0], penalty)), key, form)
            found.append(line)
    return found
