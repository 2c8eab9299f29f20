"""What a command does with its terminal and its output folder: progress, tables, and no half-written results."""

from __future__ import annotations

import os
import shutil
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TextIO

from hfcviz.settings import InputError


def table(rows: list[list[str]]) -> str:
    """Rows of words as aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


@contextmanager
def all_or_nothing(out: Path) -> Iterator[Path]:
    """A folder for new files, which move into `out` when the block ends well and vanish when it does not.

    It is made before any work, so that a place that cannot be written is refused at once, and on the disk of `out`, so that
    moving is one step. InputError when `out` is a file or cannot be written.
    """
    try:
        place = next(path for path in (out.absolute(), *out.absolute().parents) if os.path.lexists(path))
        folder = place / f".hfcviz-{uuid.uuid4().hex}"
        folder.mkdir()
    except OSError as error:
        raise InputError(
            f"--out must be a folder that can be written, but {out} cannot ({error.strerror}): choose another."
        ) from error
    try:
        yield folder
        files = sorted(folder.iterdir())
        blocked = [file.name for file in files if (out / file.name).is_dir()]
        if blocked:
            raise InputError(
                f"--out must have room for the file {blocked[0]}, but {out} has a folder of that name: choose another."
            )
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C comes too late to leave half of the files
        try:
            out.mkdir(parents=True, exist_ok=True)
            for file in files:
                os.replace(file, out / file.name)
        finally:
            signal.signal(signal.SIGINT, handler)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def shown_progress(stream: TextIO, lines: int = 4) -> Iterator[Callable[[float, str], None]]:
    """How far the work is and how long it will take: one line that changes on a terminal, elsewhere so many lines in all.
    Ctrl-C and kill end it.
    """
    terminal, said, stopped = stream.isatty(), 0, False
    first: tuple[float, float] | None = None

    def stop(number: int, frame: object) -> None:
        nonlocal stopped
        stopped = True
        raise KeyboardInterrupt

    def show(fraction: float, what: str) -> None:
        nonlocal said, first
        if stopped:  # scikit-learn takes an interrupt for the wish to end the training of a network early, and goes on
            raise KeyboardInterrupt
        now = monotonic()
        first = first or (fraction, now)  # work that was done by an earlier run took no time
        gained, passed = fraction - first[0], now - first[1]
        left = f", about {_duration(passed * (1 - fraction) / gained)} left" if gained > 0 and passed > 10 else ""
        if terminal:
            line = f"{fraction:4.0%} {what}{left}"[: shutil.get_terminal_size().columns - 1]
            print(f"\r\x1b[K{line}", end="", file=stream, flush=True)
        elif int(fraction * lines) > said:
            said = int(fraction * lines)
            print(f"hfcviz: {fraction:.0%} {what}{left}", file=stream, flush=True)

    handlers = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield show
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if terminal:
            print("\r\x1b[K", end="", file=stream, flush=True)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
