"""Static images of figures: plotly's own exporter, kaleido, with the Chromium of this machine, which stays open from the first image on."""

from __future__ import annotations

import asyncio
import atexit
import os
import shutil
import subprocess
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfcviz.settings import InputError

if TYPE_CHECKING:
    from kaleido import Kaleido

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
VARIABLES = ("CHROMIUM", "BROWSER_PATH")
ELSEWHERE = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
SECONDS = 90
"""That one image may take; the first includes the start of Chromium."""
HOW = (
    "install Chromium or Chrome, or name one in the variable CHROMIUM, and start again; HTML, CSV and JSON work without, and "
    "the camera in a figure's corner saves it as SVG"
)
"""How to get the static formats where there is no browser; part of a sentence."""


def find() -> str | None:
    """The Chromium of this machine, as scripts/find_chromium.sh looks for it; None where there is none that runs."""
    for variable in VARIABLES:
        if named := os.environ.get(variable):
            return named if _runs(named) else None
    found = [path for path in map(shutil.which, NAMES) if path]
    playwright = sorted(Path.home().glob(".cache/ms-playwright/chromium-*/chrome-linux*/chrome"), reverse=True)
    return next((path for path in [*found, ELSEWHERE, *map(str, playwright)] if _runs(path)), None)


@cache
def _runs(path: str) -> bool:
    """Asking for the version sorts out stubs that only tell people to install a snap."""
    try:
        return subprocess.run([path, "--version"], capture_output=True, timeout=30).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def image(figure: dict[str, Any], kind: str, width: float, height: float, scale: float) -> bytes:
    """A figure, {"data": ..., "layout": ...}, as "png", "svg" or "pdf": laid out on width x height pixels, drawn `scale` times as large.

    May be called from any thread; images are made one after the other. InputError where there is no Chromium, or it does not answer.
    """
    options = {"format": kind, "width": width, "height": height, "scale": scale}
    with _lock:
        try:
            return _browser().result(SECONDS)(figure, options).result(SECONDS)
        except InputError:
            raise
        except Exception as error:  # a browser that was killed, or is stuck: the next image gets a new one
            _close()
            why = "no answer" if isinstance(error, Late) else type(error).__name__
            raise InputError(
                f"The image must be drawn by Chromium, but {find()} failed ({why}): try again, or {HOW}."
            ) from error


def warm() -> None:
    """Start Chromium beforehand, without waiting for it; nothing where there is none."""
    if find() is not None and _lock.acquire(blocking=False):
        try:
            _browser()
        finally:
            _lock.release()


# kaleido has a server of its own for this, whose callers wait forever where its browser has died.
_lock = threading.Lock()
_kept: list[Any] = []
"""Empty, or [loop, future of a function that draws, future that ends the browser]."""


def _browser() -> Future[Any]:
    """What gives the function that draws, once Chromium is open. Under the lock."""
    if not _kept:
        path = find()
        if path is None:
            raise InputError(f"PDF, SVG and PNG must be drawn by a Chromium, but there is none here: {HOW}.")
        loop, ready = asyncio.new_event_loop(), Future[Any]()
        end = loop.create_future()
        threading.Thread(target=loop.run_until_complete, args=(_serve(path, loop, ready, end),), daemon=True).start()
        _kept[:] = [loop, ready, end]
    found: Future[Any] = _kept[1]
    return found


async def _serve(path: str, loop: asyncio.AbstractEventLoop, ready: Future[Any], end: asyncio.Future[None]) -> None:
    import kaleido

    try:
        # No MathJax, which would come from the network; plotly.js is that of the installed package. Chromium's own sandbox
        # stays off, as kaleido has it: it refuses to work for root, and what is drawn is only ours.
        async with kaleido.Kaleido(path=path, mathjax=False, timeout=SECONDS) as browser:
            ready.set_result(lambda *what: asyncio.run_coroutine_threadsafe(_drawn(browser, *what), loop))
            await end
    except Exception as error:
        if not ready.done():
            ready.set_exception(error)


async def _drawn(browser: Kaleido, figure: dict[str, Any], options: dict[str, Any]) -> bytes:
    found: bytes = await browser.calc_fig(figure, opts=options)
    return found


def _close() -> None:
    if _kept:
        loop, _, end = _kept
        _kept.clear()
        if loop.is_running():
            loop.call_soon_threadsafe(lambda: end.done() or end.set_result(None))


def close(seconds: float = 5) -> None:
    """End Chromium, if it was started; the next image starts it again."""
    with _lock:
        loop = _kept[0] if _kept else None
        _close()
    if loop is not None:
        pause = threading.Event()
        for _ in range(int(seconds * 50)):
            if not loop.is_running():
                break
            pause.wait(0.02)


atexit.register(close)
