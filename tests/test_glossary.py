"""The glossary knows every word of the app, and finds it."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from hfcviz.attacks import ATTACKS, Attack
from hfcviz.detectors import DETECTORS
from hfcviz.glossary import GLOSSARY, anchor, find
from hfcviz.penalties import HFC, PENALTIES
from hfcviz.projections import PROJECTIONS
from hfcviz.settings import options
from hfcviz.tables import MEASURES

ROOT = Path(__file__).parent.parent
NAMES = [*ATTACKS, *PENALTIES, *DETECTORS, *PROJECTIONS, *MEASURES]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_the_literal_dicts_has_an_entry(name):
    assert len(GLOSSARY[name].text) > 20


@pytest.mark.parametrize("name", [*DETECTORS, *(name for name in ATTACKS)])
def test_attacks_and_detectors_name_their_source(name):
    assert "19" in GLOSSARY[name].source or "20" in GLOSSARY[name].source


def test_entries_say_what_the_settings_say():
    helps = {(cls, one.name): one.help for cls in (Attack, HFC) for one in options(cls)}
    assert GLOSSARY["eps"].text.startswith(helps[Attack, "eps"])
    assert GLOSSARY["weight"].text == helps[HFC, "weight"]
    assert type(DETECTORS["MAHA"]).__doc__.split("\n")[0] in GLOSSARY["MAHA"].text


def test_every_term_has_an_address_of_its_own():
    assert len({anchor(name) for name in GLOSSARY}) == len(GLOSSARY)
    assert anchor("two-sided AUC") == "two-sided-auc" and anchor("C&W") == "c-w"


def test_the_search_wants_all_words_and_puts_names_first():
    assert next(iter(find("auc"))) == "AUC"
    assert set(find("two-sided auc")) == {"two-sided AUC"}
    assert "L-inf ball" in find("EPS") and "HU" not in find("eps")
    assert "detector" not in find("ct") and "detector" in find("detec"), "words that begin so, not what lies within"
    assert find("no such word") == {} and len(find("  ")) == len(GLOSSARY)


def test_the_page_lists_what_is_found(monkeypatch, tmp_path):
    monkeypatch.setenv("HFCVIZ_STORE", str(tmp_path))
    monkeypatch.chdir(ROOT)
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    app.switch_page("hfcviz/ui/pages/glossary.py").run()
    assert [one.value for one in app.subheader] == sorted(GLOSSARY, key=str.casefold)
    app.text_input(key="glossary").set_value("mahalanobis").run()
    shown = [one.value for one in app.subheader]
    assert shown[0] == "Mahalanobis distance" and "MAHA" in shown and "UMAP" not in shown
    app.text_input(key="glossary").set_value("no such word").run()
    assert not app.subheader and app.info[0].value.startswith("No term")
