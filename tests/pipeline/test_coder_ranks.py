"""CODER under torchrun: 2 and 3 ranks end with the weights, the queues and the clusters of one process on the whole batch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.shards import ShardSet
from tests.pipeline.little_captions import FORMS, new_system, packed_captions, recipe
from tests.pipeline.little_run import weights


def commands_for(folder: Path) -> dict[int, list[list[str]]]:
    """The same three steps of every form by 1, 2 and 3 ranks: folder of the runs."""
    shards = packed_captions(folder) / "train"
    return {ranks: [["tests.pipeline.little_captions", str(shards), str(folder / str(ranks))]] for ranks in (1, 2, 3)}


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("form", FORMS)
def test_many_ranks_end_with_the_weights_queues_and_clusters_of_one_process(runs: dict[int, Path], form: str, ranks: int) -> None:
    one, many = weights(runs[1] / form), weights(runs[ranks] / form)
    untrained = new_system(recipe(3, **FORMS[form]), ShardSet(runs[0] / "train")).state_dict()

    moved = {name: (one[name] - value).abs().max().item() for name, value in untrained.items()}
    apart = {name: (one[name] - many[name]).abs().max().item() for name in one}

    assert one.keys() == many.keys() == untrained.keys()
    assert max(value for name, value in moved.items() if name.endswith("weight")) > 1e-3  # equality below is not that of runs that stood still
    assert max(apart.values()) < 1e-5
    if form != "plain":
        assert min(moved["queues.image_concept.features"], moved["clusters.centroids"], moved["keys.copy.image.layer.weight"]) > 1e-4
        assert apart["queues.text_instance.keys"] == apart["queues.text_instance.filled"] == 0 < moved["queues.text_instance.keys"]


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("form", FORMS)
def test_many_ranks_log_the_terms_of_one_process(runs: dict[int, Path], form: str, ranks: int) -> None:
    one, many = ([json.loads(line) for line in (runs[number] / form / "log.jsonl").read_text().splitlines()] for number in (1, ranks))

    names = ("instance",) if form == "plain" else ("instance", "concept", "clusters")
    assert len(one) == len(many) == 3 and all(line[name] for line in one for name in names)
    for line, other in zip(one, many, strict=True):
        assert [other[name] for name in names] == pytest.approx([line[name] for name in names], rel=1e-4)
