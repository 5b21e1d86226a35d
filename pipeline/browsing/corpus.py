"""The packed splits behind dumps, found again by the checksums of their shards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from evaluate.dump import Dump
from evaluate.embeddings import read_attributes
from pipeline.shards import Sample, ShardSet, is_shard_set, splits_of


class DumpedCorpus:
    """The samples that dumps were made from.

    Args:
        dumps: folders of finished dumps.
        shards: packed splits, or folders of such; none: they are looked for beside the dumps (as the evaluate scripts lay them out) and in the
            folder of the run.
        run: that folder.

    Raises ValueError where a split that was named is not one that a dump was made from.
    """

    def __init__(self, dumps: Sequence[str | Path], shards: Sequence[str | Path], run: Path) -> None:
        checksums: dict[str, str] = {}
        for dump in map(Dump, dumps):
            for domain in dump.domains:
                first = dump.side(domain=domain).shards[0]
                checksums[first.path.stem] = read_attributes(first.path).shard_checksum
        self._wanted = checksums
        self._found: dict[Path, ShardSet] = {}
        for folder in shards or _beside([Path(dump) for dump in dumps], run):
            known = self._take(Path(folder))
            if shards and not known:
                raise ValueError(
                    f"--shards {folder}: the dumps were not made from it ({', '.join(checksums)} have another checksum or are not there)"
                )
        self._shards: dict[str, tuple[ShardSet, int]] = {
            info.name: (split, number) for split in self._found.values() for number, info in enumerate(split.shards)
        }
        self._rows: dict[str, dict[str, int]] = {}

    def missing(self) -> str:
        """A line that says which dumps' items have no words and pictures here; "" where all have."""
        lost = sorted(name for name in self._wanted if name not in self._shards)
        if not lost:
            return ""
        names = " and ".join(lost)
        return f"the packed split that {names} came from is not beside the dump or the run, so its items are shown by their ids; see --shards"

    def sample(self, shard: str, item: str) -> Sample | None:
        """An item of the shard `shard`; None where it is not at hand."""
        if shard not in self._shards:
            return None
        split, number = self._shards[shard]
        opened = split.shard(number)
        if shard not in self._rows:
            self._rows[shard] = {id: row for row, id in enumerate(opened.ids)}
        row = self._rows[shard].get(item)
        return None if row is None else opened.sample(row)

    def _take(self, folder: Path) -> bool:
        """Take the splits at `folder` that dumps were made from; False where there is none."""
        known = False
        for path in splits_of(folder).values():
            split = ShardSet(path)
            if any(self._wanted.get(info.name) == info.checksum for info in split.shards):
                known = True
                self._found.setdefault(path.resolve(), split)
        return known


def _beside(dumps: Iterable[Path], run: Path) -> list[Path]:
    """Folders of packed splits where the scripts put them: DUMPS/../shards of OUT/dumps/goods, and RUN/shards."""
    places = [place for dump in dumps for place in (dump.resolve().parent.parent / "shards", dump.resolve().parent / "shards")]
    return [place for place in dict.fromkeys([*places, run / "shards"]) if is_shard_set(place)]
