"""What --data names: a corpus, packed on first use into a cache outside it, or a shard set that is packed already."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pipeline.bad_items import USUAL, BadItems
from pipeline.pack import HELD_OUT, pack
from pipeline.recipe import Packing
from pipeline.shards import is_shard_set, splits_of
from pipeline.sources import Source, open_source


@dataclass(frozen=True)
class Corpus:
    """`data` as it was given, its splits, and its reader (None: `data` is packed already). `shards` is where packing goes, `packed` where the
    splits are that are packed already."""

    data: Path | str
    shards: Path
    splits: tuple[str, ...]
    source: Source | None
    packed: dict[str, Path] = field(default_factory=dict)
    bad_items: BadItems = USUAL
    """what is done about items of it that cannot be packed or read"""

    def require_split(self, split: str) -> None:
        """Raise ValueError naming the splits there are where `split` is not among them."""
        if split not in self.splits:
            raise ValueError(f"{self.data}: no {split} split; it has {', '.join(self.splits)}")

    def evaluation_split(self, wanted: str | None) -> str:
        """`wanted`, else test where there is one, else val. Raises ValueError where it is not there."""
        split = wanted or next((name for name in ("test", "val") if name in self.splits), "test")
        self.require_split(split)
        return split

    def pack(self, split: str, settings: Packing) -> Path:
        """What ShardSet opens of the packed split, packed now if it is not; all ranks call it together. A val split held out of train comes with
        train."""
        if self.source is None:
            return self.packed[split]
        holdout = settings.holdout_videos if split == "train" and HELD_OUT not in self.splits else 0
        return pack(
            self.data,
            self.shards,
            source=self.source.name,
            splits=[split],
            shard_samples=settings.shard_samples,
            holdout_videos=holdout,
            vocab_size=settings.vocab_size,
            regions=settings.regions,
            region_type=settings.region_type,
            on_bad_item=self.bad_items.on_bad_item,
            max_bad_items=self.bad_items.max_bad_items,
        )[split]

    def validation(self, settings: Packing) -> Path | None:
        """The folder of the packed val split: the corpus' own, or what `pack("train")` held out of its clips; None where there is neither."""
        if HELD_OUT in self.splits:
            return self.pack(HELD_OUT, settings)
        return self.shards / HELD_OUT if self.source is not None and settings.holdout_videos else None


def open_corpus(data: str | Path, *, source: str | None, shards: str | Path, bad_items: BadItems = USUAL) -> Corpus:
    """Recognise what `data` is; nothing is packed yet.

    Args:
        data: corpus root, packed split, folder of splits, a range of shards (`FOLDER/video-{000000..000099}.tar`), or one of the last three
            elsewhere (`pipeline.remote.address`).
        source: reader to use where recognition fails or errs.
        shards: folder for packed splits, outside `data`.
        bad_items: what is done about items that cannot be packed or read.

    Raises:
        ValueError: no such folder, no layout that is known, or a shard set given together with `source`.
    """
    if is_shard_set(data):
        if source is not None:
            raise ValueError(f"--source {source}: {data} is packed already, there is no corpus to read")
        packed = splits_of(data)
        return Corpus(data, next(iter(packed.values())).parent, tuple(packed), None, packed, bad_items)
    data = Path(data)
    if not data.exists():
        raise ValueError(f"--data {data}: no such folder; give a corpus root, a packed shard set or an address (s3://, gs://, https://, pipe:)")
    reader = open_source(data, source)
    return Corpus(data, Path(shards), tuple(reader.splits()), reader, bad_items=bad_items)
