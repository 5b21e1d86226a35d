"""The procedural corpus in KDD Cup's layout: what its queries say is so of what its answers name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.sources.kddcup_rows import lines_of, named, regions_of
from pipeline.sources.kddcup_sample import CANDIDATES, main, write_kddcup_sample
from pipeline.sources.procedural.drawing import product_sprite
from pipeline.sources.procedural.goods import catalogue
from pipeline.sources.procedural.photos import WIDTH, photo_of
from tests.pipeline.packed import content


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kddcup_sample(tmp_path_factory.mktemp("kddcup") / "sample", photos=12, queries=12, gallery=72)


def test_rows_are_whole_and_each_query_has_candidates_of_which_few_are_relevant(corpus: Path) -> None:
    rows = [named(line.data) for line in lines_of(corpus / "valid.tsv")]
    answers = json.loads((corpus / "valid_answer.json").read_text())

    for query, relevant in answers.items():
        pool = [row.product for row in rows if row.query_id == query]
        assert len(pool) == len(set(pool)) == CANDIDATES and {str(id) for id in relevant} <= set(pool) and 1 <= len(relevant) <= 8
    regions = [regions_of(line.data, WIDTH) for name in ("train", "valid") for line in lines_of(corpus / f"{name}.tsv")]
    assert len(regions) == 12 + 12 * CANDIDATES and all(np.ptp(one["boxes"], axis=1).min() > 0 for one in regions)


def test_photos_with_the_same_words_look_more_alike_than_others(corpus: Path) -> None:
    """The largest regions of a query's relevant photos are nearer to each other than to those of its other candidates."""
    answers = json.loads((corpus / "valid_answer.json").read_text())
    near, far = [], []
    seen = {}
    for line in lines_of(corpus / "valid.tsv"):
        row, found = named(line.data), regions_of(line.data)
        boxes = found["boxes"]
        biggest = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).argmax()
        seen[row.query_id, row.product] = found["regions"][biggest] / np.linalg.norm(found["regions"][biggest])
    for query, relevant in answers.items():
        own = [vector for (asked, product), vector in seen.items() if asked == query and int(product) in relevant]
        others = [vector for (asked, product), vector in seen.items() if asked == query and int(product) not in relevant]
        near += [one @ other for place, one in enumerate(own) for other in own[:place]]
        far += [one @ other for one in own for other in others]

    assert len(near) > 5 and np.mean(near) > np.mean(far) + 0.02


def test_the_same_settings_give_the_same_bytes_and_other_folders_are_left_alone(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--photos", "12", "--queries", "12", "--gallery", "72", "--out"]
    main([*flags, str(tmp_path / "again")])
    main([*flags, str(tmp_path / "again")])

    assert content(tmp_path / "again") == content(corpus) and "already there" in capsys.readouterr().out
    with pytest.raises(ValueError, match="holds something else than a sample corpus of these settings"):
        write_kddcup_sample(tmp_path / "again", photos=13, queries=12)


def test_the_features_of_a_box_follow_what_is_drawn_and_not_where() -> None:
    first, second = catalogue(2, 0, 0.0)
    photos = [
        photo_of(product, [], lambda own: product_sprite(own, 0), np.random.default_rng(seed)) for product in (first, second) for seed in (1, 2)
    ]
    vectors = [photo.features[photo.classes == number // 2][0] for number, photo in enumerate(photos)]
    vectors = [vector[:288] / np.linalg.norm(vector[:288]) for vector in vectors]

    assert min(vectors[0] @ vectors[1], vectors[2] @ vectors[3]) > max(vectors[0] @ vectors[2], vectors[1] @ vectors[3]) + 0.05
