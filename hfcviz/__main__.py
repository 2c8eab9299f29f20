"""Command line: `python -m hfcviz attack SCAN --attack PGD --penalty HFC --eps 4 --steps 40 --out DIR`.

Only the standard library is imported at the top, so that --help answers at once; each command imports what it needs.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import NoReturn

from hfcviz import __version__, cmd_attack, cmd_evaluate, cmd_figures, cmd_inspect, cmd_reproduce, cmd_study
from hfcviz.cmd_attack import NOTE
from hfcviz.settings import InputError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Gives 0, 3 where a repeated run differs, 2 for what a person must change, 130 for Ctrl-C, 1 for a fault of ours."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = bool(os.environ.get("HFCVIZ_DEBUG"))
    if not debug:
        # What libraries mutter about a file would come between a person and the one sentence that matters.
        warnings.simplefilter("ignore")
        logging.basicConfig(handlers=[logging.NullHandler()])
    try:
        arguments = _parser(words).parse_args(words)
        return int(arguments.run(arguments) or 0)
    except KeyboardInterrupt:
        return _end(130, COMMANDS[words[0]][3])
    except InputError as error:
        return _end(2, str(error))
    except Exception as error:
        if debug:
            raise
        text = f"{type(error).__name__}: {error}".rstrip(": .")
        return _end(1, f"something went wrong ({text}); set HFCVIZ_DEBUG=1 to see where, and please report it.")


def _end(code: int, sentence: str) -> int:
    print("hfcviz:", *sentence.split(), file=sys.stderr)
    return code


class _Parser(argparse.ArgumentParser):
    """Complains in one sentence, as all other errors do."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message.rstrip('.')}; see {self.prog} --help.")


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m hfcviz",
        description=f"See how adversarial medical images hide in a network's features. {NOTE}",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"hfcviz {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (declare, run, about, _) in COMMANDS.items():
        command = commands.add_parser(name, help=about, description=f"{about} {NOTE}", allow_abbrev=False)
        command.set_defaults(run=run)
        if name in words[:1]:
            declare(command)  # reads the settings of the method, which takes a second: only for the command that is run
    return parser


COMMANDS: dict[
    str, tuple[Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int | None], str, str]
] = {
    "attack": (
        cmd_attack.declare,
        cmd_attack.perform,
        "Attack a scan with and without the constraint, and see what detectors say.",
        "stopped; nothing was written.",
    ),
    "evaluate": (
        cmd_evaluate.declare,
        cmd_evaluate.perform,
        "Attack a test set with and without the constraint, and measure how many attacks detectors miss.",
        "stopped; what is finished is kept, and the same command goes on from there.",
    ),
    "study": (
        cmd_study.declare,
        cmd_study.perform,
        "Put one of the paper's claims to the test.",
        "stopped; what is finished is kept, and the same command goes on from there.",
    ),
    "inspect": (
        cmd_inspect.declare,
        cmd_inspect.perform,
        "Say what the app sees in a file, folder or zip of scans.",
        "stopped; nothing was changed.",
    ),
    "figures": (
        cmd_figures.declare,
        cmd_figures.perform,
        "Make the figures of a run, or of a recipe, for a paper.",
        "stopped; nothing was written.",
    ),
    "reproduce": (
        cmd_reproduce.declare,
        cmd_reproduce.perform,
        "Repeat a run from its recipe, and compare.",
        "stopped; nothing was written.",
    ),
}
"""Name: what declares its flags, what runs it, a sentence about it, and what is said when it is stopped."""


if __name__ == "__main__":
    sys.exit(main())
