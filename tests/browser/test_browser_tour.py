"""The tour in a real browser: given with two keys, without a complaint."""

from __future__ import annotations

from urllib.parse import parse_qs, urlparse

from browser.driving import WAIT
from hfcviz.tour import TOUR

LAST = len(TOUR)


def at(page, number: int) -> None:
    """Wait until a step is shown: its figures, its name in the list, its number in the address."""
    page.locator(f".st-key-chart-tour-{number}-1 .main-svg").first.wait_for(timeout=WAIT)
    page.wait_for_function(f"location.search.includes('step={number}')", timeout=WAIT)
    page.wait_for_function("document.querySelector('[data-test-script-state=running]') === null", timeout=WAIT)
    assert page.get_by_role("combobox").first.input_value() == f"{number} of {LAST}: {TOUR[number - 1].name}"
    assert (
        page.locator("[class*=st-key-chart-tour-]").count()
        == page.locator(f"[class*=st-key-chart-tour-{number}-]").count()
    )


def test_the_tour_is_given_with_two_keys_and_its_place_is_kept(page):
    page.get_by_role("link", name="Tour").first.click(timeout=WAIT)
    at(page, 1)
    places = set()
    for number in range(2, LAST + 1):
        page.keyboard.press("ArrowRight")
        at(page, number)
        places.add(round(page.locator(".st-key-tour_title").bounding_box()["y"]))
    assert len(places) == 1, "nothing above the figures jumps"
    page.keyboard.press("ArrowRight")  # the last step: nothing more
    assert parse_qs(urlparse(page.url).query)["step"] == [str(LAST)]
    page.keyboard.press("ArrowLeft")
    at(page, LAST - 1)
    page.get_by_text("An answer").click()
    page.get_by_text("By aiming at the typical distance").wait_for(timeout=WAIT)
    page.reload()
    at(page, LAST - 1)
    assert page.locator("[data-testid=stAlert]").count() == 0
