"""HSL under torchrun: 2 and 3 ranks pack the same shards and end with the weights of one process on the whole batch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.recipes.hsl.system import VECTORS
from pipeline.shards import ShardSet
from tests.pipeline.little_hsl import FORMS, new_system, packed_little_kddcup, recipe
from tests.pipeline.little_run import weights
from tests.pipeline.packed import content


def commands_for(folder: Path) -> dict[int, list[list[str]]]:
    """The same packing, and the same three steps of every form, by 1, 2 and 3 ranks: folder of the runs."""
    shards = packed_little_kddcup(folder)
    pack = ["pipeline.pack", "--data", str(folder / "corpus"), "--workers", "1", "--shard_samples", "50", "--vocab_size", "200"]
    own = {ranks: str(folder / str(ranks)) for ranks in (1, 2, 3)}
    return {ranks: [[*pack, "--out", f"{out}/shards"], ["tests.pipeline.little_hsl", str(shards / "train"), out]] for ranks, out in own.items()}


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("form", FORMS)
def test_many_ranks_end_with_the_weights_and_terms_of_one_process_on_the_whole_batch(runs: dict[int, Path], form: str, ranks: int) -> None:
    one, many = weights(runs[1] / form), weights(runs[ranks] / form)
    untrained = new_system(recipe(3, **FORMS[form]), ShardSet(runs[0] / "train")).state_dict()
    lines = [[json.loads(line) for line in (runs[number] / form / "log.jsonl").read_text().splitlines()] for number in (1, ranks)]

    assert one.keys() == many.keys() == untrained.keys()
    assert max((one[name] - value).abs().max().item() for name, value in untrained.items()) > 1e-2  # the runs below did not stand still
    assert max((one[name] - many[name]).abs().max().item() for name in one) < 1e-5
    for line, other in zip(*lines, strict=True):
        assert [other[name] for name in VECTORS] == pytest.approx([line[name] for name in VECTORS], rel=1e-4)


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_any_number_of_ranks_packs_the_same_bytes(runs: dict[int, Path], ranks: int) -> None:
    assert content(runs[ranks] / "shards") == content(runs[0])
