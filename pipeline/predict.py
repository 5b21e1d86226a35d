"""Evaluate the prediction of popularity with a checkpoint: predict a split, beside simpler methods on the same features, and report.

    bash launch/evaluate.sh popularity --checkpoint RUN --data FEATURES --out OUT
    torchrun --nproc_per_node 8 -m pipeline.predict --checkpoint RUN --data FEATURES --out OUT --baselines none

OUT/metrics.json and report.html are what to look at, predictions.h5 holds every item with its prediction, its true value, what the simpler methods
say of it, and its neighbours. Those methods are fitted to the train split in --data: its mean, the mean of the very neighbours' labels, ridge
regression and a support vector machine. A neighbour model that does not beat the mean of its neighbours is of no use.

Pictures on the page come from the packed corpus (--media, by default FEATURES/shards, where pipeline.features packed it), if it is there.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from evaluate.pages.prediction_page import ITEM
from evaluate.prediction_report import report, shown_items, table
from evaluate.predictions import NeighbourTable, Predicted, write_predicted
from launch import distributed
from launch.command import CommandParser, run_command
from launch.files import whole_folder, write_json
from launch.logs import is_main, say
from pipeline.bad_items import bad_items_of
from pipeline.bank.lists import NeighbourLists, held_lists
from pipeline.cards import card_of, samples_of
from pipeline.checkpoint import Loaded, find_checkpoint, load_checkpoint
from pipeline.corpus import Corpus, open_corpus
from pipeline.embed import add_forward_arguments, start_embedding
from pipeline.feature_member import feature_width
from pipeline.frames import FrameReader
from pipeline.popularity import POPULARITY, Predictions, predict_shards
from pipeline.precision import resolve_precision
from pipeline.regressors import REGRESSORS, ClipFeatures, regress
from pipeline.shards import ShardSet, is_shard_set, splits_of

FEATURES = ("vision", "words")


def predict(loaded: Loaded, corpus: Corpus, split: str, out: Path, media: Path | None, arguments: argparse.Namespace) -> None:
    """Evaluate on `split` and write everything below `out`; all ranks call it, rank 0 fits the simpler methods and reports.

    Args:
        media: folder of the packed corpus; None: the page has no pictures.

    Raises:
        ValueError: the system predicts nothing, or the split lacks what it needs.
    """
    device = start_embedding(arguments)
    try:
        shards = ShardSet(corpus.pack(split, loaded.recipe.packing))
        predictions = predict_shards(
            loaded.system.to(device),
            shards,
            out / "dump",
            recipe=loaded.recipe,
            checkpoint=loaded.checksum,
            device=device,
            precision=resolve_precision(arguments.precision, device),
            batch_size=arguments.batch_size,
            workers=arguments.workers,
            bad_items=bad_items_of(arguments),
            quiet=True,
        )
    finally:
        distributed.stop()
    if not is_main():
        return
    domain = loaded.system.predicted_domain
    lists = NeighbourLists(shards.folder) if held_lists(shards) is not None else None
    neighbours = None if lists is None else _neighbours(predictions, shards, domain, lists, loaded.system.neighbours_used or lists.kept)
    named = () if arguments.baselines == ["none"] else tuple(arguments.baselines)
    baselines: dict[str, np.ndarray] = {}
    if named and "train" not in corpus.splits:
        say(f"{corpus.data} has no train split: no simpler methods beside the model")
    elif named:
        train = ShardSet(corpus.pack("train", loaded.recipe.packing))
        widths = {name: feature_width(train, domain, name) for name in FEATURES}
        wanted = ClipFeatures(shards, domain, widths).of(predictions.ids)
        baselines = regress(named, ClipFeatures(train, domain, widths), wanted, neighbours, loaded.recipe.trainer.seed)
    predicted = Predicted(
        POPULARITY,
        predictions.ids,
        predictions.predicted,
        predictions.true,
        baselines,
        neighbours,
        split,
        loaded.checksum,
        predictions.failed,
        lists.bank if lists else "",
    )
    write_predicted(out / "predictions.h5", predicted)
    sources = [*([ShardSet(folder) for folder in splits_of(media).values()] if media else []), shards, *(lists.sources() if lists else [])]
    cards = _cards(predicted, sources, domain, out / "cards", arguments.shown, loaded.recipe.stream.decoder)
    metrics = report(predicted, out, cards, shown=arguments.shown)
    say(f"{POPULARITY} ({split} split, {metrics['items_evaluated']:,} items)\n{table(metrics)}\nreport: {out}/report.html")


def _neighbours(predictions: Predictions, shards: ShardSet, domain: str, lists: NeighbourLists, k: int) -> NeighbourTable:
    """The first `k` neighbours of the predicted items, in their order."""
    found = {sample.id: lists.of(sample)[:k] for sample in samples_of(shards, domain, set(predictions.ids))}
    ids = [[lists.sample(one).id for one in found[id]] for id in predictions.ids]
    labels, similarities = np.full((2, len(ids), k), np.nan, np.float32)
    for place, id in enumerate(predictions.ids):
        own = found[id]
        labels[place, : len(own)], similarities[place, : len(own)] = own["label"], own["similarity"]
    return NeighbourTable([own + [""] * (k - len(own)) for own in ids], labels, similarities)


def _cards(predicted: Predicted, sources: Iterable[ShardSet], domain: str, out: Path, shown: int, decoder: str) -> Path:
    """Words and pictures of the items that the page shows, each from the first of `sources` that has it."""
    listed = shown_items(predicted, shown)
    left = {*listed["items"], *listed["neighbours"]}
    cards: dict[str, Any] = {}
    reader = FrameReader(decoder)
    with whole_folder(out) as folder:
        for shards in sources:
            for sample in samples_of(shards, domain, set(left)):
                cards[sample.id] = card_of(sample, reader, folder, f"{domain}-{len(cards)}")
                left.discard(sample.id)
        write_json(folder / "cards.json", {ITEM: cards})
    return out


def main(argv: list[str] | None = None) -> None:
    parser = CommandParser("python -m pipeline.predict", __doc__)
    parser.add_argument("--checkpoint", required=True, help="run folder (its best checkpoint, else the latest) or one checkpoint folder")
    parser.add_argument("--data", required=True, help="folder of features with neighbours, a folder a split")
    parser.add_argument("--out", required=True, help="folder for predictions.h5, metrics.json and report.html")
    parser.add_argument("--split", help="split to evaluate (default: test where there is one, else val)")
    parser.add_argument(
        "--baselines",
        nargs="+",
        default=list(REGRESSORS),
        metavar="METHOD",
        help=f"simpler methods beside the model: {', '.join(REGRESSORS)}; or none",
    )
    parser.add_argument("--media", help="folder of the packed corpus, for pictures (default: DATA/shards where it is there)")
    parser.add_argument("--shown", type=int, default=12, help="items shown in the report (default %(default)s)")
    parser.add_argument(
        "--weights", choices=["live", "ema"], default="live", help="the weights as trained, or their slow average (--trainer.ema_decay; default live)"
    )
    add_forward_arguments(parser, batch_size=256)
    parser.add_argument("--check", action="store_true", help="look at flags and folders, then stop")
    arguments = parser.parse_args(argv)
    if unknown := [name for name in arguments.baselines if name not in (*REGRESSORS, "none")]:
        raise ValueError(f"--baselines {unknown[0]}: there is no such method; choose of {', '.join(REGRESSORS)}, or none")
    find_checkpoint(arguments.checkpoint)
    out = Path(arguments.out)
    corpus = open_corpus(arguments.data, source=None, shards=out / "shards", bad_items=bad_items_of(arguments))
    split = corpus.evaluation_split(arguments.split)
    packed = Path(arguments.media or Path(arguments.data) / "shards")
    if arguments.media and not is_shard_set(packed):
        raise ValueError(f"--media {packed}: no packed corpus; leave it out, or give the folder that packing wrote")
    if arguments.check:
        return
    loaded = load_checkpoint(arguments.checkpoint, arguments.weights)
    say(f"{POPULARITY} on the {split} split of {arguments.data} with {loaded.folder} ({loaded.recipe.name}, step {loaded.state.step})")
    predict(loaded, corpus, split, out, packed if is_shard_set(packed) else None, arguments)


if __name__ == "__main__":
    run_command(main)
