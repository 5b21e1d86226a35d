from __future__ import annotations

import pytest

from evaluate.approximate.choose import choose, lists_for

MILLION = 1_000_000


def kinds(memory: float, recall: float = 0.95, k: int = 1000, rerank: bool = True, number: int = MILLION) -> list[str]:
    """Kinds in the order in which they are tried, for `number` x 512."""
    return [candidate.kind for candidate in choose(number, 512, int(memory), recall, k, rerank).candidates]


def test_memory_that_does_not_hold_the_vectors_forbids_flat_and_whatever_else_holds_them():
    assert kinds(8e9) == ["IVF-Flat", "IVF-SQ8", "IVF-PQ", "IVF-PQ", "IVF-PQ", "Flat"]
    assert kinds(2.052e9) == ["IVF-SQ8", "IVF-PQ", "IVF-PQ", "IVF-PQ", "Flat"]
    assert kinds(2.047e9) == ["IVF-SQ8", "IVF-PQ", "IVF-PQ", "IVF-PQ"]
    assert kinds(100e6) == ["IVF-PQ"]


def test_a_high_recall_forbids_product_codes_that_are_not_re_ranked():
    assert "IVF-PQ" in kinds(300e6, recall=0.95)
    assert "IVF-PQ" in kinds(300e6, recall=0.8, rerank=False)
    with pytest.raises(ValueError, match=r"300 MB is too little for an index of recall 0.95 .* the smallest is IVF4096,SQ8 .* allow re-ranking"):
        kinds(300e6, recall=0.95, rerank=False)


def test_short_codes_are_tried_first_and_those_that_are_too_rough_not_at_all():
    def codes(recall: float) -> list[str]:
        return [candidate.factory for candidate in choose(MILLION, 512, int(500e6), recall, 1000).candidates]

    assert codes(0.9) == ["OPQ64,IVF4096,PQ64np", "OPQ128,IVF4096,PQ128np", "OPQ256,IVF4096,PQ256np"]
    assert codes(0.96) == ["OPQ128,IVF4096,PQ128np", "OPQ256,IVF4096,PQ256np"]
    assert codes(0.99) == ["OPQ256,IVF4096,PQ256np"]


def test_a_graph_is_for_short_lists_of_not_too_many_vectors_with_memory_to_spare():
    assert kinds(8e9, k=100)[0] == "HNSW"
    assert "HNSW" not in kinds(8e9, k=101)
    assert "HNSW" not in kinds(1e12, k=100, number=20 * MILLION)
    assert "HNSW" not in kinds(2.2e9, k=100)


def test_few_vectors_or_a_recall_of_1_mean_flat():
    assert kinds(1e9, number=20_000) == ["Flat"]
    assert kinds(8e9, recall=1.0) == ["Flat"]
    assert kinds(20e6, number=20_000)[0] == "IVF-SQ8"
    with pytest.raises(ValueError, match="recall 1 of 1000000 x 512: the smallest is Flat"):
        kinds(1e9, recall=1.0)


def test_a_line_says_why():
    assert choose(MILLION, 512, 8 * 10**8, 0.95, 100).why == (
        "1000000 x 512, 800 MB, recall@100 0.95: IVF4096,SQ8, re-ranked from the dump (529 MB); HNSW needs 2.32 GB; IVF-Flat needs 2.06 GB"
    )
    assert "HNSW is slow to search for so many results" in choose(MILLION, 512, 8 * 10**9, 0.95, 1000).why
    assert "HNSW is trusted with recall 0.99 at most" in choose(MILLION, 512, 8 * 10**9, 0.995, 100).why


@pytest.mark.parametrize("recall", [0.0, -0.5, 1.01])
def test_a_recall_that_is_no_share_is_refused(recall):
    with pytest.raises(ValueError, match=rf"--recall {recall:g}: the share of the exact results"):
        kinds(8e9, recall=recall)


def test_lists_grow_with_the_root_of_the_vectors_and_have_enough_each():
    assert [lists_for(number) for number in (1, 39, 100, 3000, MILLION, 20 * MILLION, 10**10)] == [1, 1, 2, 64, 4096, 16384, 65536]


def test_a_width_with_few_divisors_has_the_codes_that_it_can_have():
    factories = [candidate.factory for candidate in choose(MILLION, 6, 10**8, 0.9, 1000).candidates]

    assert factories == ["IVF4096,Flat", "IVF4096,SQ8", "OPQ1,IVF4096,PQ1np", "OPQ3,IVF4096,PQ3np", "Flat"]
