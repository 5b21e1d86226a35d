"""One shard written: a tar in WebDataset form, its index, a note that it is complete. Runs in any packing process.

The bytes follow from the listed items and their files alone. A shard that is complete is not written again.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from webdataset import TarWriter

from launch.files import checksum, read_json, whole_path, write_json
from pipeline.packing.listing import ListedShard, Listing
from pipeline.packing.members import key_of, members_of
from pipeline.packing.queries import read_item
from pipeline.shards import WORK_FOLDER, ShardInfo
from pipeline.sources import BadItem, Entry, Rejected, Source


@dataclass(frozen=True)
class Job:
    """What a packing process needs to know: the corpus, the listing, where shards go and how members are made.

    `folder` is the split's folder below SHARDS. `inputs` is the fingerprint of everything that the bytes depend on.
    """

    source: Source
    listing: Path
    folder: Path
    split: str
    inputs: str
    resize_short_side: int | None
    stop_at_bad: bool


@dataclass(frozen=True)
class Note:
    """A complete shard: its record for the manifest (0 samples where every item was rejected: then there is no tar) and what was rejected."""

    info: ShardInfo
    rejected: tuple[Rejected, ...]


def write_shard(job: Job, listing: Listing, number: int) -> int:
    """Write the shard at `number` of the listing, unless it is complete, and return how many items were listed for it.

    Raises ValueError at an item that cannot be packed where the job says so; otherwise the item is noted as rejected.
    """
    listed = listing.shard(job.split, number)
    entries = listing.entries(job.split, number)
    fingerprint = _fingerprint(job, entries)
    if not _is_complete(job, listed, fingerprint):
        note = _write(job, listed, entries)
        saved = {"fingerprint": fingerprint, "info": asdict(note.info), "rejected": [asdict(one) for one in note.rejected]}
        write_json(_note_path(job.folder, listed.name), saved)
    return listed.samples


def read_note(folder: Path, name: str) -> Note:
    """The note of the complete shard `name` in the split's folder."""
    saved = read_json(_note_path(folder, name))
    return Note(ShardInfo(**saved["info"]), tuple(Rejected(**one) for one in saved["rejected"]))


def _note_path(folder: Path, name: str) -> Path:
    return folder / WORK_FOLDER / f"{name}.json"


def _fingerprint(job: Job, entries: Sequence[Entry]) -> str:
    digest = hashlib.sha256(job.inputs.encode())
    for entry in entries:
        digest.update(repr((entry.id, entry.domain, entry.role, entry.queries, sorted(entry.labels.items()), entry.payload)).encode())
    return digest.hexdigest()


def _is_complete(job: Job, listed: ListedShard, fingerprint: str) -> bool:
    path = _note_path(job.folder, listed.name)
    if not path.is_file() or read_json(path)["fingerprint"] != fingerprint:
        return False
    info = read_note(job.folder, listed.name).info
    tar = job.folder / f"{listed.name}.tar"
    return info.samples == 0 or (tar.is_file() and tar.stat().st_size == info.bytes and tar.with_suffix(".index.npz").is_file())


def _write(job: Job, listed: ListedShard, entries: Sequence[Entry]) -> Note:
    tar = job.folder / f"{listed.name}.tar"
    packed: list[Entry] = []
    rejected: list[Rejected] = []
    with whole_path(tar) as temporary:
        with open(temporary, "wb") as file, TarWriter(file, encoder=False, mtime=0, user="", group="") as writer:
            for entry in entries:
                try:
                    members = members_of(read_item(job.source, entry), job.source.root, job.resize_short_side)
                except BadItem as error:
                    if job.stop_at_bad:
                        where = f"{job.source.root / error.file}: {error.reason}"
                        raise ValueError(f"{where} (item {entry.id!r}; --on_bad_item list goes on without it)") from error
                    rejected.append(Rejected(entry.id, entry.domain, error.file, error.reason))
                    continue
                for suffix, data in members:  # one call a member: TarWriter would sort them
                    writer.write({"__key__": key_of(entry.id), suffix: data})
                packed.append(entry)
        _write_index(temporary, tar.with_suffix(".index.npz"), listed, packed)
        info = ShardInfo(
            name=listed.name,
            domain=listed.domain,
            role=listed.role,
            samples=len(packed),
            with_queries=sum(bool(entry.queries) for entry in packed),
            bytes=temporary.stat().st_size,
            checksum=checksum(temporary),
        )
    if not packed:
        tar.unlink()
        tar.with_suffix(".index.npz").unlink()
    return Note(info, tuple(rejected))


def _write_index(tar: Path, path: Path, listed: ListedShard, entries: Sequence[Entry]) -> None:
    keys = [key_of(entry.id) for entry in entries]
    ids = [entry.id.encode() for entry in entries]
    members: list[tuple[str, int, int]] = []
    counts: Counter[str] = Counter()
    with tarfile.open(tar) as archive:
        for member in archive:
            key, _, suffix = member.name.partition(".")
            counts[key] += 1
            members.append((suffix, member.offset_data, member.size))
    queries = [query.id for entry in entries for query in entry.queries]
    arrays = {
        "keys": np.array([key.encode() for key in keys], dtype="S"),
        "ids": np.frombuffer(b"".join(ids), dtype=np.uint8),
        "id_offsets": _offsets([len(id) for id in ids]),
        "domain": np.array(listed.domain),
        "role": np.array(listed.role),
        "query_offsets": _offsets([len(entry.queries) for entry in entries]),
        "query_ids": np.array(queries, dtype=np.int32),
        "member_offsets": _offsets([counts[key] for key in keys]),
        "member_suffix": np.array([suffix for suffix, _, _ in members], dtype="U"),
        "member_start": np.array([start for _, start, _ in members], dtype=np.int64),
        "member_size": np.array([size for _, _, size in members], dtype=np.int64),
    }
    with whole_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _offsets(lengths: Sequence[int]) -> np.ndarray:
    """Where each of the rows begins when they are laid end to end, and where the last ends: int64 [n + 1]."""
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)])
