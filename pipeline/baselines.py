"""What a trained checkpoint has to beat, in one table: chance, a colour-histogram search, the untrained system, its frozen features.

    python -m pipeline.baselines --checkpoint RUN --data CORPUS --out OUT --trained OUT/video2goods OUT/goods2video [--probe]

`--trained` names folders that the evaluate scripts wrote for the same split; their numbers stand in the last row. With `--probe`, for which
`--data` must have a train split, come two rows of the features that the system starts from (of its untrained towers, or those of the corpus):
searched by their cosine as they are, and through two linear maps that are fitted on the train split.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evaluate.dump import Dump
from evaluate.embeddings import ANY_ROLE, DumpAttributes, finish_dump, write_dump_shard
from evaluate.ids import decode_ids
from evaluate.judging.ground_truth import read_ground_truth
from evaluate.judging.judged import judge
from evaluate.judging.metrics import chance
from evaluate.ranked import Ranked
from launch import distributed
from launch.command import CommandParser, run_command
from launch.files import read_json, write_json
from launch.logs import say
from launch.seeds import seed_everything
from pipeline.checkpoint import load_checkpoint
from pipeline.corpus import open_corpus
from pipeline.embed import embed_shards
from pipeline.frames import FrameReader
from pipeline.item import CLIPS, Query
from pipeline.precision import resolve_precision
from pipeline.probe import fit_probe, pairs_of, project
from pipeline.recipe import Recipe, module_of
from pipeline.shards import Sample, ShardSet
from pipeline.system import Batch, Embedder, Preparation, System
from pipeline.training.validation import numbers_of, proposed

COLUMNS = ("hit@1", "hit@5", "recall@10", "median_rank")
BINS = 8
SIDE = 64


class ColourHistogram(Embedder):
    """Colours alone: the histogram of 8 x 8 x 8 RGB cells over a clip's five frames, its square root (Hellinger), length 1."""

    embedding_dim = BINS**3

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self._reader = FrameReader(recipe.stream.decoder, recipe.stream.decode_timeout_s)

    def embed(self, batch: Batch, domain: str) -> Tensor:
        """[B, 512] from `cells` [B, pixels]."""
        histograms = torch.stack([torch.bincount(cells, minlength=self.embedding_dim) for cells in batch["cells"]]).float()
        return (histograms / histograms.sum(dim=1, keepdim=True)).sqrt()

    def preparation(self, training: bool) -> Preparation:
        return _Colours(self._reader)


class _Colours(Preparation):
    def __init__(self, reader: FrameReader) -> None:
        self._reader = reader

    def sample(self, sample: Sample, rng: np.random.Generator | None, query: Query | None) -> dict[str, Any]:
        frames = self._reader.evaluation_frames(sample, 5 if sample.domain in CLIPS else 1, SIDE)
        if frames is None:
            raise ValueError(f"{sample.name} has no image")
        red, green, blue = (frames.astype(np.int64) * BINS // 256).swapaxes(0, 1).reshape(3, -1)
        return {"cells": (red * BINS + green) * BINS + blue}

    def collate(self, rows: list[dict[str, Any]]) -> Batch:
        return {"cells": torch.from_numpy(np.stack([row["cells"] for row in rows]))}


class TowerFeatures(Embedder):
    """The pooled features of another system's towers, before anything that is trained; zeros stand for a missing modality."""

    normalised = False

    def __init__(self, system: System) -> None:
        super().__init__()
        self._system = system
        self.embedding_dim = system.feature_dim

    def embed(self, batch: Batch, domain: str) -> Tensor:
        return self._system.features(batch)

    def preparation(self, training: bool) -> Preparation:
        return self._system.preparation(training)


class Baselines:
    """Computes the rows of the table for one evaluation split; each row is {task: metrics}."""

    def __init__(self, recipe: Recipe, shards: ShardSet, train: ShardSet | None, out: Path, device: torch.device, tokenizer: Path) -> None:
        self.recipe, self.shards, self.train, self.out, self.device, self.tokenizer = recipe, shards, train, out, device, tokenizer
        self.tasks = [task for task in recipe.evaluation.tasks if shards.ground_truth(task) is not None]

    def colours(self) -> dict[str, dict[str, float]]:
        """A search by colour histograms."""
        self._embed(ColourHistogram(self.recipe), self.shards, self.out / "colours")
        return self._evaluate(self.out / "colours")

    def untrained(self) -> dict[str, dict[str, float]]:
        """The system as training started it: pretrained towers where the recipe names some, else random ones."""
        self._embed(self._fresh(), self.shards, self.out / "untrained")
        return self._evaluate(self.out / "untrained")

    def chance(self) -> dict[str, dict[str, float]]:
        """The expectation of a random order; uses the lists of `untrained` for their counts alone."""
        rows = {}
        for task in self.tasks:
            ranked = Ranked(self.out / "untrained" / task / "ranked.h5")
            judged = judge(ranked, read_ground_truth(self._truth(task)))
            docs = ranked.attributes.docs
            rows[task] = chance(judged.found.relevant, docs, (1, 5, 10), judged.searched)
        return rows

    def features(self) -> dict[str, dict[str, float]]:
        """The cosine of the features that the system starts from."""
        self._embed(TowerFeatures(self._fresh()), self.shards, self.out / "features_eval")
        for domain in ("video", "goods"):
            found = Dump(self.out / "features_eval" / domain)
            _write_mapped(found, _length_one, found.dim, self.out / "features" / domain)
        return self._evaluate(self.out / "features")

    def probe(self) -> dict[str, dict[str, float]]:
        """Two linear maps on `features`, which are computed first, fitted on the train split. Raises ValueError where there is none."""
        if self.train is None:
            raise ValueError("--probe needs a train split in --data")
        self._embed(TowerFeatures(self._fresh()), self.train, self.out / "features_train")
        dumps = {domain: Dump(self.out / "features_train" / domain) for domain in ("video", "goods")}
        features = {domain: np.concatenate([block for _, block in dump.blocks()]) for domain, dump in dumps.items()}
        for domain, mapping in fit_probe(features, pairs_of(self.train)).items():
            found = Dump(self.out / "features_eval" / domain)
            _write_mapped(found, partial(project, mapping), mapping.out_features, self.out / "probe" / domain)
        return self._evaluate(self.out / "probe")

    def _fresh(self) -> System:
        seed_everything(self.recipe.trainer.seed)
        return module_of(self.recipe.name).build(self.recipe, self.tokenizer, self.train).to(self.device)

    def _embed(self, system: Embedder, shards: ShardSet, folder: Path) -> None:
        for domain in ("goods", "video"):
            embed_shards(
                system,
                shards,
                domain,
                folder / domain,
                recipe=self.recipe,
                checkpoint=folder.name,
                device=self.device,
                precision=resolve_precision(self.recipe.trainer.precision, self.device),
                batch_size=self.recipe.evaluation.batch_size,
                workers=self.recipe.stream.workers,
                quiet=True,
            )

    def _evaluate(self, folder: Path) -> dict[str, dict[str, float]]:
        return {task: numbers_of(proposed(folder, task, folder / task), self._truth(task)) for task in self.tasks}

    def _truth(self, task: str) -> Path:
        path = self.shards.ground_truth(task)
        assert path is not None
        return path


def _write_mapped(features: Dump, mapping: Callable[[np.ndarray], np.ndarray], dim: int, out: Path) -> None:
    """The dump of `mapping`'s outputs, [n, dim] of length 1, for a dump of features."""
    names = []
    for role in ANY_ROLE:
        if features.count((role,)):
            attributes = DumpAttributes(features.domain, role, dim, True, "", out.parent.name, role, "float32")
            blocks = (mapping(block) for _, block in features.blocks((role,)))
            names.append(f"{features.domain}.{role}")
            write_dump_shard(out / f"{names[-1]}.h5", blocks, decode_ids(features.ids((role,))), attributes)
    finish_dump(out, names, out.parent.name)


def _length_one(rows: np.ndarray) -> np.ndarray:
    """Rows over their lengths; a row of zeros stays."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _has_pictures(shards: ShardSet) -> bool:
    """Whether the first clip and the first good of the split have images or a video: a corpus of frozen features has none."""
    first = (shards.shard(shards.of_domain(domain)[0]).sample(0) for domain in ("video", "goods"))
    return any(sample.frames() or sample.video() for sample in first)


def baselines(
    checkpoint: str, data: str, out: Path, trained: list[Path], *, split: str | None, shards: str | None, probe: bool, device: str
) -> dict[str, Any]:
    """Print the table and write OUT/baselines.json: {row: {task: {metric: value}}}.

    Raises:
        ValueError: a folder of `trained` was evaluated on another checkpoint or split, or the probe has nothing to learn from.
    """
    loaded = load_checkpoint(checkpoint)
    corpus = open_corpus(data, source=None, shards=shards or out / "shards")
    chosen = corpus.evaluation_split(split)
    rows: dict[str, dict[str, dict[str, float]]] = {"trained": {}}
    for folder in trained:
        metrics = read_json(folder / "metrics.json")
        if metrics["checkpoint"] != loaded.checksum or metrics["split"] != chosen:
            raise ValueError(
                f"{folder} was evaluated on another checkpoint or on split {metrics['split']}, not {chosen}; run the evaluate script again"
            )
        rows["trained"][metrics["task"]] = metrics
    where = distributed.start(device)
    packed = ShardSet(corpus.pack(chosen, loaded.recipe.packing))
    train = ShardSet(corpus.pack("train", loaded.recipe.packing)) if probe and "train" in corpus.splits else None
    table = Baselines(loaded.recipe, packed, train, out, where, loaded.folder / "tokenizer")
    before: dict[str, dict[str, dict[str, float]]] = {}
    if _has_pictures(packed):
        before["colour histogram"] = table.colours()
    before["untrained encoders"] = table.untrained()
    if probe:
        before |= {"features as they are": table.features(), "linear probe": table.probe()}
    rows = {"chance": table.chance(), **before, **rows}
    write_json(out / "baselines.json", rows)
    say(_as_text(rows, table.tasks))
    return rows


def _as_text(rows: dict[str, dict[str, dict[str, float]]], tasks: list[str]) -> str:
    width = max(map(len, rows)) + 2
    lines = [" " * width + "".join(f"{task:<44}" for task in tasks), " " * width + "".join(f"{column:>10} " for _ in tasks for column in COLUMNS)]
    for name, values in rows.items():
        cells = [values.get(task, {}).get(column) for task in tasks for column in COLUMNS]
        lines.append(f"{name:<{width}}" + "".join(f"{'-':>10} " if cell is None else f"{cell:>10.3f} " for cell in cells))
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    parser = CommandParser("python -m pipeline.baselines", __doc__)
    parser.add_argument("--checkpoint", required=True, help="run folder or one checkpoint folder")
    parser.add_argument("--data", required=True, help="corpus root or packed shard set")
    parser.add_argument("--out", required=True, help="folder for dumps, lists and baselines.json")
    parser.add_argument("--trained", nargs="*", default=[], help="folders that the evaluate scripts wrote for this checkpoint and split")
    parser.add_argument("--split", help="split to evaluate (default: test where there is one, else val)")
    parser.add_argument("--shards", help="folder for packed shards (default: OUT/shards)")
    parser.add_argument("--probe", action="store_true", help="also the features that the system starts from: as they are, and through a linear probe")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="auto = GPU where there is one (default)")
    given = parser.parse_args(argv)
    baselines(
        given.checkpoint,
        given.data,
        Path(given.out),
        [Path(folder) for folder in given.trained],
        split=given.split,
        shards=given.shards,
        probe=given.probe,
        device=given.device,
    )


if __name__ == "__main__":
    run_command(main)
