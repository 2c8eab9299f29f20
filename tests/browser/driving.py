"""What people do with the app in a browser, and what they see of it."""

from __future__ import annotations

import re

from hfcviz.tour import TOUR

WAIT = 60_000
VIEWPORT = {"width": 1440, "height": 1000}
TITLES = {
    "Explore": "How an adversarial",
    "Tour": TOUR[0].title.partition("{")[0],
    "Cohort": "Who notices",
    "Studies": "The paper's claims",
    "Data & model": "Data & model",
    "Glossary": "Glossary",
}
"""How each page is called, and how its heading begins."""


def opened(page, address: str):
    page.goto(address)
    page.wait_for_selector(".js-plotly-plot", timeout=WAIT)
    idle(page)
    return page


def idle(page) -> None:
    """Wait until the page has stopped running."""
    page.wait_for_function("document.querySelector('[data-test-script-state=running]') === null", timeout=WAIT)
    page.wait_for_timeout(400)


def fill(page, label: str, value: str) -> None:
    box = page.get_by_label(label, exact=True)
    box.fill(value)
    box.press("Enter")
    idle(page)


def shown(page) -> str:
    return page.locator("[data-testid=stMarkdownContainer]", has_text="detectors").first.inner_text()


def turn_to(page, title: str) -> None:
    """Open a page by its link, and wait until all of it is there."""
    page.get_by_role("link", name=title).first.click()
    page.get_by_role("heading", level=1, name=re.compile(f"^{re.escape(TITLES[title])}")).wait_for(timeout=WAIT)
    idle(page)
    page.wait_for_function(
        "document.querySelector('[data-stale=true], [data-testid=stSkeleton]') === null", timeout=WAIT
    )
    page.wait_for_timeout(300)  # what was dimmed comes back gradually


DRAWINGS = """() => {
  window.drawings = {};
  Object.defineProperty(HTMLElement.prototype, "emit", {configurable: true, set(emit) {
    // Plotly gives this to a figure when it first draws it, and tells of each drawing.
    Object.defineProperty(this, "emit", {value: emit, writable: true, configurable: true});
    this.on("plotly_beforeplot", () => {
      const name = this.closest("[class*=st-key-]").className.match(/st-key-(?:chart-)?([a-z-]+[a-z])/)[1];
      window.drawings[name] = (window.drawings[name] || 0) + 1;
    });
  }});
}"""


def drawn_by(page, act) -> dict[str, int]:
    """How often the browser draws each figure after an action."""
    page.evaluate(DRAWINGS)
    act()
    idle(page)
    page.wait_for_timeout(600)
    return page.evaluate("window.drawings")


def drawn_once(page, figures: dict[str, int], act, back) -> None:
    """In one of three tries: now and then a width comes late, and a figure is drawn once more for it."""
    found = [drawn_by(page, act)]
    while found[-1] != figures and len(found) < 3:
        drawn_by(page, back)
        found.append(drawn_by(page, act))
    assert found[-1] == figures, f"{found} in three tries"
