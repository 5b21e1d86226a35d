"""The local folder that stands for a split elsewhere: small files at once, indices when shards are opened, shards through the cache.

    CACHE/<set>/<split>/manifest.json, queries.jsonl, ground_truth/, …     fetched when the split is named, again when the manifest has changed
    CACHE/<set>/<split>/video-000000.index.npz                             fetched at the first use of the shard; about 200 bytes an item
    CACHE/<set>/<split>/video-000000.tar                                   fetched whole at the first read, its checksum compared with the manifest's
    CACHE/<set>/<split>/.origin.json                                       the address, and which manifest the files beside it belong to; written last

To its readers it is a packed split like any other. Only shards count in the cache's size and make room for others.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from launch.files import checksum, read_json, whole_file, write_json
from pipeline.remote.address import Address
from pipeline.remote.ahead import Ahead
from pipeline.remote.cache import HELD, Cache, Held, Wanted
from pipeline.remote.retries import Interrupted, NotFetched, NotThere, persistently
from pipeline.remote.settings import RemoteSettings, remote_settings
from pipeline.remote.transfer import transfer

ORIGIN = ".origin.json"
MANIFEST = "manifest.json"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "vocab.txt")
BESIDE = ("rejected.jsonl", "failed.jsonl", "words.tsv", "concepts.tsv", "neighbours.npy", "neighbours.json")
"""Files that a split may have beside what its manifest tells of."""
INDICES = 16
"""Indices that are fetched together, since a shard's neighbours are wanted next."""
OPEN = 4
"""Shards that a process keeps open, so that the cache cannot remove them; one that is wanted again is opened again in no time."""


class TarRecord(Protocol):
    """What the manifest says of a shard."""

    @property
    def name(self) -> str: ...
    @property
    def bytes(self) -> int: ...
    @property
    def checksum(self) -> str: ...


class Mirror:
    """The shards and indices of a split elsewhere, brought into `folder` as they are needed."""

    def __init__(self, folder: Path) -> None:
        origin = read_json(folder / ORIGIN)
        self._folder, self._address = folder, Address(origin["address"])
        self._settings = remote_settings()
        self._cache = Cache(folder.parent.parent, self._settings.cache_bytes)
        self._ahead = Ahead(self._cache)
        self._open: OrderedDict[str, Held] = OrderedDict()

    @property
    def cache_bytes(self) -> int:
        """Most that shards may take on this machine."""
        return self._cache.most

    def tar(self, info: TarRecord) -> int:
        """A descriptor of a shard, fetched where it is not here. It stays until `OPEN` other shards were asked for since, and so does the file.

        Raises:
            NotFetched: it cannot be had, or what arrives is not what the manifest says.
        """
        held = self._open.pop(info.name, None) or self._cache.hold(self._wanted(info))
        self._open[info.name] = held
        while len(self._open) > OPEN:
            self._open.popitem(last=False)[1].close()
        return held.file

    def ask(self, infos: Iterable[TarRecord]) -> None:
        """Have shards fetched beside the work, in this order; returns at once."""
        self._ahead.ask([self._wanted(info) for info in infos])

    def index(self, names: Sequence[str]) -> None:
        """Have the index of the first of `names` in the folder, and those of the others while at it, as far as they can be had."""
        missing = [name for name in names[:INDICES] if not (self._folder / f"{name}.index.npz").is_file()]
        if not missing or missing[0] != names[0]:
            return
        with ThreadPoolExecutor(len(missing)) as threads:
            first, *others = [threads.submit(self._bring_index, name) for name in missing]
            first.result()
            for other in others:
                other.exception()  # whoever opens that shard meets it again

    def close(self) -> None:
        """Let go of the shards that are open."""
        while self._open:
            self._open.popitem()[1].close()

    def _wanted(self, info: TarRecord) -> Wanted:
        path = self._folder / f"{info.name}.tar"
        return Wanted(path, info.bytes, info.checksum, partial(_fetch_tar, self._address.file(path.name), info, self._settings))

    def _bring_index(self, name: str) -> None:
        file = f"{name}.index.npz"
        data = fetched(self._address.file(file), self._settings, whole=_is_zip)
        with whole_file(self._folder / file, "wb") as written:
            written.write(data)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_ahead": None, "_open": OrderedDict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state | {"_ahead": Ahead(state["_cache"])})

    def __del__(self) -> None:
        if hasattr(self, "_open"):
            self.close()


def mirror_of(folder: Path) -> Mirror | None:
    """What brings shards into `folder`, None where it is a folder of this machine like any other."""
    return Mirror(folder) if (folder / ORIGIN).is_file() else None


def mirrored(address: Address) -> Path:
    """The local folder of the split at `address`, with its manifest and small files as they are there now.

    Raises:
        NotThere: there is no manifest at that address.
        NotFetched: it could not be read.
        ValueError: what is there is no manifest of a packed split.
    """
    settings = remote_settings()
    source = address.file(MANIFEST)
    manifest_bytes = fetched(source, settings)
    manifest = _parsed(manifest_bytes, source)
    folder = settings.cache / address.mirror()
    (folder / HELD).mkdir(parents=True, exist_ok=True)
    with open(folder / HELD / "mirror", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        origin = {"address": address.template, "manifest": hashlib.sha256(manifest_bytes).hexdigest()}
        if not (folder / ORIGIN).is_file() or read_json(folder / ORIGIN) != origin:
            (folder / ORIGIN).unlink(missing_ok=True)
            for former in (*folder.glob("*.index.npz"), *folder.glob("ground_truth/*"), *folder.glob("pools/*"), *folder.glob("tokenizer/*")):
                former.unlink(missing_ok=True)
            _bring_beside(address, manifest, folder, settings)
            with whole_file(folder / MANIFEST, "wb") as file:
                file.write(manifest_bytes)
            write_json(folder / ORIGIN, origin)
    return folder


def _bring_beside(address: Address, manifest: dict[str, Any], folder: Path, settings: RemoteSettings) -> None:
    named = ["queries.jsonl", *(f"ground_truth/{task}.tsv" for task in manifest.get("ground_truth", ()))]
    named += [f"pools/{task}.tsv" for task in manifest.get("pools", ())]
    named += [f"tokenizer/{name}" for name in TOKENIZER] if manifest.get("vocabulary") else []
    for name in (*named, *BESIDE):
        source = address.file(name)
        try:
            once = RemoteSettings(settings.cache, settings.cache_bytes, tries=1, timeout_s=settings.timeout_s)
            # A command that prints nothing cannot say whether the file is missing: what may be missing is tried once.
            data = fetched(source, once if address.is_pipe and name in BESIDE else settings)
        except NotFetched as error:
            if name in BESIDE and (address.is_pipe or isinstance(error, NotThere)):
                (folder / name).unlink(missing_ok=True)
                continue
            if isinstance(error, NotThere):
                raise NotThere(f"{error}, though {address}'s {MANIFEST} tells of it; copy the folder as a whole") from error
            raise
        with whole_file(folder / name, "wb") as file:
            file.write(data)


def fetched(source: str, settings: RemoteSettings, whole: Any = None) -> bytes:
    """The bytes of a small file. `whole`, where given, says whether bytes are complete, so that a file cut short is tried again."""
    settings.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".incoming-", dir=settings.cache) as folder:
        path = Path(folder, "file")

        def attempt() -> None:
            transfer(source, path, None, settings.timeout_s)
            if whole is not None and not whole(path):
                raise Interrupted(f"{path.stat().st_size} bytes arrived that are no whole file")

        persistently(source, attempt, settings)
        return path.read_bytes()


def _fetch_tar(source: str, info: TarRecord, settings: RemoteSettings, path: Path) -> None:
    """Write a shard to `path`. Raises NotFetched where it cannot be had, or where the same wrong bytes arrive twice."""
    wrong: list[str] = []

    def attempt() -> None:
        transfer(source, path, info.bytes, settings.timeout_s)
        size = path.stat().st_size
        if size != info.bytes:
            raise Interrupted(f"{size} of its {info.bytes} bytes arrived")
        found = checksum(path)
        if found == info.checksum:
            return
        if found in wrong:
            raise NotFetched(
                f"{source}: another shard than the one that was packed: its SHA-256 is {found[:12]}…, the manifest says {info.checksum[:12]}…, and "
                "so it arrived twice; it was exchanged after packing: restore it, or pack the set again"
            )
        wrong.append(found)
        raise Interrupted(f"SHA-256 {found[:12]}…, the manifest says {info.checksum[:12]}…")

    try:
        persistently(source, attempt, settings)
    except NotThere as error:
        raise NotThere(f"{error}, though the manifest lists {info.name}; copy the folder as a whole, or pack the set again") from error
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_zip(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except zipfile.BadZipFile:
        return False


def _parsed(data: bytes, source: str) -> dict[str, Any]:
    try:
        manifest = json.loads(data)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{source}: not UTF-8 JSON ({error}); an address of a packed split has a {MANIFEST}") from error
    if not isinstance(manifest, dict) or "split" not in manifest or "shards" not in manifest:
        raise ValueError(f"{source}: not the manifest of a packed split")
    return manifest
