"""Searching by hand with a real run: what is uploaded is embedded as the dump's items were, and damaged files are said so in a line."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
import torch

from evaluate.browsing.finder import Finder
from pipeline.browsing.corpus import DumpedCorpus
from pipeline.browsing.worker import Worker
from pipeline.checkpoint import load_checkpoint
from pipeline.shards import ShardSet
from tests.evaluate.served import error, found, get, post, serving
from tests.pipeline.browsed import Browsed, embed_domain, photo, write_browsed
from tests.pipeline.corpora import clip
from tests.pipeline.little_pairs import packed_pairs, recipe, train
from tests.pipeline.media_clips import cut, write_clip


@pytest.fixture(scope="module")
def browsed(tmp_path_factory: pytest.TempPathFactory) -> Browsed:
    return write_browsed(tmp_path_factory.mktemp("browsing"))


@pytest.fixture(scope="module")
def finder(browsed: Browsed) -> Iterator[Finder]:
    made = browsed.finder()
    yield made
    made.close()


@pytest.fixture(scope="module")
def port(finder: Finder) -> Iterator[int]:
    with serving(finder, upload_bytes=4_000_000, time_s=30) as number:
        yield number


def scores(text: str) -> list[float]:
    return [float(part.split("<")[0]) for part in text.split('<span class="score">')[1:]]


def test_a_good_s_own_photo_and_title_find_it_with_a_score_of_one(browsed, port):
    own = browsed.corpus / "goods/test3.jpg"

    answer = post(port, {"words": "item number 3", "among": "goods"}, ("mine.png", photo(own, "PNG")))

    assert found(answer)[0] == "g3" and scores(answer.text)[0] == 1.0
    assert "item number 3" in answer.text and answer.text.count("data:image/jpeg") == 1 + 8


def test_a_photo_alone_words_alone_a_clip_and_an_item_find_every_video(browsed, port):
    jpeg = ("a.jpg", (browsed.corpus / "goods/test3.jpg").read_bytes())

    for answer in (
        post(port, {"among": "video"}, jpeg),
        get(port, "/search?words=item+3&among=video"),
        post(port, {"among": "video"}, ("a.mp4", clip())),
        get(port, "/search?id=g3&of=goods&among=video"),
    ):
        assert sorted(found(answer)) == [f"v{row}_3" for row in range(8)]
        assert all(-1.001 < score < 1.001 for score in scores(answer.text)) and "look at item" in answer.text


def test_damaged_media_are_said_so_and_the_next_search_works(port, tmp_path):
    whole = write_clip(tmp_path / "clip.mp4")
    matroska = write_clip(tmp_path / "clip.mkv")

    answers = {
        "cut.mp4": post(port, {}, ("cut.mp4", cut(whole, 0.6).read_bytes())),
        "cut.mkv": post(port, {}, ("cut.mkv", cut(matroska, 0.6).read_bytes())),
        "cut.jpg": post(port, {}, ("cut.jpg", b"\xff\xd8\xff\xe0 and then no picture")),
        "playlist.mp4": post(port, {}, ("playlist.mp4", b"ffconcat version 1.0\nfile /etc/passwd")),
    }

    assert {name: answer.status for name, answer in answers.items()} == {"cut.mp4": 422, "cut.mkv": 422, "cut.jpg": 422, "playlist.mp4": 415}
    assert all(error(answer).startswith(f"{name}: ") for name, answer in answers.items())
    assert "truncated" in error(answers["cut.mkv"]) and "upload" not in error(answers["cut.mp4"])
    assert len(found(post(port, {}, ("whole.mp4", whole.read_bytes())))) == 8


def test_a_dump_away_from_its_corpus_says_so_and_has_no_samples(browsed, tmp_path):
    moved = shutil.copytree(browsed.dumps[0], tmp_path / "a/b/goods")
    train_split, test_split = (browsed.corpus.parent / "out/shards" / split for split in ("train", "test"))

    alone = DumpedCorpus([moved], [], tmp_path)
    named = DumpedCorpus([moved], [test_split], tmp_path)

    assert alone.missing().startswith("the packed split that goods-000000 came from is not beside the dump or the run")
    assert alone.sample("goods-000000", "g3") is None and named.sample("goods-000000", "g99") is None
    found = named.sample("goods-000000", "g3")
    assert found is not None and found.id == "g3" and named.missing() == ""
    with pytest.raises(ValueError, match=r"--shards .*train: the dumps were not made from it \(goods-000000 have another checksum"):
        DumpedCorpus([moved], [train_split], tmp_path)


def test_a_system_of_features_refuses_pictures_and_words_in_a_line_and_shows_categories(tmp_path):
    shards = packed_pairs(tmp_path / "out")
    train(recipe(1), ShardSet(shards / "train"), tmp_path / "run")
    dump = tmp_path / "out/dumps/goods"
    embed_domain(tmp_path / "run", shards / "test", "goods", dump)

    worker = Worker(load_checkpoint(tmp_path / "run"), DumpedCorpus([dump], [], tmp_path / "run"), torch.device("cpu"))
    about, answer = worker.about(), worker.answer({"do": "cards", "items": [["goods-000000", "g3"]], "frames": 1})

    refused = worker.answer({"do": "embed", "file": None, "words": "x", "among": "goods"})
    worker._decode_limit_s = 0.0
    late = worker.answer({"do": "embed", "file": None, "words": "x", "among": "goods"})

    assert (refused["late"], late["late"]) == (False, True) and refused["error"].startswith("mqmc embeds clips and goods")
    assert about["refuses"]["media"].startswith("mqmc:smoke takes no pictures and no clips: a picture has neither vision.npy nor words.npy")
    assert about["refuses"]["words"].startswith("mqmc:smoke takes no words: mqmc embeds clips and goods")
    assert answer["cards"] == [{"title": "department 1 > shelf 3 > kind 3", "words": {}, "images": []}]
