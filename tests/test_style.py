"""What `make check` checks, so that nobody has to remember it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("arguments", ["ruff check --quiet .", "ruff format --check --quiet .", "mypy"])
def test_style_and_types(arguments: str) -> None:
    check = subprocess.run([sys.executable, "-m", *arguments.split()], cwd=ROOT, capture_output=True, text=True)
    assert check.returncode == 0, check.stdout + check.stderr


def imports(path: Path) -> set[str]:
    """The modules of ours that a module imports, wherever it does: "studies.lab"; all pages are "ui"."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "hfcviz":
            base = node.module.removeprefix("hfcviz").lstrip(".")
            found |= {base, *(f"{base}.{one.name}".lstrip(".") for one in node.names)}
    return {"ui" if name.startswith("ui.") else name for name in found}


def test_the_table_of_modules_names_them_all_and_imports_lie_in_lower_rows() -> None:
    lines = re.findall(r"^\| (\d+) \| ([^|]+) \|", (ROOT / "docs/architecture.md").read_text(), flags=re.MULTILINE)
    rows = {name: int(row) for row, names in lines for name in re.findall(r"`([^`]+)`", names)}
    assert [int(row) for row, _ in lines] == sorted(int(row) for row, _ in lines)
    for path in (ROOT / "hfcviz").rglob("*.py"):
        name = ".".join(path.relative_to(ROOT / "hfcviz").with_suffix("").parts)
        if path.stem == "__init__":
            continue
        name = "ui" if name.startswith("ui.") else name
        assert name in rows, f"{name} has no row"
        for other in imports(path) & rows.keys() - {name}:
            assert rows[other] < rows[name], f"{name} ({rows[name]}) imports {other} ({rows[other]})"
