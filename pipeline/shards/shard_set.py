"""A packed split: tar shards in WebDataset form, an index beside each, a manifest written last. This module reads it.

    SHARDS/<split>/manifest.json                     format version, source, split, counts by domain, one record a shard
    SHARDS/<split>/video-000000.tar                  <key>.json, <key>.jpg | <key>.00.jpg … | <key>.mp4, <key>.<feature>.npy
    SHARDS/<split>/video-000000.index.npz            where each member lies in the tar, and each sample's query ids
    SHARDS/<split>/query.query-000000.tar            every split but train: its queries as items, to be searched with
    SHARDS/<split>/queries.jsonl, rejected.jsonl, ground_truth/<task>.tsv, pools/<task>.tsv, tokenizer/, words.tsv

Members are read by offset, in any order and from any process, and everything here can be pickled (`pipeline.shards.shard`). Memory is that of the
indices of the shards that are open.
"""

from __future__ import annotations

import copy
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from launch.files import PLAIN_NAME, read_json
from pipeline.item import Query
from pipeline.remote.address import is_remote
from pipeline.remote.mirror import INDICES, mirror_of
from pipeline.remote.ranges import chosen, range_in
from pipeline.remote.splits import remote_splits
from pipeline.shards.shard import Shard, ShardInfo

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
WORK_FOLDER = ".pack"
"""Where pack notes which shards of an unfinished split are complete."""


class ShardSet:
    """A finished packed split.

    Args:
        folder: the split's folder, which holds manifest.json; some of its shards (`FOLDER/video-{000000..000099}.tar`); or one of these elsewhere
            (`pipeline.remote`).
        open_shards: how many shards stay open at once (indices in memory, one file handle each).
    """

    def __init__(self, folder: str | Path, open_shards: int = 64) -> None:
        path = _only(remote_splits(folder), folder) if isinstance(folder, str) and is_remote(folder) else Path(folder)
        shards = range_in(path)
        self.folder = path.parent if shards else path
        manifest = chosen(_manifest(self.folder), shards, path) if shards else _manifest(self.folder)
        self.split: str = manifest["split"]
        self.source: str = manifest["source"]
        self.counts: dict[str, int] = manifest["counts"]
        names = [field.name for field in fields(ShardInfo)]
        self.shards: tuple[ShardInfo, ...] = tuple(ShardInfo(**{name: shard[name] for name in names}) for shard in manifest["shards"])
        self.manifest: dict[str, Any] = manifest
        self.first_query = 0
        self._mirror = mirror_of(self.folder)
        self._open_shards = open_shards
        self._open: OrderedDict[int, Shard] = OrderedDict()
        self._damage: dict[int, str] = {}

    def __len__(self) -> int:
        return sum(self.counts.values())

    def shard(self, number: int) -> Shard:
        """The shard at `number` in `shards`; the ones used last stay open."""
        shard = self._open.pop(number, None)
        if shard is None:
            info = self.shards[number]
            if self._mirror is not None:
                self._mirror.index([near.name for near in self.shards[number : number + INDICES]])
            shard = Shard(self.tar(number), info, self._mirror, self.first_query)
            shard.damage = self._damage.get(number, "")
        self._open[number] = shard
        while len(self._open) > self._open_shards:
            self._open.popitem(last=False)
        return shard

    def tar(self, number: int) -> Path:
        """Where the tar of the shard at `number` is, or will be once it is fetched."""
        return self.folder / f"{self.shards[number].name}.tar"

    def is_here(self, number: int) -> bool:
        """True where that tar is read in its own place, and not a copy that was compared with its checksum when it was fetched."""
        return self._mirror is None

    def mark_damaged(self, number: int, damage: str) -> None:
        """Let nothing be read of the shard at `number`; `damage` is what is said instead."""
        self._damage[number] = damage
        self._open.pop(number, None)

    @property
    def cache_bytes(self) -> int | None:
        """Most that its shards may take on this machine where they come from elsewhere; None where they are here."""
        return None if self._mirror is None else self._mirror.cache_bytes

    def ask(self, numbers: Sequence[int]) -> None:
        """Have shards that will soon be read fetched beside the work, where they come from elsewhere; returns at once."""
        if self._mirror is not None:
            self._mirror.ask(self.shards[number] for number in numbers)

    def numbered_from(self, first_query: int) -> ShardSet:
        """The same shards, opened anew, whose samples count their queries from `first_query` on: one of several sets that are read as one."""
        other = copy.copy(self)
        other._open, other.first_query = OrderedDict(), first_query
        return other

    def of_domain(self, domain: str, roles: tuple[str, ...] = ("both", "query", "document")) -> list[int]:
        """The numbers of the shards of a domain whose items have one of `roles`."""
        return [number for number, info in enumerate(self.shards) if info.domain == domain and info.role in roles]

    def queries(self) -> list[Query]:
        """All queries of the split; a query's id is its place in the list."""
        with open(self.folder / "queries.jsonl", encoding="utf-8") as lines:
            records = (json.loads(line) for line in lines)
            return [Query(record["id"], record["words"], tuple(record["cluster"])) for record in records]

    def ground_truth(self, task: str) -> Path | None:
        """The file of `query id TAB relevant ids` for a task such as "video2goods", None where the split has none."""
        path = self.folder / "ground_truth" / f"{task}.tsv"
        return path if path.is_file() else None

    def pools(self, task: str) -> Path | None:
        """The file of `query id TAB candidate ids` for a task, where a query is to be ranked with these alone; None where the split has none."""
        path = self.folder / "pools" / f"{task}.tsv"
        return path if path.is_file() else None

    def tokenizer(self) -> Path | None:
        """The folder of the WordPiece vocabulary trained on this split, None where there is none."""
        path = self.folder / "tokenizer"
        return path if path.is_dir() else None

    def require_domains(self, *domains: str) -> None:
        """Raise ValueError naming the folder and its counts where a domain has no items."""
        missing = [domain for domain in domains if not self.counts.get(domain)]
        if missing:
            held = ", ".join(f"{count} {domain}" for domain, count in self.counts.items() if count) or "nothing"
            lacks = f"no items of domain {' and '.join(missing)} (it holds {held})"
            remedy = f"use a corpus that has {' and '.join(domains)}"
            if missing == ["query"]:
                remedy = (
                    "queries are packed with a split for evaluation whose documents say what they were found by (Dataset/README.md); "
                    "where they do, pack it again with --overwrite"
                )
            raise ValueError(f"{self.folder}: {lacks}; {remedy}")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}


def is_shard_set(path: str | Path) -> bool:
    """True where `path` is a packed split, finished or not, some shards of one, a folder of such splits, or an address (`pipeline.remote`)."""
    if is_remote(path):
        return True
    path = Path(path)
    if range_in(path) and not path.exists():
        path = path.parent
    return path.is_dir() and any(_is_split(folder) for folder in (path, *_subfolders(path)))


def splits_of(path: str | Path) -> dict[str, Path]:
    """The finished splits at `path` (a packed split, some shards of one, a folder of splits, or an address): name -> what ShardSet opens, train
    first, then val, test, others.

    Raises ValueError where there is none, saying so where one is unfinished.
    """
    if isinstance(path, str) and is_remote(path):
        return _in_order(remote_splits(path))
    path = Path(path)
    if range_in(path):
        return {ShardSet(path).split: path}
    folders = [folder for folder in (path, *_subfolders(path)) if _is_split(folder)] if path.is_dir() else []
    if not folders:
        raise ValueError(f"{path}: not a packed shard set (no {MANIFEST} here or one folder below); pack a corpus with python -m pipeline.pack")
    finished = [folder for folder in folders if (folder / MANIFEST).is_file()]
    return _in_order({_manifest(folder)["split"]: folder for folder in finished or folders})


def _in_order(found: dict[str, Path]) -> dict[str, Path]:
    order = ("train", "val", "test")
    return dict(sorted(found.items(), key=lambda item: (order.index(item[0]) if item[0] in order else len(order), item[0])))


def _only(found: dict[str, Path], given: str) -> Path:
    if len(found) > 1:
        raise ValueError(f"{given}: holds the splits {', '.join(found)}; name one of them")
    return next(iter(found.values()))


def open_shards(path: str | Path, split: str) -> ShardSet:
    """The packed split `split` at `path`, which is that split's folder or the folder of all splits. Raises ValueError naming what there is."""
    found = splits_of(path)
    if split not in found:
        if _is_split(Path(path) / split):
            return ShardSet(Path(path) / split)  # unfinished: its own error says so
        raise ValueError(f"{path}: no split {split}; it has {', '.join(found)}")
    return ShardSet(found[split])


def _subfolders(path: Path) -> list[Path]:
    return sorted(folder for folder in path.iterdir() if folder.is_dir())


def _is_split(folder: Path) -> bool:
    if (folder / WORK_FOLDER).is_dir():
        return True
    if not (folder / MANIFEST).is_file():
        return False
    manifest = read_json(folder / MANIFEST)
    return isinstance(manifest, dict) and "split" in manifest and "shards" in manifest


def _manifest(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; pack a corpus with python -m pipeline.pack")
    if not (folder / MANIFEST).is_file():
        raise ValueError(f"{folder}: no {MANIFEST}; the folder is unfinished, run the command that wrote it again")
    manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or "split" not in manifest or "shards" not in manifest:
        raise ValueError(f"{folder / MANIFEST}: not the manifest of a packed split")
    if manifest.get("format_version") != FORMAT_VERSION:
        version = manifest.get("format_version")
        raise ValueError(f"{folder / MANIFEST}: format version {version}, this program reads {FORMAT_VERSION}; pack the corpus again")
    for name in (manifest["split"], *(shard["name"] for shard in manifest["shards"])):
        # Later stages name files and folders by these: none may lead out of theirs.
        if not isinstance(name, str) or not PLAIN_NAME.fullmatch(name):
            raise ValueError(
                f"{folder / MANIFEST}: {name!r:.80} is no name of a split or a shard (letters, digits, _ . -); packing writes no such name"
            )
    return manifest
