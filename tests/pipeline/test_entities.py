"""Names of entities from the category paths of packed goods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.entities import entities_of
from pipeline.pack import pack
from pipeline.shards import ShardSet
from tests.pipeline.corpora import picture, write_catalog


def packed(root: Path, *categories: Any) -> ShardSet:
    """Goods with these categories (None: no such label), packed two a shard."""
    records: list[dict[str, Any]] = [
        {"id": f"g{number}", "domain": "goods", "title": "a thing", "images": ["a.jpg"], "queries": ["thing"], "labels": {"category": category}}
        for number, category in enumerate(categories)
    ]
    for record in records:
        if record["labels"]["category"] is None:
            del record["labels"]
    write_catalog(root / "corpus", records, {"a.jpg": picture()})
    pack(root / "corpus", root / "shards", workers=1, shard_samples=2, vocab_size=0)
    return ShardSet(root / "shards/train")


def test_each_level_lists_its_names_once_and_sorted_whatever_the_paths_leave_out(tmp_path: Path) -> None:
    mug, cup = ["Kitchen", "Cups", "Mug"], ["Kitchen", "Cups", "Cup"]
    shards = packed(tmp_path, mug, cup, ["Home", "Cups", "Mug", "Blue"], ["Books"], None)

    assert entities_of(shards, 3, 0) == [["Books", "Home", "Kitchen"], ["Cups"], ["Cup", "Mug"]]
    assert entities_of(shards, 1, 0) == [["Books", "Home", "Kitchen"]]


def test_no_more_goods_are_read_than_asked_for(tmp_path: Path) -> None:
    shards = packed(tmp_path, *([f"department {number}"] for number in range(5)))

    assert len(entities_of(shards, 1, 3)[0]) == 3


def test_a_level_that_no_good_has_and_a_category_that_is_no_path_are_named(tmp_path: Path) -> None:
    shards = packed(tmp_path / "short", ["Kitchen", "Cups"], ["Home", "Vases"])
    words = packed(tmp_path / "words", "Kitchen > Cups")

    with pytest.raises(ValueError, match=r"train: of 2 goods none has a category at level 3 of 3; give one word a level .*--system.level_words"):
        entities_of(shards, 3, 0)
    with pytest.raises(ValueError, match=r"goods-000000.tar: sample 0 \('g0'\): its category is 'Kitchen > Cups'; .*from coarse to fine"):
        entities_of(words, 3, 0)
