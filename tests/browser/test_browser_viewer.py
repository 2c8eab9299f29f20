"""The viewer in a real browser, on a large volume: what is on the screen, and how long a new slice takes."""

from __future__ import annotations

import base64
import io
import statistics
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from benchmarks.scrolling import CLOCK, example, served
from browser.driving import WAIT, drawn_once
from hfcviz import plane_figures


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served() as found:
        yield found


@pytest.fixture(scope="module")
def page(chromium, address) -> Iterator:
    """The viewer alone, one page for all tests in their order; they fail if the console reports an error."""
    page = chromium.new_context(viewport={"width": 1440, "height": 1200}).new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(address)
    page.wait_for_selector(".js-plotly-plot image", timeout=WAIT)
    page.wait_for_timeout(800)
    yield page
    page.context.close()
    assert not complaints


def pictures(page) -> list[np.ndarray]:
    """The pictures as they were sent, in the order of rows and columns."""
    links = page.locator(".js-plotly-plot image").evaluate_all(
        "all => all.map(one => one.getAttribute('href') || one.getAttribute('xlink:href'))"
    )
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(link.partition(",")[2]))).convert("L")) for link in links]


def on_screen(page, number: int) -> np.ndarray:
    """What the screen shows where a picture stands."""
    content = page.locator(".js-plotly-plot image").nth(number).screenshot()
    return np.asarray(Image.open(io.BytesIO(content)).convert("L")).astype(int)


def changed(page, before: list[np.ndarray]) -> list[np.ndarray]:
    """The pictures, once the first of them is another one."""
    for _ in range(100):
        page.wait_for_timeout(100)
        now = pictures(page)
        if now and (now[0].shape != before[0].shape or not np.array_equal(now[0], before[0])):
            return now
    pytest.fail("the pictures stay as they were")


def test_a_slice_is_scrolled_with_the_keyboard_and_is_the_one_of_the_volume(page, capsys):
    _, seen = example()
    before = pictures(page)
    assert len(before) == 12
    slider, times = page.get_by_role("slider", name="Axial slice").first, []
    slider.focus()
    for _ in range(6):
        page.evaluate(CLOCK)
        slider.press("ArrowRight")
        page.wait_for_function("window.elapsed > 0", timeout=WAIT)
        times.append(page.evaluate("window.elapsed"))
        page.wait_for_timeout(300)
    after = pictures(page)
    values = seen.scan.image[0, :, :, 89 + 6]
    expected = np.clip((values.T[::-1, ::-1] + 160) / 400 * 255, 0, 255)
    assert np.abs(after[0] - expected).max() <= 1
    assert not np.array_equal(after[0], before[0]) and np.array_equal(after[4], before[4]), "coronal stays"
    with capsys.disabled():
        print(f"\nfrom key press to new slices, 3 planes of 256 x 256 x 180: median {statistics.median(times):.0f} ms")


def test_keys_step_through_the_slices_wherever_the_focus_is(page):
    _, seen = example()
    page.evaluate("document.activeElement.blur()")
    before = pictures(page)
    page.keyboard.press("n")
    after = changed(page, before)
    values = seen.scan.image[0, :, :, 89 + 7]
    assert np.abs(after[0] - np.clip((values.T[::-1, ::-1] + 160) / 400 * 255, 0, 255)).max() <= 1
    page.keyboard.press("p")
    assert np.array_equal(changed(page, after)[0], before[0])
    for name, key in (("Previous slice", "P"), ("Next slice", "N")):
        button = page.get_by_role("button", name=name)
        assert button.count() == 1 and key in button.inner_text()
        assert 20 < button.bounding_box()["width"] < 90, "small, beside its slider"


def test_the_screen_shows_the_lesion_at_the_patients_right_front_until_the_convention_is_changed(page):
    """It lies at R 32 mm, A 47 mm, S 21 mm, a bright ball in the head."""
    page.get_by_role("combobox", name="Window").first.click()
    before = pictures(page)
    page.get_by_role("option", name="CT brain").click()
    changed(page, before)
    page.wait_for_timeout(800)

    def side(picture: np.ndarray) -> tuple[bool, bool]:
        """Whether the brightest part of the inner half is left of the middle, and above it."""
        rows, columns = picture.shape
        inner = picture[rows // 4 : -rows // 4, columns // 4 : -columns // 4]  # without the skull, which is brighter
        blocks = inner[: len(inner) // 8 * 8, : inner.shape[1] // 8 * 8]
        blocks = blocks.reshape(len(blocks) // 8, 8, -1, 8).mean((1, 3))
        row, column = np.unravel_index(blocks.argmax(), blocks.shape)
        return bool(column < blocks.shape[1] / 2), bool(row < len(blocks) / 2)

    assert side(on_screen(page, 0)) == (True, True)
    before = pictures(page)
    page.get_by_text("Radiological", exact=True).click()
    after = changed(page, before)
    page.wait_for_timeout(800)
    assert side(on_screen(page, 0)) == (False, True)
    for number in range(12):
        expected = before[number] if number >= 8 else before[number][:, ::-1]
        assert np.array_equal(after[number], expected), "axial and coronal planes are mirrored, sagittal ones are not"
    letters = "".join(page.locator(".js-plotly-plot .textpoint").all_text_contents())
    assert letters == "ARPL" * 3 + "SRIL" * 3 + "SPIA" * 3, "top, right, bottom, left of each version"


def test_proportions_on_the_screen_are_those_of_the_patient(page):
    box = page.locator(".js-plotly-plot image").nth(4).bounding_box()
    assert box["width"] / box["height"] == pytest.approx((256 * 0.9) / (180 * 1.2), rel=0.02)


def test_three_planes_are_drawn_once_and_buttons_that_come_move_nothing(page):
    assert page.locator(".st-key-planes_box").bounding_box()["width"] == plane_figures.WIDTH
    export = page.get_by_role("button", name="Export").first
    before = export.bounding_box()
    blink = page.get_by_text("Blink", exact=True).click
    drawn_once(page, {"planes": 1}, blink, blink)
    button = page.locator(".updatemenu-button").last
    button.wait_for(timeout=WAIT)
    assert export.bounding_box() == before
    last = button.bounding_box()
    assert last["x"] + last["width"] < before["x"] and abs(last["y"] - before["y"]) < 12, "in one line"
    export.click()
    page.get_by_role("dialog").get_by_role("button", name="Data (CSV)").wait_for(timeout=WAIT)
    page.keyboard.press("Escape")


def test_scan_and_attack_take_turns_in_the_browser_alone(page):
    page.get_by_text("Show scan").first.wait_for(timeout=WAIT)
    page.wait_for_timeout(800)

    def seen() -> list[str]:
        return page.locator(".js-plotly-plot image").evaluate_all(
            "all => all.map(one => getComputedStyle(one).opacity)"
        )

    assert seen().count("0") == 3 and len(seen()) == 15
    page.get_by_text("Show scan").click()
    page.wait_for_timeout(800)
    assert seen().count("0") == 0
    page.get_by_text("Show PGD+HFC").click()
    page.wait_for_timeout(800)
    assert seen().count("0") == 3
    page.get_by_text("Blink scan / PGD+HFC").click()
    states = set()
    for _ in range(12):
        states.add(seen().count("0"))
        page.wait_for_timeout(150)
    assert states == {0, 3}


def test_on_a_telephone_nothing_lies_over_the_buttons(page):
    page.set_viewport_size({"width": 390, "height": 1200})
    page.wait_for_timeout(1500)
    export = page.get_by_role("button", name="Export").first.bounding_box()
    buttons = page.locator(".updatemenu-button").all()
    assert len(buttons) == 4
    for button in buttons:
        assert button.bounding_box()["y"] + button.bounding_box()["height"] <= export["y"]


def test_on_a_narrow_page_pictures_keep_a_width_that_their_titles_need_and_lie_close(page):
    page.set_viewport_size({"width": 600, "height": 1200})
    page.wait_for_timeout(1500)
    # Until the pictures of the old width are taken away.
    page.wait_for_function("document.querySelector('[data-test-script-state=running]') === null", timeout=60_000)
    page.wait_for_timeout(500)
    # All at one moment: a picture that is just being replaced has no box of its own.
    boxes = page.locator(".js-plotly-plot image").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect().toJSON())"
    )
    assert min(box["width"] for box in boxes) > 120
    bar = page.locator(".st-key-planes_scroll").evaluate("one => getComputedStyle(one).scrollbarColor")
    assert bar.startswith("rgb(128, 132, 149)"), "people see that there is more"
    tops = sorted({round(box["y"]) for box in boxes})
    ends = sorted({round(box["y"] + box["height"]) for box in boxes})
    assert len(tops) == 3 and max(top - end for top, end in zip(tops[1:], ends, strict=False)) < 20
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (
        "the pictures scroll, not the page"
    )
