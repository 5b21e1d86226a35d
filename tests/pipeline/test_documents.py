"""What is taken of goods, clips, live streams and search queries, and how batches of them look."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.documents import MOST_QUERIES, DocumentPreparation, DocumentSettings
from pipeline.item import Query
from pipeline.packing.vocabulary import train_vocabulary
from pipeline.recipe import Stream
from tests.pipeline.corpora import picture

SIZE = 8
TITLE = "a blue umbrella with a wooden handle"


@dataclass
class FakeSample:
    """A packed item in memory; its images are of one grey each."""

    domain: str
    texts: dict[str, str]
    greys: tuple[int, ...] = ()
    own: list[Query] = field(default_factory=list)
    name: str = "test/shard.tar: sample 0 ('1')"

    def words(self) -> dict[str, str]:
        return dict(self.texts)

    def queries(self) -> list[Query]:
        return self.own

    def frames(self) -> list[str]:
        return [f"{place:02d}.jpg" for place in range(len(self.greys))]

    def video(self) -> None:
        return None

    def bytes(self, suffix: str) -> bytes:
        return picture((self.greys[int(suffix[:2])],) * 3)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vocabulary") / "tokenizer"
    train_vocabulary(lambda: [TITLE] * 5, 200, folder)
    return folder


def preparation(tokenizer: Path, pad_to_length: bool = False, **settings: object) -> DocumentPreparation:
    return DocumentPreparation(DocumentSettings(**settings), SIZE, tokenizer, Stream(), pad_to_length=pad_to_length)


def batch_of(prepare: DocumentPreparation, *samples: FakeSample, query: Query | None = None) -> dict[str, torch.Tensor]:
    rng = None if query is None else np.random.default_rng(0)
    return prepare.collate([prepare.sample(sample, rng, query) for sample in samples])


def test_a_search_query_is_its_words_alone_cut_to_the_length_of_queries(tokenizer):
    prepare = preparation(tokenizer, query_length=5, title_length=30)
    long, short = FakeSample("query", {"title": TITLE}), FakeSample("query", {"title": "handle"})

    batch = batch_of(prepare, long, short)

    good = batch_of(prepare, FakeSample("goods", {"title": TITLE}))
    assert batch["title_ids"].shape == (2, 5)
    assert batch["title_ids"][0, :4].tolist() == good["title_ids"][0, :4].tolist()  # [CLS] and three words, then [SEP]
    assert batch["title_mask"].sum(dim=1).tolist() == [5, 3]
    assert batch["has_words"].tolist() == [True, True]
    assert batch["has_vision"].tolist() == [False, False]
    assert batch["frames"].shape == (2, 1, 3, SIZE, SIZE)
    assert batch["frames"].dtype == torch.uint8
    assert not batch["frames"].any()
    assert "query_ids" not in batch


def test_a_search_query_is_encoded_whatever_words_of_goods_and_clips_are(tokenizer):
    prepare = preparation(tokenizer, goods_words=("description",), video_words=("caption",))

    assert prepare.words_of("query", {"title": "blue umbrella"}, None) == "blue umbrella"


@pytest.mark.parametrize(("domain", "length"), [("query", 7), ("goods", 23)])
def test_padding_as_released_goes_to_the_length_whatever_is_in_the_batch(tokenizer, domain, length):
    prepare = preparation(tokenizer, pad_to_length=True, query_length=7, title_length=23)
    samples = [FakeSample(domain, {"title": "handle"}), FakeSample(domain, {"title": "blue umbrella"})]

    together, alone = batch_of(prepare, *samples), batch_of(prepare, samples[0])

    assert together["title_ids"].shape == (2, length)
    assert torch.equal(together["title_ids"][:1], alone["title_ids"])
    assert together["title_mask"].sum(dim=1).tolist() == [3, 4]


@pytest.mark.parametrize(("pad_to_length", "lengths"), [(False, (4, 3)), (True, (20, 90))])
def test_padding_in_training_is_that_of_queries_and_titles_each(tokenizer, pad_to_length, lengths):
    batch = batch_of(preparation(tokenizer, pad_to_length), FakeSample("goods", {"title": "handle"}), query=Query(0, "blue umbrella"))

    assert (batch["query_ids"].shape[1], batch["title_ids"].shape[1]) == lengths


@pytest.mark.parametrize("domain", ["video", "live"])
def test_clips_and_live_streams_give_the_centres_of_their_segments_and_all_their_words(tokenizer, domain):
    greys = tuple(range(0, 200, 20))
    words = {"title": "a title", "caption": "a caption", "recognised_text": "x" * 50}
    prepare = preparation(tokenizer, frames=3)

    batch = batch_of(prepare, FakeSample(domain, words, greys))

    assert batch["frames"].shape == (1, 3, 3, SIZE, SIZE)
    assert [round(float(frame.float().mean()) / 20) for frame in batch["frames"][0]] == [1, 5, 8]  # int((2i + 1) 10 / 6)
    assert prepare.words_of(domain, words, None) == f"a title|{'x' * 40}|a caption"


def test_an_image_is_broadcast_over_the_frames_of_the_clips_in_its_batch(tokenizer):
    batch = batch_of(
        preparation(tokenizer, frames=2), FakeSample("goods", {}, (60, 200)), FakeSample("live", {}, (0, 200)), FakeSample("goods", {"title": "x"})
    )

    assert batch["frames"].shape == (3, 2, 3, SIZE, SIZE)
    assert torch.equal(batch["frames"][0, 0], batch["frames"][0, 1])
    assert batch["has_vision"].tolist() == [True, True, False]
    assert batch["has_words"].tolist() == [False, False, True]


def test_titles_of_goods_alone_are_disturbed_and_in_training_alone(tokenizer):
    words = {"title": TITLE, "description": "made of oak and cotton"}
    prepare = preparation(tokenizer, title_noise=1.0, keep_words=1.0, goods_words=("title", "description"), video_words=("title",))

    good = prepare.words_of("goods", words, np.random.default_rng(0))

    title, description = good.split("|")
    assert title != TITLE
    assert description == words["description"]
    assert prepare.words_of("goods", words, None) == f"{TITLE}|{description}"
    assert prepare.words_of("video", words, np.random.default_rng(0)) == TITLE
    assert words["title"] == TITLE


def test_titles_are_disturbed_as_often_as_the_setting_says(tokenizer):
    rng = np.random.default_rng(0)

    disturbed = {
        noise: sum(preparation(tokenizer, title_noise=noise).words_of("goods", {"title": TITLE}, rng) != TITLE for _ in range(300))
        for noise in (0.0, 0.5)
    }
    released = sum(preparation(tokenizer).words_of("goods", {"title": TITLE}, rng) != TITLE for _ in range(600))

    assert disturbed[0.0] == 0
    assert 110 < disturbed[0.5] < 190
    assert 300 < released < 420  # 0.6


def test_a_documents_queries_are_carried_in_as_many_places_for_every_batch(tokenizer):
    many = [Query(number, "blue") for number in range(100)]
    samples = [FakeSample("goods", {"title": "handle"}, own=many), FakeSample("goods", {"title": "handle"}, own=many[70:71])]

    batch = batch_of(preparation(tokenizer), *samples, query=many[70])

    assert batch["document_queries"].shape == (2, MOST_QUERIES)
    assert batch["document_queries"][0].tolist() == [70, *range(MOST_QUERIES - 1)]
    assert batch["document_queries"][1].tolist() == [70] + [-1] * (MOST_QUERIES - 1)
    assert batch["query"].tolist() == [70, 70]


def test_an_item_without_words_and_media_is_an_error_that_names_it(tokenizer):
    with pytest.raises(ValueError, match=r"test/shard.tar: sample 0 \('1'\) has neither words nor media"):
        preparation(tokenizer).sample(FakeSample("query", {}), None, None)
