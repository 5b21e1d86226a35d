"""The feature stage by one, two and three ranks: the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.pack import pack
from tests.pipeline.commands_on_ranks import run_on_ranks
from tests.pipeline.little_corpus import write_little_corpus
from tests.pipeline.little_features import write_models
from tests.pipeline.packed import content


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The features of one packed corpus by the number of ranks; one rank loads in its own process, the others in one or two beside theirs."""
    folder = tmp_path_factory.mktemp("ranks")
    pack(write_little_corpus(folder / "corpus"), folder / "shards", workers=1, shard_samples=5, vocab_size=200)
    flags = ["--data", str(folder / "shards"), *write_models(folder / "models", folder / "shards/train/tokenizer")]
    made = {}
    for ranks in (1, 2, 3):
        made[ranks] = folder / f"out{ranks}"
        run_on_ranks(ranks, ["pipeline.features", *flags, "--out", str(made[ranks]), "--workers", str(ranks - 1)])
    return made


@pytest.mark.parametrize("ranks", [2, 3])
def test_features_are_the_same_byte_for_byte_from_one_two_and_three_ranks(features, ranks):
    one, many = content(features[1]), content(features[ranks])

    assert len([name for name in one if name.endswith(".tar")]) > 6
    assert one == many
