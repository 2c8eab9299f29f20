"""What `make check` checks, so that nobody has to remember it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("arguments", ["ruff check --quiet .", "ruff format --check --quiet .", "mypy"])
def test_style_and_types(arguments: str) -> None:
    check = subprocess.run([sys.executable, "-m", *arguments.split()], cwd=ROOT, capture_output=True, text=True)
    assert check.returncode == 0, check.stdout + check.stderr
