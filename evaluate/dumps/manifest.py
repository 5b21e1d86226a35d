"""The manifest of a finished dump; of a folder without a sound one, a line about what it is instead."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluate.embeddings import FORMAT_VERSION, read_attributes
from launch.files import read_json

MANIFEST = "manifest.json"
NEEDED = {"dim": int, "domains": list, "dtype": str, "normalised": bool, "checkpoint": str, "recipe": str, "shards": list}
NEEDED_OF_SHARD = {"name": str, "domain": str, "role": str, "rows": int, "failed": int, "id_bytes": int}
NEWER_OF_SHARD = {"checksum": str, "labels": list}
MOST_NAMED = 6


def read_manifest(folder: Path) -> dict[str, Any]:
    """What the manifest in `folder` says, as `finish_dump` wrote it; dumps of older programs lack the shards' `checksum` and `labels`.

    Raises ValueError where the folder is none, is unfinished or no dump at all, and for a manifest of something else or a damaged one.
    """
    manifest = folder / MANIFEST
    if folder.exists() and not folder.is_dir():
        raise ValueError(
            f"{folder}: a file, wanted the folder of a dump; give one that pipeline.embed wrote, or make one of the file: "
            "python -m evaluate.dump convert"
        )
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; give one that pipeline.embed wrote")
    if not manifest.is_file():
        raise ValueError(_without_manifest(folder))
    values = read_json(manifest)
    version = values.get("format_version") if isinstance(values, dict) else None
    if version != FORMAT_VERSION:
        raise ValueError(f"{manifest}: format version {version}, this program reads {FORMAT_VERSION}; embed again")
    _check(manifest, "", values, NEEDED)
    if values["dtype"] not in ("float16", "float32"):
        raise ValueError(_damaged(manifest, "dtype", values["dtype"], "float16 or float32"))
    for number, entry in enumerate(values["shards"]):
        where = f"shard {number}: "
        if not isinstance(entry, dict):
            raise ValueError(_damaged(manifest, f"shard {number}", entry, "dict"))
        _check(manifest, where, entry, NEEDED_OF_SHARD)
        _check(manifest, where, entry, {key: kind for key, kind in NEWER_OF_SHARD.items() if key in entry})
        if Path(entry["name"]).name != entry["name"]:
            raise ValueError(_damaged(manifest, f"{where}name", entry["name"], "that of a file in this folder"))
    return values


def _check(manifest: Path, where: str, values: Mapping[str, Any], needed: Mapping[str, type]) -> None:
    lacking = next((key for key in needed if key not in values), None)
    if lacking is not None:
        raise ValueError(f"{manifest}: not that of a dump ({where}it lacks {lacking!r}); give a folder that pipeline.embed wrote, not packed shards")
    for key, kind in needed.items():
        if type(values[key]) is not kind:  # exactly: true is an int, too
            raise ValueError(_damaged(manifest, f"{where}{key}", values[key], kind.__name__))


def _damaged(manifest: Path, what: str, value: object, wanted: str) -> str:
    return f"{manifest}: damaged, {what} is {value!r:.60}, wanted {wanted}; remove it and embed again, which writes it anew"


def _without_manifest(folder: Path) -> str:
    """Unfinished is a folder of shards, or one in which nothing stands yet."""
    held = [path for path in folder.iterdir() if not path.name.startswith(".")]
    if not held or any(path.suffix == ".h5" and _is_shard(path) for path in held):
        return f"{folder}: no {MANIFEST}; the dump is unfinished, run embed again: it goes on from the shards that are complete"
    dumps = sorted(str(path.parent) for depth in ("*", "*/*") for path in folder.glob(f"{depth}/{MANIFEST}") if _is_dump(path))
    if not dumps:
        return f"{folder}: not a dump, it holds neither {MANIFEST} nor shards; give a folder that pipeline.embed wrote"
    more = f" and {len(dumps) - MOST_NAMED} more" if len(dumps) > MOST_NAMED else ""
    return f"{folder}: not a dump itself; there are dumps in it, give one of them: {', '.join(dumps[:MOST_NAMED])}{more}"


def _is_shard(path: Path) -> bool:
    try:
        read_attributes(path)
    except ValueError:
        return False
    return True


def _is_dump(manifest: Path) -> bool:
    try:
        read_manifest(manifest.parent)
    except ValueError:
        return False
    return True
