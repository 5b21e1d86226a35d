"""Whether a packed shard set is whole: finished, every shard there, of its size and with its checksum, its index readable."""

from __future__ import annotations

from pathlib import Path

from launch.files import checksum
from launch.logs import progress
from launch.sizes import in_words
from pipeline.checkup.sheet import Sheet
from pipeline.packing.finish import summary
from pipeline.remote.address import is_remote
from pipeline.remote.cache import Cache
from pipeline.remote.ranges import range_in
from pipeline.shards import MANIFEST, WORK_FOLDER, ShardSet, splits_of

AGAIN = "pack it again"


def check_shards(path: str | Path, quick: bool = False) -> list[Sheet]:
    """A sheet for each split at `path`, which is one, the folder of several, or an address of these: shards come through the cache then.

    Args:
        quick: no checksums; a shard that was changed without a change of size is not seen. Of what is elsewhere, indices alone are fetched.
    """
    sheet = Sheet(f"shards {path}")
    if is_remote(path) or range_in(path):
        found: dict[str, Path] = {}
        with sheet.noting(path, AGAIN):
            found = splits_of(path)
        return [_check_split(folder, quick) for folder in found.values()] or [sheet]
    path = Path(path)
    folders = [path] if _begun(path) else [folder for folder in sorted(path.glob("*/")) if _begun(folder)]
    if not folders:
        with sheet.noting(path, AGAIN):
            splits_of(path)  # says what is not there
        return [sheet]
    return [_check_split(folder, quick) for folder in folders]


def _begun(folder: Path) -> bool:
    return (folder / MANIFEST).is_file() or (folder / WORK_FOLDER).is_dir()


def _check_split(folder: Path, quick: bool) -> Sheet:
    sheet = Sheet(f"shards {folder}")
    with sheet.noting(folder, AGAIN):
        shards = ShardSet(folder)
        sheet.row("holds", summary(shards.manifest))
        checked = "sizes and indices" if quick else "sizes, indices and checksums"
        sheet.row("looked at", f"{checked} of {len(shards.shards)} shards")
        for number in progress(range(len(shards.shards)), what=f"shards {folder.name}", unit="shard"):
            _check_shard(sheet, shards, number, quick)
        _check_beside(sheet, shards)
        if shards.cache_bytes is not None:
            cache = Cache(shards.folder.parent.parent, shards.cache_bytes)
            sheet.row("cache", f"{cache.root}: {in_words(cache.used())} of {in_words(cache.most)}")
    return sheet


def _check_shard(sheet: Sheet, shards: ShardSet, number: int, quick: bool) -> None:
    info = shards.shards[number]
    tar = shards.folder / f"{info.name}.tar"
    shard, size_right = None, False
    with sheet.noting(tar.with_suffix(".index.npz"), AGAIN):
        shard = shards.shard(number)
    if shard is None:
        return
    if quick and shards.cache_bytes is not None:
        return
    with sheet.noting(tar, AGAIN):
        shard.read(0, 1)  # opens the tar, which is compared with its record
        size_right = True
    if size_right and not quick and checksum(tar) != info.checksum:
        sheet.problem(f"{tar}: another checksum than in {MANIFEST}; it was changed or exchanged after packing: restore it, or {AGAIN}")


def _check_beside(sheet: Sheet, shards: ShardSet) -> None:
    manifest, folder = shards.manifest, shards.folder
    for task in manifest.get("ground_truth", ()):
        if shards.ground_truth(task) is None:
            sheet.problem(f"{folder}/ground_truth/{task}.tsv: missing, though the manifest lists it; restore it, or {AGAIN}")
    if manifest.get("vocabulary") and shards.tokenizer() is None:
        sheet.problem(f"{folder}/tokenizer: missing, though the manifest says that it has {manifest['vocabulary']} entries; restore it, or {AGAIN}")
    for key, listing, remedy in (
        ("rejected", "rejected.jsonl", f"mend them and {AGAIN}"),
        ("failed", "failed.jsonl", "mend them, pack and compute the features again"),
    ):
        if manifest.get(key):
            sheet.problem(f"{folder}: {manifest[key]:,} items {key}, listed in {listing} with the reason; {remedy}, or do without them")
