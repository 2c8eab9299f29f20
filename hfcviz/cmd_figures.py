"""`python -m hfcviz figures RECIPE_OR_RUN --out DIR`: the figures of a run for a paper."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfcviz.cmd_attack import NOTE
from hfcviz.cmd_reproduce import read, recipe_flags, repeated, scan_of
from hfcviz.settings import InputError, Progress
from hfcviz.terminal import all_or_nothing, shown_progress

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from hfcviz.bundle import Bundle
    from hfcviz.cohort import Judged
    from hfcviz.grids import Shown
    from hfcviz.outcome import Outcome
    from hfcviz.paper import Page

Made = tuple[str, dict[str, Any], Callable[[Progress], "go.Figure"], dict[str, Any]]
"""A figure to come: the name of its files, its name and view, what makes it, and the content of its recipe."""


def declare(command: argparse.ArgumentParser) -> None:
    """The flags of the command."""
    command.add_argument(
        "source",
        metavar="RECIPE_OR_RUN",
        type=Path,
        help="a folder written by attack or evaluate, a report.json, or a figure's recipe",
    )
    command.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="folder for the files; other files in it stay"
    )
    command.add_argument(
        "--format", metavar="NAME,NAME", default="pdf,svg,png", help="of pdf, svg, png, html; default pdf,svg,png"
    )
    command.add_argument(
        "--width", metavar="85mm", default="85mm", help="85mm (default), 180mm, any other in mm, or pixels as 1200px"
    )
    command.add_argument("--dpi", metavar="N", default="300", help="of PNG; default 300")
    command.add_argument("--font", metavar="PT", default="8", help="size of the text in points; default 8")
    command.add_argument(
        "--figures", metavar="NAME,NAME", help="only these; a name that is unknown tells the known ones"
    )
    command.add_argument(
        "--layers", metavar="NAME,NAME", help="layers of the scatters; default: the last, of the montage too"
    )
    command.add_argument("--methods", metavar="NAME,NAME", help="projections of the montage; default PCA,t-SNE,UMAP")
    command.add_argument(
        "--dataset",
        metavar="NAME_OR_PATH",
        help="the data set of a cohort that was evaluated, where its images do not come with hfcviz; as of evaluate",
    )
    recipe_flags(command)


def perform(arguments: argparse.Namespace) -> None:
    """Write each figure in each format, its data as CSV and its recipe as JSON."""
    pages = _pages(arguments)
    with all_or_nothing(arguments.out) as folder, shown_progress(sys.stderr, lines=20) as progress:
        from hfcviz.figure_data import as_csv
        from hfcviz.publish import recipe_json, render

        wanted = list(_wanted(arguments, lambda fraction, what: progress(0.4 * fraction, what)))
        for number, (file, entry, make, content) in enumerate(wanted):
            start = 0.4 + 0.6 * number / len(wanted)
            figure = make(lambda fraction, what, start=start: progress(start, what))  # type: ignore[misc]
            progress(start, file)
            for page in pages:
                (folder / f"{file}.{page.format.lower()}").write_bytes(render(figure, page, entry["name"]))
            (folder / f"{file}.csv").write_text(as_csv(figure), encoding="utf-8")
            (folder / f"{file}.json").write_text(recipe_json(entry["name"], entry["view"], content), encoding="utf-8")
            if figure.layout.meta:
                (folder / f"{file}.txt").write_text(figure.layout.meta["caption"] + "\n", encoding="utf-8")
        progress(1, "done")
        written = sorted(path.name for path in folder.iterdir())
    print(f"{len(written)} files in {arguments.out}: {', '.join(written)}")
    print(NOTE)


def _pages(arguments: argparse.Namespace) -> list[Page]:
    """One page for each format; InputError for a flag out of its limits, and where Chromium is needed and missing."""
    from hfcviz import chromium
    from hfcviz.paper import FORMATS, Page

    text = arguments.width.strip()
    unit = "px" if text.endswith("px") else "mm"
    names = [name.upper() for name in _names(arguments.format)]
    if not names or [name for name in names if name not in FORMATS]:
        raise InputError(f"--format must be of {', '.join(FORMATS).lower()}; got {arguments.format!r}.")
    pages = [Page(name, text.removesuffix(unit), unit, arguments.dpi, arguments.font) for name in names]
    if set(names) != {"HTML"} and chromium.find() is None:
        raise InputError(
            f"PDF, SVG and PNG need a Chromium, and there is none here: {chromium.HOW}; or ask for --format html."
        )
    return pages


def _wanted(arguments: argparse.Namespace, progress: Progress) -> Iterator[Made]:
    run: Path = arguments.source
    if run.is_dir() and not (run / "outcome.npz").is_file():
        if (run / "report.json").is_file():
            run = run / "report.json"
        else:
            yield from _of_cohorts(arguments, run)
            return
    from hfcviz.reruns import bundle_of

    if run.is_dir():
        from hfcviz.outcome import load_outcome

        outcome = load_outcome(run / "outcome.npz")
        yield from _of_run(arguments, outcome, bundle_of(outcome.recipe, arguments.bundle), None)
        return
    content = read(run)
    bundle = bundle_of(content["recipe"], arguments.bundle)
    if "plan" in content["recipe"]:
        yield from _of_run(
            arguments, _outcome_of(content["recipe"], bundle, arguments, run, progress), bundle, content.get("figure")
        )
        return
    judged = _cohort_of(content["recipe"], bundle, arguments, progress)
    yield from _of_cohort(arguments, judged, content.get("figure"), "")


def _outcome_of(
    recipe: dict[str, Any], bundle: Bundle, arguments: argparse.Namespace, path: Path, progress: Progress
) -> Outcome:
    """The run of a recipe: what lies beside it, what comes with hfcviz, what is stored, or made again."""
    from hfcviz.outcome import load_outcome
    from hfcviz.store import digest

    for place in (path.parent / "outcome.npz", bundle.folder / "first.npz"):
        if place.is_file() and digest((known := load_outcome(place)).recipe) == digest(recipe):
            return known
    return repeated(recipe, bundle, arguments, progress, stored=True)


def _cohort_of(recipe: dict[str, Any], bundle: Bundle, arguments: argparse.Namespace, progress: Progress) -> Judged:
    """The cohort of a recipe: what comes with hfcviz, or evaluated again, which goes on where the app or an earlier call stopped."""
    from hfcviz.live import again, published
    from hfcviz.store import Store

    found = published(recipe, bundle)
    return found or again(recipe, bundle, arguments.dataset, Store().folder / "cohorts", progress=progress)


def _of_run(
    arguments: argparse.Namespace, outcome: Outcome, bundle: Bundle, figure: dict[str, Any] | None
) -> Iterator[Made]:
    from hfcviz.figure_sets import RUN_FIGURES, of_outcome
    from hfcviz.film import recorded
    from hfcviz.outcome import report

    content, own = report(outcome, bundle.about["class_names"]), _own(outcome, bundle, arguments)
    names = list(RUN_FIGURES) + (["planes"] if own or outcome.x.ndim == 5 else [])
    if not recorded(outcome):  # made before films were kept
        names.remove("film")
    for name, view in _entries(arguments, figure, names):
        if own and name == "planes":
            view = {"grid": "own"} | view

        def make(progress: Progress, name: str = name, view: dict[str, Any] = view) -> go.Figure:
            return of_outcome(outcome, bundle, name, view, own=own, progress=progress)

        yield _file(name, view), {"name": name, "view": view}, make, content


def _own(outcome: Outcome, bundle: Bundle, arguments: argparse.Namespace) -> Shown | None:
    """The run on the grid of its scan's file, where --scan names it; InputError where that is not the scan of the run."""
    if arguments.scan is None:
        return None
    from hfcviz.grids import shown

    scan = scan_of(outcome.recipe, bundle, arguments)[1]
    return None if scan is None else shown(outcome, scan, tuple(arguments.window) if arguments.window else None)


def _of_cohorts(arguments: argparse.Namespace, folder: Path) -> Iterator[Made]:
    from hfcviz.runs import Runs

    runs = [Runs(folder / part) for part in ("judged", "judged-plain") if (folder / part).is_dir()]
    if not any(one.names for one in runs):
        raise InputError(
            f"{folder} must be a folder written by attack or evaluate, but holds neither outcome.npz nor judged cohorts."
        )
    for one in runs:
        for attack, eps in one.names:
            judged = one.load(attack, eps)
            yield from _of_cohort(arguments, judged, None, f"{attack}-{eps:g}-")


def _of_cohort(
    arguments: argparse.Namespace, judged: Judged, figure: dict[str, Any] | None, prefix: str
) -> Iterator[Made]:
    from hfcviz.figure_sets import COHORT_FIGURES, of_cohort

    for name, view in _entries(arguments, figure, list(COHORT_FIGURES)):

        def make(progress: Progress, name: str = name, view: dict[str, Any] = view) -> go.Figure:
            return of_cohort(judged, name, view, progress=progress)

        yield prefix + _file(name, view), {"name": name, "view": view}, make, {"recipe": judged.recipe}


def _entries(
    arguments: argparse.Namespace, figure: dict[str, Any] | None, names: list[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, view) of each figure: that of the recipe, else all or those that flags name."""
    if figure is not None and arguments.figures is None:
        known = isinstance(figure, dict) and isinstance(figure.get("view"), dict)
        if not known or not isinstance(figure.get("name", ""), str):
            raise InputError("A figure's recipe must name it and its view, but does not: export it again.")
        names, base = [figure.get("name", "")], figure["view"]
    else:
        base = {}
        wrong = [name for name in _names(arguments.figures or "") if name not in names]
        if wrong:
            raise InputError(f"--figures must be of {', '.join(names)}; got {', '.join(wrong)}.")
        names = _names(arguments.figures or "") or names
    layers, methods = _names(arguments.layers or ""), _names(arguments.methods or "")
    for name in names:
        view = dict(base)
        if name == "montage":
            view |= ({"layers": layers} if layers else {}) | ({"methods": methods} if methods else {})
        if name in ("scatter", "distance", "cohort") and layers:
            yield from ((name, view | {"layer": layer}) for layer in layers)
        else:
            yield name, view


def _file(name: str, view: dict[str, Any]) -> str:
    """How a figure's files are called; of several layers each has its own."""
    return f"{name}-{view['layer']}" if "layer" in view else name


def _names(text: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
