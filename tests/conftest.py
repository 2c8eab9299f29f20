from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

if "PYTEST_XDIST_WORKER" in os.environ:
    # Two processes run tests side by side; threads of PyTorch in each would only wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent
LONG = (
    "test_browser_links",
    "test_browser",
    "test_app",
    "test_browser_viewer",
    "test_evaluation",
    "test_browser_tour",
    "test_cli",
    "test_film",
)
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-quic",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
]

# What is warmed up in the background would take the time of the tests.
os.environ.setdefault("HFCVIZ_WARM", "0")

# Machines that run tests are shared, and a slow one proves nothing about the code.
settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")


@pytest.fixture(scope="module")
def chromium() -> Iterator:
    """A headless Chromium, driven by Playwright. Without one, browser tests skip, but never under CI=true.

    One a module, since an open Playwright session keeps an event loop running in the thread of the tests.
    """
    script = [str(ROOT / "scripts" / "find_chromium.sh")]
    search = subprocess.run(script, capture_output=True, text=True, env=os.environ | {"PYTHON": sys.executable})
    if search.returncode:
        reason = f"No Chromium was found; `make test` installs one. {search.stderr.strip()}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=search.stdout.strip(), args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def app_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the app, served by a process of its own with an empty store."""
    folder = tmp_path_factory.mktemp("app")
    log = folder / "log.txt"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless=true", f"--server.port={port}"]
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | {"HFCVIZ_STORE": str(folder / "store")},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/_stcore/health", server, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        _end_group(server)


def _wait_for(address: str, server: subprocess.Popen, log: Path, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if server.poll() is not None:
            pytest.fail(f"The app ended with exit code {server.returncode}:\n{log.read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                if answer.read() == b"ok":
                    return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.2)
    pytest.fail(f"The app did not answer within {seconds:.0f} s:\n{log.read_text()[-2000:]}")


def _end_group(server: subprocess.Popen) -> None:
    # The server is the leader of a session of its own, so its id names the group even after it has ended.
    for kind in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, kind)
            server.wait(timeout=10)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that at the end no process works alone; the order within a file stays."""
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))
