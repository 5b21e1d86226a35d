"""One shard packed: its items read and written, and a note that it is complete. Runs in any packing process.

The bytes follow from the listed items and their files alone. A shard that is complete is not written again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from launch.files import read_json, write_json
from pipeline.item import Item
from pipeline.packing.listing import ListedShard, Listing
from pipeline.packing.members import members_of
from pipeline.packing.queries import read_item
from pipeline.packing.tar import TarSample, is_whole, write_tar
from pipeline.regions import KeptRegions
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
    regions: KeptRegions


@dataclass(frozen=True)
class Note:
    """A complete shard: its record for the manifest (0 samples where every item was rejected: then there is no tar) and what was rejected."""

    info: ShardInfo
    rejected: tuple[Rejected, ...]


@dataclass(frozen=True)
class Written:
    """What packing a shard came to: how many items were listed for it, and which of them were rejected."""

    items: int
    rejected: tuple[Rejected, ...]


def write_shard(job: Job, listing: Listing, number: int) -> Written:
    """Write the shard at `number` of the listing, unless it is complete.

    Raises ValueError at an item that cannot be packed where the job says so; otherwise the item is noted as rejected.
    """
    listed = listing.shard(job.split, number)
    entries = listing.entries(job.split, number)
    fingerprint = _fingerprint(job, entries)
    if not _is_complete(job, listed, fingerprint):
        note = _write(job, listed, entries)
        saved = {"fingerprint": fingerprint, "info": asdict(note.info), "rejected": [asdict(one) for one in note.rejected]}
        write_json(_note_path(job.folder, listed.name), saved)
    return Written(listed.samples, read_note(job.folder, listed.name).rejected)


def read_note(folder: Path, name: str) -> Note:
    """The note of the complete shard `name` in the split's folder."""
    saved = read_json(_note_path(folder, name))
    return Note(ShardInfo(**saved["info"]), tuple(Rejected(**one) for one in saved["rejected"]))


def is_noted(folder: Path, name: str) -> bool:
    """True where the shard `name` in the split's folder was complete once."""
    return _note_path(folder, name).is_file()


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
    return is_whole(job.folder / f"{listed.name}.tar", read_note(job.folder, listed.name).info)


def _write(job: Job, listed: ListedShard, entries: Sequence[Entry]) -> Note:
    rejected: list[Rejected] = []

    def samples() -> Iterator[TarSample]:
        for entry in entries:
            try:
                members = members_of(_read(job, entry), job.source.root, job.resize_short_side)
            except BadItem as error:
                if job.stop_at_bad:
                    where = f"{job.source.root / (error.file or entry.file)}: {error.reason}"
                    raise ValueError(f"{where} (item {entry.id!r}; --on_bad_item skip goes on without it)") from error
                rejected.append(Rejected(entry.id, entry.domain, error.file or entry.file, error.reason))
                continue
            yield entry.id, [query.id for query in entry.queries], members

    info = write_tar(job.folder / f"{listed.name}.tar", domain=listed.domain, role=listed.role, samples=samples())
    return Note(info, tuple(rejected))


def _read(job: Job, entry: Entry) -> Item:
    item = read_item(job.source, entry)
    try:
        return job.regions.of(item)
    except ValueError as error:
        raise BadItem(entry.file, f"line {entry.line}: {error}") from error
