"""The label popularity: where it comes from, what it may be, and the law of the sample corpus."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.popularity import popularity_of
from pipeline.sources import Entry, open_source
from pipeline.sources.procedural.goods import catalogue
from pipeline.sources.procedural.popularity import popularity
from pipeline.sources.sample import write_sample
from tests.pipeline.corpora import real20m_files, write_files


def test_popularity_is_a_finite_number_or_not_there() -> None:
    assert (popularity_of({"popularity": 3}, "here"), popularity_of({}, "here"), popularity_of({"popularity": None}, "here")) == (3.0, None, None)
    for value in ("3", True, float("nan"), [1]):
        with pytest.raises(ValueError, match=r"here: its popularity is .*; wanted a number"):
            popularity_of({"popularity": value}, "here")


def test_a_real20m_corpus_may_say_how_popular_its_clips_are(tmp_path: Path) -> None:
    root = write_files(tmp_path / "corpus", {**real20m_files(), "video/popularity.txt": "205\t3.5\n100203\t1\n"})
    source = open_source(root)

    train = {(entry.domain, entry.id): entry for entry in source.entries("train") if isinstance(entry, Entry)}
    test = {(entry.domain, entry.id): entry for entry in source.entries("test") if isinstance(entry, Entry)}

    assert train["video", "205"].labels == {"popularity": 3.5} and test["video", "205"].labels["popularity"] == 3.5
    assert "popularity" not in train["video", "50204"].labels and "popularity" not in train["goods", "101"].labels
    assert root / "video/popularity.txt" in source.list_files("train")
    (root / "video/popularity.txt").write_text("205 3.5\n")
    with pytest.raises(ValueError, match=r"line 1 is '205 3.5'; wanted an id, a tab and a number"):
        list(source.entries("train"))


def test_every_clip_of_the_sample_has_a_popularity_that_follows_the_law(tmp_path: Path) -> None:
    root = write_sample(tmp_path / "sample", 4, 3, seed=5, workers=1)
    said = dict(line.split("\t") for line in (root / "video/popularity.txt").read_text().splitlines())
    products, lines = catalogue(4, 5, 0.15), {}
    for item in said:
        text = (root / f"video/text/{int(item) % 50_000}/{item}.txt").read_text(encoding="utf-8").splitlines()
        lines[item] = sum(line != "null" for line in text)

    # The first product's first clip is tested, its two others are trained on.
    assert sorted(said) == sorted([*(str(3_000_000 + n) for n in range(4)), *(str(2_000_000 + n) for n in range(8))])
    for item, number in (("3000000", 0), ("2000000", 1), ("2000001", 2)):
        assert float(said[item]) == pytest.approx(popularity(products[0], number, lines[item], 5), abs=1e-4)


def test_the_law_is_as_wide_as_it_says() -> None:
    products = catalogue(120, 0, 0.15)
    values = np.array([[popularity(product, clip, 0, 0) for clip in range(40)] for product in products])
    more = np.array([[popularity(product, clip, 3, 0) for clip in range(40)] for product in products])

    assert values.std(axis=1).mean() == pytest.approx(0.3, abs=0.05)  # clips of one product: the noise
    kinds = np.array([values[kind::12].mean() for kind in range(12)])
    assert 0.5 < kinds.std() < 1.5 and values.mean(axis=1).std() == pytest.approx((1 + 1.2**2) ** 0.5, abs=0.4)
    assert np.median(more - values) == pytest.approx(2.1, abs=0.02)
