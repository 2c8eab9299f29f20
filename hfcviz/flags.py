"""From settings to command-line flags: a field declared with `setting()` becomes a flag by itself."""

from __future__ import annotations

import argparse
from typing import Any, TypeVar

from hfcviz.settings import Option, Settings, options

S = TypeVar("S", bound=Settings)


def add_flag(group: Any, option: Option, members: dict[str, Settings]) -> None:
    """A flag for a declared setting. Its text is checked later, by the settings of the attack or penalty that is chosen."""
    flag = f"--{option.name.replace('_', '-')}"
    defaults = {name: getattr(one, option.name) for name, one in members.items() if hasattr(one, option.name)}
    others = [f"{name} {_shown(option, value)}" for name, value in defaults.items() if value != option.default]
    text = f"{option.help} Default: {', '.join([_shown(option, option.default), *others])}.".replace("%", "%%")
    common: dict[str, Any] = {"dest": option.name, "default": argparse.SUPPRESS, "help": text}
    if option.kind is bool:
        group.add_argument(flag, action=argparse.BooleanOptionalAction, **common)
        return
    names: dict[type, str] = {tuple: "NAME,NAME", str: "NAME"}
    name = names.get(option.kind, f"N{option.unit_name}".upper())
    group.add_argument(flag, choices=option.choices, metavar=None if option.choices else name, **common)


def _shown(option: Option, value: Any) -> str:
    if value is None:
        return "automatic" if option.kind is float else "no limit"
    if value == ():
        return "all"
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value / option.unit:g}{option.unit_name}" if option.unit != 1 else str(value)


def take(settings: S, given: dict[str, Any]) -> S:
    """`settings` with the flags that are its own, which leave `given`."""
    changes = {one.name: _value(one, given.pop(one.name)) for one in options(type(settings)) if one.name in given}
    return settings.replace(**changes)


def _value(option: Option, text: Any) -> Any:
    if option.kind is tuple:
        return tuple(name.strip() for name in text.split(",") if name.strip())
    if option.unit != 1:
        try:
            return float(text) * option.unit
        except ValueError:
            return text  # the setting says what is wrong with it
    return text


def seed(text: str) -> int:
    """A flag's text as a seed."""
    if text.isdecimal() and int(text) < 2**31:
        return int(text)
    raise argparse.ArgumentTypeError(f"must be a whole number from 0 to {2**31 - 1}; got {text!r}")
