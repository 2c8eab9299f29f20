"""Settings: one declaration per option gives default, limits, help, validation, error text, form and flag.

A settings class is a frozen dataclass that derives from `Settings` and declares each field with `setting()`.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Progress = Callable[[float, str], None]
"""Called as `progress(fraction, what)` with fraction in [0, 1]; it may raise to cancel the work."""


def silent(fraction: float, what: str) -> None:
    """The progress callback that shows nothing."""


class InputError(ValueError):
    """What a person gave cannot be used. The text is one sentence: the thing, the rule, the value, the way out."""


@dataclass(frozen=True)
class Option:
    """Everything known about one field: what a form, a flag and an error message need."""

    owner: str
    name: str
    kind: type
    optional: bool
    default: Any
    label: str
    help: str
    least: float | None
    most: float | None
    choices: tuple[str, ...] | None
    unit: float
    """Shown value = stored value / unit (1/255 for intensities, so that eps reads as n)."""
    unit_name: str
    advanced: bool

    def entered(self, value: Any) -> Any:
        """The value as people enter it, in units of the field: eps 8/255 is 8.0."""
        return round(float(value / self.unit), 10) if self.kind is float and value is not None else value

    def stored(self, entered: Any, untouched: Any) -> Any:
        """The value that people have entered; `untouched` to the last bit where that is what they see."""
        if entered == self.entered(untouched):
            return untouched
        return entered * self.unit if self.kind is float and entered is not None else entered

    def check(self, value: Any) -> Any:
        """Return the value in the field's type, or raise InputError naming field, rule and value."""
        where = f"{self.owner}.{self.name}"
        if value is None and self.optional:
            return None
        if self.choices is not None:
            if value not in self.choices:
                raise InputError(f"{where} must be one of {', '.join(self.choices)}; got {value!r}.")
            return value
        if self.kind is bool:
            if not isinstance(value, bool):
                raise InputError(f"{where} must be true or false; got {value!r}.")
            return value
        if self.kind is tuple:
            if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
                raise InputError(f"{where} must be a list of names; got {value!r}.")
            return tuple(value)
        if self.kind is str:
            if not isinstance(value, str):
                raise InputError(f"{where} must be text; got {value!r}.")
            return value
        return self._number(value, where)

    def _number(self, value: Any, where: str) -> Any:
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            raise InputError(f"{where} must be a number; got {value!r}.") from None
        if isinstance(value, bool) or not math.isfinite(number):
            raise InputError(f"{where} must be a finite number; got {value!r}.")
        if self.kind is int and number != int(number):
            raise InputError(f"{where} must be a whole number; got {value!r}.")
        least, most = self.least, self.most
        if (least is not None and number < least) or (most is not None and number > most):
            if least is None:
                rule = f"at most {most:.10g}"
            elif most is None:
                rule = f"at least {least:.10g}"
            else:
                rule = f"between {least:.10g} and {most:.10g}"
            if self.unit == 1:
                raise InputError(f"{where} must be {rule}; got {value}.")
            limits = [end for end in (least, most) if end is not None]
            shown = [end / self.unit for end in limits]
            entered = _shortest(number / self.unit, shown).removesuffix(".0") + self.unit_name
            span = " to ".join(f"{end:g}" for end in shown)
            raise InputError(f"{where} must be {rule}; got {_shortest(value, limits)} ({entered}, of {span}).")
        if self.kind is float:
            return number
        return int(value) if isinstance(value, int) else int(number)  # a float would round a long seed


def _shortest(value: Any, limits: list[float]) -> str:
    """As it is, unless it is long, as a converted one is: then with as few digits, four at least, as still break the same limits."""
    if len(str(value)) < 8:
        return str(value)
    number = float(value)
    sides = [(number < end, number > end) for end in limits]
    written = (f"{number:.{digits}g}" for digits in range(4, 17))
    return next(
        (text for text in written if [(float(text) < end, float(text) > end) for end in limits] == sides), str(value)
    )


def setting(
    default: Any,
    help: str,
    *,
    label: str = "",
    least: float | None = None,
    most: float | None = None,
    choices: tuple[str, ...] | None = None,
    unit: float = 1.0,
    unit_name: str = "",
    advanced: bool = False,
) -> Any:
    """Declare one field of a Settings class."""
    return dataclasses.field(
        default=default,
        metadata={
            "help": help,
            "label": label,
            "least": least,
            "most": most,
            "choices": choices,
            "unit": unit,
            "unit_name": unit_name,
            "advanced": advanced,
        },
    )


@dataclass(frozen=True)
class Settings:
    """Base of all settings: frozen, and checked the moment they are made."""

    def __post_init__(self) -> None:
        for option in options(type(self)):
            object.__setattr__(self, option.name, option.check(getattr(self, option.name)))

    def replace(self, **changes: Any) -> typing.Self:
        """A copy with some fields changed, checked again."""
        return dataclasses.replace(self, **changes)

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain values, for recipes and reports."""
        return dataclasses.asdict(self)


def options(cls: type[Settings]) -> tuple[Option, ...]:
    """The declared fields of a settings class, in order."""
    if cls not in _read:
        _read[cls] = _declared(cls)
    return _read[cls]


def help_of(cls: type[Settings], name: str) -> str:
    """What a settings class says of one of its fields, for whatever else shows that field."""
    return next(option.help for option in options(cls) if option.name == name)


_read: dict[type[Settings], tuple[Option, ...]] = {}
"""What `options` has read: type hints cost as much as a step of an attack on a small network."""


def _declared(cls: type[Settings]) -> tuple[Option, ...]:
    hints = typing.get_type_hints(cls)
    found = []
    for field in dataclasses.fields(cls):
        kind, optional = hints[field.name], False
        if isinstance(kind, types.UnionType):
            members = [m for m in typing.get_args(kind) if m is not type(None)]
            optional, kind = len(members) < len(typing.get_args(kind)), members[0]
        kind = typing.get_origin(kind) or kind
        meta = dict(field.metadata)
        meta["label"] = meta["label"] or field.name.replace("_", " ").capitalize()
        found.append(Option(cls.__name__, field.name, kind, optional, field.default, **meta))
    return tuple(found)
