"""The neighbours of a split's clips: a file beside its features, read by offset.

    FEATURES/<split>/neighbours.npy     NEIGHBOUR [N, K]: a row for each clip in the order of the shards, best first, `split` -1 where there are fewer
    FEATURES/<split>/neighbours.json    written last: bank, splits searched, what the vectors were made of, checksums

Legend: N clips of the split, K neighbours kept.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from launch.files import read_json, whole_file, write_json
from pipeline.bank.settings import splits_searched
from pipeline.shards import Sample, ShardSet

FORMAT_VERSION = 1
FILE, MANIFEST = "neighbours.npy", "neighbours.json"
NOBODY = -1
NEIGHBOUR = np.dtype([("split", "i1"), ("shard", "i4"), ("row", "i4"), ("similarity", "f4"), ("label", "f4")])
"""A neighbour: place of its split in the manifest's `searched`, its shard and row there, its similarity and its popularity."""


def digest_of(shards: ShardSet) -> str:
    """Tells one packed split from another: a checksum over those of its shards."""
    return hashlib.sha256("\n".join(f"{info.name} {info.checksum}" for info in shards.shards).encode()).hexdigest()


def first_rows(shards: ShardSet, domain: str) -> dict[str, int]:
    """Name of each shard of a domain -> the row of its first clip among all."""
    numbers = shards.of_domain(domain)
    starts = np.cumsum([0, *(shards.shards[number].samples for number in numbers)]).tolist()
    return {shards.shards[number].name: start for number, start in zip(numbers, starts)}


def write_lists(shards: ShardSet, domain: str, bank: str, searched: dict[str, ShardSet], rows: np.ndarray, made_of: dict[str, Any]) -> None:
    """Write the lists of a split, whole or not at all.

    Args:
        domain: of the clips.
        bank: name of the bank (`pipeline.bank.settings.BANKS`).
        searched: the splits searched, in the order that `split` counts.
        rows: NEIGHBOUR [N, K].
        made_of: what the vectors depend on.
    """
    (shards.folder / MANIFEST).unlink(missing_ok=True)
    with whole_file(shards.folder / FILE, "wb") as file:
        np.save(file, rows, allow_pickle=False)
    manifest = {
        "format_version": FORMAT_VERSION,
        "bank": bank,
        "domain": domain,
        "kept": rows.shape[1],
        "without": int((rows["split"][:, 0] == NOBODY).sum()),
        "own": digest_of(shards),
        "searched": {split: digest_of(one) for split, one in searched.items()},
        "made_of": made_of,
    }
    write_json(shards.folder / MANIFEST, manifest)


def held_lists(shards: ShardSet) -> dict[str, Any] | None:
    """The manifest of the lists beside a split, None where it has none."""
    path = shards.folder / MANIFEST
    return read_json(path) if path.is_file() else None


class NeighbourLists:
    """The finished lists of a split; picklable, its files are opened by each process for itself.

    Raises:
        ValueError: the split has no lists, or they are of another version, of other shards, or of a split searched that is no more what it was.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        own = ShardSet(self.folder)
        manifest = held_lists(own)
        if manifest is None or manifest.get("format_version") != FORMAT_VERSION:
            found = "no neighbours" if manifest is None else f"neighbours of format version {manifest.get('format_version')}"
            raise ValueError(f"{self.folder}: {found} beside the features; find them with python -m pipeline.neighbours --data {self.folder.parent}")
        self.bank: str = manifest["bank"]
        self.kept: int = manifest["kept"]
        self.domain: str = manifest["domain"]
        self.split = own.split
        self.without: int = manifest["without"]
        self._firsts = first_rows(own, self.domain)
        self.searched = tuple(manifest["searched"])
        self._shards = [ShardSet(self.folder.parent / split) for split in self.searched]
        pairs = [(own, manifest["own"]), *zip(self._shards, manifest["searched"].values())]
        for shards, digest in pairs:
            if digest_of(shards) != digest:
                raise ValueError(
                    f"{self.folder / MANIFEST}: {shards.folder} is not the split that the neighbours were found for; find them again with "
                    "python -m pipeline.neighbours"
                )
        if self.searched != splits_searched(self.bank, self.split):
            raise ValueError(f"{self.folder / MANIFEST}: the bank {self.bank} does not search {', '.join(self.searched)} for {self.split}")

    @cached_property
    def rows(self) -> np.ndarray:
        """NEIGHBOUR [N, K], mapped into memory."""
        return np.load(self.folder / FILE, mmap_mode="r", allow_pickle=False)

    def of(self, sample: Sample) -> np.ndarray:
        """NEIGHBOUR [k], the neighbours that a clip has, best first.

        Raises ValueError where one is the clip itself, which no list that was written here holds.
        """
        if sample.shard not in self._firsts:
            raise ValueError(f"{sample.name} is of domain {sample.domain}; neighbours were found for items of domain {self.domain}")
        own = self.rows[self._firsts[sample.shard] + sample.row]
        found = own[own["split"] != NOBODY]
        for one in found:
            if self.sample(one).id == sample.id:
                raise ValueError(f"{self.folder / FILE}: {sample.name} is a neighbour of itself; find the neighbours again")
        return found

    def sample(self, neighbour: np.void) -> Sample:
        """The clip that a neighbour is."""
        return self._shards[neighbour["split"]].shard(int(neighbour["shard"])).sample(int(neighbour["row"]))

    def sources(self) -> list[ShardSet]:
        """The splits that neighbours come from."""
        return list(self._shards)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "rows"}
