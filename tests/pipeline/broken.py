"""Files and shards that are not as they should be, for the tests of what is done about them."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.shards import Sample, ShardSet
from tests.pipeline.corpora import clip

PACKETS = 600_000


def endless_clip() -> bytes:
    """An MP4 file whose one chunk is cut into `PACKETS` frames of a byte each: going through its packets takes far longer than two seconds."""
    whole = clip()
    start = whole.index(b"moov") - 4
    length = struct.unpack(">I", whole[start : start + 4])[0]
    moov = whole[start : start + length]
    first = start + len(_cut_up(moov, 0)) + 8
    return whole[:start] + _cut_up(moov, first) + _box(b"mdat", bytes(PACKETS))


def _cut_up(moov: bytes, first: int) -> bytes:
    """The box `moov` with sample tables that say: one chunk from byte `first`, all samples of a byte."""
    if moov[4:8] == b"stbl":
        tables = {
            b"stts": struct.pack(">IIII", 0, 1, PACKETS, 1),
            b"stsc": struct.pack(">IIIII", 0, 1, 1, PACKETS, 1),
            b"stsz": struct.pack(">III", 0, 1, PACKETS),
            b"stco": struct.pack(">III", 0, 1, first),
        }
        description = next(box for box in _boxes(moov[8:]) if box[4:8] == b"stsd")
        return _box(b"stbl", description + b"".join(_box(kind, body) for kind, body in tables.items()))
    if moov[4:8] in (b"moov", b"trak", b"mdia", b"minf"):
        return _box(moov[4:8], b"".join(_cut_up(box, first) for box in _boxes(moov[8:]) if box[4:8] != b"edts"))
    return moov


def _boxes(data: bytes) -> list[bytes]:
    found = []
    while data:
        (size,) = struct.unpack(">I", data[:4])
        found.append(data[:size])
        data = data[size:]
    return found


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + kind + body


def padded_clip(size: int) -> bytes:
    """A whole clip of `size` bytes."""
    whole = clip()
    return whole + _box(b"free", bytes(size - len(whole) - 8))


def samples(split: Path) -> dict[str, Sample]:
    """The samples of a packed split by id."""
    shards = ShardSet(split)
    return {
        sample.id: sample for number in range(len(shards.shards)) for sample in map(shards.shard(number).sample, range(len(shards.shard(number))))
    }


def change(split: Path, id: str, suffix: str, changed: Callable[[bytes], bytes]) -> None:
    """Change a member of a packed item where it lies, so that no size changes."""
    path, start, size = samples(split)[id].span(suffix)
    with open(path, "r+b") as file:
        file.seek(start)
        data = changed(file.read(size))
        assert len(data) == size
        file.seek(start)
        file.write(data)


def zeros_from(share: float) -> Callable[[bytes], bytes]:
    """What leaves the first `share` of the bytes and makes the rest zeros, as a download that broke off into reserved room."""
    return lambda data: data[: int(len(data) * share)] + bytes(len(data) - int(len(data) * share))


def lines(path: Path) -> list[dict[str, Any]]:
    """The JSON lines of a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def listed(path: Path) -> dict[str, str]:
    """id -> reason of a list of bad items, every id once ("", where there is none, aside)."""
    found = lines(path)
    ids = [line["id"] for line in found if line["id"]]
    assert len(set(ids)) == len(ids)
    return {line["id"]: line["reason"] for line in found}
