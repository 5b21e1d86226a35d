from __future__ import annotations

from urllib.parse import unquote

import numpy as np
import pytest
import pytrec_eval

from evaluate.ids import encode_ids
from evaluate.trec import write_trec
from tests.evaluate.dumps import write_lists


def plain_trec(queries, documents, ranks, scores):
    """The slow obvious writer, scores with nine decimals."""
    lines = []
    for query, own_ranks, own_scores in zip(queries, ranks, scores):
        for place, (row, score) in enumerate(zip(own_ranks, own_scores), 1):
            if row >= 0:
                lines.append(f"{query} Q0 {documents[row]} {place} {score:.9f} reelgoods\n")
    return "".join(lines)


def test_the_trec_run_is_that_of_the_plain_writer(tmp_path):
    draw = np.random.default_rng(0)
    queries, documents = [f"v{row}" for row in range(300)], [str(10**row) for row in range(12)]
    ranks = np.array([draw.permutation(12) for _ in queries])
    ranks[::5, 9:] = -1
    scores = np.sort(draw.uniform(-1, 1, ranks.shape).astype(np.float32))[:, ::-1]
    scores[0, :3] = [1, 0.9999999, 1e-9]

    write_trec(tmp_path / "run.trec", encode_ids(queries), encode_ids(documents), ranks, scores)

    assert (tmp_path / "run.trec").read_text() == plain_trec(queries, documents, ranks, scores)


@pytest.mark.parametrize("scale", [1e-12, 1e-5, 0.003, 0.2, 7.0, 42.0, 999.0, 5e4, 1e12, 0.0])
def test_scores_of_any_size_keep_their_value_and_order(tmp_path, scale):
    scores = (np.linspace(1, -1, 50, dtype=np.float32) * np.float32(scale)).reshape(1, -1)

    write_trec(tmp_path / "run.trec", encode_ids(["v"]), encode_ids(map(str, range(50))), np.arange(50).reshape(1, -1), scores)

    columns = [line.split() for line in (tmp_path / "run.trec").read_text().splitlines()]
    assert [int(rank) for _, _, _, rank, _, _ in columns] == list(range(1, 51))
    written = np.array([float(score) for _, _, _, _, score, _ in columns])
    np.testing.assert_allclose(written, scores[0], rtol=1e-6, atol=scale * 1e-8)
    assert (np.diff(written) <= 0).all()


def test_the_trec_run_is_read_by_pytrec_eval_and_odd_ids_survive(tmp_path):
    lists = {"video 1": ["50% off", "a\u3000b", "naïve"], "v\u00a02": ["plain", "tab\there", "%20"]}
    ranked = write_lists(tmp_path / "ranked.h5", lists, [item for ids in lists.values() for item in ids])
    ranks, scores = ranked.lists([0, 1], 3)

    write_trec(tmp_path / "run.trec", ranked.query_ids, ranked.doc_ids, ranks, scores)

    with open(tmp_path / "run.trec") as file:
        run = pytrec_eval.parse_run(file)
    found = {unquote(query): [unquote(item) for item in sorted(own, key=own.get, reverse=True)] for query, own in run.items()}
    assert found == lists
    assert " naïve " in (tmp_path / "run.trec").read_text()
