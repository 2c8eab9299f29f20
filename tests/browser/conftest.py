from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from browser.driving import VIEWPORT, opened

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parent.parent.parent
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-quic",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="package")
def chromium() -> Iterator:
    """A headless Chromium, driven by Playwright. Without one, browser tests skip, but never under CI=true.

    Only for the tests of this folder, since an open Playwright session keeps an event loop running in the thread of the tests.
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


@pytest.fixture(scope="package")
def tabs(chromium) -> Iterator[list[Page]]:
    """Those of two people, who share nothing. A tab that has drawn the app before opens it again in half the time: it knows the scripts."""
    contexts = [chromium.new_context(viewport=VIEWPORT) for _ in range(2)]
    yield [context.new_page() for context in contexts]
    for context in contexts:
        context.close()


@pytest.fixture
def people(tabs) -> Iterator[list[Page]]:
    """Two people, not yet on the app; the test fails if a page shows an exception or a console reports an error."""
    complaints: list[str] = []

    def heard(message) -> None:
        # Below the address of a page Streamlit looks for its server in vain first.
        if message.type == "error" and not re.search(r":\d+/[a-z]+/_stcore/", message.location.get("url", "")):
            complaints.append(f"{message.text} {message.location}")

    def thrown(error) -> None:
        complaints.append(str(error))

    for tab in tabs:
        tab.on("console", heard)
        tab.on("pageerror", thrown)
    yield tabs
    for place, tab in enumerate(tabs):
        try:
            complaints += tab.locator("[data-testid=stException]").all_text_contents()
            tab.remove_listener("console", heard)
            tab.remove_listener("pageerror", thrown)
            tab.goto("about:blank")
            tab.set_viewport_size(VIEWPORT)
            tab.emulate_media(color_scheme="light")
        except Exception as error:  # a tab that has crashed: the next test gets another
            complaints.append(str(error))
            tabs[place] = tab.context.new_page()
    assert not complaints


@pytest.fixture
def page(people, app_server) -> Page:
    """One of them, on the Explore page."""
    return opened(people[0], app_server)


@pytest.fixture(scope="package")
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
