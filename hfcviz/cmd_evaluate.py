"""`python -m hfcviz evaluate`: the paper's table on a whole test set."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hfcviz.cmd_attack import NOTE
from hfcviz.flags import add_flag, seed, take
from hfcviz.settings import InputError, options
from hfcviz.terminal import shown_progress


def declare(command: argparse.ArgumentParser) -> None:
    """The flags of the command."""
    from hfcviz.attacks import ATTACKS
    from hfcviz.penalties import HFC, PENALTIES

    command.add_argument(
        "--dataset",
        metavar="NAME_OR_PATH",
        default="brain2d",
        help="brain2d (default), a MedMNIST set such as pneumoniamnist, an .npz, a folder or zip "
        "ROOT/{train,val,test}/CLASS/file, or a CSV of file and label",
    )
    command.add_argument(
        "--model",
        metavar="NAME_OR_PATH",
        default="brain2d-resnet18",
        help="a bundled model (default brain2d-resnet18) or a model's folder",
    )
    command.add_argument("--attacks", metavar="NAME,NAME", default="PGD", help=f"of {', '.join(ATTACKS)}; default PGD")
    command.add_argument(
        "--penalties", metavar="NAME,NAME", default="none,HFC", help=f"of {', '.join(PENALTIES)}; default none,HFC"
    )
    command.add_argument("--eps", metavar="N,N", default="8", help="largest change of a pixel, in 1/255; default 8")
    command.add_argument("--steps", metavar="N", default="40", help="steps of each attack but FGSM; default 40")
    command.add_argument(
        "--limit", metavar="N", help="most attacked images; default: all that are classified correctly"
    )
    command.add_argument("--seed", type=seed, default=0, help="same seed, same result; default 0")
    command.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        required=True,
        help="folder of the results; run again to go on where it stopped",
    )
    command.add_argument("--json", metavar="FILE", type=Path, help="also write the rows to this file")
    group = command.add_argument_group("settings of the constraint")
    for option in options(HFC):
        add_flag(group, option, {"HFC": HFC()})


def perform(arguments: argparse.Namespace) -> None:
    """Evaluate, and write the tables anew after each attack and eps."""
    from hfcviz.penalties import HFC

    declared = {option.name for option in options(HFC)}
    given = {name: value for name, value in vars(arguments).items() if name in declared}
    constraint = take(HFC(), given)
    eps = list(dict.fromkeys(_number(text, "--eps", float) / 255 for text in _names(arguments.eps)))
    limit = None if arguments.limit is None else int(_number(arguments.limit, "--limit", int))
    steps = int(_number(arguments.steps, "--steps", int))
    if arguments.json is not None and arguments.json.is_dir():
        raise InputError(f"--json must be a file, but {arguments.json} is a folder: name a file in it.")
    if not 1 <= steps <= 1000:
        raise InputError(f"--steps must be between 1 and 1000; got {steps}.")

    from hfcviz.datasets import load_dataset
    from hfcviz.evaluation import all_rows, evaluate
    from hfcviz.ledger import write_text
    from hfcviz.models import load_model
    from hfcviz.protocol import Protocol, Task
    from hfcviz.tables import as_json, as_paper, write_tables

    protocol = Protocol(
        tuple(_names(arguments.attacks)),
        tuple(_names(arguments.penalties)),
        tuple(eps),
        limit,
        arguments.seed,
        steps,
        constraint,
    )
    classifier = load_model(arguments.model)
    dataset = load_dataset(arguments.dataset, fit=classifier.input_shape)
    rows = []
    with shown_progress(sys.stderr, lines=40) as progress:
        try:
            for found in evaluate(Task(classifier, dataset, protocol, arguments.out), progress=progress):
                rows += found
                names = write_tables(all_rows(arguments.out), arguments.out)
        except OSError as error:
            raise InputError(
                f"--out must be a folder that can be written, but {arguments.out} cannot ({error.strerror}): choose another."
            ) from error
    if arguments.json:
        write_text(arguments.json, as_json(rows))
    print(as_paper(rows))
    print(f"{len(all_rows(arguments.out))} rows in {arguments.out}: {', '.join(names)}")
    print(NOTE)


def _names(text: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _number(text: str, flag: str, kind: type) -> float:
    try:
        return float(kind(text))
    except ValueError:
        what = "whole numbers" if kind is int else "numbers"
        raise InputError(f"{flag} must be {what}; got {text!r}.") from None
