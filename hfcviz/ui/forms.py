"""From settings to widgets: a field declared with `setting()` becomes an input by itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import streamlit as st

from hfcviz.settings import InputError, Option, Settings, options

T = TypeVar("T", bound=Settings)
Part = TypeVar("Part")


def entered(draw: Callable[[], Part]) -> Part | None:
    """What a part of a form gives, or None where an entry breaks its rule, which is then said below it; the rest is drawn all the same."""
    try:
        return draw()
    except InputError as error:
        st.error(str(error), icon=":material/error:")
        return None


def settings_form(settings: T, key: str, names: Mapping[str, Sequence[str]] | None = None) -> T:
    """Inputs for every field of `settings`, its values as defaults; InputError when an entry breaks its rule.

    names: the choices of fields that are lists of names; where there are none, others than the defaults can be typed. Rare fields stand in
    an expander.
    """
    declared = options(type(settings))
    values = {
        one.name: _widget(one, getattr(settings, one.name), key, (names or {}).get(one.name, ()))
        for one in declared
        if not one.advanced
    }
    rare = [one for one in declared if one.advanced]
    if rare:
        with st.expander("More settings"):
            for one in rare:
                values[one.name] = _widget(one, getattr(settings, one.name), key, (names or {}).get(one.name, ()))
    try:
        return settings.replace(**values)
    except InputError as error:
        raise in_labels(error, type(settings)) from error


def in_labels(error: InputError, *classes: type[Settings]) -> InputError:
    """The same sentence with what a form calls a field, "Scans", where code calls it Budget.scans, and in the unit of its entries."""
    text = re.sub(
        r"must be [^;]+; got \S+ \((\S+?)(/\d+)?, of (\S+) to (\S+)\)",
        r"must be between \3 and \4\2; got \1\2",
        str(error),
    )
    for one in (option for cls in classes for option in options(cls)):
        text = re.sub(rf"\b{one.owner}\.{one.name}\b", one.label, text)
    return InputError(text)


def _widget(option: Option, value: Any, key: str, names: Sequence[str]) -> Any:
    common: dict[str, Any] = {"key": f"{key}.{option.name}", "help": option.help, "persist_state": "session"}
    if option.choices is not None:
        return st.selectbox(option.label, option.choices, index=option.choices.index(value), **common)
    if option.kind is bool:
        return st.toggle(option.label, value=value, **common)
    if option.kind is tuple:
        known = list(dict.fromkeys([*names, *value]))
        return tuple(
            st.multiselect(
                option.label,
                known,
                default=list(value),
                placeholder="choose or type" if value else "all",
                accept_new_options=not names,
                **common,
            )
        )
    label = option.label + (f" (n{option.unit_name})" if option.unit_name else "")
    if option.kind is int:
        return st.number_input(label, value=value, step=1, placeholder="no limit", **common)
    # No limits on the widget: it would clip in silence, where the settings say in a sentence what is wrong.
    entered = st.number_input(label, value=option.entered(value), format="%g", placeholder="automatic", **common)
    if entered is None and not option.optional:
        return value
    return option.stored(entered, value)
