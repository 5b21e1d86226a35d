"""A packed split: tar shards in WebDataset form, an index beside each, a manifest written last. This module reads it.

    SHARDS/<split>/manifest.json                     format version, source, split, counts by domain, one record a shard
    SHARDS/<split>/video-000000.tar                  <key>.json, <key>.jpg | <key>.00.jpg … | <key>.mp4, <key>.<feature>.npy
    SHARDS/<split>/video-000000.index.npz            where each member lies in the tar, and each sample's query ids
    SHARDS/<split>/query.query-000000.tar            every split but train: its queries as items, to be searched with
    SHARDS/<split>/queries.jsonl, rejected.jsonl, ground_truth/<task>.tsv, tokenizer/

Members are read by offset, in any order and from any process: files are opened at the first read, `os.pread` shares no position
between forks, and everything here can be pickled. Memory is that of the indices of the shards that are open.
"""

from __future__ import annotations

import json
import os
import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from launch.files import read_json
from pipeline.item import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Query

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
WORK_FOLDER = ".pack"
"""Where pack notes which shards of an unfinished split are complete."""


@dataclass(frozen=True)
class ShardInfo:
    """A shard's record in the manifest: `bytes` and `checksum` (SHA-256) are those of the tar."""

    name: str
    domain: str
    role: str
    samples: int
    with_queries: int
    bytes: int
    checksum: str


class Sample:
    """One sample of a shard; nothing of it is read before it is asked for."""

    def __init__(self, shard: Shard, row: int) -> None:
        self._shard = shard
        self.row = row
        self._record: dict[str, Any] | None = None

    @property
    def id(self) -> str:
        """The item's id, unique in its domain."""
        return self._shard.ids[self.row]

    @property
    def domain(self) -> str:
        """The item's domain, e.g. goods."""
        return self._shard.info.domain

    @property
    def shard(self) -> str:
        """The name of its shard, e.g. video-000012."""
        return self._shard.info.name

    @property
    def name(self) -> str:
        """Where it is, for messages: "train/video-000012.tar: sample 7 ('2000316')"."""
        return f"{self._shard.path.parent.name}/{self._shard.path.name}: sample {self.row} ({self.id!r})"

    @property
    def members(self) -> tuple[str, ...]:
        """The suffixes of its members in the order of the tar, e.g. ("json", "00.jpg", "01.jpg", "clip.npy")."""
        return tuple(self._shard.members(self.row))

    @property
    def record(self) -> dict[str, Any]:
        """Its JSON member: id, domain, words, queries, labels."""
        if self._record is None:
            self._record = json.loads(self.bytes("json"))
        return self._record

    def words(self) -> dict[str, str]:
        """Its words by kind (title, description, caption, recognised_text); kinds that are empty are absent."""
        return dict(self.record["words"])

    def queries(self) -> list[Query]:
        """The queries it was found by."""
        return [Query(query["id"], query["words"], tuple(query["cluster"])) for query in self.record["queries"]]

    def frames(self) -> list[str]:
        """The suffixes of its images in the order of time; empty where it has none or is a video file."""
        return [suffix for suffix in self.members if re.fullmatch(r"([0-9]+\.)?[a-z]+", suffix) and f".{suffix.split('.')[-1]}" in IMAGE_SUFFIXES]

    def video(self) -> str | None:
        """The suffix of its video file, None where it has none."""
        return next((suffix for suffix in self.members if f".{suffix}" in VIDEO_SUFFIXES), None)

    def span(self, suffix: str) -> tuple[Path, int, int]:
        """(tar, byte offset, size in bytes) of a member, for a decoder that reads by itself. Raises ValueError where it is not there."""
        spans = self._shard.members(self.row)
        if suffix not in spans:
            raise ValueError(f"{self.name} lacks {suffix}; it has {', '.join(spans)}")
        return self._shard.path, *spans[suffix]

    def bytes(self, suffix: str) -> bytes:
        """The bytes of a member. Raises ValueError where it is not there or the tar ends before it does."""
        _, start, size = self.span(suffix)
        data = self._shard.read(start, size)
        if len(data) != size:
            raise ValueError(f"{self.name}: {suffix} has {len(data)} of its {size} bytes; the tar is cut short, pack it again")
        return data


class Shard:
    """An open shard: its index in memory, its tar opened at the first read.

    `query_offsets` int64 [n + 1] and `query_ids_flat` int32 hold each sample's query ids, as CSR rows.
    """

    def __init__(self, path: str | Path, info: ShardInfo) -> None:
        self.path = Path(path)
        self.info = info
        self._descriptor: int | None = None
        index = self.path.with_suffix(".index.npz")
        if not index.is_file():
            raise ValueError(f"{index}: missing, though the manifest lists {info.name}; pack it again")
        with np.load(index, allow_pickle=False) as arrays:
            text, offsets = arrays["ids"].tobytes(), arrays["id_offsets"]
            self.ids: Sequence[str] = [text[start:end].decode() for start, end in pairwise(offsets.tolist())]
            self.keys: Sequence[str] = [key.decode() for key in arrays["keys"].tolist()]
            self.query_offsets: np.ndarray = arrays["query_offsets"]
            self.query_ids_flat: np.ndarray = arrays["query_ids"]
            self._member_offsets = arrays["member_offsets"]
            self._member_suffix = arrays["member_suffix"]
            self._member_start = arrays["member_start"]
            self._member_size = arrays["member_size"]
        if len(self.ids) != info.samples:
            raise ValueError(f"{index}: {len(self.ids)} samples, the manifest says {info.samples}; the folder mixes two pack runs, pack it again")

    def __len__(self) -> int:
        return len(self.ids)

    def query_ids(self, row: int) -> np.ndarray:
        """The query ids of a sample, int32."""
        return self.query_ids_flat[self.query_offsets[row] : self.query_offsets[row + 1]]

    def sample(self, row: int) -> Sample:
        """The sample at `row`. Raises ValueError where there is none."""
        if not 0 <= row < len(self):
            raise ValueError(f"{self.path}: no sample {row}; the shard has {len(self)}")
        return Sample(self, row)

    def members(self, row: int) -> dict[str, tuple[int, int]]:
        """A sample's members in the order of the tar: suffix -> (byte offset of the data, size in bytes)."""
        rows = slice(self._member_offsets[row], self._member_offsets[row + 1])
        places = zip(self._member_start[rows].tolist(), self._member_size[rows].tolist())
        return dict(zip(self._member_suffix[rows].tolist(), places))

    def read(self, start: int, size: int) -> bytes:
        """`size` bytes of the tar from `start`, fewer where it ends before."""
        if self._descriptor is None:
            try:
                held = os.stat(self.path).st_size
                if held != self.info.bytes:
                    raise ValueError(f"{self.path}: {held} bytes, the manifest says {self.info.bytes}; the file is damaged, pack it again")
                self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError as error:
                raise ValueError(f"{self.path}: missing, though the manifest lists it; pack it again") from error
        parts = []
        while size > 0 and (part := os.pread(self._descriptor, min(size, 1 << 30), start)):
            parts.append(part)
            start, size = start + len(part), size - len(part)
        return b"".join(parts)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_descriptor": None}

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            os.close(self._descriptor)  # type: ignore[arg-type]


class ShardSet:
    """A finished packed split.

    Args:
        folder: the split's folder, which holds manifest.json.
        open_shards: how many shards stay open at once (indices in memory, one file handle each).
    """

    def __init__(self, folder: str | Path, open_shards: int = 64) -> None:
        self.folder = Path(folder)
        manifest = _manifest(self.folder)
        self.split: str = manifest["split"]
        self.source: str = manifest["source"]
        self.counts: dict[str, int] = manifest["counts"]
        names = [field.name for field in fields(ShardInfo)]
        self.shards: tuple[ShardInfo, ...] = tuple(ShardInfo(**{name: shard[name] for name in names}) for shard in manifest["shards"])
        self.manifest: dict[str, Any] = manifest
        self._open_shards = open_shards
        self._open: OrderedDict[int, Shard] = OrderedDict()

    def __len__(self) -> int:
        return sum(self.counts.values())

    def shard(self, number: int) -> Shard:
        """The shard at `number` in `shards`; the ones used last stay open."""
        shard = self._open.pop(number, None)
        if shard is None:
            info = self.shards[number]
            shard = Shard(self.folder / f"{info.name}.tar", info)
        self._open[number] = shard
        while len(self._open) > self._open_shards:
            self._open.popitem(last=False)
        return shard

    def of_domain(self, domain: str, roles: tuple[str, ...] = ("both", "query", "document")) -> list[int]:
        """The numbers of the shards of a domain whose items have one of `roles`."""
        return [number for number, info in enumerate(self.shards) if info.domain == domain and info.role in roles]

    def queries(self) -> list[Query]:
        """All queries of the split; a query's id is its place in the list."""
        with open(self.folder / "queries.jsonl", encoding="utf-8") as lines:
            records = (json.loads(line) for line in lines)
            return [Query(record["id"], record["words"], tuple(record["cluster"])) for record in records]

    def ground_truth(self, task: str) -> Path | None:
        """The file of `query id TAB relevant ids` for a task such as "video2goods", None where the split has none."""
        path = self.folder / "ground_truth" / f"{task}.tsv"
        return path if path.is_file() else None

    def tokenizer(self) -> Path | None:
        """The folder of the WordPiece vocabulary trained on this split, None where there is none."""
        path = self.folder / "tokenizer"
        return path if path.is_dir() else None

    def require_domains(self, *domains: str) -> None:
        """Raise ValueError naming the folder and its counts where a domain has no items."""
        missing = [domain for domain in domains if not self.counts.get(domain)]
        if missing:
            held = ", ".join(f"{count} {domain}" for domain, count in self.counts.items() if count) or "nothing"
            lacks = f"no items of domain {' and '.join(missing)} (it holds {held})"
            remedy = f"use a corpus that has {' and '.join(domains)}"
            if missing == ["query"]:
                remedy = (
                    "queries are packed with a split for evaluation whose documents say what they were found by (Dataset/README.md); "
                    "where they do, pack it again with --overwrite"
                )
            raise ValueError(f"{self.folder}: {lacks}; {remedy}")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}


def is_shard_set(path: str | Path) -> bool:
    """True where `path` is a packed split, finished or not, or a folder of such splits."""
    path = Path(path)
    return path.is_dir() and any(_is_split(folder) for folder in (path, *_subfolders(path)))


def splits_of(path: str | Path) -> dict[str, Path]:
    """The finished splits at `path` (a packed split or a folder of them): name -> folder, train first, then val, test, others.

    Raises ValueError where there is none, saying so where one is unfinished.
    """
    path = Path(path)
    folders = [folder for folder in (path, *_subfolders(path)) if _is_split(folder)] if path.is_dir() else []
    if not folders:
        raise ValueError(f"{path}: not a packed shard set (no {MANIFEST} here or one folder below); pack a corpus with python -m pipeline.pack")
    finished = [folder for folder in folders if (folder / MANIFEST).is_file()]
    found = {_manifest(folder)["split"]: folder for folder in finished or folders}
    order = ("train", "val", "test")
    return dict(sorted(found.items(), key=lambda item: (order.index(item[0]) if item[0] in order else len(order), item[0])))


def open_shards(path: str | Path, split: str) -> ShardSet:
    """The packed split `split` at `path`, which is that split's folder or the folder of all splits. Raises ValueError naming what there is."""
    found = splits_of(path)
    if split not in found:
        if _is_split(Path(path) / split):
            return ShardSet(Path(path) / split)  # unfinished: its own error says so
        raise ValueError(f"{path}: no split {split}; it has {', '.join(found)}")
    return ShardSet(found[split])


def _subfolders(path: Path) -> list[Path]:
    return sorted(folder for folder in path.iterdir() if folder.is_dir())


def _is_split(folder: Path) -> bool:
    if (folder / WORK_FOLDER).is_dir():
        return True
    if not (folder / MANIFEST).is_file():
        return False
    manifest = read_json(folder / MANIFEST)
    return isinstance(manifest, dict) and "split" in manifest and "shards" in manifest


def _manifest(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; pack a corpus with python -m pipeline.pack")
    if not (folder / MANIFEST).is_file():
        raise ValueError(f"{folder}: no {MANIFEST}; the folder is unfinished, run the command that wrote it again")
    manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or "split" not in manifest or "shards" not in manifest:
        raise ValueError(f"{folder / MANIFEST}: not the manifest of a packed split")
    if manifest.get("format_version") != FORMAT_VERSION:
        version = manifest.get("format_version")
        raise ValueError(f"{folder / MANIFEST}: format version {version}, this program reads {FORMAT_VERSION}; pack the corpus again")
    return manifest
