"""Findings come back from their text as they went, and from any other text comes a sentence."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfcviz.settings import InputError
from hfcviz.studies.findings import Findings, load_findings, mean_row, read_findings, share_row

VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
ROWS = st.lists(st.dictionaries(st.text(), VALUES), min_size=1)
PLAIN = st.recursive(VALUES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
FINDINGS = st.builds(Findings, st.text(), ROWS, st.text(), st.text(), st.dictionaries(st.text(), PLAIN))


def read_or_sentence(text: str) -> Findings | str:
    """What people get of a text; anything but these two is a failure."""
    try:
        return read_findings(text)
    except InputError as error:
        return str(error)


@given(FINDINGS)
def test_findings_come_back_from_their_text(found):
    assert read_findings(found.as_json()) == found
    assert found.as_json().count("\n") == 8 + len(found.rows), "a line for each row, so that two runs can be compared"


@given(st.text())
def test_any_text_gives_findings_or_a_sentence(text):
    with pytest.raises(InputError, match="run the study again"):
        read_findings(text)


@given(st.dictionaries(st.sampled_from(["study", "rows", "shows", "shows_not", "recipe", "more"]), PLAIN) | PLAIN)
def test_any_json_gives_findings_or_a_sentence(value):
    found = read_or_sentence(json.dumps(value))
    if isinstance(found, Findings):
        assert isinstance(found.rows[0], dict) and isinstance(found.recipe, dict)
        assert json.loads(found.as_json()) == value
    else:
        assert "run the study again" in found


@pytest.mark.parametrize("text", ["[" * 100_000, '{"study":' * 100_000, '{"rows": [{"auc": NaN}]}'])
def test_what_json_alone_would_stumble_over_or_let_through_is_a_sentence(text):
    assert "hold no study" in read_or_sentence(text)


def test_numbers_that_are_none_are_refused_in_whole_findings_too():
    text = Findings("s", [{"auc": 0.123}], "a", "b", {}).as_json()
    assert isinstance(read_or_sentence(text), Findings)
    assert "NaN is no number" in read_or_sentence(text.replace("0.123", "NaN"))


@given(FINDINGS, st.data())
def test_a_damaged_text_gives_findings_or_a_sentence(found, data):
    text = found.as_json()
    place = data.draw(st.integers(0, len(text) - 1))
    damaged = text[:place] + data.draw(st.sampled_from(["", "{", "[1]", "null", '"'])) + text[place + 1 :]
    found = read_or_sentence(damaged)
    assert isinstance(found, Findings) or ("hold no study" in found and found.count("\n") == 0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_not_written(value):
    with pytest.raises(ValueError):
        Findings("s", [{"auc": value}], "a", "b", {}).as_json()


def test_a_file_that_is_missing_or_no_text_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.json cannot be read \(FileNotFoundError\)"):
        load_findings(tmp_path / "gone.json")
    (tmp_path / "odd.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"odd\.json cannot be read \(UnicodeDecodeError\)"):
        load_findings(tmp_path / "odd.json")


def test_a_mean_has_the_interval_of_its_own_draws():
    values = np.random.default_rng(1).normal(3, 2, 400)
    row = mean_row("gain", values)
    assert list(row) == ["gain", "gain_low", "gain_high"] and row["gain"] == pytest.approx(values.mean())
    half = 1.96 * values.std() / 20  # of a normal mean
    assert row["gain_low"] == pytest.approx(values.mean() - half, abs=0.06)
    assert row["gain_high"] == pytest.approx(values.mean() + half, abs=0.06)
    assert all(type(value) is float for value in row.values())


def test_a_share_has_an_interval_where_all_hit():
    row = share_row("success", np.ones(30, dtype=bool))
    assert row == {"success": 1.0, "success_low": pytest.approx(30 / (30 + 1.959964**2)), "success_high": 1.0}
    assert all(type(value) is float for value in row.values())
