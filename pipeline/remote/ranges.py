"""Shards named by a range in braces: `/data/train/video-{000000..000099}.tar` is these hundred shards of the split in `/data/train`.

Ranges and lists are those of bash: `{000..999}` keeps its zeros, `{video,goods}` is either; several in one name are combined.
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any

from braceexpand import braceexpand

RANGE = re.compile(r"\{[^{}\s/]*(?:\.\.|,)[^{}\s/]*\}")


def range_in(path: str | PurePath) -> str | None:
    """The last part of `path` where it names shards, one or a range of them; None where it names a folder."""
    name = PurePath(path).name
    return name if name.endswith(".tar") else None


def expand(pattern: str) -> list[str]:
    """What a text with ranges and lists in braces stands for, in the order in which it says so.

    Raises ValueError where its braces do not pair or nothing is meant.
    """
    try:
        found = list(dict.fromkeys(braceexpand(pattern)))
    except ValueError as error:
        raise ValueError(f"{pattern}: {error}; a range is written {{000000..000099}}, a list {{a,b}}") from error
    return found


def chosen(manifest: dict[str, Any], pattern: str, path: str | PurePath) -> dict[str, Any]:
    """The manifest of the shards of `manifest` that `pattern` names, in the manifest's order, with the counts of what they hold.

    Raises ValueError naming a shard that the manifest does not have.
    """
    names = {name.removesuffix(".tar") for name in expand(pattern)}
    shards = [shard for shard in manifest["shards"] if shard["name"] in names]
    missing = sorted(names - {shard["name"] for shard in shards})
    if missing:
        raise ValueError(
            f"{path}: names {len(missing)} shards that its manifest does not have, the first {missing[0]}; it has {_held(manifest)}, whose names "
            "a range has to keep to"
        )
    counts: dict[str, int] = {}
    for shard in shards:
        counts[shard["domain"]] = counts.get(shard["domain"], 0) + shard["samples"]
    return {**manifest, "counts": dict(sorted(counts.items())), "shards": shards}


def _held(manifest: dict[str, Any]) -> str:
    names = sorted(shard["name"] for shard in manifest["shards"])
    return f"{len(names)} shards from {names[0]} to {names[-1]}" if names else "no shard"
