"""HSL on the little KDD Cup files: training, checkpoints, and the ways from embeddings to ranked lists."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluate.ranked import Ranked
from pipeline.checkpoint import load_checkpoint
from pipeline.item import NO_QUERY
from pipeline.order import order_of
from pipeline.precision import autocast
from pipeline.recipe import Stream, from_dict, resolve
from pipeline.recipes.hsl import VARIANTS, check
from pipeline.recipes.hsl.preparation import RegionPreparation
from pipeline.recipes.hsl.system import HSL, VECTORS
from pipeline.rerank import main as rerank
from pipeline.retrieve import main as retrieve
from pipeline.shards import Sample, ShardSet
from pipeline.system import Batch
from tests.pipeline.little_features import samples
from tests.pipeline.little_hsl import new_system, packed_little_kddcup, recipe, train
from tests.pipeline.little_kddcup import WIDTH


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed_little_kddcup(tmp_path_factory.mktemp("hsl"))


def batch_of(system: HSL, found: list[Sample], training: bool = False) -> Batch:
    preparation, rng = system.preparation(training), np.random.default_rng(0)
    return preparation.collate([preparation.sample(one, rng if training else None, one.queries()[0] if training else None) for one in found])


def all_scores(system: HSL, split: ShardSet) -> dict[str, dict[str, float]]:
    """The score of every query with every product, a pair at a time."""
    found: dict[str, dict[str, float]] = {}
    with torch.no_grad():
        sides = (
            {id: system.compared(batch_of(system, [one]), domain) for id, one in samples(split, domain).items()} for domain in ("query", "goods")
        )
        queries, goods = sides
        for query, asked in queries.items():
            found[query] = {id: system.score(asked, own).item() for id, own in goods.items()}
    return found


def lists_of(folder: Path) -> dict[str, dict[str, float]]:
    ranked = Ranked(folder / "ranked.h5")
    ranks, scores = ranked.lists(range(ranked.queries), ranked.depth)
    named = zip(ranked.query_ids.tolist(), ranks, scores)
    return {query.decode(): {ranked.doc_ids[doc].decode(): float(score) for doc, score in zip(*row) if doc >= 0} for query, *row in named}


def flags(run: Path, shards: Path, out: Path, *more: str) -> list[str]:
    own = ["--task", "query2goods", "--checkpoint", str(run), "--data", str(shards), "--split", "val", "--out", str(out), "--workers", "0"]
    return [*own, "--dtype", "float32", "--precision", "fp32", "--shown", "2", *more]


@pytest.fixture(scope="module")
def runs(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each aggregation that takes another way."""
    folder, trainer = tmp_path_factory.mktemp("runs"), {"validate_every": 40, "best_metric": "query2goods/ndcg@5"}
    for name in ("mean", "max"):
        train(recipe(40, trainer, aggregation=name), ShardSet(shards / "train"), folder / name, ShardSet(shards / "val"))
    return {name: folder / name for name in ("mean", "max")}


@pytest.fixture(scope="module")
def evaluated(shards: Path, runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Evaluations of the val split: with the mean, with the largest, and with the largest among candidates alone."""
    out = tmp_path_factory.mktemp("evaluated")
    retrieve(flags(runs["mean"], shards, out / "mean", "--candidates", "all"))
    retrieve(flags(runs["max"], shards, out / "max", "--candidates", "all", "--reranked", "8"))
    retrieve(flags(runs["max"], shards, out / "pools"))
    return out


def pools_of(shards: Path) -> dict[str, list[str]]:
    lines = (shards / "val/pools/query2goods.tsv").read_text().splitlines()
    return {query: ids.split(",") for query, ids in (line.split("\t") for line in lines)}


def test_training_finds_new_photos_among_the_contests_candidates_and_ndcg_is_that_of_the_pair_scores(shards: Path, runs: dict[str, Path]) -> None:
    truth = dict(line.split("\t") for line in (shards / "val/ground_truth/query2goods.tsv").read_text().splitlines())
    for run in runs.values():
        lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        scores = all_scores(load_checkpoint(run).system, ShardSet(shards / "val"))
        gains = []
        for query, pool in pools_of(shards).items():
            rank = sorted(pool, key=lambda id: -scores[query][id]).index(truth[query]) + 1
            gains.append(1 / math.log2(1 + rank) if rank <= 5 else 0)

        assert lines[-1]["validation/query2goods/ndcg@5"] == pytest.approx(sum(gains) / len(gains), abs=1e-3)
        assert sum(gains) / len(gains) > 0.6 and lines[-1]["validation/query2goods/candidates"] == 12  # .25 by chance
        assert sum(lines[-2][name] for name in VECTORS) < 0.6 * sum(lines[0][name] for name in VECTORS)


def test_with_the_mean_searching_the_whole_catalogue_gives_the_pair_scores(shards: Path, runs: dict[str, Path], evaluated: Path) -> None:
    scores, found = all_scores(load_checkpoint(runs["mean"]).system, ShardSet(shards / "val")), lists_of(evaluated / "mean")

    assert len(found) == 24 and not (evaluated / "mean/proposed").exists()
    for query, own in found.items():
        assert own == pytest.approx(scores[query], abs=1e-4)
        assert list(own.values()) == sorted(own.values(), reverse=True) and len(own) == 24


def test_with_the_largest_a_search_proposes_and_the_score_decides(shards: Path, runs: dict[str, Path], evaluated: Path) -> None:
    scores, found = all_scores(load_checkpoint(runs["max"]).system, ShardSet(shards / "val")), lists_of(evaluated / "max")
    proposed, metrics = lists_of(evaluated / "max/proposed"), json.loads((evaluated / "max/metrics.json").read_text())

    for query, own in found.items():
        assert set(own) == set(proposed[query]) and len(own) == 8
        assert own == pytest.approx({id: scores[query][id] for id in own}, abs=1e-4)
        assert list(own.values()) == sorted(own.values(), reverse=True)
    assert any(list(own) != list(proposed[query]) for query, own in found.items())
    assert metrics["search"] == "exact pair score among the best 8 by inner product" and metrics["recall@5"] > 5 / 24


def test_the_contests_evaluation_ranks_candidates_alone(shards: Path, runs: dict[str, Path], evaluated: Path) -> None:
    scores, found = all_scores(load_checkpoint(runs["max"]).system, ShardSet(shards / "val")), lists_of(evaluated / "pools")
    pools, metrics = pools_of(shards), json.loads((evaluated / "pools/metrics.json").read_text())

    for query, own in found.items():
        assert own == pytest.approx({id: scores[query][id] for id in pools[query]}, abs=1e-4)
    assert metrics["candidates"] == 12 and metrics["search"] == "exact pair score among each query's own candidates"


def test_the_stage_by_itself_gives_the_same_lists_and_refuses_what_does_not_belong_together(
    shards: Path, runs: dict[str, Path], evaluated: Path, tmp_path: Path
) -> None:
    def ordered(run: str, split: str, ranked: str) -> None:
        lists = ["--ranked", str(evaluated / ranked / "ranked.h5"), "--out", str(tmp_path), "--workers", "0", "--precision", "fp32"]
        rerank(["--checkpoint", str(runs[run]), "--shards", str(shards / split), *lists])

    ordered("max", "val", "max/proposed")

    assert lists_of(tmp_path) == lists_of(evaluated / "max")
    with pytest.raises(ValueError, match="was made by checkpoint"):
        ordered("mean", "val", "max/proposed")
    with pytest.raises(ValueError, match="HSL scores by products of embeddings, which a search has in order already"):
        ordered("mean", "val", "mean")
    with pytest.raises(ValueError, match=r"testA: no goods item '\d+', which the lists hold; give the split that was searched"):
        ordered("max", "testA", "max/proposed")


@pytest.mark.parametrize("aggregation", ["mean", "max", "sum", "topk"])
def test_padding_and_the_batchs_other_items_change_no_score(shards: Path, aggregation: str) -> None:
    split = ShardSet(shards / "val")
    system = new_system(recipe(1, aggregation=aggregation, top_regions=2), ShardSet(shards / "train")).eval()
    one_by_one, goods = all_scores(system, split), samples(split, "goods")

    with torch.no_grad():
        asked = system.compared(batch_of(system, list(samples(split, "query").values())), "query")
        narrow, wide = (RegionPreparation(system.vocabulary, WIDTH, most, 9) for most in (5, 8))
        batch = wide.collate([narrow.sample(one, None, None) for one in goods.values()])
        together = system.score(asked, system.compared(batch, "goods"))

    wanted = torch.tensor([[own[id] for id in goods] for own in one_by_one.values()])
    torch.testing.assert_close(together, wanted, rtol=1e-4, atol=1e-5)


def test_a_run_that_is_broken_off_ends_as_one_that_was_not(shards: Path, tmp_path: Path) -> None:
    split, dropping = ShardSet(shards / "train"), {"transformer_dropout": 0.1, "object_dropout": 0.1}
    whole = train(recipe(4, **dropping), split, tmp_path / "whole")
    train(recipe(2, **dropping), split, tmp_path / "parts")
    again = train(recipe(4, **dropping), split, tmp_path / "parts")

    assert all(torch.equal(value, again.state_dict()[name]) for name, value in whole.state_dict().items())
    loaded = load_checkpoint(tmp_path / "parts").system
    assert isinstance(loaded, HSL) and loaded.describe() == whole.describe() and loaded.vocabulary.words == whole.vocabulary.words


@pytest.mark.parametrize("aggregation", ["mean", "max"])
def test_pieces_of_a_batch_give_the_gradients_of_the_whole(shards: Path, tmp_path: Path, aggregation: str) -> None:
    split = ShardSet(shards / "train")

    whole, pieces = (train(recipe(2, {"piece_size": size}, aggregation=aggregation), split, tmp_path / str(size)) for size in (0, 5))

    for name, value in whole.state_dict().items():
        torch.testing.assert_close(value, pieces.state_dict()[name], rtol=1e-4, atol=1e-6)


def test_images_of_the_same_query_are_no_negatives_unless_as_released(shards: Path) -> None:
    split = ShardSet(shards / "train")
    found = [one for one in samples(split, "goods").values() if one.queries()[0].words in ("red shoes", "blue bag")][:7]
    losses = {}
    for mask in (True, False):
        system = new_system(recipe(1, mask_shared_queries=mask), split).eval()
        batch = batch_of(system, found, training=True)
        losses[mask] = system(batch)["image_top"].item()
        queries, goods = system.compared(batch, "query")["image_top"], system.compared(batch, "goods")["image_top"]
        logits = queries @ goods.T / 0.2
        same = (batch["query"][:, None] == batch["query"]) & ~torch.eye(len(found), dtype=torch.bool) if mask else torch.zeros(7, 7, dtype=torch.bool)
        own = logits.masked_fill(same, -torch.inf)
        assert losses[mask] == pytest.approx((own.logsumexp(1) - own.diagonal()).mean().item(), rel=1e-4)
    assert losses[True] < losses[False]


def test_a_product_that_cannot_be_read_leaves_the_others_losses_as_they_are(shards: Path) -> None:
    split = ShardSet(shards / "train")
    system = new_system(recipe(1, aggregation="max"), split).eval()
    preparation, rng, found = system.preparation(True), np.random.default_rng(0), list(samples(split, "goods").values())[:6]
    rows = [preparation.sample(one, rng, one.queries()[0]) for one in found]
    absent = preparation.absent("goods")

    whole, holed = (system(preparation.collate(own)) for own in (rows, [*rows[:2], absent, *rows[2:], absent]))

    assert absent["query"] is NO_QUERY
    for name in VECTORS:
        torch.testing.assert_close(holed[name], whole[name])


def test_a_step_in_bf16_says_nearly_what_one_in_fp32_says(shards: Path) -> None:
    split = ShardSet(shards / "train")
    found = []
    for precision in ("fp32", "bf16"):
        system = new_system(recipe(1, aggregation="topk"), split).train()
        with autocast(precision, torch.device("cpu")):
            terms = system(batch_of(system, list(samples(split, "goods").values())[:8], training=True))
        sum(terms.values(), torch.zeros(())).backward()
        found.append({name: term.item() for name, term in terms.items()})
        assert all(term.dtype == torch.float32 for term in terms.values())
        assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in system.parameters())

    assert found[1] != found[0] and found[1] == pytest.approx(found[0], rel=0.05)


def test_training_queries_come_with_each_of_their_photos_or_once(shards: Path) -> None:
    split, own = ShardSet(shards / "train"), recipe(1)
    duplicated, once = (order_of(split, dataclasses.replace(own.stream, policy=policy), 0) for policy in ("links", "published"))

    assert (duplicated.batches_in(0), once.batches_in(0)) == (144 // 24, 24 // 24)
    [batch] = once.batches(0)
    assert len({draw.query for draw in batch}) == 24


def test_word_vectors_of_a_file_are_what_training_starts_from(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "glove.txt").write_text("shoes 1 2 3\nred 4 5 6\n")
    own = recipe(1, word_vectors=str(tmp_path / "glove.txt"))

    check(own)
    system = new_system(own, ShardSet(shards / "train"))

    place = system.vocabulary.words.index("shoes")
    assert system.text.words.weight[place].tolist() == [1, 2, 3] and system.text.project.weight.shape == (16, 3)


def test_what_does_not_go_together_is_refused_before_anything_starts(shards: Path, runs: dict[str, Path], tmp_path: Path) -> None:
    own, split = recipe(1), ShardSet(shards / "train")

    with pytest.raises(ValueError, match=r"--stream.policy pairs: hsl compares products with their queries; use one of links, published"):
        check(dataclasses.replace(own, stream=Stream(policy="pairs")))
    with pytest.raises(ValueError, match=r"--system.word_vectors gone.txt: no such file"):
        check(recipe(1, word_vectors="gone.txt"))
    with pytest.raises(ValueError, match=r"--system.regions 0: at least 1"):
        new_system(recipe(1, regions=0), split)
    with pytest.raises(ValueError, match=r"hsl embeds goods and queries; it has no vector for items of domain video"):
        new_system(own, split).embed({}, "video")
    shutil.copytree(shards / "val", tmp_path / "val", ignore=shutil.ignore_patterns("pools"))
    with pytest.raises(ValueError, match=r"--candidates pools: .*val names no candidates of queries for query2goods"):
        retrieve(flags(runs["mean"], tmp_path / "val", tmp_path / "out", "--candidates", "pools"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_recipe_goes_through_queries_and_is_read_back_as_it_was(variant: str) -> None:
    found = resolve("hsl" if variant == "real" else f"hsl:{variant}")

    check(found)
    assert from_dict(json.loads(json.dumps(found.to_dict()))) == found and found.evaluation.pools


def test_regions_of_another_width_are_refused_by_name(shards: Path) -> None:
    system = new_system(recipe(1), ShardSet(shards / "train"))
    system._region_width = WIDTH + 1

    with pytest.raises(ValueError, match=rf"regions.npy has the shape \[\d, {WIDTH}\]; the system was built for \[n, {WIDTH + 1}\]"):
        batch_of(system, list(samples(ShardSet(shards / "train"), "goods").values())[:1])
