"""`python -m hfcviz attack SCAN`: attack one scan with and without the constraint."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hfcviz.flags import add_flag, seed, take
from hfcviz.settings import InputError, Settings, options
from hfcviz.terminal import all_or_nothing, shown_progress, table

if TYPE_CHECKING:
    import numpy as np

    from hfcviz.bundle import Bundle
    from hfcviz.outcome import Outcome, Plan
    from hfcviz.scans import Scan

NOTE = "For research and teaching, not for clinical use."
BUNDLED = "bundled:"
"""Before the id of an image of the bundled set, in the place of a file's name."""


def declare(command: argparse.ArgumentParser) -> None:
    from hfcviz.attacks import ATTACKS
    from hfcviz.penalties import PENALTIES

    command.add_argument(
        "scan",
        metavar="SCAN",
        help="file, folder or zip of one scan (PNG, JPEG, TIFF, DICOM, NIfTI, NRRD, MetaImage, NumPy), or "
        f"{BUNDLED}ID for one of the bundle's data set, such as {BUNDLED}test-0007",
    )
    command.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="folder for the files; other files in it stay"
    )
    command.add_argument("--attack", choices=list(ATTACKS), default="PGD", help="default PGD")
    command.add_argument("--penalty", choices=list(PENALTIES), default="HFC", help="default HFC")
    command.add_argument(
        "--target", metavar="NAME", help="class the network shall see; default: the most likely other one"
    )
    command.add_argument("--seed", type=seed, default=0, help="same seed, same result; default 0")
    scan_flags(command)
    command.add_argument(
        "--bundle",
        metavar="NAME",
        default="brain2d",
        help="network, data set and cohort: brain2d (default), brain3d, chest, or a folder of your own",
    )
    command.add_argument(
        "--json", metavar="-", choices=["-"], help="print the report to standard output in place of the table"
    )
    groups: dict[str, dict[str, Settings]] = {"attack": dict(ATTACKS)}
    groups["penalty"] = {name: penalty for name, penalty in PENALTIES.items() if penalty is not None}
    known: set[str] = set()
    for kind, members in groups.items():
        about = (
            "eps and steps: by default those at which the bundle's cohort was attacked (of brain2d: the defaults below)"
        )
        group = command.add_argument_group(f"settings of the {kind}", about if kind == "attack" else None)
        for settings in members.values():
            for option in options(type(settings)):
                if option.name not in known:
                    known.add(option.name)
                    add_flag(group, option, members)


def scan_flags(command: argparse.ArgumentParser) -> None:
    """The flags that say which part of a file is the scan."""
    command.add_argument(
        "--axis", type=int, choices=(0, 1, 2), help="of a volume: 0 sagittal, 1 coronal, 2 axial (default)"
    )
    command.add_argument(
        "--slice", metavar="INDEX", type=int, help="of a volume, along the axis; default: the middle of the body"
    )
    command.add_argument("--volume", metavar="N", type=int, help="which volume of a file of several, counted from 0")
    command.add_argument(
        "--window", metavar=("LOW", "HIGH"), nargs=2, type=float, help="values of the file shown black and white"
    )


def perform(arguments: argparse.Namespace) -> None:
    """Attack one scan and write image, figures and report."""
    from hfcviz.bundle import open_bundle

    bundle = open_bundle(arguments.bundle)
    plan = _plan(arguments, bundle)
    with all_or_nothing(arguments.out) as folder:
        from hfcviz import exports, panels, scans, slices
        from hfcviz.experiment import run_experiment
        from hfcviz.grids import beyond_line, eps_report, shown
        from hfcviz.outcome import report, save_outcome
        from hfcviz.store import Store

        x, name, notices, scan = read_scan(arguments, bundle)
        window = tuple(arguments.window) if arguments.window else None
        if x.ndim == 3:  # now, as it refuses what cannot be written before the work begins
            scans.write_png(folder / "clean.png", x)
        with shown_progress(sys.stderr) as progress:
            outcome = run_experiment(
                bundle.classifier, bundle.reference, x, plan, scan_name=name, store=Store(), progress=progress
            )
            save_outcome(outcome, folder / "outcome.npz")
            if x.ndim == 3:
                scans.write_png(folder / "adversarial.png", outcome.x[-1])
            seen = shown(outcome, scan, window, affine=None if scan else bundle.affine)
            for file, make in exports.files(seen, outcome.roles[-1]).items():
                (folder / file).write_bytes(make())
            class_names = bundle.classifier.class_names
            for title, figure in panels.all_figures(outcome, bundle.reference, class_names, seen).items():
                # One copy of plotly in the folder serves all figures: they work without a network, and are small.
                figure.write_html(folder / f"{title}.html", include_plotlyjs="directory", div_id=title)
        content = report(outcome, class_names) | eps_report(outcome, seen)
        text = json.dumps(content, indent=2) + "\n"
        (folder / "report.json").write_text(text, encoding="utf-8")
        written = sorted(file.name for file in folder.iterdir())
    if arguments.json:
        print(text, end="")
        return
    print(_summary(outcome, plan, class_names, name, slices.eps_line(plan.attack.eps, seen)))
    for notice in (*notices, beyond_line(seen), panels.caution(outcome, bundle.reference)):
        if notice:
            print(f"Note: {notice}")
    print(f"{len(written)} files in {arguments.out}: {', '.join(written)}")
    print(NOTE)


def _plan(arguments: argparse.Namespace, bundle: Bundle) -> Plan:
    """The plan that the flags spell; InputError for a flag out of its limits or without effect."""
    from hfcviz.attacks import ATTACKS
    from hfcviz.outcome import Plan
    from hfcviz.penalties import PENALTIES
    from hfcviz.reference import like_cohort

    attack, penalty = like_cohort(ATTACKS[arguments.attack], bundle.reference), PENALTIES[arguments.penalty]
    declared = {
        one.name for settings in (*ATTACKS.values(), *PENALTIES.values()) if settings for one in options(type(settings))
    }
    given = {name: value for name, value in vars(arguments).items() if name in declared}
    attack = take(attack, given)
    penalty = penalty and take(penalty, given)
    if given:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise InputError(
            f"{flags} would have no effect on {arguments.attack} with penalty {arguments.penalty}: drop it or choose another."
        )
    return Plan(arguments.attack, attack, arguments.penalty, penalty, arguments.target, arguments.seed)


def read_scan(arguments: argparse.Namespace, bundle: Bundle) -> tuple[np.ndarray, str, tuple[str, ...], Scan | None]:
    """The scan as the network takes it, (C, *spatial), its name, what its reader should know, and of a file the scan as it is."""
    from hfcviz import readers, resampling, scans

    slicing = arguments.slice is not None or arguments.axis is not None
    if arguments.scan.startswith(BUNDLED):
        if slicing or arguments.window or arguments.volume is not None:
            raise InputError(
                f"--slice, --axis, --volume and --window must come with a file; got {arguments.scan}: leave them out."
            )
        sample = arguments.scan.removeprefix(BUNDLED)
        x, label = bundle.dataset.sample(sample)
        return x, sample, (f"the true class of {sample} is {label}.",), None
    scan = readers.read(Path(arguments.scan), volume=arguments.volume)
    shape = bundle.classifier.input_shape
    if slicing and len(shape) == 4:
        raise InputError(
            f"--slice and --axis must come with a network for images, but {bundle.name} takes volumes whole: leave them out."
        )
    if slicing or (scan.image.ndim == 4 and len(shape) == 3):
        scan = scans.take_slice(scan, 2 if arguments.axis is None else arguments.axis, arguments.slice)
    window = tuple(arguments.window) if arguments.window else None
    return resampling.prepare(scan, shape, window), scan.name, scan.notices, scan


def _summary(outcome: Outcome, plan: Plan, class_names: Sequence[str], name: str, eps: str) -> str:
    """The result as two tables of text."""
    chances, roles = outcome.activations.probabilities, outcome.roles
    about = [["", "prediction", "confidence", "target reached", "L-inf"]]
    for row, role in enumerate(roles):
        best = int(chances[row].argmax())
        reached = ("yes" if best == outcome.target else "no") if role in outcome.traces else "-"
        about.append(
            [
                plan.label(role),
                class_names[best],
                f"{chances[row, best]:.1%}",
                reached,
                f"{outcome.linf[row] * 255:.2f}/255",
            ]
        )
    verdicts = [["detector", "threshold", *(word for role in roles for word in (plan.label(role), "caught"))]]
    for detector, scores in outcome.scores.items():
        caught = outcome.caught(detector)
        pairs = (word for row in range(len(roles)) for word in (f"{scores[row]:.4g}", "yes" if caught[row] else "no"))
        verdicts.append([detector, f"{outcome.thresholds[detector]:.4g}", *pairs])
    return f"{name}, target {class_names[outcome.target]}, {eps}\n\n{table(about)}\n\n{table(verdicts)}\n"
