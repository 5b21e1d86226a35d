"""A row of an item that could not be read leaves no trace in a step: terms, gradients, queues and statistics are those of the batch without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from launch.seeds import seed_everything
from pipeline.order import order_of
from pipeline.pack import pack
from pipeline.precision import loss_scaler
from pipeline.recipe import Optim, Recipe, module_of
from pipeline.shards import ShardSet
from pipeline.stream import TrainingSamples
from pipeline.system import Batch, System
from pipeline.training.optim import optimiser_of
from pipeline.training.step import Step
from tests.pipeline import little_pairs, little_popularity, little_pretraining
from tests.pipeline.little_corpus import write_little_corpus
from tests.pipeline.test_step import recipe_with

CPU = torch.device("cpu")
ABSENT = (1, 4, 9)
"""Draws of the batch that could not be read; of pairs two clips and a good, each of another pair."""

QUEUES = {"image_text": "momentum", "image_text_queue": 30, "memory_batches": 2, "cyclip_weight": 0.25, "ranking_weight": 1.0, "cluster_weight": 1.0}


def qcd(**settings: Any) -> Recipe:
    return recipe_with(dropout=0.0, **settings)


RECIPES: dict[str, tuple[str, Callable[[], Recipe], int]] = {
    "qcd with queues and every loss": ("documents", lambda: qcd(**QUEUES), 0),
    "qcd with every query a negative": ("documents", lambda: qcd(mask_shared_queries=False, ranking_weight=1.0), 0),
    "qcd in tiles and pieces": ("documents", lambda: qcd(contrast_tile=5), 5),
    "qcd_pretrain": ("documents", lambda: little_pretraining.recipe(2, prompter=""), 0),
    "mqmc": ("pairs", lambda: little_pairs.recipe(2), 0),
    "mqmc as released": ("pairs", lambda: little_pairs.recipe(2, feature_contrast="released", mask_shared_queries=False, batch_norm="own"), 0),
    "mmra": ("law", lambda: little_popularity.recipe(2), 0),
}


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ShardSet]:
    folder = tmp_path_factory.mktemp("rows")
    documents = pack(write_little_corpus(folder / "corpus", clusters=True), folder / "documents", workers=1, vocab_size=200)["train"]
    folders = {
        "documents": documents,
        "pairs": little_pairs.packed_pairs(folder / "p") / "train",
        "law": little_popularity.packed_law(folder) / "train",
    }
    return {name: ShardSet(path) for name, path in folders.items()}


def stepped(recipe: Recipe, shards: ShardSet, piece_size: int, rows: Callable[[TrainingSamples], list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """After each of two steps on the batch of `rows`: terms, gradients, and all that the system holds."""
    seed_everything(0)
    system: System = module_of(recipe.name).build(recipe, shards.tokenizer(), shards)
    preparation = system.preparation(training=True)
    batch: Batch = preparation.collate(rows(TrainingSamples(shards, preparation, 0)))
    optimiser = optimiser_of(system.parts(), Optim(lr=0.001, eps=0.01))
    gradients: dict[str, torch.Tensor] = {}

    def keep(*_: Any) -> None:
        gradients.update({f"gradient {name}": p.grad.clone() for name, p in system.named_parameters() if p.grad is not None})

    optimiser.register_step_pre_hook(keep)
    options: dict[str, Any] = {"precision": "fp32", "device": CPU, "piece_size": piece_size, "clip_norm": 0}
    step = Step(system, system, optimiser, loss_scaler("fp32"), seen=lambda terms: {name: float(term) for name, term in terms.items()}, **options)
    for _ in range(2):  # the second one meets what the first one left in queues
        terms = step([batch])
        yield {f"term {name}": torch.tensor(value) for name, value in terms.items()} | gradients | system.state_dict()


@pytest.mark.filterwarnings("ignore:Converting a tensor")
@pytest.mark.parametrize("case", RECIPES)
def test_a_batch_with_rows_that_could_not_be_read_is_the_batch_without_them(case: str, corpora: dict[str, ShardSet]) -> None:
    corpus, make, piece_size = RECIPES[case]
    recipe, shards = make(), corpora[corpus]
    draws = next(order_of(shards, recipe.stream, 0).batches(0))
    partners = {place ^ 1 for place in ABSENT} if corpus == "pairs" else set()

    def row(samples: TrainingSamples, place: int) -> dict[str, Any]:
        found = samples._row(0, draws[place], [])
        if found.get("frames") is not None:  # flat colours tie where a maximum is taken, and rounding would decide
            found["frames"] = np.random.default_rng(place).integers(0, 256, found["frames"].shape, dtype=np.uint8)
        return found

    def with_absent(samples: TrainingSamples) -> list[dict[str, Any]]:
        absent = [samples._preparation.absent(shards.shards[draw.shard].domain) for draw in draws]
        return [absent[place] if place in ABSENT else row(samples, place) for place in range(len(draws))]  # type: ignore[misc]

    def without(samples: TrainingSamples) -> list[dict[str, Any]]:
        return [row(samples, place) for place in range(len(draws)) if place not in {*ABSENT, *partners}]

    for one, other in zip(stepped(recipe, shards, piece_size, with_absent), stepped(recipe, shards, piece_size, without), strict=True):
        assert one.keys() == other.keys() and any(name.startswith("gradient") for name in one)
        largest = max(value.norm() for name, value in other.items() if name.startswith("gradient"))
        for name in one:
            # Rounding alone, in a convolution of another batch size; what three rows of twelve leave behind is a hundred times that.
            assert (one[name].float() - other[name].float()).norm() <= 2e-3 * max(other[name].float().norm(), 0.01 * largest), name
        assert one["term loss"].isfinite() and one["term loss"] != 0


@pytest.mark.parametrize("case", ["qcd with queues and every loss", "qcd in tiles and pieces", "qcd_pretrain", "mqmc", "mmra"])
def test_a_batch_of_which_nothing_could_be_read_moves_nothing(case: str, corpora: dict[str, ShardSet]) -> None:
    corpus, make, piece_size = RECIPES[case]
    recipe, shards = make(), corpora[corpus]
    draws = next(order_of(shards, recipe.stream, 0).batches(0))

    def nothing(samples: TrainingSamples) -> list[dict[str, Any]]:
        return [samples._preparation.absent(shards.shards[draw.shard].domain) for draw in draws]  # type: ignore[misc]

    for found in stepped(recipe, shards, piece_size, nothing):
        assert found["term loss"] == 0
        assert all(value.isfinite().all() and not value.any() for name, value in found.items() if name.startswith("gradient"))
        assert all(value.isfinite().all() for value in found.values() if value.is_floating_point())
