"""What is made of a result is made once, and again when the result or the view of it is another."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import streamlit as st

T = TypeVar("T")


def kept(slot: str, of: object, view: object, make: Callable[[], T]) -> T:
    """What `make` gives: the last one of this session in this slot where it was made of the same object and an equal view."""
    key = f"kept.{slot}"
    last: tuple[object, object, T] | None = st.session_state.get(key)
    if last is None or last[0] is not of or last[1] != view:
        last = st.session_state[key] = (of, view, make())
    return last[2]
