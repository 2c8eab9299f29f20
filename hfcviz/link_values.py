"""What stands in an address for one value, and back: numbers, settings, scans of a cohort. Bad text is an `InputError` of one sentence."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from hfcviz.settings import InputError, Option, Settings, options

NUMBER, WHOLE = r"-?\d{1,40}(\.\d{0,40})?(e[-+]?\d{1,3})?", r"-?\d{1,18}"
"""Not all that Python reads as a number: digits of other scripts and underscores are typing errors."""

S = TypeVar("S", bound=Settings)


def numbered(ids: Sequence[str]) -> dict[str, int]:
    """{id: number}: the number at its end where that tells them apart ("test-0017"), else its place in the cohort."""
    parts = [re.fullmatch(r"(.*?)(\d{1,9})", one, re.ASCII | re.DOTALL) for one in ids]
    found = [(part[1], int(part[2])) for part in parts if part]
    if len({prefix for prefix, _ in found}) == 1 and len(set(found)) == len(ids):
        return {one: number for one, (_, number) in zip(ids, found, strict=True)}
    return {one: place for place, one in enumerate(ids)}


def changed(kind: str, settings: Settings, usual: Settings) -> dict[str, str]:
    """{"attack.eps": "2"}: what differs, as people enter it."""
    return {
        f"{kind}.{one.name}": setting_text(one, getattr(settings, one.name))
        for one in options(type(settings))
        if getattr(settings, one.name) != getattr(usual, one.name)
    }


def with_changes(kind: str, usual: S, taken: Callable[..., Any], names: Sequence[str]) -> S:
    """What `changed` wrote, taken from an address by `taken`; names: of the layers."""
    for one in options(type(usual)):
        usual = taken(
            f"{kind}.{one.name}",
            lambda text, one=one, so_far=usual: so_far.replace(
                **{one.name: setting_value(one, text, getattr(so_far, one.name), names)}
            ),
            usual,
        )
    return usual


def setting_text(option: Option, value: Any) -> str:
    """A setting as people enter it."""
    if value is None:
        return "none"
    if option.kind is tuple:
        return ",".join(value)
    if option.kind is float:
        return digits(option.entered(value))
    return str(value).lower() if option.kind is bool else str(value)


def setting_value(option: Option, text: str, untouched: Any, names: Sequence[str]) -> Any:
    """What `setting_text` wrote, still to be checked by the field itself."""
    if text == "none" and option.optional:
        return None
    if option.kind is tuple:
        found = tuple(text.split(",")) if text else ()
        for name in found:
            word_of(f"{option.owner}.{option.name}", name, names)
        return found
    if option.kind is bool:
        return {"true": True, "false": False}.get(text, text)
    if option.kind is int or option.kind is float:
        if re.fullmatch(WHOLE if option.kind is int else NUMBER, text, re.ASCII) is None:
            raise InputError(f"{option.owner}.{option.name} must be a number; got {short(text)}.")
        return option.stored(option.kind(text), untouched)
    return text[:40]


def digits(value: float) -> str:
    """As short as can be read back to the last bit."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


def seed_of(text: str) -> int:
    """A seed."""
    if not re.fullmatch(r"\d{1,10}", text, re.ASCII) or int(text) >= 2**31:
        raise InputError(f"Seed must be between 0 and {2**31 - 1}; got {short(text)}.")
    return int(text)


def eps_of(name: str, text: str) -> float:
    """An eps in 255ths, to the digits that the name of a file has; name: of the parameter."""
    if re.fullmatch(NUMBER, text, re.ASCII) is None or not 1e-9 <= float(text) <= 255:
        raise InputError(f"{name} must be a number of 255ths, above 0 and at most 255; got {short(text)}.")
    return float(f"{float(text):.10g}")


def scans_of(name: str, text: str, least: int) -> int:
    """How many scans, at least so many; name: of the parameter."""
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII) or int(text) < least:
        raise InputError(f"{name} must be a whole number, at least {least}; got {short(text)}.")
    return int(text)


def ranges(chosen: frozenset[str], numbers: Mapping[str, int]) -> str:
    """ "3-7,12": runs of scans that follow each other in the cohort."""
    runs: list[list[int]] = []
    before = False
    for one, number in sorted(numbers.items(), key=lambda pair: pair[1]):
        if one in chosen:
            runs = [*runs[:-1], [runs[-1][0], number]] if before else [*runs, [number, number]]
        before = one in chosen
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def chosen_of(text: str, numbers: Mapping[str, int]) -> frozenset[str]:
    """What `ranges` wrote: ids of the cohort."""
    found: set[str] = set()
    for part in text.split(","):
        ends = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", part, re.ASCII)
        if ends is None:
            raise InputError(f"chosen must be numbers and ranges such as 3-7,12; got {short(part)}.")
        low, high = int(ends[1]), int(ends[2] or ends[1])
        here = {one for one, number in numbers.items() if low <= number <= high}
        if not here:
            raise InputError(f"chosen must name scans of the cohort; there are none at {part}.")
        found |= here
    return frozenset(found)


def word_of(name: str, text: str, values: Sequence[str]) -> str:
    """The text, where it is one of the values; name: of the parameter."""
    if text not in values:
        raise InputError(f"{name} must be one of {', '.join(values)}; got {short(text)}.")
    return text


def short(text: str) -> str:
    """A stranger's text, as much of it as a sentence bears."""
    return repr(text if len(text) <= 40 else text[:40] + "...")


def voxel_of(text: str, shape: Sequence[int]) -> tuple[int, ...]:
    """ "12,30,7": a voxel of a volume of this shape, counted from 0 along RAS+ axes."""
    found = text.split(",")
    whole = len(found) == len(shape) and all(re.fullmatch(r"\d{1,6}", one, re.ASCII) for one in found)
    if not whole or any(int(one) >= side for one, side in zip(found, shape, strict=True)):
        last = ", ".join(str(side - 1) for side in shape)
        raise InputError(f"voxel must be between {', '.join('0' for _ in shape)} and {last}; got {short(text)}.")
    return tuple(map(int, found))


def window_of(text: str, names: Sequence[str]) -> str | tuple[float, float]:
    """One of the names, or "0.5,0.2": level and width, in the values of the scan."""
    if text in names:
        return text
    found = text.split(",")
    if len(found) == 2 and all(re.fullmatch(NUMBER, one, re.ASCII) for one in found):
        level, width = map(float, found)
        if abs(level) <= 1e6 and 1e-6 <= width <= 1e6:
            return level, width
    raise InputError(
        f"window must be one of {', '.join(names)}, or a level and a width such as 0.5,0.2; got {short(text)}."
    )
