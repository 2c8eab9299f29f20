"""What the first run, gallery and UMAP need, brought in while people look at the first page."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import streamlit as st

from hfcviz import jobs
from hfcviz.bundle import Bundle
from hfcviz.projections import PROJECTIONS, project
from hfcviz.settings import InputError

PAUSE = 3.0
"""Seconds after the first page is drawn here, in which the browser fetches what it needs to show it."""


@st.cache_resource(show_spinner=False)
def start(_bundle: Bundle) -> threading.Thread | None:
    """Once a process, a thread of its own; None where HFCVIZ_WARM=0 says so. Not a job: a run would have to wait for it.

    Not a daemon either: a process that ends within a compiler or PyTorch aborts.
    """
    if os.environ.get("HFCVIZ_WARM", "1") == "0":
        return None
    found = threading.Thread(target=_warm, args=(_bundle,), name="hfcviz warm-up")
    found.start()
    return found


def _warm(bundle: Bundle) -> None:
    for step in (lambda: _images(bundle), lambda: bundle.classifier.merged, *map(_projection, ("t-SNE", "UMAP"))):
        if not _quiet():
            return
        step()


def _images(bundle: Bundle) -> None:
    with suppress(InputError):  # damaged, or not here: the page that needs them says so
        _ = bundle.held_out


def _quiet() -> bool:
    """Wait until nothing runs; False where the app is ending."""
    main = threading.main_thread()
    main.join(PAUSE)
    while main.is_alive() and not jobs.idle():
        main.join(1.0)
    return main.is_alive()


def _projection(method: str) -> Callable[[], object]:
    """The libraries and the compiled code of a projection, by a picture of next to nothing."""
    z = np.random.default_rng(0).normal(size=(120, 60))
    return lambda: project(PROJECTIONS[method], z, np.ones(len(z), dtype=bool))
