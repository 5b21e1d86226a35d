"""Files that appear whole or not at all: written under a temporary name, flushed to disk, renamed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
"""A name that comes from elsewhere and becomes part of a path: it cannot lead out of its folder."""


def make_folder(path: str | Path) -> Path:
    """The folder `path`, made with those above it where it was not there. Raises ValueError naming a file that is in its way."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        file = next(place for place in (path, *path.parents) if place.exists())
        raise ValueError(f"{path}: {file} is a file, not a folder; give another place, or move it away") from error
    return path


def require_writable(folder: str | Path, out: str | Path | None = None) -> None:
    """Make `folder`: looked at before hours of work, and not after them.

    Raises ValueError where it cannot be made or written to, naming `out` (default: `folder`), which is to be there.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"--out {out or folder}: cannot be written ({error.strerror}); give a folder that you may write to") from error


@contextmanager
def whole_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` for a library to write to; renamed to `path` when the block ends well, removed when not."""
    path = Path(path)
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
        _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_file(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """An open file (`mode` "w" for UTF-8 text, "wb" for bytes) that becomes `path` when the block ends well."""
    with whole_path(path) as temporary:
        with open(temporary, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """A temporary folder beside `path` that becomes `path` when the block ends well; an older folder of that name is replaced."""
    path = Path(path)
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            _flush(file)
        if path.exists():
            former = path.with_name(f".{path.name}.{os.getpid()}.former")
            os.rename(path, former)
            os.rename(temporary, path)
            shutil.rmtree(former)
        else:
            os.rename(temporary, path)
        _flush(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented UTF-8 JSON, whole or not at all."""
    with whole_file(path) as file:
        json.dump(value, file, ensure_ascii=False, indent=1)
        file.write("\n")


def read_json(path: str | Path) -> Any:
    """The value in the JSON file `path`. Raises ValueError naming the file where it is not UTF-8 JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: not UTF-8 JSON ({error})") from error


def checksum(path: str | Path) -> str:
    """SHA-256 of the file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
