"""Tells when people have stopped for a moment; the browser waits, so that the server need not look again and again."""

from __future__ import annotations

import streamlit as st

REST_MS = 700
JS = """
export default function ({ data, setTriggerValue }) {
  if (data.what === null) return;
  const timer = setTimeout(() => setTriggerValue("rest", true), data.wait);
  return () => clearTimeout(timer);
}
"""
_component = st.components.v2.component("hfcviz.rest", js=JS)


def at_rest(key: str, what: object) -> bool:
    """Whether `what`, plain values, has stayed as it is for REST_MS; the fragment that asks is drawn again when it has. Never for None:
    whoever has nothing to wait for asks all the same, since what comes and goes moves the page.
    """
    with st.container(key="rest"):  # look.css takes it out of the page's flow
        found = _component(key=key, data={"wait": REST_MS, "what": what}, on_rest_change=lambda: None)
    return bool(found.rest)
