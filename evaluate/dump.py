"""Reading a finished dump (`evaluate/embeddings.py` writes it): rows of a domain and role in blocks, memory bounded by the block.

    python -m evaluate.dump info    DUMP                                     what it is: domains, number, width, type, checkpoint, labels
    python -m evaluate.dump verify  DUMP                                     whether it is whole: checksums, odd rows and ids, lengths
    python -m evaluate.dump export  DUMP --out FOLDER                        embeddings.npy, ids.txt and ids.parquet for other programs
    python -m evaluate.dump convert FILE --out DUMP --domain goods           a dump of a .npy with an id list, or of released text features

Legend: N rows selected, n rows of a block, D width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from evaluate.dumps.manifest import MANIFEST, read_manifest
from evaluate.dumps.widening import widen
from evaluate.embeddings import ANY_ROLE, chunk_rows, read_attributes
from evaluate.labels import LabelValues
from evaluate.vectors import Vectors
from launch.command import run_command


@dataclass(frozen=True)
class DumpShard:
    """One file of a dump, as its manifest has it; of an older program's dump `checksum` (SHA-256) is "" and `labels` (their names) is empty."""

    path: Path
    domain: str
    role: str
    rows: int
    failed: int
    id_bytes: int
    checksum: str
    labels: tuple[str, ...]


class Dump:
    """A finished dump, opened by its folder.

    Raises ValueError as `evaluate.dumps.manifest.read_manifest` does: unfinished, no dump, or a damaged one.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        values = read_manifest(self.folder)
        self.dim: int = values["dim"]
        self.dtype: str = values["dtype"]
        self.normalised: bool = values["normalised"]
        self.checkpoint: str = values["checkpoint"]
        self.recipe: str = values["recipe"]
        self.domains: tuple[str, ...] = tuple(values["domains"])
        self.shards = tuple(_shard(self.folder, entry) for entry in values["shards"])

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

    def side(self, roles: tuple[str, ...] = ANY_ROLE, domain: str | None = None) -> DumpSide:
        """The rows of `roles` and `domain` (None: any) alone, numbered from 0 in the order of the shards."""
        return DumpSide(self, tuple(shard for shard in self.shards if shard.role in roles and domain in (None, shard.domain)))

    def count(self, roles: tuple[str, ...] = ANY_ROLE, domain: str | None = None) -> int:
        """N, the number of rows of `roles` and `domain`."""
        return len(self.side(roles, domain))

    def ids(self, roles: tuple[str, ...] = ANY_ROLE, domain: str | None = None) -> np.ndarray:
        """The ids of the rows of `roles` and `domain`, UTF-8 bytes."""
        return self.side(roles, domain).ids()

    def blocks(self, roles: tuple[str, ...] = ANY_ROLE, rows_per_block: int = 65536, domain: str | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """The rows of `roles` and `domain` as `DumpSide.blocks` gives them."""
        return self.side(roles, domain).blocks(rows_per_block)


class DumpSide(Vectors):
    """Some shards of a dump as one set of vectors."""

    def __init__(self, dump: Dump, shards: tuple[DumpShard, ...]) -> None:
        self._dump, self.shards = dump, shards
        self.name, self.dim, self.checkpoint = str(dump.folder), dump.dim, dump.checkpoint
        self.failed = sum(shard.failed for shard in shards)

    def __len__(self) -> int:
        return sum(shard.rows for shard in self.shards)

    @property
    def id_bytes(self) -> int:
        return max((shard.id_bytes for shard in self.shards), default=1)

    def id_blocks(self) -> Iterator[np.ndarray]:
        for shard in self.shards:
            with open_shard(self._dump, shard) as file:
                yield file["ids"][:]

    def ids_at(self, rows: np.ndarray) -> np.ndarray:
        parts, first = [np.zeros(0, "S1")], 0
        for shard in self.shards:
            begin, end = np.searchsorted(rows, (first, first + shard.rows))
            if end > begin:  # a shard without such a row is not opened
                with open_shard(self._dump, shard) as file:
                    parts.append(file["ids"][:][rows[begin:end] - first])
            first += shard.rows
        return np.concatenate(parts)

    def label_keys(self) -> list[str]:
        return sorted({key for shard in self.shards for key in shard.labels})

    def label_blocks(self, key: str, values: LabelValues) -> Iterator[np.ndarray]:
        for shard in self.shards:
            with open_shard(self._dump, shard) as file:
                yield values.codes(file, key)

    def blocks(self, rows_per_block: int = 65536, first: int = 0, last: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """As `Vectors.blocks` says; every block but the last has `rows_per_block` rows."""
        end = len(self) if last is None else last
        left, start, filled, passed = end - first, first, 0, 0
        block: np.ndarray | None = None
        for shard in self.shards:
            # Of this shard: the rows from `row` to `stop`.
            row, stop, passed = max(0, first - passed), min(shard.rows, end - passed), passed + shard.rows
            if row >= stop:
                continue
            with open_shard(self._dump, shard) as file:
                rows = file["embeddings"]
                # A stored chunk at a time, through one buffer, is turned into float32 and looked through while in the processor's cache.
                chunk = np.empty((piece_rows(rows), self.dim), rows.dtype)
                while row < stop:
                    if block is None:
                        block = np.empty((min(rows_per_block, left), self.dim), np.float32)
                    number = min(len(chunk), stop - row, len(block) - filled)
                    rows.read_direct(chunk, np.s_[row : row + number], np.s_[:number])
                    piece = block[filled : filled + number]
                    widen(chunk[:number], piece)
                    if not np.isfinite(piece).all():
                        broken = row + int(np.flatnonzero(~np.isfinite(piece).all(axis=1))[0])
                        name = file["ids"][broken].decode()
                        raise ValueError(f"{shard.path}: the embedding of row {broken} ({name!r}) is not finite; embed this shard again")
                    row, filled = row + number, filled + number
                    if filled == len(block):
                        del piece
                        yield start, block
                        left, start, filled, block = left - filled, start + filled, 0, None


def _shard(folder: Path, entry: dict) -> DumpShard:
    numbers = (entry["rows"], entry["failed"], entry["id_bytes"])
    newer = (entry.get("checksum", ""), tuple(entry.get("labels", ())))
    return DumpShard(folder / f"{entry['name']}.h5", entry["domain"], entry["role"], *numbers, *newer)


def piece_rows(stored: h5py.Dataset) -> int:
    """How many rows of `stored` [n, D] to read at once: those of a stored chunk, or 1 MiB of what another program stored in one piece."""
    return int(stored.chunks[0]) if stored.chunks else chunk_rows(stored.shape[1], stored.dtype)


def open_shard(dump: Dump, shard: DumpShard) -> h5py.File:
    """The shard's file, checked against the manifest: files may have been exchanged since it was written."""
    attributes = read_attributes(shard.path)
    file = h5py.File(shard.path, "r")
    rows = len(file["embeddings"])
    if attributes.checkpoint != dump.checkpoint or attributes.dim != dump.dim or rows != shard.rows:
        file.close()
        raise ValueError(
            f"{shard.path}: checkpoint {attributes.checkpoint}, width {attributes.dim}, {rows} rows; {dump.folder / MANIFEST} has "
            f"{dump.checkpoint}, {dump.dim}, {shard.rows}; embed again"
        )
    return file


if __name__ == "__main__":
    from evaluate.dumps.command import main  # here: it imports this module, under its proper name

    run_command(main)
