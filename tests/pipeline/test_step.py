"""A step in pieces is the step of the whole batch: gradients, dropout, queues, random numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from pipeline.order import order_of
from pipeline.pack import pack
from pipeline.precision import loss_scaler
from pipeline.recipe import Optim, Recipe
from pipeline.recipes.qcd.build import build
from pipeline.recipes.qcd.runs import smoke
from pipeline.shards import ShardSet
from pipeline.stream import Slice, training_batches
from pipeline.system import Batch, System
from pipeline.training.optim import optimiser_of
from pipeline.training.step import Step
from tests.pipeline.little_corpus import write_little_corpus

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    folder = tmp_path_factory.mktemp("step")
    pack(write_little_corpus(folder / "corpus"), folder / "shards", workers=1, vocab_size=200)
    return ShardSet(folder / "shards/train")


def recipe_with(**settings: Any) -> Recipe:
    recipe = smoke()
    system = replace(recipe.system, dim=32, heads=2, decoder_width=32, image_size=32, **settings)
    return replace(recipe, system=system, stream=replace(recipe.stream, batch_size=12, workers=0))


def system_and_batch(shards: ShardSet, **settings: Any) -> tuple[System, Batch]:
    recipe = recipe_with(**settings)
    torch.manual_seed(0)
    system = build(recipe, shards.tokenizer())
    batches = training_batches(
        shards,
        order_of(shards, recipe.stream, 0),
        system.preparation(training=True),
        seed=0,
        part=Slice(0, 1),
        epochs=range(1),
        workers=0,
        prefetch=2,
    )
    return system, next(batches)


def gradients_of_a_step(system: System, batch: Batch, piece_size: int) -> dict[str, torch.Tensor]:
    """The gradients with which a step updates, read just before it does, and the terms' values."""
    optimiser = optimiser_of(system.parts(), Optim(lr=1e-3))
    kept: dict[str, torch.Tensor] = {}

    def keep(*_: Any) -> None:
        kept.update({name: p.grad.clone() for name, p in system.named_parameters() if p.grad is not None})

    optimiser.register_step_pre_hook(keep)
    step = Step(
        system,
        system,
        optimiser,
        loss_scaler("fp32"),
        precision="fp32",
        device=CPU,
        piece_size=piece_size,
        clip_norm=0,
        seen=lambda terms: {name: float(term.detach()) for name, term in terms.items()},
    )
    kept.update({f"term {name}": torch.tensor(value) for name, value in step([batch]).items()})
    return kept


def apart(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> dict[str, float]:
    """Length of each difference over the length of the gradient. Some are zero but for rounding (biases of attention's keys): those count by
    a thousandth of the whole gradient."""
    least = 1e-3 * torch.stack([value.norm() for value in wanted.values()]).norm()
    return {name: float((found[name] - value).norm() / torch.maximum(value.norm(), least)) for name, value in wanted.items()}


@pytest.mark.parametrize("piece_size", [1, 5, 12])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"image_text": "plain", "cyclip_weight": 0.25, "ranking_weight": 1.0, "contrast_tile": 5},
        {"image_text": "momentum", "image_text_queue": 20, "memory_batches": 2},
    ],
    ids=["default", "tiled and options", "momentum and memory"],
)
def test_pieces_of_any_size_give_the_gradients_of_the_whole_batch(shards: ShardSet, piece_size: int, settings: dict[str, Any]) -> None:
    whole = gradients_of_a_step(*system_and_batch(shards, **settings), piece_size=0)

    pieces = gradients_of_a_step(*system_and_batch(shards, **settings), piece_size=piece_size)

    assert whole.keys() == pieces.keys() and len(whole) > 30
    assert max(apart(pieces, whole).values()) < 1e-5


def test_both_encodings_of_a_piece_have_the_same_dropout(shards: ShardSet) -> None:
    system, batch = system_and_batch(shards, dropout=0.3)
    torch.manual_seed(5)
    pieces = [{name: value[first : first + 5] for name, value in batch.items()} for first in (0, 5, 10)]
    encoded = [system.train().encode(piece) for piece in pieces]  # one graph, the masks in the order of the pieces
    rows = {name: torch.cat([one[name] for one in encoded]) for name in encoded[0]}
    sum(system.losses(rows, batch).values()).backward()
    expected = {name: p.grad for name, p in system.named_parameters() if p.grad is not None}

    again, batch = system_and_batch(shards, dropout=0.3)
    torch.manual_seed(5)
    found = gradients_of_a_step(again, batch, piece_size=5)
    other, batch = system_and_batch(shards, dropout=0.3)
    torch.manual_seed(6)
    otherwise = gradients_of_a_step(other, batch, piece_size=5)

    assert max(apart(found, expected).values()) < 1e-5
    assert max(apart(otherwise, expected).values()) > 1e-2  # the masks matter


def test_random_numbers_go_on_after_a_step_in_pieces(shards: ShardSet) -> None:
    system, batch = system_and_batch(shards, dropout=0.3)
    torch.manual_seed(5)
    before = torch.get_rng_state()

    gradients_of_a_step(system, batch, piece_size=5)

    assert not torch.equal(torch.get_rng_state(), before)


def test_a_system_whose_rows_depend_on_their_batch_takes_no_pieces(shards: ShardSet) -> None:
    system, batch = system_and_batch(shards)
    system.rowwise = False

    with pytest.raises(ValueError, match=r"--trainer.piece_size 5: rows of this QCD depend on their batch"):
        gradients_of_a_step(system, batch, piece_size=5)
