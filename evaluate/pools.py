"""Each query ranked with its own candidates alone, as in KDD Cup 2020's contest: exact inner products, and no search.

    python -m evaluate.pools --queries DUMP --docs DUMP --pools SHARDS/testA/pools/query2goods.tsv --task query2goods --out OUT

writes OUT/ranked.h5 and OUT/run.trec, as `evaluate.search` does. A file of pools has the form of ground truth: `query id TAB candidate ids`.
Legend: Q queries, C candidates of the query that has most.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from evaluate.approximate.rerank import best_first, exact_scores
from evaluate.dump import Dump
from evaluate.ids import IdTable
from evaluate.joined import Joined
from evaluate.judging.ground_truth import read_ground_truth
from evaluate.ranked import RankedAttributes, renumber, write_ranked
from evaluate.search import DOCUMENT_ROLES, QUERY_ROLES, check_together, domains_of, labels_to_keep
from evaluate.trec import write_trec
from launch.command import CommandParser, run_command
from launch.logs import say

SHORTEST = 10
"""Places of a list at least, the last of them empty where candidates are fewer: some metrics look at ten."""
METRIC = "inner product among each query's own candidates"


def search_pools(queries: Dump, docs: Dump, pools: str | Path, out: str | Path, task: str, trec: bool = True, quiet: bool = False) -> Path:
    """Write every query's candidates, the best first, to OUT/ranked.h5 (and OUT/run.trec); returns ranked.h5's path. Scores are those of
    `evaluate.search`, to the last bit.

    Args:
        queries, docs: dumps of one checkpoint; rows as `evaluate.search.search` takes them.
        pools: file of candidates. A query that it lacks has an empty list; candidates that no dump holds are left out. Both are said.

    Raises ValueError for dumps of two checkpoints or two widths, and where no query has a candidate that was embedded.
    """
    query_domain, doc_domain = domains_of(task)
    asking, searched = queries.side(QUERY_ROLES, query_domain), Joined([docs], DOCUMENT_ROLES, doc_domain)
    check_together(asking, searched, quiet)
    candidates = _candidates(Path(pools), asking.ids(), searched.ids(), quiet)
    vectors = np.concatenate([np.zeros((0, asking.dim), np.float32), *(block for _, block in asking.blocks())])
    scores, rows = best_first(exact_scores(vectors, candidates, searched), candidates, candidates.shape[1])
    used, places = renumber(rows.ravel(), len(searched))
    attributes = RankedAttributes(task, len(searched), asking.checkpoint, METRIC, asking.failed, searched.failed, candidates=candidates.shape[1])
    path, places, doc_ids = Path(out) / "ranked.h5", places.reshape(rows.shape), searched.ids_at(used)
    path.with_name("run.trec").unlink(missing_ok=True)
    query_ids = write_ranked(path, asking, searched, doc_ids, places, scores, attributes, labels=labels_to_keep(asking, searched, None))
    if trec:
        write_trec(path.with_name("run.trec"), query_ids, doc_ids, places, scores)
    if not quiet:
        say(f"{task}: {(candidates >= 0).sum():,} candidates of {len(candidates):,} queries -> {path}")
    return path


def _candidates(path: Path, queries: np.ndarray, docs: np.ndarray, quiet: bool) -> np.ndarray:
    """int64 [Q, C]: rows of `docs` that are candidates of each of `queries` (ids), -1 behind the last."""
    pools = read_ground_truth(path)
    rows = pools.rows_of(queries)
    counts = np.where(rows >= 0, pools.counts[rows], 0)
    place = np.arange(max(SHORTEST, int(counts.max(initial=0))))
    named = np.where(place < counts[:, None], pools.starts[rows][:, None] + place, 0)
    found = np.where(place < counts[:, None], IdTable(docs).places(pools.doc_ids)[pools.documents[named]], -1)
    missing, without = int(counts.sum() - (found >= 0).sum()), int((counts == 0).sum())
    if not (found >= 0).any():
        raise ValueError(
            f"{path}: no candidate of any query was embedded; its queries are spelled {next(iter(pools.relevant))!r}, those of the dump "
            f"{queries[0].decode()!r}"
        )
    if missing and not quiet:
        say(f"{path}: {missing:,} candidates were not embedded: no query can find them")
    if without and not quiet:
        say(f"{path}: {without:,} of {len(queries):,} queries have no candidates, so their lists are empty")
    return found


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and rank."""
    parser = CommandParser("python -m evaluate.pools", __doc__)
    parser.add_argument("--queries", required=True, metavar="DUMP", help="finished dump that holds the queries")
    parser.add_argument("--docs", required=True, metavar="DUMP", help="likewise for the documents (may be the same)")
    parser.add_argument("--pools", required=True, metavar="FILE", help="`query id TAB candidate ids` lines; a packed split has them in pools/")
    parser.add_argument("--task", required=True, help="QUERYDOMAIN2DOCUMENTDOMAIN, e.g. query2goods")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where ranked.h5 and run.trec go")
    given = parser.parse_args(argv)
    search_pools(Dump(given.queries), Dump(given.docs), given.pools, given.out, given.task)


if __name__ == "__main__":
    run_command(main)
