"""The memory bank: for each clip its nearest clips whose popularity is known, as lists beside the features.

    python -m pipeline.neighbours --data FEATURES --recipe mmra --text models/uae-large-v1 --captions models/blip
    python -m pipeline.neighbours --data FEATURES --text none --features [vision,words]
    python -m pipeline.neighbours --data FEATURES --text none --dumps DUMPS
    torchrun --nproc_per_node 8 -m pipeline.neighbours --data FEATURES ...

FEATURES is what pipeline.features wrote, a folder a split; FEATURES/<split>/neighbours.npy and .json are added. Clips become vectors
(FEATURES/bank/vectors, dumps as any other), and one exact search finds the best of each. A clip of the train split is looked up among the other
training clips, those of other splits among the training clips, and none ever finds itself, so that no label that is to be predicted can be looked
up. Captions are read off the frames in the packed corpus (--media, by default FEATURES/shards, where pipeline.features packed it).

Ranks take shards from a shared counter. Killed and started again, it goes on from the shards that are complete.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser

from evaluate.dump import Dump
from launch import distributed
from launch.command import run_command
from launch.logs import is_main, say
from models.encoders import TextEncoder, load_text
from pipeline.bad_items import USUAL, BadItems, bad_items_of
from pipeline.bank.captions import Captioner, caption_frames
from pipeline.bank.lists import digest_of, held_lists, write_lists
from pipeline.bank.search import neighbour_rows
from pipeline.bank.settings import NOTHING, BankSettings, splits_searched
from pipeline.bank.vectors import FeatureVectors, TextVectors, weights_checksum
from pipeline.embed import add_forward_arguments, embed_shards, start_embedding
from pipeline.precision import resolve_precision
from pipeline.recipe import Recipe, module_of
from pipeline.settings_parser import SettingsParser
from pipeline.shards import ShardSet, splits_of
from pipeline.system import Embedder

RELEASED_WARNING = (
    "warning: the bank `released` lets training clips look up validation clips, so that the labels by which checkpoints are chosen are trained on; "
    "for comparison with the release alone"
)


class BankMaker:
    """Makes the lists of the splits below a folder of features; all ranks of a job do everything together.

    Args:
        data: folder of splits.
        media: folder of the packed corpus, looked into for captions alone.

    Raises:
        ValueError: there is no train split, or a split to be searched is not there.
    """

    def __init__(
        self,
        data: Path,
        media: Path,
        domain: str,
        settings: BankSettings,
        *,
        device: torch.device,
        precision: str,
        batch_size: int,
        workers: int,
        bad_items: BadItems = USUAL,
    ) -> None:
        self._settings, self._domain, self._media = settings, domain, media
        self._forward: dict[str, Any] = {"device": device, "precision": precision, "batch_size": batch_size, "workers": workers}
        self._forward["bad_items"] = bad_items
        self._work = data / "bank"
        self.splits = {split: ShardSet(folder) for split, folder in splits_of(data).items() if ShardSet(folder).of_domain(domain)}
        for split in self.splits:
            for wanted in splits_searched(settings.bank, split):
                if wanted not in self.splits:
                    held = ", ".join(self.splits) or "none"
                    raise ValueError(f"{data}: {split} is looked up in split {wanted}, which has no {domain} items here (splits that have: {held})")
        self._encoder = None
        if settings.text != NOTHING:
            self._encoder = _text_encoder(settings).to(device)
        self._captioner = Captioner(settings.captions, settings.caption_length).to(device).eval() if settings.captions != NOTHING else None
        # Which bank and how many are kept is no matter of the vectors.
        self._made_of = {name: value for name, value in asdict(settings).items() if name not in ("bank", "kept")} | {"precision": precision}
        for name, model in (("text", self._encoder), ("captions", self._captioner)):
            if model is not None:
                self._made_of |= {name: Path(getattr(settings, name)).name, f"{name}_weights": weights_checksum(model)}
        if settings.dumps != NOTHING:
            self._made_of["dumps"] = self._checkpoint_of_dumps()

    def make(self, overwrite: bool) -> None:
        """Write the lists of all splits. Those that are there and would come out the same stay.

        Raises ValueError where a split holds lists that were found otherwise, unless they may be overwritten.
        """
        left = self._unfinished(overwrite)
        if not left:
            return
        if self._captioner is not None:
            self._caption(self._captioner)
        for split, shards in self.splits.items() if self._settings.dumps == NOTHING else ():
            name = hashlib.sha256(json.dumps([self._made_of, digest_of(shards)], sort_keys=True).encode()).hexdigest()
            recipe = Recipe("neighbours", self._settings)
            embed_shards(self._embedder(split), shards, self._domain, self._vectors(split), recipe=recipe, checkpoint=name, **self._forward)
        if is_main():
            for split in left:
                self._search(split)
        distributed.barrier()

    def _unfinished(self, overwrite: bool) -> list[str]:
        left = []
        for split, shards in self.splits.items():
            held = held_lists(shards)
            if held is None or overwrite:
                left.append(split)
                continue
            searched = {wanted: digest_of(self.splits[wanted]) for wanted in splits_searched(self._settings.bank, split)}
            wanted = {
                "bank": self._settings.bank,
                "kept": self._settings.kept,
                "domain": self._domain,
                "own": digest_of(shards),
                "searched": searched,
            }
            wanted |= {"made_of": json.loads(json.dumps(self._made_of))}
            if changed := [key for key, value in wanted.items() if held.get(key) != value]:
                raise ValueError(f"{shards.folder}: holds neighbours found otherwise ({', '.join(changed)} differ); --overwrite replaces them")
            say(f"{shards.folder}: neighbours are already there")
        return left

    def _caption(self, captioner: Captioner) -> None:
        packed = splits_of(self._media)
        for split, shards in self.splits.items():
            if split not in packed:
                raise ValueError(f"--media {self._media}: no split {split}, whose frames are to be captioned; it has {', '.join(packed)}")
            seen = {name: value for name, value in self._made_of.items() if name.startswith("caption") or name in ("frames", "precision")}
            made_of = hashlib.sha256(json.dumps([seen, digest_of(ShardSet(packed[split]))], sort_keys=True).encode()).hexdigest()
            caption_frames(captioner, ShardSet(packed[split]), self._domain, self._captions(split), self._settings, made_of, **self._forward)
            assert {info.name for info in shards.shards} <= {info.name for info in ShardSet(packed[split]).shards}, "features come shard by shard"

    def _embedder(self, split: str) -> Embedder:
        if self._encoder is None:
            return FeatureVectors(self._settings, self.splits["train"], self._domain)
        return TextVectors(self._settings, self._encoder, self._captions(split) if self._captioner is not None else None)

    def _search(self, split: str) -> None:
        shards = self.splits[split]
        searched = {wanted: self.splits[wanted] for wanted in splits_searched(self._settings.bank, split)}
        dumps = {name: (own, Dump(self._vectors(name))) for name, own in searched.items()}
        rows = neighbour_rows(shards, self._domain, Dump(self._vectors(split)), dumps, self._settings.kept)
        write_lists(shards, self._domain, self._settings.bank, searched, rows, self._made_of)
        without = int((rows["split"][:, 0] < 0).sum())
        say(
            f"{shards.folder}: {self._settings.kept} neighbours of {len(rows):,} {self._domain} items among those of {' and '.join(searched)}"
            + (f"; {without:,} have none, since they have nothing to be looked up by" if without else "")
        )

    def _vectors(self, split: str) -> Path:
        return Path(self._settings.dumps) / split if self._settings.dumps != NOTHING else self._work / "vectors" / split

    def _checkpoint_of_dumps(self) -> str:
        """The checkpoint that made all the dumps. Raises ValueError where there are several, or scores would not be the wanted similarity."""
        dumps = [Dump(self._vectors(split)) for split in self.splits]
        checkpoints = {dump.checkpoint for dump in dumps}
        if len(checkpoints) > 1:
            raise ValueError(f"--dumps {self._settings.dumps}: made by {len(checkpoints)} checkpoints; embed all splits with one")
        if self._settings.similarity == "cosine" and not all(dump.normalised for dump in dumps):
            raise ValueError(f"--dumps {self._settings.dumps}: embeddings that are not of length 1 have no cosines; give --similarity inner")
        return checkpoints.pop()

    def _captions(self, split: str) -> Path:
        return self._work / "captions" / split


def _text_encoder(settings: BankSettings) -> TextEncoder:
    try:
        encoder = load_text(settings.text, dim=1, pooling=settings.text_pooling, frozen_layers="all")
    except ValueError as error:
        raise ValueError(str(error).replace("--encoders.", "--")) from error
    if encoder.max_tokens is not None and settings.text_length > encoder.max_tokens:
        raise ValueError(f"--text_length {settings.text_length}: the model in {settings.text} has positions for {encoder.max_tokens} tokens at most")
    return encoder


def _settings_of(name: str | None) -> BankSettings:
    """What the recipe `name` looks clips up by: its module's `BANK`; without a recipe, the defaults."""
    if name is None:
        return BankSettings()
    found = getattr(module_of(name), "BANK", None)
    if not isinstance(found, BankSettings):
        raise ValueError(f"--recipe {name}: its module names no BANK, it trains without neighbours; leave --recipe out to set flags by hand")
    return found


def _parser(settings: BankSettings) -> ArgumentParser:
    parser = SettingsParser("python -m pipeline.neighbours", __doc__)
    parser.add_argument("--data", required=True, help="folder of features, a folder a split, as pipeline.features writes it")
    parser.add_argument("--recipe", help="take the settings of this recipe, e.g. mmra; flags beside it count more")
    parser.add_argument("--domain", default="video", help="domain of the items")
    parser.add_argument("--media", help="folder of the packed corpus, whose frames are captioned; null = DATA/shards")
    parser.add_argument("--overwrite", action="store_true", help="replace neighbours that are there")
    add_forward_arguments(parser, batch_size=64)
    parser.add_argument("--config", action="config", help="YAML file with any of these flags")
    parser.add_class_arguments(BankSettings)
    parser.set_defaults(asdict(settings))
    return parser


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and find the neighbours."""
    words = sys.argv[1:] if argv is None else argv
    named = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    named.add_argument("--recipe")
    given = _parser(_settings_of(named.parse_known_args(words)[0].recipe)).parse_args(words)
    settings = BankSettings(**{field.name: _plain(given[field.name]) for field in fields(BankSettings)})
    data = Path(given.data)
    device = start_embedding(given)
    try:
        if settings.bank == "released":
            say(RELEASED_WARNING)
        precision = resolve_precision(given.precision, device)
        media = Path(given.media) if given.media else data / "shards"
        maker = BankMaker(
            data,
            media,
            given.domain,
            settings,
            device=device,
            precision=precision,
            batch_size=given.batch_size,
            workers=given.workers,
            bad_items=bad_items_of(given),
        )
        maker.make(given.overwrite)
    finally:
        distributed.stop()


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


if __name__ == "__main__":
    run_command(main)
