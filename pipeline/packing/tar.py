"""Samples to one shard: a tar in WebDataset form and its index beside it. Packing writes shards with it, and so does the feature stage."""

from __future__ import annotations

import tarfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from webdataset import TarWriter

from launch.files import checksum, whole_path
from pipeline.packing.members import key_of
from pipeline.shards import ShardInfo

TarSample = tuple[str, Sequence[int], Sequence[tuple[str, bytes]]]
"""A sample to be written: its id, the numbers of its queries, and (suffix, bytes) of its members, the record "json" first."""


def write_tar(tar: Path, *, domain: str, role: str, samples: Iterable[TarSample]) -> ShardInfo:
    """Write the shard `tar` and its index, each whole or not at all, and return its record for the manifest.

    The bytes follow from the samples alone. Samples are taken one by one, so that members may be made while they are written. Where there is
    none, neither file stays, and the record says 0 samples.
    """
    ids: list[str] = []
    query_ids: list[Sequence[int]] = []
    index = tar.with_suffix(".index.npz")
    with whole_path(tar) as temporary:
        with open(temporary, "wb") as file, TarWriter(file, encoder=False, mtime=0, user="", group="") as writer:
            for id, queries, members in samples:
                for suffix, data in members:  # one call a member: TarWriter would sort them
                    writer.write({"__key__": key_of(id), suffix: data})
                ids.append(id)
                query_ids.append(queries)
        _write_index(temporary, index, domain, role, ids, query_ids)
        info = ShardInfo(
            name=tar.stem,
            domain=domain,
            role=role,
            samples=len(ids),
            with_queries=sum(len(queries) > 0 for queries in query_ids),
            bytes=temporary.stat().st_size,
            checksum=checksum(temporary),
        )
    if not ids:
        tar.unlink()
        index.unlink()
    return info


def is_whole(tar: Path, info: ShardInfo) -> bool:
    """True where `tar` and its index are there as `info` says; a shard without samples has neither."""
    return info.samples == 0 or (tar.is_file() and tar.stat().st_size == info.bytes and tar.with_suffix(".index.npz").is_file())


def _write_index(tar: Path, path: Path, domain: str, role: str, ids: Sequence[str], query_ids: Sequence[Sequence[int]]) -> None:
    keys = [key_of(id) for id in ids]
    encoded = [id.encode() for id in ids]
    members: list[tuple[str, int, int]] = []
    counts: Counter[str] = Counter()
    with tarfile.open(tar) as archive:
        for member in archive:
            key, _, suffix = member.name.partition(".")
            counts[key] += 1
            members.append((suffix, member.offset_data, member.size))
    arrays = {
        "keys": np.array([key.encode() for key in keys], dtype="S"),
        "ids": np.frombuffer(b"".join(encoded), dtype=np.uint8),
        "id_offsets": _offsets([len(id) for id in encoded]),
        "domain": np.array(domain),
        "role": np.array(role),
        "query_offsets": _offsets([len(queries) for queries in query_ids]),
        "query_ids": np.array([query for queries in query_ids for query in queries], dtype=np.int32),
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
