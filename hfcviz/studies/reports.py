"""Findings for people: the table as CSV and Markdown, the recipe in short, and the command that makes them again."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Sequence
from typing import Any

from hfcviz.settings import Option, Settings, options
from hfcviz.studies import catalogue
from hfcviz.studies.findings import Findings, Row
from hfcviz.studies.pieces import Budget

ENDS = ("_low", "_high")
HEADS = {
    "attacked": "attacked scans",
    "at_target": "target reached",
    "auc": "AUC",
    "auc_reached": "AUC where the target is reached",
    "area": "share of pixels changed",
    "backward_passes": "backward passes a step",
    "best": "best on this attack",
    "caught": "flagged",
    "change": "relative change",
    "clean": "mean activation of clean scans",
    "confidence": "probability of the target",
    "depth": "depth (1 = last layer)",
    "displacement": "cosine of the feature's way",
    "displacement_least": "least of the feature's way",
    "false_clean": "clean scans flagged",
    "false_noise": "noisy scans flagged",
    "gradient": "cosine of the loss's pull",
    "gradient_least": "least of the loss's pull",
    "itself": "made on the judging network",
    "linf_255": "largest change (/255)",
    "mean_tpr90": "mean TPR@90",
    "misled": "seen as another class",
    "moved": "length of the feature's way",
    "on_source": "target reached where made",
    "reached": "judged scans at target",
    "scans": "scans of both networks",
    "score": "whose score",
    "size": "size (% of the side)",
    "success": "target reached",
    "target": "target reached",
    "tpr90": "TPR@90",
    "two_sided": "two-sided AUC",
    "way": "driven",
    "which": "worst attack",
    "with_term": "cosine with HFC's pull added",
    "with_term_least": "least with HFC's pull added",
    "wrong": "any wrong class",
}
"""What columns are called in a table for people; others are called as in the rows, and so are all in a CSV."""


def as_csv(rows: Sequence[Row]) -> str:
    """One line a row, every value in full; what a row lacks is empty."""
    text = io.StringIO()
    table = csv.DictWriter(text, columns_of(rows), restval="", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def columns_of(rows: Sequence[Row]) -> list[str]:
    """The names that any row has, in the order in which they first come."""
    return list(dict.fromkeys(name for row in rows for name in row))


def lines(rows: Sequence[Row]) -> list[dict[str, str]]:
    """The table in words: their heads, numbers in three digits, and "value (low to high)" where a value has its interval."""
    names = columns_of(rows)
    ends = {name + end for name in names for end in ENDS if name + ENDS[0] in names and name + ENDS[1] in names}
    return [
        {HEADS.get(name, name.replace("_", " ")): _cell(row, name) for name in names if name not in ends}
        for row in rows
    ]


def _cell(row: Row, name: str) -> str:
    low, high = (row.get(name + end) for end in ENDS)
    interval = "" if low is None or high is None else f" ({_word(low)} to {_word(high)})"
    return _word(row.get(name)) + interval


def _word(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def as_markdown(found: Findings) -> str:
    """Title, question, the two sentences, the table, and how it was made."""
    study, table = catalogue.STUDIES[found.study], lines(found.rows)
    cells = ["| " + " | ".join(value.replace("|", "\\|") for value in line.values()) + " |" for line in table]
    head = "| " + " | ".join(table[0]) + " |\n" + "|---" * len(table[0]) + "|"
    return (
        f"# {study.title}\n\n{study.question}\n\n**Shows:** {found.shows}\n\n**Does not show:** {found.shows_not}\n\n"
        + "\n".join([head, *cells])
        + f"\n\nIntervals: 95 %. {in_short(found)}\n\n```\n{command_of(found)}\n```\n"
    )


def in_short(found: Findings) -> str:
    """Data, network, number of scans, eps, steps and seed in one or two sentences."""
    recipe, parts = found.recipe, []
    for what, words in (("lab", ""), ("beside", "Beside it: ")):
        if what in recipe:
            one = recipe[what]
            budget = Budget(**one["budget"])
            steps = "1 step" if budget.steps == 1 else f"{budget.steps} steps"
            parts.append(
                f"{words}{one['model']} on {one['dataset']}, at most {budget.scans} scans, eps {budget.eps * 255:.3g}/255, "
                f"{steps}, seed {budget.seed}."
            )
    return " ".join(parts)


def command_of(found: Findings) -> str:
    """The command line that makes the findings again; a data set or model of one's own stands under its name, not its path."""
    recipe, study = found.recipe, catalogue.STUDIES[found.study]
    budget = Budget(**recipe["lab"]["budget"])
    words = ["python", "-m", "hfcviz", "study", found.study]
    words += ["--model", recipe["lab"]["model"], "--dataset", recipe["lab"]["dataset"]]
    if "beside" in recipe:
        words += ["--beside-model", recipe["beside"]["model"], "--beside-dataset", recipe["beside"]["dataset"]]
    words += [word for option in options(Budget) for word in _flag(option.name, option, getattr(budget, option.name))]
    own = _settings(study.settings, recipe["settings"])
    for option in options(type(own)):
        value = getattr(own, option.name)
        if value != getattr(study.settings, option.name):
            words += _flag(flag_of(found.study, option.name), option, value)
    return shlex.join([*words, "--out", found.study])


def flag_of(study: str, name: str) -> str:
    """The flag's name of a study's own setting: with the study before it where the budget has a setting of that name too."""
    return f"{study}_{name}" if name in {option.name for option in options(Budget)} else name


def _settings(usual: Settings, given: dict[str, Any]) -> Settings:
    known = {option.name for option in options(type(usual))}
    return usual.replace(**{name: value for name, value in given.items() if name in known})


def _flag(name: str, option: Option, value: Any) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag if value else flag.replace("--", "--no-", 1)]
    if value is None:
        return []
    text = ",".join(value) if option.kind is tuple else str(value)
    return [flag, f"{option.entered(value):.10g}" if option.kind is float else text]
