"""Links, keys, contrast, narrow screens and two people at once, in a real browser."""

from __future__ import annotations

import re

from axe_playwright_python.sync_playwright import Axe

from browser.driving import TITLES, VIEWPORT, WAIT, fill, idle, opened, shown, turn_to


def run(page) -> None:
    page.keyboard.press("Control+Enter")


def figures(page) -> list:
    """What the figures are drawn from: names, positions and what is selected of all traces."""
    return page.evaluate(
        """() => [...document.querySelectorAll('.js-plotly-plot')].map(one => one.data.map(
            trace => [trace.name, trace.x, trace.y, trace.z, trace.selectedpoints]))"""
    )


# At each frame, the height of what tells of the cohort.
HEIGHTS = """() => {
    window.heights = [];
    const look = () => {
        const strip = document.querySelector('.st-key-strip_cohort');
        if (strip) window.heights.push(strip.offsetHeight);
        requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
}"""


def test_a_link_opens_the_same_view_in_another_browser(people, app_server):
    one, other = people
    opened(one, f"{app_server}/?chosen=0-9")
    slider = one.get_by_role("slider", name="Layer").first
    slider.focus()
    slider.press("ArrowLeft")
    fill(one, "eps (n/255)", "2")
    fill(one, "Steps", "3")
    run(one)
    made = re.compile(r"^Shown: .* eps 2/255, 3 steps")
    one.get_by_text(made).wait_for(timeout=WAIT)
    idle(one)
    assert one.url.partition("?")[2] == "attack.eps=2&attack.steps=3&layer=layer4.0&chosen=0-9"
    opened(other, one.url)
    other.get_by_text(made).wait_for(timeout=WAIT)
    idle(other)
    assert shown(other) == shown(one) and other.url == one.url
    assert figures(other) == figures(one)
    opened(one, f"{app_server}/?live=FGSM&live.scans=24")
    turn_to(one, "Cohort")
    one.get_by_text(re.compile(r"^FGSM at 8/255 on 24 scans: .*about \d+ s left")).wait_for(timeout=WAIT)
    assert one.url.partition("?")[2] == "live=FGSM&live.scans=24"
    assert one.locator(".st-key-cohort-limit input").input_value() == "24", "the form says what is evaluated"
    one.evaluate(HEIGHTS)
    one.keyboard.press("r")  # Streamlit's own: the page is drawn again
    idle(one)
    one.keyboard.press("Escape")
    one.get_by_text("Stopped: FGSM").wait_for(timeout=WAIT)
    idle(one)
    assert "?" not in one.url
    assert len(set(one.evaluate("window.heights"))) == 1, "its place keeps its height"


def test_a_link_opens_a_volume_at_the_same_slices(people, app_server):
    one, other = people
    opened(one, f"{app_server}/?task=brain3d&zoom=1.5")
    said = one.get_by_text(re.compile(r"^Crosshair: .*voxel \d+, \d+, \d+ ")).first
    voxel = [int(part) for part in re.search(r"voxel (\d+), (\d+), (\d+)", said.inner_text()).groups()]
    steps = one.evaluate("history.length")
    for _ in range(3):
        before = said.inner_text()
        one.keyboard.press("n")
        one.wait_for_function("before => !document.body.innerText.includes(before)", arg=before, timeout=WAIT)
    voxel[2] += 3
    wanted = f"task=brain3d&voxel={'%2C'.join(map(str, voxel))}&zoom=1.5"
    one.wait_for_function("wanted => location.search === '?' + wanted", arg=wanted, timeout=WAIT)
    assert one.evaluate("history.length") == steps, "no step of the history for a slice"
    opened(other, one.url)
    assert said.inner_text() in other.locator("body").inner_text() and other.url == one.url
    assert figures(other) == figures(one)


def test_two_people_run_at_once_and_each_sees_the_own_result(people, app_server):
    for page, eps in zip(people, ("1", "3"), strict=True):
        opened(page, app_server)
        fill(page, "Steps", "4")
        fill(page, "eps (n/255)", eps)
    for page in people:
        run(page)
    for page, eps in zip(people, ("1", "3"), strict=True):
        page.get_by_text(re.compile(rf"^Shown: .* eps {eps}/255, 4 steps")).wait_for(timeout=WAIT)
        idle(page)
        assert f"by more than {eps}/255" in shown(page)
        assert page.url.partition("?")[2] == f"attack.eps={eps}&attack.steps=4"
    assert figures(people[0]) != figures(people[1])


def places(page) -> list[int]:
    """The top of each of the upper figures in the window."""
    tops = page.locator(".js-plotly-plot").evaluate_all("all => all.map(one => one.getBoundingClientRect().top)")
    return [round(top) for top in tops][:4]


# At each frame: which figures that were there are not, and whether the bar of a run is without a height. "layout-shift" is what the
# browser itself finds to have moved.
WATCH = """() => {
    window.amiss = [];
    const main = document.querySelector('[data-testid=stMain]');
    const named = node => node.closest('[class*=st-key-]').className.match(/st-key-(\\S+)/)[1];
    const found = () => [...main.querySelectorAll('.js-plotly-plot')].map(named);
    const there = found();
    const look = () => {
        const now = found(), bar = main.querySelector('[data-testid=stProgress]');
        window.amiss.push(...there.filter(name => !now.includes(name)).map(name => `${name} is gone`));
        if (bar && !bar.offsetHeight) window.amiss.push('the bar is gone');
        requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
    new PerformanceObserver(list => {
        for (const {node, previousRect: from, currentRect: to} of list.getEntries().flatMap(one => one.sources))
            if (main.contains(node) && from.height && to.height && Math.abs(from.top - to.top) > 4)
                window.amiss.push(`${node.textContent.slice(0, 40)} moves from ${from.top} to ${to.top}`);
    }).observe({type: 'layout-shift'});
}"""


TOPS = """() => {
    window.tops = [];
    const look = () => {
        const scan = document.querySelector('.st-key-chart-scan');
        if (scan) window.tops.push(Math.round(scan.getBoundingClientRect().top));
        requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
}"""


def test_nothing_jumps_while_keys_run_an_attack_and_stop_it(people, app_server):
    page = opened(people[0], app_server)
    before = places(page)
    turn_to(page, "Glossary")
    page.evaluate(TOPS)
    turn_to(page, "Explore")
    assert set(page.evaluate("window.tops")) == {before[0]}, "on the way in"
    page.evaluate(WATCH)
    fill(page, "Steps", "900")
    page.get_by_text("The controls have changed since").wait_for(timeout=WAIT)
    assert places(page) == before, "stale"
    run(page)
    page.get_by_text(re.compile(r"about \d+ s left")).wait_for(timeout=WAIT)
    assert places(page) == before, "running"
    page.keyboard.press("Escape")
    page.get_by_text("Stopped:").wait_for(timeout=WAIT)
    idle(page)
    assert page.evaluate("[...new Set(window.amiss)]") == []
    assert max(abs(now - then) for now, then in zip(places(page), before, strict=True)) <= 4, "stopped"
    fill(page, "Steps", "3")
    run(page)
    page.get_by_text(re.compile(r"^Shown: .*, 3 steps")).wait_for(timeout=WAIT)
    idle(page)
    assert max(abs(now - then) for now, then in zip(places(page), before, strict=True)) <= 4, "done"


def luminance(colour: str) -> float:
    """Relative luminance of "rgb(r, g, b)", WCAG 2.2."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


# Left out: words within the cells of a heat map, which plotly sets in black or white, and letters on pictures, which have a shadow.
FIGURE_TEXT = """() => [...document.querySelectorAll('.js-plotly-plot :is(text, tspan)')]
    .filter(one => one.textContent.trim() && !one.closest('.heatmap-label, .hm'))
    .filter(one => getComputedStyle(one.closest('text')).textShadow === 'none')
    .map(one => [one.textContent, getComputedStyle(one).fill])"""


# In how many frames the figure that blinks stands beside those whose place it takes.
TOGETHER = """() => {
    window.together = 0;
    const there = key => document.querySelector(`.st-key-${key}`)?.offsetHeight > 0;
    const look = () => {
        if ((there('planes_box') && there('side_images')) || (there('wide_images') && there('planes_export'))) window.together += 1;
        requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
}"""


def too_weak(page, scheme: str) -> tuple[list, int]:
    """Words with less contrast than WCAG AA asks for, and how many have been looked at."""
    page.emulate_media(color_scheme=scheme)
    page.wait_for_function(
        "scheme => getComputedStyle(document.querySelector('.stApp')).colorScheme === scheme", timeout=WAIT, arg=scheme
    )
    page.wait_for_timeout(300)  # colours change gradually
    ground = page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
    assert (luminance(ground) < 0.1) is (scheme == "dark")
    found = Axe().run(page, options={"runOnly": ["color-contrast"]}).response
    in_figures = page.evaluate(FIGURE_TEXT)
    weak = [
        (scheme, node["html"][:200], node["any"][0]["message"])
        for rule in found["violations"]
        for node in rule["nodes"]
    ]
    weak += [(scheme, text, fill) for text, fill in in_figures if contrast(fill, ground) < 4.5]
    return weak, sum(len(rule["nodes"]) for rule in found["passes"]) + len(in_figures)


def overhang(page, width: int) -> list[int]:
    """Pixels by which page and main part are wider than a screen of this width, once they have come to rest."""
    page.set_viewport_size({"width": width, "height": 1000})
    wide = [-1, -1]
    for _ in range(20):
        page.wait_for_timeout(250)
        wide = page.evaluate(
            """() => [document.documentElement, document.querySelector('[data-testid=stMain]')]
                .map(one => one.scrollWidth - one.clientWidth)"""
        )
        if wide == [0, 0]:
            break
    return wide


def test_every_page_can_be_read_in_light_and_dark_and_needs_no_scrolling_sideways(people, app_server):
    page = people[0]
    page.emulate_media(color_scheme="dark")
    opened(page, app_server)
    weak, counted = {}, dict.fromkeys(("dark", "light"), 0)
    for title in TITLES:
        page.set_viewport_size(VIEWPORT)
        turn_to(page, title)
        if title == "Explore":  # as it opens, then with its titles in the colours of the versions
            assert [overhang(page, width) for width in (1280, 820)] == [[0, 0], [0, 0]]
            page.set_viewport_size(VIEWPORT)
            idle(page)
            page.evaluate(TOGETHER)
            page.get_by_text("Blink", exact=True).click()
            page.locator(".st-key-chart-planes .annotation-text").first.wait_for(timeout=WAIT)
            idle(page)
            assert page.evaluate("window.together") == 0, (
                "the figure that blinks takes the place of the others in one step"
            )
        for scheme in counted:
            weak[title, scheme], count = too_weak(page, scheme)
            counted[scheme] += count
        for width in (1280, 820):
            assert overhang(page, width) == [0, 0], f"{title} at {width}"
            if title == "Explore":
                box = page.get_by_role("button", name="Run").bounding_box()
                assert 0 <= box["x"] and box["x"] + box["width"] <= width and box["y"] + box["height"] <= 1000
                for name in list(TITLES)[: 4 if width == 820 else 6]:
                    assert page.get_by_role("link", name=name, exact=True).is_visible(), f"{name} at {width}"
    assert min(counted.values()) > 150
    assert not any(weak.values()), weak
