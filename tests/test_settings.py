from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfcviz.attacks import Attack
from hfcviz.settings import InputError, Settings, options, setting, silent


@dataclass(frozen=True)
class Oven(Settings):
    heat: float = setting(0.5, "How hot.", least=0, most=1, unit=1 / 200, unit_name=" degrees")
    minutes: int = setting(10, "How long.", label="Baking time", least=1, most=4_000_000_000)
    fan: bool = setting(False, "Move the air.", advanced=True)
    rack: str = setting("middle", "Where.", choices=("top", "middle"))
    note: str = setting("", "Anything.")
    trays: tuple[str, ...] = setting((), "Which trays.")
    steam: float | None = setting(None, "Litres of water; none means automatic.", least=0)
    weight: float = setting(1.0, "No lower limit.", most=5)


GOOD = {
    "the limits themselves": ({"heat": 0, "minutes": 4_000_000_000}, {"heat": 0.0, "minutes": 4_000_000_000}),
    "numbers as text, as flags bring them": ({"heat": "0.25", "minutes": "7"}, {"heat": 0.25, "minutes": 7}),
    "a whole float for an int": ({"minutes": 3.0}, {"minutes": 3}),
    "NumPy's numbers": ({"heat": np.float64(0.75), "minutes": np.int64(5)}, {"heat": 0.75, "minutes": 5}),
    "a list for a tuple": ({"trays": ["a", "b"]}, {"trays": ("a", "b")}),
    "none for an optional number": ({"steam": None}, {"steam": None}),
    "a number for an optional number": ({"steam": 2}, {"steam": 2.0}),
    "a choice": ({"rack": "top"}, {"rack": "top"}),
}


@pytest.mark.parametrize(("given_", "expected"), GOOD.values(), ids=GOOD)
def test_values_become_the_type_of_their_field(given_: dict, expected: dict) -> None:
    oven = Oven(**given_)
    for name, value in expected.items():
        assert getattr(oven, name) == value
        assert type(getattr(oven, name)) is type(value)


BAD = {
    "above": ({"heat": 1.5}, "Oven.heat must be between 0 and 1; got 1.5 (300 degrees, of 0 to 200)."),
    "far above": ({"heat": 4 / 3}, "Oven.heat must be between 0 and 1; got 1.333 (266.7 degrees, of 0 to 200)."),
    "hardly above": (
        {"heat": 1 + 1e-8},
        "Oven.heat must be between 0 and 1; got 1.00000001 (200.000002 degrees, of 0 to 200).",
    ),
    "below": ({"minutes": 0}, "Oven.minutes must be between 1 and 4000000000; got 0."),
    "below the only limit": ({"steam": -1}, "Oven.steam must be at least 0; got -1."),
    "above the only limit": ({"weight": 6}, "Oven.weight must be at most 5; got 6."),
    "nan": ({"heat": math.nan}, "Oven.heat must be a finite number; got nan."),
    "infinite text": ({"weight": "-inf"}, "Oven.weight must be a finite number; got '-inf'."),
    "not a number": ({"heat": "hot"}, "Oven.heat must be a number; got 'hot'."),
    "none where none is no choice": ({"minutes": None}, "Oven.minutes must be a number; got None."),
    "a list for a number": ({"heat": [1]}, "Oven.heat must be a number; got [1]."),
    "yes for a number": ({"minutes": True}, "Oven.minutes must be a finite number; got True."),
    "half a minute": ({"minutes": 2.5}, "Oven.minutes must be a whole number; got 2.5."),
    "1 for yes": ({"fan": 1}, "Oven.fan must be true or false; got 1."),
    "no such choice": ({"rack": "floor"}, "Oven.rack must be one of top, middle; got 'floor'."),
    "a number for text": ({"note": 3}, "Oven.note must be text; got 3."),
    "text for names": ({"trays": "ab"}, "Oven.trays must be a list of names; got 'ab'."),
    "a number for names": ({"trays": 3}, "Oven.trays must be a list of names; got 3."),
    "none for names": ({"trays": None}, "Oven.trays must be a list of names; got None."),
    "numbers for names": ({"trays": [1]}, "Oven.trays must be a list of names; got [1]."),
}


@pytest.mark.parametrize(("given_", "sentence"), BAD.values(), ids=BAD)
def test_what_cannot_be_used_is_refused_in_one_sentence(given_: dict, sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        Oven(**given_)
    assert str(refused.value) == sentence


def test_a_number_too_large_for_a_float_is_refused_too() -> None:
    with pytest.raises(InputError, match=r"Oven\.minutes must be a number; got 1000"):
        Oven(minutes=10**400)


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**20), 10**20))
def test_a_number_is_accepted_exactly_when_it_lies_within_the_limits(value: float) -> None:
    fits = 0 <= Fraction(value) <= 1
    try:
        Oven(heat=value)
    except InputError:
        assert not fits
    else:
        assert fits


def test_long_whole_numbers_are_not_rounded() -> None:
    @dataclass(frozen=True)
    class Seeded(Settings):
        seed: int = setting(0, "A seed.")

    assert Seeded(2**63 + 1).seed == 9223372036854775809


def test_settings_are_frozen_and_equal_by_value() -> None:
    oven = Oven(heat=0.25)
    assert oven == Oven(heat="0.25")
    assert hash(oven) == hash(Oven(heat="0.25"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        oven.heat = 1.0  # type: ignore[misc]


def test_replace_changes_a_copy_and_checks_it() -> None:
    oven = Oven(minutes=5)
    assert (oven.replace(heat=1).heat, oven.replace(heat=1).minutes, oven.heat) == (1.0, 5, 0.5)
    with pytest.raises(InputError, match=r"Oven\.heat"):
        oven.replace(heat=2)


def test_as_dict_is_enough_to_make_the_settings_again() -> None:
    oven = Oven(heat=0.125, trays=["a"], steam=3, fan=True)
    assert Oven(**oven.as_dict()) == oven
    assert list(oven.as_dict()) == ["heat", "minutes", "fan", "rack", "note", "trays", "steam", "weight"]


def test_options_tell_a_form_what_it_needs() -> None:
    found = {option.name: option for option in options(Oven)}
    assert [found[name].kind for name in found] == [float, int, bool, str, str, tuple, float, float]
    assert [name for name in found if found[name].optional] == ["steam"]
    assert [name for name in found if found[name].advanced] == ["fan"]
    assert (found["minutes"].label, found["heat"].label) == ("Baking time", "Heat")
    assert (found["heat"].help, found["heat"].default) == ("How hot.", 0.5)
    assert (found["heat"].least, found["heat"].most, found["heat"].unit) == (0, 1, 0.005)
    assert found["rack"].choices == ("top", "middle")
    assert found["note"].choices is None


def test_silent_progress_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    silent(0.5, "half")
    assert capsys.readouterr() == ("", "")


def test_what_people_see_and_leave_is_stored_to_the_last_bit():
    eps = next(one for one in options(Attack) if one.name == "eps")
    assert any(n * (1 / 255) != n / 255 for n in range(256)), "or there is nothing to test"
    for n in range(256):
        assert eps.entered(n / 255) == n
        assert eps.stored(float(n), n / 255) == n / 255
    assert eps.stored(3.0, 8 / 255) == pytest.approx(3 / 255) and eps.entered(None) is None
