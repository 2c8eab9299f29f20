"""Arrays on disk, all or nothing, under a name that says what they depend on."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import uuid
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from hfcviz.settings import InputError

Arrays = dict[str, np.ndarray]

_log = logging.getLogger("hfcviz")
_ABOUT = "about.json"


def digest(*parts: Any) -> str:
    """sha256 over nested plain values and arrays: equal exactly when the values are equal in kind and content.

    Lists and tuples count as the same, and so do dicts in any order and NumPy's scalars and Python's. Anything else, a
    path for one, is refused: its text might differ from machine to machine.
    """
    found = hashlib.sha256()
    _feed(found, parts)
    return found.hexdigest()


def _feed(found: hashlib._Hash, value: Any) -> None:
    # Every value is written as kind, length, content: so no two different nestings give the same bytes.
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "OV":
            raise TypeError(f"cannot digest an array of {value.dtype}")
        _feed(found, ["array", value.dtype.str, value.shape])
        found.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
    elif isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("cannot digest a dict whose keys are not all text")
        found.update(f"dict {len(value)};".encode())
        for key in sorted(value):
            _feed(found, key)
            _feed(found, value[key])
    elif isinstance(value, list | tuple):
        found.update(f"list {len(value)};".encode())
        for item in value:
            _feed(found, item)
    elif isinstance(value, str | bytes):
        content = value.encode() if isinstance(value, str) else value
        found.update(f"{type(value).__name__} {len(content)};".encode() + content)
    elif value is None or isinstance(value, bool | int | float):
        found.update(f"{type(value).__name__} {value!r};".encode())
    else:
        raise TypeError(f"cannot digest a {type(value).__name__}")


def save_arrays(path: str | Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Write arrays and the JSON values of `about` as one .npz; `path` holds the old file or the new, never a half."""
    path = Path(path)
    members = {_ABOUT: json.dumps(about).encode()}
    for name, array in arrays.items():
        content = io.BytesIO()
        np.lib.format.write_array(content, np.asarray(array), allow_pickle=False)
        members[f"{name}.npy"] = content.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with zipfile.ZipFile(part, "w") as archive:
            for name, data in members.items():
                # ZipInfo's fixed date makes equal contents equal files.
                archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def load_arrays(path: str | Path) -> tuple[Arrays, dict[str, Any]]:
    """What `save_arrays` wrote; InputError when the file is missing or damaged."""
    path = Path(path)
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            about = json.loads(archive.read(_ABOUT))
            for name in archive.namelist():
                if name != _ABOUT:
                    # read() compares the checksum of the whole member before NumPy believes its header.
                    content = io.BytesIO(archive.read(name))
                    arrays[name.removesuffix(".npy")] = np.lib.format.read_array(content, allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path.name} is not in {path.parent}; make it again or name another file.") from None
    except Exception as error:  # zipfile answers damage with a dozen kinds of exception
        why = f"{type(error).__name__}: {error}"
        raise InputError(f"{path} is not readable as saved arrays ({why}); remove it and make it again.") from error
    return arrays, about


class Store:
    """Results across runs in one folder, by digest; the ones unused for longest go when the folder passes its limit.

    A cache never breaks the work it saves: a folder that cannot be written stores nothing, a damaged entry is a miss.
    """

    def __init__(self, folder: str | Path | None = None, limit_bytes: int = 2 * 10**9) -> None:
        self.folder = Path(folder or os.environ.get("HFCVIZ_STORE") or "~/.cache/hfcviz").expanduser()
        self.limit_bytes = limit_bytes
        self.hits = 0
        self.misses = 0
        self._warned = False

    def get(self, key: str) -> tuple[Arrays, dict[str, Any]] | None:
        path = self._path(key)
        try:
            found = load_arrays(path)
        except InputError:
            with suppress(OSError):
                path.unlink()
            self.misses += 1
            return None
        with suppress(OSError):
            os.utime(path)
        self.hits += 1
        return found

    def put(self, key: str, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> bool:
        """Whether they are kept."""
        try:
            save_arrays(self._path(key), arrays, about)
            self._trim(self._path(key))
            return self._path(key).is_file()
        except OSError as error:
            if not self._warned:
                _log.warning("Results are not kept: %s cannot be written (%s).", self.folder, error)
            self._warned = True
            return False

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.npz"

    def _trim(self, newest: Path) -> None:
        if newest.stat().st_size > self.limit_bytes:
            newest.unlink()  # else it would push out every other entry and then itself
            return
        # Parts are left by processes that were killed while they wrote.
        files = [(path, path.stat()) for pattern in ("*.npz", ".*.part") for path in self.folder.glob(pattern)]
        total = sum(stat.st_size for _, stat in files)
        for path, stat in sorted(files, key=lambda file: file[1].st_mtime_ns):
            if total <= self.limit_bytes:
                break
            path.unlink(missing_ok=True)
            total -= stat.st_size
