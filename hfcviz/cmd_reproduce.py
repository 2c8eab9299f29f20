"""`python -m hfcviz reproduce report.json`: repeat a run from its recipe, and compare."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfcviz.cmd_attack import BUNDLED, NOTE, read_scan, scan_flags
from hfcviz.settings import InputError, Progress
from hfcviz.terminal import all_or_nothing, shown_progress, table

if TYPE_CHECKING:
    import numpy as np

    from hfcviz.bundle import Bundle
    from hfcviz.outcome import Outcome
    from hfcviz.scans import Scan

DIFFERENT = 3
"""Exit code where the repeated run differs by more than the tolerance."""


def declare(command: argparse.ArgumentParser) -> None:
    """The flags of the command."""
    from hfcviz.reruns import TOLERANCE

    command.description = (
        f"{command.description} On the machine and with the versions of the first run the pixels should have the same bits. Elsewhere "
        f"classes and verdicts must be the same, probabilities within {TOLERANCE['probability']}, and scores within "
        f"{TOLERANCE['score']:g} of the range of clean scans (5 to 95 %%) plus their distance from the threshold: other processors add "
        f"up in another order, and a step by the sign of a gradient then goes the other way in some pixels. Exit code {DIFFERENT}: it "
        "differs by more. Stored results are not read."
    )
    command.add_argument(
        "recipe", metavar="RECIPE", type=Path, help="report.json of a run, or a figure's recipe from the app"
    )
    recipe_flags(command)
    command.add_argument(
        "--out", metavar="DIR", type=Path, help="folder for report.json and outcome.npz of the repeated run"
    )
    command.add_argument(
        "--json", metavar="-", choices=["-"], help="print the comparison as JSON in place of the table"
    )


def recipe_flags(command: argparse.ArgumentParser) -> None:
    """The flags that bring what a recipe does not hold."""
    command.add_argument("--scan", metavar="PATH", help="the scan's file, where the scan does not come with hfcviz")
    scan_flags(command)
    command.add_argument(
        "--bundle", metavar="NAME", help="a folder of your own, where its network does not come with hfcviz"
    )


def perform(arguments: argparse.Namespace) -> int:
    """Repeat, compare, print; gives the exit code."""
    if arguments.out is None:
        return _repeat(arguments, None)
    with all_or_nothing(arguments.out) as folder:
        return _repeat(arguments, folder)


def _repeat(arguments: argparse.Namespace, folder: Path | None) -> int:
    then = read(arguments.recipe)
    if "plan" not in then["recipe"]:
        raise InputError(
            f"{arguments.recipe} must be the recipe of one scan's run, but is a cohort's: repeat it by evaluate into a new folder."
        )
    from hfcviz.outcome import report, save_outcome
    from hfcviz.reruns import DIFFERS, bundle_of, changes, compare, spreads, verdict

    bundle = bundle_of(then["recipe"], arguments.bundle)
    with shown_progress(sys.stderr) as progress:
        outcome = repeated(then["recipe"], bundle, arguments, progress)
    now = report(outcome, bundle.classifier.class_names)
    lines, other = compare(then, now, spreads(bundle)), changes(then["recipe"], outcome.recipe)
    if folder is not None:
        save_outcome(outcome, folder / "outcome.npz")
        (folder / "report.json").write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")
    found = verdict(lines)
    if arguments.json:
        print(json.dumps({"verdict": found, "changed": other, "lines": [vars(line) for line in lines]}, indent=2))
    else:
        print(
            table(
                [
                    ["", "then", "now", ""],
                    *([line.what, _said(line.then), _said(line.now), line.verdict] for line in lines),
                ]
            )
        )
        print(
            f"\nIn all: {found}. "
            + (f"Not as it was: {'; '.join(other)}." if other else "Weights, cohort and versions are the same.")
        )
        print(NOTE)
    return DIFFERENT if found == DIFFERS else 0


def _said(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def read(path: Path) -> dict[str, Any]:
    """The recipe in a file; InputError where there is none."""
    from hfcviz.publish import read_recipe

    try:
        return read_recipe(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise InputError(
            f"{path} must be a recipe in JSON, but cannot be read ({why}): name report.json or a figure's recipe."
        ) from None


def repeated(
    recipe: dict[str, Any], bundle: Bundle, arguments: argparse.Namespace, progress: Progress, *, stored: bool = False
) -> Outcome:
    """The run of a recipe made again; with `stored`, one that the store holds is taken from there. InputError where the scan is not that
    of the recipe.
    """
    from hfcviz.experiment import run_experiment
    from hfcviz.reruns import plan_of
    from hfcviz.store import Store

    plan, (x, _) = plan_of(recipe), scan_of(recipe, bundle, arguments)
    store = Store() if stored else None
    name = recipe["scan"]["name"]
    return run_experiment(bundle.classifier, bundle.reference, x, plan, scan_name=name, store=store, progress=progress)


def scan_of(recipe: dict[str, Any], bundle: Bundle, arguments: argparse.Namespace) -> tuple[np.ndarray, Scan | None]:
    """The scan as the network takes it, with the digest that the recipe has, and of a file the scan as it is. InputError for another."""
    import numpy as np

    from hfcviz.store import digest

    try:
        name, wanted = recipe["scan"]["name"], recipe["scan"]["sha256"]
        if not isinstance(name, str) or not isinstance(wanted, str):
            raise TypeError("text")
    except (KeyError, TypeError) as error:
        raise InputError(f"The recipe must name its scan, but does not ({error} is missing): make it again.") from None
    given = argparse.Namespace(**vars(arguments) | {"scan": arguments.scan or _bundled(name, bundle)})
    x, _, _, scan = read_scan(given, bundle)
    found = digest(np.ascontiguousarray(x, dtype=np.float32))
    if found != wanted:
        raise InputError(
            f"The scan must be the one of the recipe, {name} with the sha256 {wanted[:12]}, but {given.scan} has {found[:12]}: name "
            "its file with --scan, and the same --window, --axis, --slice or --volume as then."
        )
    return x, scan


def _bundled(name: str, bundle: Bundle) -> str:
    """The scan's place in the bundle; InputError where the bundle does not have it."""
    ids = [] if bundle.source is None else [one for split in bundle.dataset.splits.values() for one in split.ids]
    if name not in ids:
        raise InputError(f"{name} does not come with hfcviz: name the scan's file with --scan.")
    return BUNDLED + name
