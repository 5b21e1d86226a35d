"""Pre-training under torchrun: 2 and 3 ranks end with the weights of one process on the whole batch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.pack import pack
from pipeline.shards import ShardSet
from tests.pipeline.exchange_on_ranks import PLACES, ROWS
from tests.pipeline.little_pretraining import new_system, pretrain, recipe, write_categorised_corpus
from tests.pipeline.little_run import weights


def commands_for(folder: Path) -> dict[int, list[list[str]]]:
    """The same three steps by 1, 2 and 3 ranks, with all terms: run<ranks>; run0 is the prompter."""
    pack(write_categorised_corpus(folder / "corpus"), folder / "shards", workers=1, shard_samples=5, vocab_size=200)
    train = folder / "shards/train"
    pretrain(recipe(1, matching_weight=0.0, masking_weight=0.0), ShardSet(train), folder / "run0")
    commands = {
        ranks: [["tests.pipeline.little_pretraining", str(train), str(folder / f"run{ranks}"), "3", str(folder / "run0")]] for ranks in (1, 2, 3)
    }
    commands[3].append(["tests.pipeline.exchange_on_ranks", str(folder / "exchange.json")])
    return commands


@pytest.fixture
def runs(ran: dict[str, Path]) -> dict[int, Path]:
    """Folder of each run; at 0 the prompter."""
    return {ranks: ran[__name__] / f"run{ranks}" for ranks in range(4)}


def test_rows_are_fetched_from_whoever_holds_them_and_their_gradients_go_back_there(runs: dict[int, Path]) -> None:
    found = json.loads((runs[3].parent / "exchange.json").read_text())

    assert found["numbers"] == PLACES.tolist()
    assert found["fetched"] == ROWS[PLACES].tolist()
    taken = {0: 10.0 + 100.0, 3: 1e3, 5: 1.0 + 1e4 + 1e5}
    assert found["gradient"] == [[taken.get(row, 0.0), 0.0] for row in range(6)]


@pytest.mark.parametrize("ranks", [2, 3])
def test_many_ranks_end_with_the_weights_of_one_process_on_the_whole_batch(runs: dict[int, Path], ranks: int) -> None:
    one, many = weights(runs[1]), weights(runs[ranks])
    untrained = new_system(recipe(3, prompter=str(runs[0])), ShardSet(runs[0].parent / "shards/train")).state_dict()

    moved = max((one[name] - value).abs().max().item() for name, value in untrained.items())
    apart = max((one[name] - many[name]).abs().max().item() for name in one)

    assert one.keys() == many.keys() == untrained.keys()
    assert moved > 1e-2  # equality below is not that of runs that stood still
    assert apart < moved / 1000


@pytest.mark.parametrize("ranks", [2, 3])
def test_many_ranks_log_the_terms_of_one_process(runs: dict[int, Path], ranks: int) -> None:
    one, many = ([json.loads(line) for line in (runs[number] / "log.jsonl").read_text().splitlines()] for number in (1, ranks))

    names = ("vtc", "vtm", "mlm", "entities_1", "entities_2", "entities_3")
    assert len(one) == len(many) == 3
    for line, other in zip(one, many):
        assert [other[name] for name in names] == pytest.approx([line[name] for name in names], rel=1e-4)
