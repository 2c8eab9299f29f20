"""Every control explains itself, and every figure, table and picture has a text for those who cannot see it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Block, Node

from hfcviz.bundle import BUNDLES

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "hfcviz" / "ui" / "pages").glob("*.py"))
SOURCES = sorted((ROOT / "hfcviz" / "ui").rglob("*.py"))
CONTROLS = {
    *(
        "button",
        "download_button",
        "popover",
        "file_uploader",
        "selectbox",
        "select_slider",
        "slider",
        "segmented_control",
    ),
    *("pills", "radio", "number_input", "text_input", "text_area", "toggle", "checkbox", "multiselect"),
}
SHOWN = {"plotly_chart", "dataframe", "image"}


def everything(node: Block) -> Iterator[Node]:
    for child in node.children.values():
        yield child
        if isinstance(child, Block):
            yield from everything(child)


@pytest.fixture(params=BUNDLES)
def app(request, tmp_path, monkeypatch) -> Iterator[AppTest]:
    monkeypatch.setenv("HFCVIZ_STORE", str(tmp_path))
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("hfcviz.ui.data_views._check", lambda *rest: [])  # seconds, and nothing to see in them here
    found = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120).run()
    if request.param != next(iter(BUNDLES)):
        found.switch_page("hfcviz/ui/pages/data_model.py").run()
        found.segmented_control(key="task").set_value(request.param).run()
    yield found
    if "checks" in found.session_state:  # which the Data & model page has started
        found.session_state["checks"][1].wait(60)


def test_every_control_on_every_page_has_help_and_every_figure_a_text(app):
    controls, shown = 0, 0
    for page in PAGES:
        app.switch_page(str(page.relative_to(ROOT))).run()
        assert not app.exception
        for node in (*everything(app.main), *everything(app.sidebar)):
            message = node.proto
            fields = {field.name for field in message.DESCRIPTOR.fields} if message is not None else set()
            where = f"{page.stem}: {node.type} {getattr(message, 'label', '')}"
            if {"id", "help", "label"} <= fields:
                assert message.help.strip(), where
                assert message.help.strip() != message.label.strip(), where
                controls += 1
            if "popover" in fields and message.HasField("popover"):
                assert message.popover.help.strip(), where
            if node.type in ("plotly_chart", "dataframe"):
                assert message.alt.strip(), where
                shown += 1
            if node.type == "image":
                assert all(one.alt.strip() for one in message.imgs), where
    assert controls > 30 and shown > 5, "the pages were really walked through"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_control_is_made_without_help_and_nothing_is_shown_without_a_text(path):
    """Those, too, that stand on no page as it opens: after an upload, while a job runs, behind a selection. The inputs of
    forms.py take their help from the settings field; the test above sees them on the pages.
    """
    lacking = []
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            continue
        given = {word.arg for word in call.keywords}
        if call.func.attr in CONTROLS and "help" not in given and path.stem != "forms":
            lacking.append(f"line {call.lineno}: {call.func.attr} without help")
        if call.func.attr in SHOWN and "alt" not in given:
            lacking.append(f"line {call.lineno}: {call.func.attr} without alt")
    assert not lacking
