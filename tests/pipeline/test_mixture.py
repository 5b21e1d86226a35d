"""Several corpora in turn: weights kept to less than a batch at every moment, whatever the ranks and wherever a run goes on."""

from __future__ import annotations

import itertools
import json
import shutil
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from launch.files import read_json
from pipeline import train as train_module
from pipeline.documents import DocumentPreparation, DocumentSettings
from pipeline.order import OWN_QUERY, Draw, order_of
from pipeline.order.dealing import Dealing
from pipeline.pack import pack
from pipeline.recipe import Stream
from pipeline.shards import ShardSet
from pipeline.shards.mixture import Mixture, heaviest, mixture_of, read_corpora
from pipeline.stream import Slice, training_batches
from tests.pipeline.little_corpus import SMALL, write_little_corpus

WEIGHTS = [0.7, 0.3]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Corpora of 8 goods and 24 clips, and of 3 goods and 9 clips, whose ids are the same as far as they go."""
    folder = tmp_path_factory.mktemp("mixture")
    for name, products in (("large", 8), ("little", 3)):
        pack(write_little_corpus(folder / f"corpus_{name}", products=products), folder / name, workers=1, shard_samples=5, vocab_size=200)
    return [folder / "large", folder / "little"]


@pytest.fixture
def mixture(packed: list[Path]) -> Mixture:
    return mixture_of(dict(zip(map(str, packed), WEIGHTS)))


def settings(policy: str = "document", size: int = 6) -> Stream:
    return Stream(batch_size=size, policy=policy, workers=0)  # type: ignore[arg-type]


def part_of(mixture: Mixture, draws: list[Draw]) -> int:
    """The part that all of `draws` are of."""
    (found,) = {int(draw.shard >= mixture.first_shards[1]) for draw in draws}
    return found


@pytest.mark.parametrize("weights", [[0.7, 0.3], [1, 1, 1], [0.05, 0.9, 0.05], [1e-3, 1, 7.5, 2], [1] * 9 + [100], [0.1 + 0.2, 0.7]])
def test_no_corpus_is_ever_a_whole_turn_ahead_of_its_share_or_behind_it(weights: list[float]) -> None:
    dealing = Dealing(weights)
    exact = [Fraction(repr(float(weight))) for weight in weights]
    shares = [weight / sum(exact) for weight in exact]

    had = [0] * len(weights)
    for turn in range(1500):
        had[dealing.turn(turn)] += 1
        assert all(abs(count - (turn + 1) * share) < 1 for count, share in zip(had, shares))
        if turn % 97 == 0:
            assert Dealing(weights).counts(turn + 1) == had  # had without dealing from the beginning


def test_after_a_period_shares_are_exact_and_the_dealing_begins_anew() -> None:
    dealing = Dealing([0.7, 0.3])

    first = [dealing.turn(number) for number in range(10)]

    assert dealing.period == 10 and Counter(first) == {0: 7, 1: 3}
    assert [dealing.turn(number) for number in range(1000, 1010)] == first
    assert dealing.counts(10**12 + 10) == [7 * (10**11 + 1), 3 * (10**11 + 1)]
    assert Dealing([2, 4, 6]).period == 6


@pytest.mark.parametrize("policy", ["document", "published", "pairs", "clips"])
def test_batches_are_of_one_corpus_by_weight_and_a_run_goes_on_anywhere_as_if_it_had_not_stopped(mixture: Mixture, policy: str) -> None:
    order = order_of(mixture, settings(policy), seed=1)

    epochs = [list(order.batches(epoch)) for epoch in range(3)]
    batches = list(itertools.chain.from_iterable(epochs))
    had = np.cumsum([part_of(mixture, draws) for draws in batches])

    assert [len(epoch) for epoch in epochs] == [order.batches_in(epoch) for epoch in range(3)]
    assert order.batches_in(0) == sum(order_of(part, settings(policy), seed=1).batches_in(0) for part in mixture.parts)
    assert np.abs(had - 0.3 * np.arange(1, len(batches) + 1)).max() < 1
    for epoch in range(3):
        for start in range(order.batches_in(epoch)):
            assert list(order_of(mixture, settings(policy), seed=1).batches(epoch, start)) == epochs[epoch][start:]
    for draws in batches:
        domains = {mixture.shards[draw.shard].domain for draw in draws}
        assert len(domains) == (2 if policy == "pairs" else 1)
    for ranks in (2, 3):
        slices = [Slice(rank, ranks) for rank in range(ranks)]
        assert [draw for part in slices for draw in part.of(batches[0])] == batches[0]


def test_a_corpus_that_runs_out_begins_its_next_pass_in_a_fresh_order_with_every_item_once_a_pass(mixture: Mixture) -> None:
    # The little corpus has 3 goods and 9 clips: with batches of 3 a pass is 4 batches without a remainder.
    order = order_of(mixture, settings(size=3), seed=0)
    own: dict[int, list[list[str]]] = {0: [], 1: []}
    passes: dict[int, list[int]] = {0: [], 1: []}

    for epoch in range(4):
        for number, draws in order.passes(epoch):
            part = part_of(mixture, draws)
            own[part].append([mixture.shard(draw.shard).sample(draw.row).id for draw in draws])
            passes[part].append(number)

    little = [list(itertools.chain(*own[1][first : first + 4])) for first in range(0, len(own[1]) - 3, 4)]
    everything = sorted([f"g{product}" for product in range(3)] + [f"v{product}_{clip}" for product in range(3) for clip in range(3)])
    assert len(little) >= 3 and [sorted(ids) for ids in little] == [everything] * len(little)
    assert passes[1] == [number // 4 for number in range(len(own[1]))]
    assert len(set(map(tuple, little))) == len(little)
    large = order_of(mixture.parts[0], settings(size=3), seed=0).batches_in(0)
    assert passes[0] == [number // large for number in range(len(own[0]))]


def test_queries_of_two_corpora_are_never_taken_for_one_another(mixture: Mixture) -> None:
    first = len(mixture.parts[0].queries())

    ids = [
        {query.id for number in mixture.of_domain("video") if (number >= mixture.first_shards[1]) == part
         for row in range(mixture.shards[number].samples) for query in mixture.shard(number).sample(row).queries()}
        for part in (False, True)
    ]  # fmt: skip
    draws = [draw for batch in order_of(mixture, settings("published"), seed=0).batches(0) for draw in batch]

    assert max(ids[0]) < first <= min(ids[1])
    assert [query.id for query in mixture.queries()] == list(range(first + len(mixture.parts[1].queries())))
    assert all((draw.query >= first) == (draw.shard >= mixture.first_shards[1]) for draw in draws)
    for draw in draws:
        assert draw.query in [query.id for query in mixture.shard(draw.shard).sample(draw.row).queries()]
    assert all(draw.query == OWN_QUERY for batch in order_of(mixture, settings(), seed=0).batches(0) for draw in batch)


@pytest.mark.parametrize("policy", ["document", "published"])
def test_the_stream_of_a_mixture_is_the_same_from_the_middle_and_with_loading_processes(mixture: Mixture, policy: str) -> None:
    tokenizer = mixture.tokenizer()
    assert tokenizer is not None
    preparation = DocumentPreparation(DocumentSettings(), 16, tokenizer, settings(policy))
    order = order_of(mixture, settings(policy), seed=0)

    def batches(start: int, workers: int) -> list[dict[str, torch.Tensor]]:
        whole = training_batches(mixture, order, preparation, seed=0, part=Slice(0, 1), epochs=range(2), start=start, workers=workers, prefetch=2)
        return list(whole)

    straight, later = batches(0, 0), batches(2, 2)

    assert len(later) == len(straight) - 2 == 2 * order.batches_in(0) - 2
    for one, other in zip(straight[2:], later):
        assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_mixture_is_all_its_parts_and_does_not_depend_on_the_order_in_which_they_are_written(packed: list[Path]) -> None:
    large, little = map(str, packed)

    mixture, other = mixture_of({large: 1, little: 5}), mixture_of({little: 5, large: 1})

    assert mixture.counts == {"goods": 11, "video": 33} and len(mixture) == 44
    assert mixture.folder == ShardSet(packed[1] / "train").folder and mixture.tokenizer() == packed[1] / "train/tokenizer"
    assert heaviest({large: 1, little: 5}) == little
    assert list(order_of(mixture, settings(), 0).batches(0)) == list(order_of(other, settings(), 0).batches(0))


def test_corpora_are_named_in_a_line_or_a_list() -> None:
    assert read_corpora("/a=0.7, s3://b/video-{0,1}.tar=3") == {"/a": 0.7, "s3://b/video-{0,1}.tar": 3.0}
    assert read_corpora([{"shards": "pipe:x a=1,{}", "weight": 2}]) == {"pipe:x a=1,{}": 2.0}
    for given in ("/a", "/a=", "/a=0", "/a=-1", "/a=nan", "/a=many", "=1"):
        with pytest.raises(ValueError, match=r"--train_corpora .*: write ADDRESS=WEIGHT with a weight above 0"):
            read_corpora(given)
    with pytest.raises(ValueError, match="--train_corpora /a: comes twice"):
        read_corpora("/a=1,/a=2")


def train(out: Path, *flags: str) -> None:
    train_module.main([*SMALL, "--out", str(out), "--stream.policy", "document", "--optim.schedule", "constant", *flags])


def test_a_run_on_a_mixture_goes_on_as_if_nothing_had_happened_and_keeps_its_corpora(packed: list[Path], tmp_path: Path) -> None:
    large, little = map(str, packed)
    corpora = ("--train_corpora", f"{little}=0.3,{large}=0.7")
    (tmp_path / "corpora.yaml").write_text(yaml.safe_dump({"train_corpora": [{"shards": large, "weight": 0.7}, {"shards": little, "weight": 0.3}]}))

    train(tmp_path / "straight", *corpora, "--trainer.max_steps", "4")
    train(tmp_path / "halted", *corpora, "--trainer.max_steps", "2")
    train(tmp_path / "halted", "--config", str(tmp_path / "corpora.yaml"), "--trainer.max_steps", "4")

    one, other = (torch.load(tmp_path / name / "checkpoints/step-00000004/weights.pt", weights_only=True) for name in ("straight", "halted"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert read_json(tmp_path / "straight/checkpoints/step-00000004/recipe.json")["stream"]["corpora"] == {large: 0.7, little: 0.3}
    losses = [json.loads(line).get("loss") for line in (tmp_path / "straight/log.jsonl").read_text().splitlines()]
    assert len([loss for loss in losses if loss is not None]) == 4
    with pytest.raises(ValueError, match=r"stream.corpora was .*another --out"):
        train(tmp_path / "halted", "--train_corpora", f"{little}=0.4,{large}=0.6", "--trainer.max_steps", "6")
    with pytest.raises(ValueError, match="--data is required"):
        train(tmp_path / "none")


def test_an_item_that_cannot_be_read_is_listed_for_each_corpus_that_has_one_of_its_id(packed: list[Path], tmp_path: Path) -> None:
    for folder in packed:
        shutil.copytree(folder / "train", tmp_path / folder.name / "train")
        split = ShardSet(tmp_path / folder.name / "train")
        sample = next(split.shard(number).sample(0) for number in split.of_domain("goods") if split.shards[number].name == "goods-000000")
        path, start, size = sample.span("jpg")
        data = bytearray(path.read_bytes())
        data[start : start + size] = bytes(size)
        path.write_bytes(data)
        damaged = sample.id

    large, little = (str(tmp_path / folder.name) for folder in packed)
    train(tmp_path / "run", "--train_corpora", f"{large}=0.5,{little}=0.5", "--trainer.max_steps", "20")

    listed = [json.loads(line) for line in (tmp_path / "run/bad_items.jsonl").read_text().splitlines()]
    assert [line["id"] for line in listed] == [damaged, damaged] and len({line["shard_number"] for line in listed}) == 2
