"""One reader a corpus behind one small interface, and how a corpus' layout is told.

A source first lists (`entries`: one pass over its list files, flat memory, no item's own files opened), then reads one listed
item at a time (`read`: in any process, in any order). What cannot be listed or read is named, never left out in silence:
`entries` yields a `Rejected`, `read` raises `BadItem`.
"""

from __future__ import annotations

import errno
import html
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from pipeline.item import Item, Query

UNNUMBERED = -1
"""`Query.id` of a query that has not been given its number yet: numbers belong to a packed split, not to a corpus."""

GALLERIES: tuple[str, ...] = ("goods", "video", "live")
"""Domains that are searched among."""

TASKS: dict[str, tuple[str, str]] = {
    f"{asking}2{answering}": (asking, answering) for asking in ("video", "goods", "live", "query") for answering in GALLERIES if asking != answering
} | {"image2text": ("image", "text"), "text2image": ("text", "image")}
"""Retrieval task -> (domain searched with, domain searched among)."""

READERS: dict[str, str] = {
    "real20m": "pipeline.sources.real20m:Real20M",
    "catalog": "pipeline.sources.catalog:Catalog",
    "mvs": "pipeline.sources.mvs:MVS",
    "microlens": "pipeline.sources.microlens:MicroLens",
    "nus": "pipeline.sources.nus:NUS",
    "scan": "pipeline.sources.scan:Scan",
    "kddcup": "pipeline.sources.kddcup:KDDCup",
}
"""Name of a source -> where its reader is. The order is that in which layouts are tried."""


class BadItem(ValueError):
    """An item that cannot be packed: `file` (as the corpus names it) and the reason, for rejected.jsonl."""

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file}: {reason}" if file else reason)
        self.file = file
        self.reason = reason

    def __reduce__(self) -> tuple[type[BadItem], tuple[str, str]]:
        return BadItem, (self.file, self.reason)


@dataclass(frozen=True)
class Rejected:
    """One line of rejected.jsonl: what was left out, the file at fault and the reason. `id` and `domain` are "" where unknown."""

    id: str
    domain: str
    file: str
    reason: str


@dataclass(frozen=True)
class Entry:
    """One listed item: enough to order it and to read it later.

    `payload` is text that only the source understands (where to look; "" where the id says it all); `file` and `line` say where it
    was listed, for messages. `queries` carry words and cluster; their number is `UNNUMBERED` until the listing gives one.
    `repeats` says that the corpus may list the item again (its queries, labels and roles are then merged); where it is False a
    second listing is a rejected duplicate. `gathered_by` is a query's words where the corpus says that it gathered the item by them and yet
    keeps them apart from `queries`: the item answers that query, and does not carry it.
    """

    id: str
    domain: str
    role: str = "both"
    queries: tuple[Query, ...] = ()
    labels: Mapping[str, Any] = field(default_factory=dict)
    payload: str = ""
    file: str = ""
    line: int = 0
    repeats: bool = False
    gathered_by: str = ""


class Source(Protocol):
    """What a reader of a corpus offers. It is pickled into the packing processes, so it holds little more than the root.

    A reader may also have `queries_are_links = True`, `keeps_order = True` and a method `pools` (see the functions of these names below).
    """

    name: str
    looked_for: str
    """The files by which the layout is recognised, in words, for the error that lists what was looked for."""
    root: Path

    def __init__(self, root: Path) -> None: ...

    @classmethod
    def recognise(cls, root: Path) -> bool:
        """True where `root` has this layout."""

    def splits(self) -> tuple[str, ...]:
        """The splits that the corpus has, e.g. ("train", "test")."""

    def list_files(self, split: str) -> list[Path]:
        """The files that `entries`, `clusters` and `ground_truth` of the split read; their content tells one corpus from another."""

    def clusters(self, split: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """(a query's words, its cluster ids from coarse to fine), for corpora that keep clusters in a file of their own."""

    def entries(self, split: str) -> Iterator[Entry | Rejected]:
        """The items of the split in the order of its files. An item of several queries may come once for each."""

    def read(self, entry: Entry) -> Item:
        """The item, its own text files read and checked; media paths are checked to lie below the root, not opened.

        Raises BadItem naming the file at fault.
        """

    def ground_truth(self, split: str) -> dict[str, Iterator[tuple[str, list[str]]]]:
        """For each of `TASKS` that the corpus has a file for: (query id, relevant ids), plain ids."""

    def derives_ground_truth(self, split: str) -> bool:
        """True where a task without a ground-truth file counts items that share a query as relevant to each other."""


def queries_are_links(source: Source) -> bool:
    """True where the corpus' queries say only what belongs together and are nothing that people type: then packing makes no items of them to
    search with, and no vocabulary."""
    return getattr(source, "queries_are_links", False)


def keeps_order(source: Source) -> bool:
    """True where items of a train split are packed in the order of the corpus' file: each shard is then a range of its bytes, read once from front
    to back. Otherwise they are dealt by a hash, so that neighbours in a shard are unrelated."""
    return getattr(source, "keeps_order", False)


def pools_of_source(source: Source, split: str) -> dict[str, Iterator[tuple[str, str]]]:
    """For each of `TASKS` for which the corpus names candidates, the only documents that a query is to be ranked with: (query id, document id)."""
    return source.pools(split) if hasattr(source, "pools") else {}


def readers() -> dict[str, type[Source]]:
    """All readers by name. Imported here and not above, since they import this module."""
    found: dict[str, type[Source]] = {}
    for name, place in READERS.items():
        module, _, attribute = place.partition(":")
        found[name] = getattr(import_module(module), attribute)
    return found


def open_source(root: str | Path, name: str | None = None) -> Source:
    """The reader for the corpus at `root`, chosen by `name` or by the corpus' layout.

    Raises ValueError for a missing folder, an unknown name, and a layout that no reader or more than one reader recognises.
    """
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder; --data names the root of a corpus" if not root.exists() else f"{root}: not a folder")
    known = readers()
    looked_for = "; ".join(f"{key}: {reader.looked_for}" for key, reader in known.items())
    if name is not None:
        if name not in known:
            raise ValueError(f"--source {name}: no such source; choose one of {', '.join(known)}")
        if not known[name].recognise(root):
            raise ValueError(f"{root}: not laid out as --source {name}, which looks for {known[name].looked_for}")
        return known[name](root)
    matching = [key for key, reader in known.items() if reader.recognise(root)]
    if not matching:
        raise ValueError(f"{root}: layout not recognised. Looked for {looked_for}")
    if len(matching) > 1:
        raise ValueError(f"{root}: looks like {' and like '.join(matching)}; say which with --source")
    return known[matching[0]](root)


def below(folder: str, path: str, file: str) -> str:
    """`folder`/`path` as text relative to the corpus' root. Raises BadItem where `path`, as `file` has it, would leave that folder."""
    parts = PurePosixPath(path)
    if not path or "\0" in path or "\\" in path or parts.is_absolute() or ".." in parts.parts or re.match(r"[A-Za-z]:", path):
        raise BadItem(file, f"media path {path!r} is not a plain path below {folder or 'the corpus'}: absolute paths and '..' are refused")
    return str(PurePosixPath(folder) / parts)


_A_FILES_FAULT = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.ENAMETOOLONG, errno.ELOOP)


def read_bytes(root: Path, name: str) -> bytes:
    """The bytes of the file `name` below `root`; links are followed, since media often lie on another disk.

    Raises BadItem where the file is at fault (missing, a folder, not readable, no file but a pipe or a device, which might never end); a fault of the
    machine (a disk that fails, too many open files) stays the OSError that it is.
    """
    try:
        path = root / name
        if not stat.S_ISREG(mode := path.stat().st_mode) and not stat.S_ISDIR(mode):
            raise BadItem(name, "no file but a pipe, a socket or a device")
        return path.read_bytes()
    except OSError as error:
        if error.errno not in _A_FILES_FAULT:
            raise
        raise BadItem(name, "missing file" if error.errno == errno.ENOENT else (error.strerror or "cannot be read")) from error


def decode(data: bytes, name: str) -> str:
    """`data` as UTF-8 text (a leading byte order mark is dropped). Raises BadItem naming the file and the byte where it is not."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadItem(name, f"not UTF-8 text: byte {data[error.start]:#04x} at position {error.start}") from error


def clean(text: str) -> str:
    """`text` stripped, with HTML entities (`&#39;`) as the characters they stand for; "" where it is the word null."""
    text = html.unescape(text).strip()
    return "" if text.lower() == "null" else text
