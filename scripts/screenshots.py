"""Pictures of every page of the app, made in a headless Chromium; the README shows the first.

    python -m scripts.screenshots FOLDER [--url http://127.0.0.1:8501]

Without --url the app is started for it. Light and dark, wide and narrow.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from hfcviz.bundle import BUNDLES

SIZES = {"wide": 1440, "narrow": 820}
PAGES = {
    "explore": "",
    "layers": "?show=all",
    "tour": "tour?step=6",
    "glossary": "glossary",
    "cohort": "cohort",
    "studies": "studies?study=defender",
    "data": "data",
}
TASKS = {name: bundle.title for name, bundle in list(BUNDLES.items())[1:]}
TITLES = {"explore": "Explore", "cohort": "Cohort", "studies": "Studies", "data": "Data & model"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--url")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    server = None
    url = args.url or "http://127.0.0.1:8599"
    if args.url is None:
        flags = ["--server.port", "8599", "--server.headless", "true"]
        server = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "app.py", *flags], stdout=subprocess.DEVNULL
        )
        wait_for(url)
    try:
        with sync_playwright() as play:
            found = subprocess.run(["sh", "scripts/find_chromium.sh"], capture_output=True, text=True, check=True)
            browser = play.chromium.launch(
                executable_path=found.stdout.strip(), args=["--no-sandbox", "--disable-quic"]
            )
            for scheme in ("light", "dark"):
                for size, width in SIZES.items():
                    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 2300})
                    page.goto(url)
                    settle(page)
                    page.get_by_text("The attack as a film").click()
                    settle(page)
                    page.locator("[class*=st-key-chart-film]").screenshot(
                        path=args.folder / f"film-{scheme}-{size}.png"
                    )
                    for name, path in PAGES.items():
                        page.goto(f"{url}/{path}")
                        settle(page)
                        page.screenshot(path=args.folder / f"{name}-{scheme}-{size}.png")
                    # The other tasks; links keep the session, an address would begin a new one.
                    for task, label in TASKS.items():
                        page.get_by_text(label, exact=True).click()
                        for name, title in TITLES.items():
                            page.set_viewport_size({"width": SIZES["wide"], "height": 2300})  # narrow pages have a menu
                            page.get_by_role("link", name=title).first.click()
                            page.set_viewport_size({"width": width, "height": 2300})
                            settle(page)
                            page.screenshot(path=args.folder / f"{task}-{name}-{scheme}-{size}.png")
                    page.close()
    finally:
        if server is not None:
            server.terminate()


def wait_for(url: str, seconds: float = 60) -> None:
    """Wait until the server answers."""
    end = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(f"{url}/_stcore/health", timeout=2)
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.3)


def settle(page: Page) -> None:
    """Wait until the page has stopped running and its figures are drawn."""
    page.wait_for_selector("h1", timeout=60_000)
    page.wait_for_function(
        "!document.querySelector('[data-test-script-state=running], [data-testid=stSkeleton]')", timeout=60_000
    )
    page.wait_for_timeout(4000)


if __name__ == "__main__":
    main()
