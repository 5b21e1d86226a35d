"""Reading a finished dump (`evaluate/embeddings.py` writes it): rows of a domain and role in blocks, memory bounded by the block.

Legend: N rows selected, n rows of a block, D width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from evaluate.embeddings import ANY_ROLE, FORMAT_VERSION, read_attributes
from launch.files import read_json


@dataclass(frozen=True)
class DumpShard:
    """One file of a dump, as its manifest has it."""

    path: Path
    domain: str
    role: str
    rows: int
    failed: int
    id_bytes: int


class Dump:
    """A finished dump, opened by its folder.

    Methods that take `roles` and `domain` speak of the rows of those alone, numbered from 0 in the order of the shards.

    Raises ValueError where the folder has no manifest (unfinished) or one of another format.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        manifest = self.folder / "manifest.json"
        if not self.folder.is_dir():
            raise ValueError(f"{folder}: no such folder; give one that pipeline.embed wrote")
        if not manifest.is_file():
            raise ValueError(f"{folder}: no manifest.json; the dump is unfinished, run embed again: it goes on from the shards that are complete")
        values = read_json(manifest)
        version = values.get("format_version") if isinstance(values, dict) else None
        if version != FORMAT_VERSION:
            raise ValueError(f"{manifest}: format version {version}, this program reads {FORMAT_VERSION}; embed again")
        self.dim: int = values["dim"]
        self.dtype: str = values["dtype"]
        self.normalised: bool = values["normalised"]
        self.checkpoint: str = values["checkpoint"]
        self.recipe: str = values["recipe"]
        self.domains: tuple[str, ...] = tuple(values["domains"])
        self.shards = tuple(
            DumpShard(self.folder / f"{entry['name']}.h5", entry["domain"], entry["role"], entry["rows"], entry["failed"], entry["id_bytes"])
            for entry in values["shards"]
        )

    @property
    def rows(self) -> int:
        """Rows of all shards."""
        return sum(shard.rows for shard in self.shards)

    @property
    def domain(self) -> str:
        """Its domain. Raises ValueError where it has several."""
        if len(self.domains) != 1:
            raise ValueError(f"{self.folder}: holds the domains {', '.join(self.domains)}; say which")
        return self.domains[0]

    def select(self, roles: tuple[str, ...] = ANY_ROLE, domain: str | None = None) -> list[DumpShard]:
        """The shards of `roles` and `domain` (None: any)."""
        return [shard for shard in self.shards if shard.role in roles and domain in (None, shard.domain)]

    def count(self, roles: tuple[str, ...] = ANY_ROLE, domain: str | None = None) -> int:
        """N, the number of rows of `roles` and `domain`."""
        return sum(shard.rows for shard in self.select(roles, domain))

    def failed(self, roles: tuple[str, ...] = ANY_ROLE, domain: str | None = None) -> int:
        """How many items of `roles` and `domain` could not be embedded."""
        return sum(shard.failed for shard in self.select(roles, domain))

    def id_bytes(self, roles: tuple[str, ...] = ANY_ROLE, domain: str | None = None) -> int:
        """Bytes of the widest id of `roles` and `domain`."""
        return max((shard.id_bytes for shard in self.select(roles, domain)), default=1)

    def id_blocks(self, roles: tuple[str, ...] = ANY_ROLE, domain: str | None = None) -> Iterator[np.ndarray]:
        """The ids (UTF-8 bytes, `evaluate/ids.py`), a shard at a time."""
        for shard in self.select(roles, domain):
            with _open(self, shard) as file:
                yield file["ids"][:]

    def ids(self, roles: tuple[str, ...] = ANY_ROLE, domain: str | None = None) -> np.ndarray:
        """The ids of all N rows, UTF-8 bytes."""
        return np.concatenate([np.zeros(0, "S1"), *self.id_blocks(roles, domain)])

    def ids_at(self, rows: np.ndarray, roles: tuple[str, ...] = ANY_ROLE, domain: str | None = None) -> np.ndarray:
        """The ids of `rows` (ascending), UTF-8 bytes; only one shard's ids are held beside them."""
        parts, first = [np.zeros(0, "S1")], 0
        for shard in self.select(roles, domain):
            begin, end = np.searchsorted(rows, (first, first + shard.rows))
            if end > begin:
                with _open(self, shard) as file:
                    parts.append(file["ids"][:][rows[begin:end] - first])
            first += shard.rows
        return np.concatenate(parts)

    def blocks(
        self, roles: tuple[str, ...] = ANY_ROLE, rows_per_block: int = 65536, domain: str | None = None
    ) -> Iterator[tuple[int, np.ndarray]]:
        """(number of the block's first row, float32 [n, D]) over all N rows; every block but the last has `rows_per_block` rows.

        One block is held at a time if the caller lets go of it (`del`) before it asks for the next.
        Raises ValueError naming shard, row and id for an embedding that is not finite.
        """
        left, start, filled = self.count(roles, domain), 0, 0
        block: np.ndarray | None = None
        for shard in self.select(roles, domain):
            with _open(self, shard) as file:
                rows = file["embeddings"]
                # A stored chunk at a time, through one buffer, is turned into float32 and looked through while in the processor's cache.
                chunk = np.empty(rows.chunks, rows.dtype)
                first = 0
                while first < shard.rows:
                    if block is None:
                        block = np.empty((min(rows_per_block, left), self.dim), np.float32)
                    number = min(len(chunk), shard.rows - first, len(block) - filled)
                    rows.read_direct(chunk, np.s_[first : first + number], np.s_[:number])
                    piece = block[filled : filled + number]
                    piece[:] = chunk[:number]
                    if not np.isfinite(piece).all():
                        row = first + int(np.flatnonzero(~np.isfinite(piece).all(axis=1))[0])
                        name = file["ids"][row].decode()
                        raise ValueError(f"{shard.path}: the embedding of row {row} ({name!r}) is not finite; embed this shard again")
                    first, filled = first + number, filled + number
                    if filled == len(block):
                        del piece
                        yield start, block
                        left, start, filled, block = left - filled, start + filled, 0, None


def _open(dump: Dump, shard: DumpShard) -> h5py.File:
    """The shard's file, checked against the manifest: files may have been exchanged since it was written."""
    attributes = read_attributes(shard.path)
    file = h5py.File(shard.path, "r")
    rows = len(file["embeddings"])
    if attributes.checkpoint != dump.checkpoint or attributes.dim != dump.dim or rows != shard.rows:
        file.close()
        raise ValueError(
            f"{shard.path}: checkpoint {attributes.checkpoint}, width {attributes.dim}, {rows} rows; {dump.folder / 'manifest.json'} has "
            f"{dump.checkpoint}, {dump.dim}, {shard.rows}; embed again"
        )
    return file
