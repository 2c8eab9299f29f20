"""The browser's own clock: from a person's action to the change that answers it, and to the rest after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

CLOCK = """([what, since, word]) => {
  // Of a few elements: to read all would take the time that is measured.
  const found = () => [...document.querySelectorAll(what)].slice(0, 40);
  const state = () => found().filter(one => one.textContent.includes(word)).map(one => one.outerHTML).join();
  const before = state();
  window.elapsed = 0;
  window.settled = 0;
  const watch = new MutationObserver(() => { window.settled = performance.now(); });
  const drawn = ['d', 'href', 'transform', 'width', 'height', 'data-stale'];
  watch.observe(document.querySelector('[data-testid=stMain]'),
    {subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: drawn});
  window.rest = () => { watch.disconnect(); return window.settled - window.start; };
  const begin = () => {
    for (const kind of since) window.removeEventListener(kind, begin, {capture: true});
    const start = window.start = performance.now();
    const look = () => {
      if (state() && state() !== before) requestAnimationFrame(() => { window.elapsed = performance.now() - start; });
      else setTimeout(look, 2);
    };
    look();
  };
  for (const kind of since) window.addEventListener(kind, begin, {capture: true});
}"""
PRESS, RELEASE = ("keydown", "pointerdown"), ("pointerup", "mouseup")
Times = tuple[float, float]


def timed(
    page: Any,
    what: str,
    act: Callable[[], Any],
    times: int,
    *,
    before: Callable[[], Any] = lambda: None,
    since: tuple[str, ...] = PRESS,
    warm: bool = True,
    word: str = "",
) -> list[Times]:
    """Milliseconds from each `act()`, whose events `since` start the clock, to the change of what the selector names, and until the page
    has settled; before: what is done first, off the clock; warm: one more comes first, and is left out;
    word: only of what holds it.
    """
    found = []
    for _ in range(times + warm):
        before()
        page.evaluate(CLOCK, [what, since, word])
        act()
        page.wait_for_function("window.elapsed > 0", timeout=60_000)
        page.wait_for_timeout(1800)
        found.append((page.evaluate("window.elapsed"), page.evaluate("window.rest()")))
    return found[warm:]
