"""The folder of a long evaluation: each finished piece is kept at once, and nothing is ever half-written."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from hfcviz.settings import InputError
from hfcviz.store import Arrays, digest, load_arrays, save_arrays

T = TypeVar("T")


def kept(
    folder: Path,
    what: str,
    make: Callable[[], T],
    pack: Callable[[T], tuple[Arrays, dict[str, Any]]],
    unpack: Callable[[Arrays, dict[str, Any]], T],
) -> T:
    """What `make` gives, from the folder if an earlier run left it there; always by way of the file, so that a resumed
    evaluation computes with the very same numbers.
    """
    path = folder / "cells" / f"{what}.npz"
    if not path.is_file():
        save_arrays(path, *pack(make()))
    try:
        return unpack(*load_arrays(path))
    except KeyError as error:
        raise InputError(f"{path} is damaged ({error} is missing): delete it, and it is made again.") from error


def claim(folder: Path, recipe: dict[str, Any]) -> None:
    """Make the folder of this evaluation, or go on in it; InputError when it is that of another."""
    path = folder / "recipe.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError), path.open("x", encoding="utf-8") as file:  # the first one to come
            file.write(json.dumps(recipe, indent=1))
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        differing = [key for key in recipe if digest(found.get(key)) != digest(json.loads(json.dumps(recipe[key])))]
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{path} is damaged: choose another folder, or delete this one to start anew.") from error
    if differing:
        raise InputError(
            f"{folder} holds an evaluation with another {' and '.join(differing)}: choose another folder, or the same settings."
        )


def write_text(path: Path, text: str) -> None:
    """The old file or the new one, never a half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
