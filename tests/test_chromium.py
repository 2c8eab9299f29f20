from __future__ import annotations

import os
import threading
import time
from xml.etree import ElementTree

import pytest

from hfcviz import chromium
from hfcviz.settings import InputError

FIGURE = {"data": [{"type": "scatter", "x": [0, 1], "y": [0, 1]}], "layout": {"title": {"text": "a line"}}}


@pytest.fixture(scope="module")
def browser():
    """The Chromium of this machine. Without one such tests skip, but never under CI=true."""
    if chromium.find() is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            "No Chromium was found; `make test` installs one."
        )
    yield chromium
    chromium.close()


def test_without_a_chromium_there_is_one_sentence_that_says_how_to_get_it(monkeypatch, tmp_path):
    chromium.close()  # one that an earlier test has left warm would serve
    monkeypatch.setenv("CHROMIUM", str(tmp_path / "none"))
    assert chromium.find() is None
    with pytest.raises(
        InputError, match=r"^PDF, SVG and PNG must .* install Chromium .* HTML, CSV and JSON work without"
    ):
        chromium.image(FIGURE, "svg", 300, 200, 1)
    chromium.warm()  # and nothing happens


def test_a_program_that_does_not_run_is_none(monkeypatch, tmp_path):
    stub = tmp_path / "chromium"
    stub.write_text("#!/bin/sh\nexit 1\n")
    stub.chmod(0o755)
    monkeypatch.setenv("CHROMIUM", str(stub))
    assert chromium.find() is None


def test_a_chromium_that_is_named_comes_before_those_on_the_path(monkeypatch, tmp_path):
    for name in ("named", "chromium"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 0\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.delenv("BROWSER_PATH", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert chromium.find() == str(tmp_path / "chromium")
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "named"))
    assert chromium.find() == str(tmp_path / "named")


def test_one_browser_draws_for_all_threads_and_a_dead_one_is_replaced(browser):
    found: list[bytes] = []

    def draw() -> None:
        found.append(browser.image(FIGURE, "svg", 300, 200, 1))

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(found) == 4 and all(ElementTree.fromstring(svg).get("width") == "300" for svg in found)
    loop = chromium._kept[0]
    browser.close()
    end = time.monotonic() + 10
    while loop.is_running():
        assert time.monotonic() < end, "the browser did not end"
        time.sleep(0.05)
    draw()
    assert len(found) == 5


def test_a_browser_that_fails_to_start_is_a_sentence_and_the_next_image_tries_again(monkeypatch, tmp_path, browser):
    browser.close()
    good = chromium.find()
    stub = tmp_path / "chromium"
    stub.write_text('#!/bin/sh\n[ "$1" = --version ]\n')  # runs, but is no browser
    stub.chmod(0o755)
    monkeypatch.setenv("CHROMIUM", str(stub))
    monkeypatch.setattr(chromium, "SECONDS", 15)
    with pytest.raises(InputError, match="failed"):
        chromium.image(FIGURE, "svg", 300, 200, 1)
    monkeypatch.setenv("CHROMIUM", str(good))
    assert chromium.image(FIGURE, "svg", 300, 200, 1).startswith(b"<svg")
