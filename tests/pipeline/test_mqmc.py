"""MQMC on a little catalogue of features: training, queues, checkpoints, embeddings."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.checkpoint import load_checkpoint
from pipeline.embed import embed_shards
from pipeline.precision import autocast
from pipeline.recipe import Stream, from_dict, resolve
from pipeline.recipes.mqmc import VARIANTS, check
from pipeline.recipes.mqmc.categories import MVS_UPPER, Categories
from pipeline.recipes.mqmc.sizes import SideSizes, Sizes
from pipeline.recipes.mqmc.system import MQMC
from pipeline.shards import ShardSet
from tests.pipeline.little_pairs import new_system, packed_pairs, recipe, sample, train


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed_pairs(tmp_path_factory.mktemp("mqmc"))


def test_keys_go_into_the_queues_after_the_step_and_those_of_every_forward_do(shards: Path) -> None:
    split = ShardSet(shards / "train")
    system = new_system(recipe(1, momentum=0.0), split).train()
    batch = pairs_of(system, split)

    first = {name: value.detach() for name, value in system.encode(batch).items()}
    before = {name: value.clone() for name, value in system.queues.state_dict().items()}
    system(batch)
    system(batch)
    assert all(torch.equal(value, before[name]) for name, value in system.queues.state_dict().items())
    system.after_step()

    assert system.queues.filled.tolist() == [4, 4, 4, 4]
    torch.testing.assert_close(system.queues.goods[2, 0], first["goods_key"][batch["middle"].tolist().index(2)])
    assert system.queues.items[2, 0] == batch["query"][batch["middle"].tolist().index(2)]


def pairs_of(system: MQMC, split: ShardSet) -> dict[str, torch.Tensor]:
    """A batch of one pair of each product."""
    preparation, rng = system.preparation(True), np.random.default_rng(0)
    draws = [sample(split, *item) for product in range(8) for item in (("video", f"v{product}_1"), ("goods", f"g{product}"))]
    return preparation.collate([preparation.sample(one, rng, one.queries()[0]) for one in draws])


def test_a_step_in_bf16_says_nearly_what_one_in_fp32_says(shards: Path) -> None:
    split = ShardSet(shards / "train")
    found = []
    for precision in ("fp32", "bf16"):
        system = new_system(recipe(1), split).train()
        batch = pairs_of(system, split)
        for _ in range(2):  # the first fills the queues
            with autocast(precision, torch.device("cpu")):
                terms = system(batch)
            system.after_step()
        sum(terms.values()).backward()
        found.append({name: term.item() for name, term in terms.items()})
        assert all(term.dtype == torch.float32 for term in terms.values()) and system.queues.video.dtype == torch.float32
        assert all(parameter.grad.isfinite().all() for part in system.parts().values() for parameter in part.parameters())

    assert found[1] != found[0] and found[1] == pytest.approx(found[0], rel=0.1)


def test_rows_of_the_same_product_are_no_negatives_unless_as_released(shards: Path) -> None:
    split = ShardSet(shards / "train")
    losses = {}
    for mask in (True, False):
        system = new_system(recipe(1, mask_shared_queries=mask, weighting="none"), split).eval()
        batch = pairs_of(system, split)
        system(batch)
        system.after_step()
        only = {name: value[:1] for name, value in batch.items()}  # the queues hold this pair, and one other of its category
        losses[mask] = system(only)["video2goods"].item()
        rows = system.encode(only)
        query, own = rows["video_query"][0].detach(), rows["goods_key"][0]
        products = system.queues.goods[system.queues.items >= 0] @ query
        numbers = system.queues.items[system.queues.items >= 0]
        kept = products[numbers != batch["query"][0]] if mask else products
        logits = torch.cat([(query @ own)[None], kept]) / 0.07
        assert losses[mask] == pytest.approx(0.8 * (logits.logsumexp(0) - logits[0]).item(), rel=1e-4)
    assert losses[True] < losses[False]


def test_training_draws_pairs_together_and_the_checkpoint_holds_everything(shards: Path, tmp_path: Path) -> None:
    test = ShardSet(shards / "test")
    trainer = {"validate_every": 150, "best_metric": "video2goods/median_rank,video2goods/recall@5"}

    sizes = {"batch_norm": "own", "width": 32, "dim": 16, "weighting": "none"}
    system = train(recipe(150, trainer, **sizes), ShardSet(shards / "train"), tmp_path, test)
    loaded = load_checkpoint(tmp_path).system

    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line for line in lines if "validation/video2goods/hit@1" in line][-1]["validation/video2goods/hit@1"] > 0.5  # 8 goods: .125 by chance
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in system.state_dict().items())
    assert isinstance(loaded, MQMC) and loaded.describe() == system.describe() and loaded.queues.filled.tolist() == [6, 6, 6, 6]


def test_a_run_that_is_broken_off_ends_as_one_that_was_not(shards: Path, tmp_path: Path) -> None:
    split = ShardSet(shards / "train")
    whole = train(recipe(4), split, tmp_path / "whole")
    train(recipe(2), split, tmp_path / "parts")
    again = train(recipe(4), split, tmp_path / "parts")

    assert all(torch.equal(value, again.state_dict()[name]) for name, value in whole.state_dict().items())


def test_embeddings_are_query_vectors_that_are_not_normalised_and_other_domains_have_none(shards: Path, tmp_path: Path) -> None:
    split, own = ShardSet(shards / "test"), recipe(1)
    system = new_system(own, ShardSet(shards / "train")).eval()
    options = {"recipe": own, "checkpoint": "x", "device": torch.device("cpu"), "precision": "fp32", "batch_size": 4, "workers": 0, "quiet": True}

    embed_shards(system, split, "goods", tmp_path / "goods", **options)

    manifest = json.loads((tmp_path / "goods/manifest.json").read_text())
    assert manifest["normalised"] is False and system.normalised is False and system.embedding_dim == 8
    one = sample(split, "goods", "g3")
    batch = system.preparation(False).collate([system.preparation(False).sample(one, None, None)])
    found = system.embed(batch, "goods")
    assert sorted(batch) == ["has_vision", "has_words", "vision", "words"]
    expected = system.get_submodule("goods")(batch["vision"], batch["has_vision"], batch["words"], batch["has_words"])
    assert torch.equal(found, expected) and abs(found.norm().item() - 1) > 1e-3
    cosines = new_system(recipe(1, normalise=True), ShardSet(shards / "train")).eval()
    assert cosines.normalised is True
    torch.testing.assert_close(cosines.embed(batch, "goods"), torch.nn.functional.normalize(found))
    with pytest.raises(ValueError, match="mqmc embeds clips and goods; it has no vector for items of domain query"):
        system.embed(batch, "query")


def test_new_weights_restart_the_key_encoders(shards: Path) -> None:
    system = new_system(recipe(1), ShardSet(shards / "train"))
    with torch.no_grad():
        for parameter in system.parameters():
            parameter.add_(1)
    system.video.query[1].running_mean.fill_(3.0)

    system.weights_replaced()

    own, slow = system.video.query.state_dict(), system.keys["video"].copy.state_dict()
    assert all(torch.equal(value, slow[name]) for name, value in own.items())


def test_what_does_not_go_together_is_refused_before_anything_starts(shards: Path) -> None:
    split, own = ShardSet(shards / "train"), recipe(1)

    with pytest.raises(ValueError, match=r"--stream.policy document: mqmc compares clips with their own goods"):
        check(dataclasses.replace(own, stream=Stream()))
    with pytest.raises(ValueError, match=r"map of MVS with its 30 middle categories, this corpus has 4; use --system.label_map data"):
        new_system(recipe(1, label_map="released"), split)
    with pytest.raises(ValueError, match=r"--stream.batch_size 1 leaves 1 pair to a rank"):
        new_system(dataclasses.replace(recipe(1, batch_norm="own"), stream=Stream(batch_size=1, policy="pairs")), split)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_recipe_draws_pairs_and_is_read_back_as_it_was(variant: str) -> None:
    found = resolve("mqmc" if variant == "real" else f"mqmc:{variant}")

    check(found)
    assert from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_the_released_recipe_has_every_flaw_of_the_release_and_fits_its_ontology() -> None:
    settings = dataclasses.replace(resolve("mqmc:released").system, dim=4, width=4, hidden=4, queue_size=2)

    system = MQMC(settings, Sizes(SideSizes(3, 3), SideSizes(3, 3)), Categories(MVS_UPPER))

    assert system.queues.filled.eq(2).all() and system.weights.left_out == (8, 18)
    assert (settings.weighting, settings.feature_contrast, settings.mask_shared_queries) == ("released", "released", False)
