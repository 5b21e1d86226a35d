from __future__ import annotations

import numpy as np
import pytest

from evaluate.approximate.faiss_index import make
from evaluate.approximate.held_out import hold_out
from evaluate.approximate.tune import Setting, measure, tune
from evaluate.dump import Dump
from evaluate.joined import Joined
from tests.evaluate.approximate.corpus import CLIPS, GOODS, clips_of, exact_best, goods_of, share_found, vectors
from tests.evaluate.dumps import write_dump


@pytest.fixture(scope="module")
def held_out(corpus):
    return hold_out(goods_of(corpus), clips_of(corpus), CLIPS, 20, 0, quiet=True)


def filled(factory: str):
    index = make(factory, vectors(1, 0).shape[1], 0)
    index.train(vectors(GOODS, 0))
    index.add(vectors(GOODS, 0))
    return index


def lower_bound(index, held_out, setting: Setting) -> float:
    """Recall less two standard errors, from FAISS's own results."""
    name, _, value = setting.parameters.partition("=")
    index.nprobe = int(value)
    depth = held_out.k * max(1, setting.factor)
    shares = [share_found(exact[None], found[None]) for exact, found in zip(held_out.exact[:, :20], index.search(held_out.queries, depth)[1])]
    assert name == "nprobe"
    return float(np.mean(shares) - 2 * np.std(shares) / np.sqrt(len(shares)))


def test_the_fewest_lists_are_searched_that_reach_the_recall(held_out):
    index = filled("IVF64,Flat")

    settings = [Setting(f"nprobe={lists}", 0) for lists in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)]
    bounds = [lower_bound(index, held_out, setting) for setting in settings]
    for wanted in (0.5, 0.8, 0.95):
        first = next(place for place, bound in enumerate(bounds) if bound >= wanted)
        assert tune(index, held_out, wanted, rerank=False) == settings[first], bounds


@pytest.mark.parametrize(("lists", "settings"), [(1, ["nprobe=1"]), (6, ["nprobe=5", "nprobe=6"]), (16, ["nprobe=16"])])
def test_all_lists_are_searched_where_fewer_do_not_reach_the_recall(tmp_path, lists, settings):
    """Directions drawn uniformly have no clusters: a neighbour may be in any list."""
    rows = np.random.default_rng(0).standard_normal((2000, 32)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    dump = Dump(write_dump(tmp_path, [("goods", rows, [f"g{row}" for row in range(2000)])], 2000))
    asked = hold_out(Joined([dump]), None, 200, 10, 0, quiet=True)
    index = make(f"IVF{lists},Flat", 32, 0)
    index.train(rows)
    index.add(rows)

    setting = tune(index, asked, 0.995, rerank=False)

    assert setting.parameters in settings and measure(index, asked, setting).mean() >= 0.995


def test_rough_codes_are_made_up_for_by_more_candidates(held_out):
    index = filled("IVF16,PQ4np")

    setting = tune(index, held_out, 0.95, rerank=True)

    assert setting.factor > 1
    assert lower_bound(index, held_out, setting) >= 0.95
    # Fewer candidates do not reach it, however many lists are searched.
    assert lower_bound(index, held_out, Setting("nprobe=8", setting.factor // 2)) < 0.95


def test_where_the_recall_is_out_of_reach_the_setting_of_most_is_taken(held_out):
    index = filled("IVF16,PQ1np")

    setting = tune(index, held_out, 0.99, rerank=False)

    assert setting.factor == 0
    assert measure(index, held_out, setting).mean() >= measure(index, held_out, Setting("nprobe=1", 0)).mean()
    assert measure(index, held_out, setting).mean() < 0.9


def test_a_graph_is_walked_as_far_as_needed(held_out):
    index = filled("HNSW4")

    setting = tune(index, held_out, 0.9, rerank=False)

    assert setting.parameters.startswith("efSearch=")
    index.hnsw.efSearch = int(setting.parameters.partition("=")[2])
    assert share_found(exact_best(vectors(CLIPS, 1000), vectors(GOODS, 0), 20), index.search(vectors(CLIPS, 1000), 20)[1]) >= 0.9


def test_an_index_that_refines_by_itself_is_tuned_in_both_ways(held_out):
    setting = tune(filled("IVF16,PQ4np,RFlat"), held_out, 0.9, rerank=False)

    assert setting.factor == 0
    names = dict(part.split("=") for part in setting.parameters.split(","))
    assert set(names) == {"nprobe", "k_factor_rf"} and int(names["k_factor_rf"]) > 1


def test_an_index_without_settings_is_searched_as_it_is(held_out):
    assert tune(filled("Flat"), held_out, 0.95, rerank=False) == Setting("", 0)
    assert measure(filled("Flat"), held_out, Setting("", 0)).tolist() == [1.0] * CLIPS
