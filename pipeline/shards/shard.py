"""One shard of a packed split and the samples in it: a tar in WebDataset form, reached member by member through the index beside it.

Members are read by offset, in any order and from any process: the tar is opened at the first read, `os.pread` shares no position between forks,
and everything here can be pickled.
"""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.item import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Query
from pipeline.remote.mirror import Mirror
from pipeline.shards.record import AGAIN, read_record


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
        """Its JSON member: id, domain, words, queries, labels. Raises ValueError where it is damaged or another item's."""
        if self._record is None:
            self._record = read_record(self.bytes("json"), self.id, self.name)
        return self._record

    def words(self) -> dict[str, str]:
        """Its words by kind (title, description, caption, recognised_text); kinds that are empty are absent."""
        return dict(self.record["words"])

    def queries(self) -> list[Query]:
        """The queries it was found by."""
        first = self._shard.first_query
        return [Query(first + query["id"], query["words"], tuple(query["cluster"])) for query in self.record["queries"]]

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
        self._shard.bring()
        return self._shard.path, *spans[suffix]

    def bytes(self, suffix: str) -> bytes:
        """The bytes of a member. Raises ValueError where it is not there or the tar ends before it does."""
        _, start, size = self.span(suffix)
        data = self._shard.read(start, size)
        if len(data) != size:
            raise ValueError(f"{self.name}: {suffix} has {len(data)} of its {size} bytes; the tar is cut short, {AGAIN}")
        return data


class Shard:
    """An open shard: its index in memory, its tar opened at the first read, and fetched before where `mirror` brings it from elsewhere.

    `query_offsets` int64 [n + 1] and `query_ids_flat` int32 hold each sample's query ids, as CSR rows; its samples count queries from
    `first_query` on.
    """

    def __init__(self, path: str | Path, info: ShardInfo, mirror: Mirror | None = None, first_query: int = 0) -> None:
        self.path = Path(path)
        self.info = info
        self.first_query = first_query
        self._mirror = mirror
        self._descriptor: int | None = None
        self.damage = ""
        """why nothing shall be read of it; empty: it may be"""
        index = self.path.with_suffix(".index.npz")
        if not index.is_file():
            raise ValueError(f"{index}: missing, though the manifest lists {info.name}; {AGAIN}")
        with _reading(index), np.load(index, allow_pickle=False) as arrays:
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
            raise ValueError(f"{index}: {len(self.ids)} samples, the manifest says {info.samples}; the folder mixes two pack runs, {AGAIN}")

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
        """`size` bytes of the tar from `start`, fewer where it ends before. Raises ValueError where the tar is not the one that was packed."""
        if self.damage:
            raise ValueError(self.damage)
        descriptor = self._opened() if self._mirror is None else self._mirror.tar(self.info)
        parts = []
        while size > 0 and (part := os.pread(descriptor, min(size, 1 << 30), start)):
            parts.append(part)
            start, size = start + len(part), size - len(part)
        return b"".join(parts)

    def bring(self) -> None:
        """Have the tar on this machine, so that it can be opened by its path, where it comes from elsewhere."""
        if self._mirror is not None:
            self._mirror.tar(self.info)

    def _opened(self) -> int:
        if self._descriptor is None:
            try:
                held = os.stat(self.path).st_size
                if held != self.info.bytes:
                    raise ValueError(f"{self.path}: {held} bytes, the manifest says {self.info.bytes}; the file is damaged, {AGAIN}")
                self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError as error:
                raise ValueError(f"{self.path}: missing, though the manifest lists it; {AGAIN}") from error
        return self._descriptor

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_descriptor": None}

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            os.close(self._descriptor)  # type: ignore[arg-type]


@contextmanager
def _reading(index: Path) -> Iterator[None]:
    """Whatever a damaged index raises (its zip file has checksums of its own) as one line."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, ValueError) as error:
        raise ValueError(f"{index}: {type(error).__name__}: {error}; {AGAIN}") from error
