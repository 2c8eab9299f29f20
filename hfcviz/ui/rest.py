"""Writes an address once people have stopped for a moment; the browser does it alone, so that the server need not look again."""

from __future__ import annotations

import streamlit as st

REST_MS = 700
JS = """
let timer;
export default function ({ data }) {
  clearTimeout(timer);
  const page = location.pathname;
  timer = setTimeout(() => {
    if (data.search !== null && location.pathname === page && location.search !== data.search)
      history.replaceState(history.state, "", page + data.search + location.hash);
  }, data.wait);
  return () => clearTimeout(timer);
}
"""
"""Called for each drawing, not once: the timer is the page's. It asks the server for nothing: such a request, sent in the same moment as
a key, would carry the key to a fragment that does not know it (seen in Streamlit 1.67)."""
_component = st.components.v2.component("hfcviz.rest", js=JS)


def write_address(search: str | None) -> None:
    """Make `search`, "" or "?name=value...", the end of the page's address when no other has been asked for in REST_MS; None leaves the
    address as it is. Whoever has none asks all the same, since what comes and goes moves the page.
    """
    with st.container(key="rest"):  # look.css takes it out of the page's flow
        _component(key="rest.address", data={"wait": REST_MS, "search": search})
