"""Whether a dump is whole and sound: every shard there and unchanged, every row finite and of its length, every id once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from evaluate.dump import Dump, DumpShard, open_shard, piece_rows
from evaluate.engines.rounding import LARGEST
from evaluate.ids import decode_ids
from launch.files import checksum
from launch.logs import progress

MOST_NAMED = 10
LENGTH_TOLERANCE = 1e-2
"""How far a row that is said to have length 1 may be from it: float16 leaves some 1e-4, float32 some 1e-7."""

LONGEST = LARGEST["float32"] ** 0.5
"""A length up to which a search takes the inner product of two such rows."""


@dataclass
class Findings:
    """What is wrong, a line each, and the lengths of the rows."""

    problems: list[str] = field(default_factory=list)
    rows: int = 0
    shortest: float = np.inf
    longest: float = 0.0
    sum_of_lengths: float = 0.0

    @property
    def lengths(self) -> str:
        """The lengths in a line for people."""
        return f"lengths: {self.shortest:.4g} to {self.longest:.4g}, mean {self.sum_of_lengths / self.rows:.4g}" if self.rows else "lengths: no row"


def verify(folder: str | Path, quiet: bool = False) -> Findings:
    """Look at everything in the dump `folder`: checksums, rows, ids, lengths; memory is a chunk of rows and all ids.

    Raises ValueError where the folder is no finished dump.
    """
    dump = Dump(folder)
    findings = Findings()
    ids: dict[str, list[np.ndarray]] = {}
    for shard in progress(dump.shards, what="verify", unit="shard", quiet=quiet):
        own = _verify_shard(dump, shard, findings)
        if own is not None:
            ids.setdefault(shard.domain, []).append(own)
    for domain, blocks in ids.items():
        findings.problems += _repeated(domain, np.concatenate(blocks))
    listing, failed = dump.folder / "failed.jsonl", sum(shard.failed for shard in dump.shards)
    listed = listing.read_bytes().count(b"\n") if listing.is_file() else 0
    if listed != failed:
        findings.problems.append(f"{listing}: {listed} lines, the manifest counts {failed} failed items; embed again, which writes it anew")
    return findings


def _verify_shard(dump: Dump, shard: DumpShard, findings: Findings) -> np.ndarray | None:
    """Its ids, None where it cannot be read."""
    if not shard.path.is_file():
        findings.problems.append(f"{shard.path}: missing; embed again, which makes it anew")
        return None
    if shard.checksum and checksum(shard.path) != shard.checksum:
        findings.problems.append(f"{shard.path}: its bytes have changed since the dump was finished (another checksum); remove it and embed again")
    try:
        with open_shard(dump, shard) as file:
            ids = file["ids"][:]
            for problem in _odd_rows(file, ids, dump.normalised, findings):
                findings.problems.append(f"{shard.path}: {problem}")
            return ids
    except (ValueError, OSError) as error:
        findings.problems.append(str(error))
        return None


def _odd_rows(file: h5py.File, ids: np.ndarray, normalised: bool, findings: Findings) -> Iterator[str]:
    rows = file["embeddings"]
    lengths = np.empty(len(rows))
    finite = np.empty(len(rows), bool)
    number = piece_rows(rows)
    for first in range(0, len(rows), number):
        block = rows[first : first + number].astype(np.float64)  # whose squares float32 may not hold
        chosen = slice(first, first + len(block))
        finite[chosen] = np.isfinite(block).all(axis=1)
        lengths[chosen] = np.linalg.norm(np.where(finite[chosen, None], block, 0), axis=1)
    sound = lengths[finite]
    findings.rows += len(sound)
    findings.shortest = min(findings.shortest, sound.min(initial=np.inf))
    findings.longest = max(findings.longest, sound.max(initial=0.0))
    findings.sum_of_lengths += float(sound.sum())
    yield from _named("rows that are not finite", ids[~finite])
    yield from _named("rows of zeros, which nothing finds", ids[finite & (lengths == 0)])
    yield from _named("rows so long that float32 does not hold their inner products; normalise the embeddings", ids[finite & (lengths > LONGEST)])
    if normalised:
        far = finite & (lengths > 0) & (np.abs(lengths - 1) > LENGTH_TOLERANCE)
        yield from _named("rows whose length is not 1, though the dump says so", ids[far])


def _repeated(domain: str, ids: np.ndarray) -> Iterator[str]:
    ordered = np.sort(ids)
    again = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    yield from _named(f"{domain} ids that stand more than once", again)


def _named(what: str, ids: np.ndarray) -> Iterator[str]:
    if len(ids):
        rest = f" and {len(ids) - MOST_NAMED} more" if len(ids) > MOST_NAMED else ""
        yield f"{len(ids)} {what}: {', '.join(decode_ids(ids[:MOST_NAMED]))}{rest}"
