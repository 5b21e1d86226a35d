"""The folder of a split's features: begun, gone on with or refused; its shards; its manifest last.

    FEATURES/<split>/video-000000.tar       <key>.json as it was, <key>.<feature>.npy
    FEATURES/<split>/failed.jsonl           items that could not be read: {"id", "domain", "shard", "reason"} a line
    FEATURES/<split>/queries.jsonl, rejected.jsonl, ground_truth/, pools/, tokenizer/, words.tsv      as they were

It is a shard set like its input (`pipeline.shards`), with three more entries in the manifest: `failed`, their number; `features`, what made them,
one entry a run of this stage; `feature_counts`, items by feature and domain.
"""

from __future__ import annotations

import io
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from launch.files import read_json, whole_file, whole_path, write_json
from pipeline.packing.tar import TarSample, is_whole, write_tar
from pipeline.shards import FORMAT_VERSION, MANIFEST, WORK_FOLDER, Sample, Shard, ShardInfo, ShardSet
from pipeline.stream import EvaluationBatch
from pipeline.words import COUNTS_FILE

COPIED = ("queries.jsonl", "rejected.jsonl", "ground_truth", "pools", "tokenizer", COUNTS_FILE)
STAGE = "features"

Computed = tuple[EvaluationBatch, list[dict[str, np.ndarray]]]
"""A piece of a shard, and the features of each of its `ids`."""


class FeatureFolder:
    """Where the features of one split go.

    Args:
        shards: the split whose media are replaced.
        folder: FEATURES/<split>.
        made: names of the features that are computed ("vision", "words").
    """

    def __init__(self, shards: ShardSet, folder: Path, made: Iterable[str]) -> None:
        self._shards, self.folder, self._made = shards, folder, tuple(made)

    def begin(self, made_of: dict[str, Any], overwrite: bool) -> bool:
        """Make the folder ready to be written or gone on with; False where it is finished already.

        Args:
            made_of: what the features depend on beside the input's shards.
            overwrite: remove features that are there.

        Raises ValueError where it holds something else, or features made of other inputs: two kinds are not mixed in one set.
        """
        inputs = self._inputs(made_of)
        if self.folder.resolve() == self._shards.folder.resolve():
            raise ValueError(f"{self.folder} is the packed split that is read; give another --out")
        work = self.folder / WORK_FOLDER
        if any(path.is_file() and path.suffix != ".tmp" for path in self.folder.rglob("*")):
            held = self._held()
            if held is None:
                raise ValueError(f"{self.folder}: not empty, and not features of this stage; give another --out")
            if overwrite:
                shutil.rmtree(self.folder)
            elif changed := _changes(held, inputs):
                raise ValueError(f"{self.folder}: holds features made otherwise ({changed}); give another --out, or --overwrite to replace them")
            elif (self.folder / MANIFEST).is_file():
                shutil.rmtree(work, ignore_errors=True)
                return False
        work.mkdir(parents=True, exist_ok=True)
        for leftover in self.folder.rglob(".*.tmp"):
            leftover.unlink()
        write_json(work / "inputs.json", inputs)
        return True

    def _inputs(self, made_of: dict[str, Any]) -> dict[str, Any]:
        files = {f"{info.name}.tar": info.checksum for info in self._shards.shards}
        return {"format_version": FORMAT_VERSION, "stage": STAGE, "source": self._shards.source, "files": files, **made_of}

    def _held(self) -> dict[str, Any] | None:
        """The inputs of what is there; None where it is not of this stage."""
        begun = self.folder / WORK_FOLDER / "inputs.json"
        held = (
            read_json(self.folder / MANIFEST).get("inputs") if (self.folder / MANIFEST).is_file() else read_json(begun) if begun.is_file() else None
        )
        return held if isinstance(held, dict) and held.get("stage") == STAGE else None

    def is_complete(self, number: int) -> bool:
        """True where shard `number` of the input has its features."""
        note = self._note(number)
        return note.is_file() and is_whole(self._tar(number), ShardInfo(**read_json(note)["info"]))

    def failed_in(self, number: int) -> list[dict[str, str]]:
        """What failed in shard `number`, which is complete."""
        return read_json(self._note(number))["failed"]

    def write(self, number: int, pieces: Iterable[Computed]) -> None:
        """Write the shard of shard `number`: its records and features as they were, with those of `pieces`, which are all of its rows in order.

        Raises ValueError where an item has a feature of that name already, or one is not finite.
        """
        shard, info = self._shards.shard(number), self._shards.shards[number]
        self._require_room(shard)
        failed: list[dict[str, str]] = []
        counts: Counter[str] = Counter()

        def samples() -> Iterator[TarSample]:
            for piece, rows in pieces:
                failed.extend({"id": id, "domain": info.domain, "shard": info.name, "reason": reason} for id, reason in piece.failures)
                unreadable = {id for id, _ in piece.failures}
                readable = (row for row in range(piece.first, piece.last) if shard.ids[row] not in unreadable)
                for row, features in zip(readable, rows, strict=True):
                    members = _members(shard.sample(row), features)
                    counts.update(suffix.removesuffix(".npy") for suffix, _ in members[1:])
                    yield shard.ids[row], shard.query_ids(row).tolist(), members

        written = write_tar(self._tar(number), domain=info.domain, role=info.role, samples=samples())
        write_json(self._note(number), {"info": asdict(written), "failed": failed, "features": dict(sorted(counts.items()))})

    def _require_room(self, shard: Shard) -> None:
        for row in range(len(shard)):
            taken = [name for name in self._made if f"{name}.npy" in shard.members(row)]
            if taken:
                flag = {"vision": "--vision", "words": "--text"}[taken[0]]
                where = f"{shard.sample(row).name} has a feature {taken[0]} already"
                raise ValueError(f"{where}; keep it with {flag} none, or read a corpus without it: one set holds features of one model")

    def finish(self, made_by: dict[str, Any]) -> dict[str, Any]:
        """Write failed.jsonl, the files that stay as they were and, last, the manifest, which is returned. All shards are complete.

        Args:
            made_by: what made the features, for the manifest.

        Raises ValueError where no item of the split could be read.
        """
        infos, counts, features, failures = [], Counter[str](), dict[str, Counter[str]](), 0
        example = ""
        with whole_file(self.folder / "failed.jsonl") as file:
            earlier = self._shards.folder / "failed.jsonl"
            if earlier.is_file():  # the input is features itself, and its items that failed are missing here too
                file.write(earlier.read_text(encoding="utf-8"))
            for number in range(len(self._shards.shards)):
                note = read_json(self._note(number))
                info = ShardInfo(**note["info"])
                if info.samples:
                    infos.append(info)
                    counts[info.domain] += info.samples
                for name, count in note["features"].items():
                    features.setdefault(name, Counter())[info.domain] += count
                for failed in note["failed"]:
                    failures, example = failures + 1, example or f"{failed['domain']} {failed['id']!r}: {failed['reason']}"
                    file.write(json.dumps(failed, ensure_ascii=False) + "\n")
        if not infos:
            raise ValueError(f"{self.folder}: none of {failures} items could be read (see failed.jsonl); the first: {example}")
        for name in COPIED:
            _copy(self._shards.folder / name, self.folder / name)
        manifest = {
            **self._shards.manifest,
            "counts": dict(sorted(counts.items())),
            "failed": self._shards.manifest.get("failed", 0) + failures,
            "features": [*self._shards.manifest.get("features", []), made_by],
            "feature_counts": {name: dict(sorted(by_domain.items())) for name, by_domain in sorted(features.items())},
            "inputs": read_json(self.folder / WORK_FOLDER / "inputs.json"),
            "shards": [asdict(info) for info in infos],
        }
        write_json(self.folder / MANIFEST, manifest)
        shutil.rmtree(self.folder / WORK_FOLDER)
        return manifest

    def _tar(self, number: int) -> Path:
        return self.folder / f"{self._shards.shards[number].name}.tar"

    def _note(self, number: int) -> Path:
        return self.folder / WORK_FOLDER / f"{self._shards.shards[number].name}.json"


def _members(sample: Sample, features: dict[str, np.ndarray]) -> list[tuple[str, bytes]]:
    """The record, then all features by name, those that were there as their bytes were."""
    arrays = {suffix: sample.bytes(suffix) for suffix in sample.members if suffix.endswith(".npy")}
    for name, array in features.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{sample.name}: its feature {name} is not finite; try --precision fp32")
        encoded = io.BytesIO()
        np.save(encoded, array, allow_pickle=False)
        arrays[f"{name}.npy"] = encoded.getvalue()
    return [("json", sample.bytes("json")), *sorted(arrays.items())]


def _copy(source: Path, target: Path) -> None:
    """A file, or a folder of files, each whole; nothing where there is none."""
    if source.is_dir():
        for file in sorted(source.iterdir()):
            _copy(file, target / file.name)
    elif source.is_file():
        with whole_path(target) as temporary:
            shutil.copyfile(source, temporary)


def _changes(was: dict[str, Any], now: dict[str, Any]) -> str:
    """What differs between two inputs, in words."""
    changed = [f"{key} was {_shown(was, key)}, now {_shown(now, key)}" for key in sorted({*was, *now} - {"files"}) if was.get(key) != now.get(key)]
    one, other = was["files"], now["files"]
    differing = sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
    if differing:
        changed.append(f"{len(differing)} of {len(other)} input shards are others, the first {differing[0]}")
    return "; ".join(changed)


def _shown(inputs: dict[str, Any], key: str) -> str:
    text = str(inputs.get(key))
    return f"{text[:12]}…" if key.endswith(("_weights", "_vocabulary")) else text
