"""What MQMC takes of a corpus: batches of pairs, widths of features, categories; and which corpora it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.pack import pack
from pipeline.recipes.mqmc.categories import Categories, categories_of
from pipeline.recipes.mqmc.preparation import PairPreparation
from pipeline.recipes.mqmc.sizes import SideSizes, Sizes, sizes_of
from pipeline.shards import ShardSet
from tests.pipeline.corpora import write_catalog
from tests.pipeline.little_pairs import new_system, npy, packed_pairs, recipe, sample

VISION = {"vision": "a.npy"}
SHELF = {"category": ["Kitchen", "Cups", "Mug"]}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed_pairs(tmp_path_factory.mktemp("mqmc"))


def packed(root: Path, *records: dict[str, Any]) -> ShardSet:
    """A split of the given clips and goods, whose features are of width 3."""
    records = tuple({"id": f"i{number}", "queries": ["q"], **record} for number, record in enumerate(records))
    corpus = write_catalog(root / "corpus", records, {"a.npy": npy([1.0, 2.0, 3.0]), "wide.npy": npy([0.0] * 4), "cube.npy": npy([[[1.0]]])})
    return ShardSet(pack(corpus, root / "shards", workers=1, vocab_size=0)["train"])


def clip(**fields: Any) -> dict[str, Any]:
    return {"domain": "video", "features": VISION, **fields}


def good(**fields: Any) -> dict[str, Any]:
    return {"domain": "goods", "features": VISION, "labels": SHELF, **fields}


def test_a_training_batch_holds_pairs_with_what_each_side_lacks_marked_and_frames_averaged(shards: Path) -> None:
    split = ShardSet(shards / "train")
    preparation = new_system(recipe(1), split).preparation(training=True)
    rows = []
    for product, number in ((1, 2), (3, 1)):  # the clip 1_2 has no words, 3_1 has
        for domain, id in (("video", f"v{product}_{number}"), ("goods", f"g{product}")):
            one = sample(split, domain, id)
            rows.append(preparation.sample(one, np.random.default_rng(0), one.queries()[0]))

    batch = preparation.collate(rows)

    assert batch["video_has_words"].tolist() == [False, True] and batch["video_has_vision"].all()
    assert not batch["video_words"][0].any() and torch.equal(batch["video_words"][1], batch["goods_words"][1])
    frames = np.load(shards.parent / "corpus/clips/1_2.npy")
    torch.testing.assert_close(batch["video_vision"][0], torch.from_numpy(frames.mean(axis=0)))
    assert batch["middle"].tolist() == [2, 3]  # department 1: shelf 1, shelf 3, behind those of department 0
    assert batch["query"].tolist() == [one["query"].id for one in rows[::2]]
    assert {name: tuple(value.shape) for name, value in batch.items() if value.is_floating_point()} == {
        "video_vision": (2, 6),
        "video_words": (2, 4),
        "goods_vision": (2, 6),
        "goods_words": (2, 4),
    }
    with pytest.raises(ValueError, match=r"are no pair of a clip and its good; mqmc needs --stream.policy pairs"):
        preparation.collate([rows[0], rows[3]])


def test_sizes_and_categories_are_those_of_the_train_split(shards: Path) -> None:
    split = ShardSet(shards / "train")

    assert sizes_of(split) == Sizes(SideSizes(6, 4), SideSizes(6, 4))
    names = [("department 0", "shelf 0"), ("department 0", "shelf 2"), ("department 1", "shelf 1"), ("department 1", "shelf 3")]
    assert categories_of(split) == Categories((0, 0, 1, 1), tuple(names))


def test_a_modality_that_no_clip_has_needs_no_encoder_and_trains_all_the_same(tmp_path: Path) -> None:
    split = packed(tmp_path, clip(), clip(), good(features={"words": "wide.npy"}), good())

    system = new_system(recipe(1), split).train()
    rng = np.random.default_rng(0)
    draws = [sample(split, *item) for item in (("video", "i0"), ("goods", "i2"), ("video", "i1"), ("goods", "i3"))]
    batch = system.preparation(True).collate([system.preparation(True).sample(one, rng, one.queries()[0]) for one in draws])
    system(batch)
    system.after_step()
    terms = system(batch)
    sum(terms.values()).backward()

    assert sizes_of(split) == Sizes(SideSizes(3, 0), SideSizes(3, 4))
    assert batch["video_words"].shape == (2, 0) and not batch["video_has_words"].any()
    assert all(term.isfinite() for term in terms.values())
    assert all(parameter.grad is not None for part in system.parts().values() for parameter in part.parameters())


def test_a_corpus_numbers_its_categories_itself_where_it_says_so(tmp_path: Path) -> None:
    labels = ({"category_ids": [1, 3, 9]}, {"category_ids": [0, 0, 2], **SHELF}, {"category_ids": [1, 3, 8]})

    found = categories_of(packed(tmp_path, clip(), *(good(labels=one) for one in labels)))

    assert found == Categories((0, -1, -1, 1))
    assert found.middle_of({"category_ids": [1, 3, 7]}, "here") == 3
    assert Categories.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    with pytest.raises(ValueError, match="here: its middle category is 4, but the train split has numbers up to 3"):
        found.middle_of({"category_ids": [1, 4, 7]}, "here")


def test_a_category_of_one_level_is_its_own_middle_category(tmp_path: Path) -> None:
    found = categories_of(packed(tmp_path, clip(), good(), good(labels={"category": ["Garden"]})))

    assert found == Categories((0, 1), (("Garden",), ("Kitchen", "Cups")))
    assert Categories.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    with pytest.raises(ValueError, match="here: no good of the train split has its category Kitchen > Plates"):
        found.middle_of({"category": ["Kitchen", "Plates"]}, "here")


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([clip(), good(features={}, title="Mug")], "no goods item has vision.npy or words.npy; mqmc learns from frozen features"),
        ([clip(features={"vision": "cube.npy"}), good()], r"vision.npy has the shape \[1, 1, 1\]; wanted \[C\]"),
        ([clip(), good(labels={})], "its category is None; mqmc keeps a queue for each category"),
        ([clip(), good(labels={"category": "Cups"})], "its category is 'Cups'"),
        ([clip(), good(labels={"category_ids": [0, 1]}), good()], r"its category(_ids are| is) None"),
        ([clip(), good(labels={"category_ids": [0, 1]}), good(labels={"category_ids": [2, 1]})], "middle category 1 belongs to"),
    ],
)
def test_a_corpus_without_features_or_categories_is_refused_with_what_to_do(records: list[dict], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        new_system(recipe(1), packed(tmp_path, *records))


def test_items_of_other_widths_and_without_features_are_named(tmp_path: Path) -> None:
    split = packed(tmp_path, clip(), good(), clip(features={"vision": "wide.npy"}), clip(features={}, title="a"))
    preparation = PairPreparation(Sizes(SideSizes(3, 0), SideSizes(3, 0)), Categories((0,)))

    with pytest.raises(ValueError, match=r"'i2'\): vision.npy has 4 features, those that the system was built for have 3"):
        preparation.sample(sample(split, "video", "i2"), None, None)
    with pytest.raises(ValueError, match=r"'i3'\) has neither vision.npy nor words.npy; mqmc learns from frozen features"):
        preparation.sample(sample(split, "video", "i3"), None, None)


def test_features_can_be_given_one_length(tmp_path: Path) -> None:
    split = packed(tmp_path, clip(), good())
    sizes, categories = Sizes(SideSizes(3, 0), SideSizes(3, 0)), Categories((0,))

    plain, scaled = (PairPreparation(sizes, categories, scale).sample(sample(split, "video", "i0"), None, None)["vision"] for scale in (False, True))

    assert np.linalg.norm(scaled) == pytest.approx(3**0.5) and np.linalg.norm(plain) != pytest.approx(3**0.5)
    assert scaled / scaled[0] == pytest.approx(plain / plain[0])
