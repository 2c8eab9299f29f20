"""Who may import whom. The layers themselves are declared in pyproject.toml."""

from __future__ import annotations

import ast
import subprocess
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = sorted((ROOT / "hfcviz").rglob("*.py"))
SLOW = {"umap", "sklearn", "nibabel", "pydicom", "monai", "PIL", "SimpleITK", "nrrd", "imagecodecs", "openjpeg"}


def imported(nodes: Iterable[ast.AST]) -> set[str]:
    """The top-level packages that some nodes import."""
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0]
    return {name.partition(".")[0] for name in names}


def all_nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


def nodes_run_at_import(path: Path) -> list[ast.AST]:
    """The nodes outside functions."""
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    found = []
    while waiting:
        node = waiting.pop()
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            found.append(node)
            waiting.extend(ast.iter_child_nodes(node))
    return found


def test_imports_keep_the_contracts() -> None:
    # In a process of its own, as it switches all loggers off.
    line = "from importlinter.cli import lint_imports as lint; raise SystemExit(lint(no_cache=True, no_logo=True))"
    found = subprocess.run([sys.executable, "-c", line], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


def test_only_app_and_ui_import_streamlit() -> None:
    files = [*ROOT.glob("*.py"), *OURS, *(ROOT / "scripts").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    users = {path.relative_to(ROOT) for path in files if "streamlit" in imported(all_nodes(path))}
    assert {str(path) for path in users if not path.is_relative_to("hfcviz/ui")} <= {"app.py"}


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_slow_packages_are_imported_where_they_are_used(path: Path) -> None:
    assert imported(nodes_run_at_import(path)) & SLOW == set()


def test_a_warning_caused_by_our_code_is_an_error_and_one_by_others_is_not() -> None:
    line = compile("import warnings; warnings.warn('planted')", "planted", "exec")
    with pytest.raises(UserWarning, match="planted"):
        exec(line, {"__name__": "hfcviz.planted"})
    with warnings.catch_warnings(record=True) as heard:
        exec(line, {"__name__": "elsewhere"})
        exec(line, {"__name__": "hfcvizard"})
    assert [str(warning.message) for warning in heard] == ["planted", "planted"]
