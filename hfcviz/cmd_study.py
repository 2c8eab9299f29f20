"""`python -m hfcviz study NAME --out DIR`: one of the paper's claims as an experiment."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfcviz.cmd_attack import NOTE
from hfcviz.flags import add_flag, take
from hfcviz.settings import InputError, options
from hfcviz.terminal import all_or_nothing, shown_progress

if TYPE_CHECKING:
    from hfcviz.studies.catalogue import Study
    from hfcviz.studies.findings import Findings

FORMATS = ("HTML", "PDF", "SVG", "PNG")


def declare(command: argparse.ArgumentParser) -> None:
    """A command below this one for each study, so that each has its own flags and help."""
    from hfcviz.studies.catalogue import STUDIES

    command.add_argument("--list", action="store_true", help="say which studies there are and what they ask")
    names = command.add_subparsers(metavar="NAME", dest="study")
    for name, study in STUDIES.items():
        about = f"{study.title}: {study.question}".replace("%", "%%")
        _declare_one(names.add_parser(name, help=about, description=f"{about} {NOTE}", allow_abbrev=False), name, study)


def _declare_one(command: argparse.ArgumentParser, name: str, study: Study) -> None:
    from hfcviz.studies.opening import DEFAULT
    from hfcviz.studies.pieces import Budget
    from hfcviz.studies.reports import flag_of

    where: dict[str, Any] = {"metavar": "NAME_OR_PATH"}
    command.add_argument(
        "--model", default=DEFAULT, help=f"a bundled model (default {DEFAULT}) or a model's folder", **where
    )
    command.add_argument(
        "--dataset",
        help="brain2d, brain3d, a MedMNIST set such as pneumoniamnist, an .npz, a folder or zip "
        "ROOT/{train,val,test}/CLASS/file, or a CSV of file and label; default: that of the model, else brain2d",
        **where,
    )
    if study.beside:
        command.add_argument("--beside-model", help=study.beside.replace("%", "%%"), **where)
        command.add_argument(
            "--beside-dataset", help="its images; default: those of its bundle, else those of the first model", **where
        )
    command.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder of the findings")
    command.add_argument("--json", metavar="FILE", type=Path, help="also write the findings to this file")
    group = command.add_argument_group("budget, the same for all that is compared")
    for option in options(Budget):
        more = " Of a bundled model that of its cohort." if option.name == "eps" else ""
        add_flag(group, replace(option, help=option.help + more), {})
    own = command.add_argument_group("settings of this study")
    for option in options(type(study.settings)):
        usual = replace(option, default=getattr(study.settings, option.name))
        add_flag(own, replace(usual, name=flag_of(name, option.name)), {})


def perform(arguments: argparse.Namespace) -> None:
    """Carry out a study, and write its findings, table and figure; without a name, say which there are."""
    from hfcviz.studies.catalogue import STUDIES
    from hfcviz.studies.catalogue import perform as carry_out
    from hfcviz.studies.opening import bundle_of, open_lab, usual_dataset, usual_eps
    from hfcviz.studies.pieces import Budget
    from hfcviz.studies.reports import flag_of

    if arguments.study is None or arguments.list:
        for name, one in STUDIES.items():
            print(f"{name}: {one.question}")
        print("python -m hfcviz study NAME --help tells the flags of one.")
        return
    name, study, given = arguments.study, STUDIES[arguments.study], dict(vars(arguments))
    budget = take(Budget(eps=usual_eps(bundle_of(arguments.model))), given)
    own = {option.name: flag_of(name, option.name) for option in options(type(study.settings))}
    settings = take(study.settings, {field: given[flag] for field, flag in own.items() if flag in given})
    if arguments.json is not None and arguments.json.is_dir():
        raise InputError(f"--json must be a file, but {arguments.json} is a folder: name a file in it.")
    if given.get("beside_dataset") and not given.get("beside_model"):
        raise InputError("--beside-dataset must come with --beside-model, but it stands alone: name the second model.")

    from hfcviz.store import Store

    with all_or_nothing(arguments.out) as folder, shown_progress(sys.stderr, lines=40) as progress:
        store = Store()
        dataset = arguments.dataset or usual_dataset(arguments.model, "brain2d")
        lab, beside = open_lab(arguments.model, dataset, budget, store), None
        if given.get("beside_model"):
            other = given["beside_dataset"] or usual_dataset(given["beside_model"], dataset)
            beside = open_lab(given["beside_model"], other, budget, store)
        found = carry_out(name, lab, settings, beside, progress=progress)
        _write(found, study, folder)
    if arguments.json is not None:
        from hfcviz.ledger import write_text

        write_text(arguments.json, found.as_json())
    _say(found, arguments.out)


def _write(found: Findings, study: Study, folder: Path) -> None:
    from hfcviz import chromium
    from hfcviz.paper import Page
    from hfcviz.publish import render
    from hfcviz.studies.reports import as_csv, as_markdown

    texts: dict[str, Any] = {
        "findings.json": found.as_json(),
        f"{found.study}.csv": as_csv(found.rows),
        f"{found.study}.md": as_markdown(found),
    }
    for file, text in texts.items():
        (folder / file).write_text(text, encoding="utf-8")
    figure = study.draw(found.rows)
    for kind in FORMATS if chromium.find() is not None else FORMATS[:1]:
        page = Page(kind) if kind == "HTML" else Page(kind, 180)
        (folder / f"{found.study}.{kind.lower()}").write_bytes(render(figure, page, study.alt))


def _say(found: Findings, out: Path) -> None:
    from hfcviz import chromium
    from hfcviz.studies.reports import lines
    from hfcviz.terminal import table

    rows = lines(found.rows)
    print(table([list(rows[0]), *(list(line.values()) for line in rows)]))
    print(f"Shows: {found.shows}\nDoes not show: {found.shows_not}")
    static = "" if chromium.find() is not None else f" PDF, SVG and PNG need a Chromium: {chromium.HOW}."
    print(f"{out}: findings.json, {found.study}.csv, {found.study}.md and the figure.{static}")
    print(NOTE)
