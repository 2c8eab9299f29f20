from __future__ import annotations

import os
import queue
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

if "PYTEST_XDIST_WORKER" in os.environ:
    # Two processes run tests side by side; threads of PyTorch in each would only wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

FIRST = (
    "browser",
    "test_app",
    "test_cli",
    "test_evaluation",
    "test_studies_page",
    "test_live",
    "test_upload",
    "test_cmd_figures",
)
"""Folders and files that take long."""
# What is warmed up in the background would take the time of the tests.
os.environ.setdefault("HFCVIZ_WARM", "0")

# Machines that run tests are shared, and a slow one proves nothing about the code.
settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")


@pytest.fixture(autouse=True)
def nothing_left_over(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pages do not wait for a browser that is not there, and jobs that a test has left behind take no time of the next one."""
    from hfcviz import jobs  # not above: what it loads reads the number of threads
    from hfcviz.ui import run

    monkeypatch.setattr(run, "LEAD", 0)
    yield
    with suppress(queue.Empty):
        while True:
            jobs._queue.get_nowait()[0].cancel()
    if (job := jobs._current) is not None:
        job.cancel()


def _unit(nodeid: str) -> str:
    """What runs in one process: a file, or all tests in a browser, which share it and the app."""
    parts = nodeid.partition("::")[0].removesuffix(".py").split("/")
    return "browser" if "browser" in parts else parts[-1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long first, so that at the end no process works alone; the order within stays."""
    places = {name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(_unit(item.nodeid), len(FIRST)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadFileScheduling

    class Units(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _unit(nodeid)

    config.option.loadscopereorder = False  # our order, not the units with most tests first
    return Units(config, log)
