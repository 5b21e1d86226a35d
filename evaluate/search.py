"""Search: two dumps in, ranked lists out.

    python -m evaluate.search --queries DUMP --docs DUMP --task video2goods --out OUT --top_k 1000

writes OUT/ranked.h5 and OUT/run.trec. Exact inner products in float32; queries and results are held in memory, documents come in blocks.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from evaluate.dump import Dump
from evaluate.index import Best
from evaluate.ranked import RankedAttributes, write_ranked, write_trec
from launch.command import CommandParser, run_command
from launch.logs import progress, say

QUERY_ROLES = ("both", "query")
DOCUMENT_ROLES = ("both", "document")
BLOCK_BYTES = 1 << 29


def search(
    queries: Dump, docs: Dump, out: str | Path, task: str, top_k: int = 1000, block_rows: int = 0, trec: bool = True, quiet: bool = False
) -> Path:
    """Write the best `top_k` documents of every query to OUT/ranked.h5 (and OUT/run.trec); returns ranked.h5's path.

    Args:
        queries, docs: dumps of one checkpoint, may be the same one; rows of the task's domains with the roles both and query, both and document.
        out: folder for the results.
        task: `QUERYDOMAIN2DOCUMENTDOMAIN`, e.g. video2goods.
        top_k: results a query; capped at the number of documents.
        block_rows: documents held at a time; 0 for as many as make 512 MiB. Does not change the results.
        trec: write the TREC run as well.
        quiet: no message and no progress bar.

    Raises ValueError for dumps of two checkpoints or two widths, and where a side has no rows.
    """
    query_domain, doc_domain = domains_of(task)
    if queries.checkpoint != docs.checkpoint:
        raise ValueError(
            f"{queries.folder} was made by checkpoint {queries.checkpoint}, {docs.folder} by {docs.checkpoint}; embed both with one checkpoint"
        )
    if queries.dim != docs.dim:
        raise ValueError(f"{queries.folder} has embeddings of width {queries.dim}, {docs.folder} of width {docs.dim}; embed both with one recipe")
    if top_k < 1 or block_rows < 0:
        raise ValueError(f"--top_k {top_k} --block_rows {block_rows}: at least 1 result, and 0 or more rows")
    for dump, roles, domain, side in ((queries, QUERY_ROLES, query_domain, "queries"), (docs, DOCUMENT_ROLES, doc_domain, "documents")):
        if not dump.count(roles, domain):
            raise ValueError(f"{dump.folder} holds no {domain} {side}, which {task} needs; its domains are {', '.join(dump.domains)}")
    number = docs.count(DOCUMENT_ROLES, doc_domain)
    if number < top_k and not quiet:
        say(f"{task}: {number} documents are fewer than --top_k {top_k}, so every list holds all {number}")
    scores, rows = _best(queries, docs, query_domain, doc_domain, min(top_k, number), block_rows, quiet)
    used, ranks = _renumber(rows, number)
    query_ids = queries.ids(QUERY_ROLES, query_domain)
    doc_ids = docs.ids_at(used, DOCUMENT_ROLES, doc_domain)
    attributes = RankedAttributes(
        task,
        number,
        docs.checkpoint,
        queries_failed=queries.failed(QUERY_ROLES, query_domain),
        docs_failed=docs.failed(DOCUMENT_ROLES, doc_domain),
    )
    path = Path(out) / "ranked.h5"
    searched = docs.id_blocks(DOCUMENT_ROLES, doc_domain)
    # An older run is taken away first, so that the two files never tell of two searches.
    path.with_name("run.trec").unlink(missing_ok=True)
    write_ranked(path, query_ids, doc_ids, ranks, scores, searched, docs.id_bytes(DOCUMENT_ROLES, doc_domain), attributes)
    if trec:
        write_trec(path.with_name("run.trec"), query_ids, doc_ids, ranks, scores)
    if not quiet:
        say(f"{task}: best {scores.shape[1]} of {number} documents for each of {len(scores)} queries -> {path}")
    return path


def domains_of(task: str) -> tuple[str, str]:
    """(query domain, document domain) of a task's name. Raises ValueError where it is not `QUERYDOMAIN2DOCUMENTDOMAIN`."""
    query_domain, _, doc_domain = task.partition("2")
    if not query_domain or not doc_domain:
        raise ValueError(f"--task {task}: give QUERYDOMAIN2DOCUMENTDOMAIN, e.g. video2goods")
    return query_domain, doc_domain


def _best(queries: Dump, docs: Dump, query_domain: str, doc_domain: str, k: int, block_rows: int, quiet: bool) -> tuple[np.ndarray, np.ndarray]:
    """(scores float32 [Q, k], rows int64 [Q, k]) over all documents."""
    rows = block_rows or max(1, BLOCK_BYTES // (4 * docs.dim))
    best = Best(np.concatenate([block for _, block in queries.blocks(QUERY_ROLES, rows, query_domain)]), k)
    with progress(total=docs.count(DOCUMENT_ROLES, doc_domain), what="search", unit="doc", quiet=quiet) as bar:
        for first, block in docs.blocks(DOCUMENT_ROLES, rows, doc_domain):
            best.add(block, first)
            bar.update(len(block))
            del block
    return best.result()


def _renumber(rows: np.ndarray, docs: int) -> tuple[np.ndarray, np.ndarray]:
    """(the distinct `rows` [Q, K] in ascending order, int32 [Q, K] of their places in them), for rows of `docs` documents."""
    if docs > rows.size:
        used, places = np.unique(rows, return_inverse=True)
        return used, places.astype(np.int32).reshape(rows.shape)
    # With more results than documents a table of all documents is the smaller one, and five times faster than sorting.
    listed = np.zeros(docs, bool)
    listed[rows] = True
    return np.flatnonzero(listed), (np.cumsum(listed, dtype=np.int32) - 1)[rows]


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and search."""
    parser = CommandParser("python -m evaluate.search", __doc__)
    parser.add_argument("--queries", required=True, metavar="DUMP", help="folder of the finished dump that holds the queries")
    parser.add_argument("--docs", required=True, metavar="DUMP", help="folder of the finished dump that holds the documents (may be the same)")
    parser.add_argument("--task", required=True, help="QUERYDOMAIN2DOCUMENTDOMAIN, e.g. video2goods or goods2video")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where ranked.h5 and run.trec go")
    parser.add_argument("--top_k", type=int, default=1000, help="results a query, capped at the number of documents (default: %(default)s)")
    parser.add_argument("--block_rows", type=int, default=0, help="documents held in memory at a time (default: 0, as many as make 512 MiB)")
    parser.add_argument("--no_trec", action="store_true", help="leave the TREC run file out")
    given = parser.parse_args(argv)
    search(Dump(given.queries), Dump(given.docs), given.out, given.task, given.top_k, given.block_rows, trec=not given.no_trec)


if __name__ == "__main__":
    run_command(main)
