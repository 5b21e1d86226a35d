"""Rows of KDD Cup 2020's multimodal recall files: nine columns between tabs, arrays of numbers as base64.

    product_id  image_h  image_w  num_boxes  boxes  features  class_labels  query  query_id

boxes float32 [n, 4] (top, left, bottom, right), features float32 [n, D] (2048 as released), class_labels int64 [n], little-endian; n is num_boxes.
A first line with the names of the columns is passed over.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.regions import BOXES, LABELS, REGIONS
from pipeline.sources import BadItem, clean

COLUMNS = ("product_id", "image_h", "image_w", "num_boxes", "boxes", "features", "class_labels", "query", "query_id")
HEAD = "\t".join(COLUMNS).encode()
READ_AHEAD = 1 << 24
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Line:
    """A line of a file: its number from 1, where it begins, its bytes."""

    number: int
    offset: int
    data: bytes


@dataclass(frozen=True)
class Named:
    """What a row says besides its numbers."""

    product: str
    query: str
    query_id: str
    picture: bytes
    """its other columns, as they stand"""


def lines_of(path: Path) -> Iterator[Line]:
    """The lines of the file but for the names of the columns, front to back, a line in memory at a time."""
    offset = 0
    with open(path, "rb", buffering=READ_AHEAD) as file:
        for number, data in enumerate(file, 1):
            if number > 1 or not data.startswith(HEAD):
                yield Line(number, offset, data)
            offset += len(data)


def named(line: bytes) -> Named:
    """Ids and words of a row; its arrays are not looked at. Raises BadItem where they are not there."""
    columns = _columns(line)
    try:
        product, words, query_id = (columns[place].decode().strip() for place in (0, 7, 8))
    except UnicodeDecodeError as error:
        raise BadItem("", f"not UTF-8 text: byte {error.object[error.start]:#04x}") from error
    for name, id in (("product_id", product), ("query_id", query_id)):
        if not _ID.fullmatch(id):
            raise BadItem("", f"{name} is {id[:80]!r}; wanted letters, digits, _ and -")
    if not clean(words):
        raise BadItem("", "its query has no words")
    return Named(product, clean(words), query_id, b"\t".join(columns[1:7]))


def regions_of(line: bytes, width: int | None = None) -> dict[str, np.ndarray]:
    """`boxes` float32 [n, 4], `regions` float32 [n, D] and `region_labels` int64 [n] of a row.

    Args:
        width: D; None takes any.

    Raises:
        BadItem: columns are missing, a column is no base64 or has another shape than num_boxes says, or a number is not finite.
    """
    columns = dict(zip(COLUMNS, _columns(line)))
    try:
        count = int(columns["num_boxes"])
    except ValueError:
        count = 0
    if count < 1:
        raise BadItem("", f"num_boxes is {columns['num_boxes'][:20].decode(errors='replace')!r}; wanted a number above 0")
    data = {name: _decoded(name, columns[name]) for name in ("boxes", "features", "class_labels")}
    if width is None and (len(data["features"]) % (4 * count) or not data["features"]):
        raise BadItem("", f"features has {len(data['features'])} bytes, which are not {count} rows of float32 numbers")
    width = width or len(data["features"]) // (4 * count)
    found = {}
    for name, ours, shape, kind in (
        ("boxes", BOXES, (count, 4), "<f4"),
        ("features", REGIONS, (count, width), "<f4"),
        ("class_labels", LABELS, (count,), "<i8"),
    ):
        wanted = int(np.prod(shape)) * np.dtype(kind).itemsize
        if len(data[name]) != wanted:
            raise BadItem("", f"{name} has {len(data[name])} bytes; num_boxes {count} needs {wanted}, for {kind[1:]} {list(shape)}")
        found[ours] = np.frombuffer(data[name], kind).reshape(shape)
        if kind == "<f4" and not np.isfinite(found[ours]).all():
            raise BadItem("", f"{name} has {np.count_nonzero(~np.isfinite(found[ours]))} numbers of {found[ours].size} that are not finite")
    return found


def _columns(line: bytes) -> list[bytes]:
    columns = line.rstrip(b"\r\n").split(b"\t")
    if len(columns) != len(COLUMNS):
        raise BadItem("", f"{len(columns)} columns; wanted {len(COLUMNS)}: {', '.join(COLUMNS)}")
    return columns


def _decoded(name: str, text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise BadItem("", f"{name} is no base64: {error}") from error
