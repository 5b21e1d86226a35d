"""The feature stage by one, two and three ranks: the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.pack import pack
from tests.pipeline.little_corpus import write_little_corpus
from tests.pipeline.little_features import write_models
from tests.pipeline.packed import content


def commands_for(folder: Path) -> dict[int, list[list[str]]]:
    """The features of one packed corpus, out<ranks>; one rank loads in its own process, the others in one or two beside theirs."""
    pack(write_little_corpus(folder / "corpus"), folder / "shards", workers=1, shard_samples=5, vocab_size=200)
    flags = ["--data", str(folder / "shards"), *write_models(folder / "models", folder / "shards/train/tokenizer")]
    return {ranks: [["pipeline.features", *flags, "--out", str(folder / f"out{ranks}"), "--workers", str(ranks - 1)]] for ranks in (1, 2, 3)}


@pytest.mark.parametrize("ranks", [2, 3])
def test_features_are_the_same_byte_for_byte_from_one_two_and_three_ranks(ran: dict[str, Path], ranks: int) -> None:
    one, many = (content(ran[__name__] / f"out{number}") for number in (1, ranks))

    assert len([name for name in one if name.endswith(".tar")]) > 6
    assert one == many
