"""A corpus to pack, and what a packed split holds, for the tests of packing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.shards import ShardSet
from tests.pipeline.corpora import picture, write_catalog

SMALL_SHARDS = ["--shard_samples", "10", "--vocab_size", "300", "--holdout_videos", "12"]
"""Flags under which the crowd becomes many shards, and a val split beside train."""


def write_crowd(root: Path) -> Path:
    """A catalog of 210 goods and 210 clips, five of which cannot be packed."""
    records: list[dict[str, Any]] = []
    for number in range(210):
        queries = [f"query {number % 17}", f"colour {number % 3}"]
        records.append({"id": f"g{number}", "domain": "goods", "title": f"Kettle number {number}", "images": ["a.jpg"], "queries": queries})
        frames = ["b.jpg"] if number % 50 else ["gone.jpg"]
        records.append({"id": f"v{number}", "domain": "video", "images": [*frames, "a.jpg"], "queries": queries[:1]})
    return write_catalog(root, records, {"a.jpg": picture(), "b.jpg": picture((0, 0, 0))})


def content(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def rejected(folder: Path) -> list[tuple[str, str, str]]:
    """(id, file, reason) of the lines of rejected.jsonl."""
    lines = [json.loads(line) for line in (folder / "rejected.jsonl").read_text().splitlines()]
    return [(line["id"], line["file"], line["reason"]) for line in lines]


def ids(shards: ShardSet, domain: str) -> list[str]:
    """The ids of a domain in the order of its shards."""
    return [id for number in shards.of_domain(domain) for id in shards.shard(number).ids]
