"""Lists of ids in files: `.txt` with one id a line, read in blocks, or `.json` with one list, read whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from evaluate.ids import encode_ids
from launch.files import read_json


def id_list_of(array: Path) -> Path:
    """The id list beside the file `array`: NAME.ids.txt, NAME.ids.json, NAME.txt, NAME.json, ids.txt or ids.json, the first that is there.

    Raises ValueError where none is.
    """
    stem = array.stem
    names = [name for base in (f"{stem}.ids", stem, "ids") for name in (f"{base}.txt", f"{base}.json")]
    for name in names:
        if array.with_name(name).is_file():
            return array.with_name(name)
    raise ValueError(f"{array}: no list of ids beside it ({', '.join(names)}); name one: a .txt with an id a line, or a .json list")


def read_id_blocks(path: Path, ids_per_block: int) -> Iterator[np.ndarray]:
    """The ids in `path` as UTF-8 bytes, in blocks of `ids_per_block`. Raises ValueError naming file and line (or place) of what is no id."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file; give a .txt with an id a line, or a .json list of ids")
    ids = _of_json(path) if path.suffix == ".json" else _of_text(path)
    while some := list(islice(ids, ids_per_block)):
        yield encode_ids(some)


def _of_json(path: Path) -> Iterator[str]:
    values = read_json(path)
    if not isinstance(values, list):
        raise ValueError(f"{path}: holds {type(values).__name__}, not a list of ids")
    for place, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, str | int) or "\0" in str(value) or not str(value):
            raise ValueError(f"{path}: id {place} of {len(values)} is {json.dumps(value)[:60]}; an id is a text or a whole number")
        yield str(value)


def _of_text(path: Path) -> Iterator[str]:
    try:
        with open(path, encoding="utf-8-sig", newline="\n") as file:  # -sig: some editors begin a file with a mark of its encoding
            for number, line in enumerate(file, 1):
                text = line.rstrip("\r\n")
                if not text or "\0" in text:
                    raise ValueError(f"{path}: line {number} is {text!r}; every line is the id of one row")
                yield text
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error})") from error
