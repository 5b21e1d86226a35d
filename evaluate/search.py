"""Search: two dumps in, ranked lists out.

    python -m evaluate.search --queries DUMP --docs DUMP --task video2goods --out OUT --top_k 1000
    python -m evaluate.search --queries clips.txt --docs goods.npy --doc_ids goods.ids.txt --task video2goods --out OUT
    python -m evaluate.search ... --only category=Fruit --dedup 0.98
    python -m evaluate.search ... --index auto --memory 8GB --recall 0.95
    torchrun --nproc_per_node 8 -m evaluate.search ...

writes OUT/ranked.h5 and OUT/run.trec. Exact inner products in float32; queries and results are held in memory, documents come in blocks.
Under torchrun each rank searches its slice of the documents; the files are the same, byte for byte. With --index lists are approximate: asked of an
index (`evaluate/build_index.py`), whose measured recall they carry; the first rank builds one that is not there, and each asks it for its queries.
Instead of a dump: a .npy [N, D] with a list of ids, or released text features (`id TAB comma-separated floats`), which are converted once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from evaluate.approximate.build import Wanted
from evaluate.approximate.finder import ByIndex
from evaluate.approximate.given import wanted_index
from evaluate.dedup import distinct_lists
from evaluate.dump import Dump
from evaluate.engines.choice import ENGINES
from evaluate.engines.exact import Exact, Finder
from evaluate.joined import Joined
from evaluate.labels import Only
from evaluate.ranked import NOTHING_FOLDED, Folded, RankedAttributes, renumber, write_ranked
from evaluate.ranks import Ranks, joined
from evaluate.trec import write_trec
from evaluate.vectors import UNKNOWN_CHECKPOINT, Chosen, Vectors
from launch.command import CommandParser, run_command
from launch.files import require_writable
from launch.logs import say

QUERY_ROLES = ("both", "query")
DOCUMENT_ROLES = ("both", "document")


def search(
    queries: Dump | Vectors,
    docs: Dump | Sequence[Dump] | Vectors,
    out: str | Path,
    task: str,
    top_k: int = 1000,
    block_rows: int = 0,
    trec: bool = True,
    quiet: bool = False,
    *,
    only: Sequence[str] = (),
    queries_only: Sequence[str] = (),
    dedup: float = 0.0,
    labels: Sequence[str] | None = None,
    engine: str = "auto",
    device: str = "auto",
    ranks: Ranks | None = None,
    index: Wanted | None = None,
) -> Path:
    """Write the best `top_k` documents of every query to OUT/ranked.h5 (and OUT/run.trec); returns ranked.h5's path.

    Args:
        queries, docs: of one checkpoint, may be the same. Of a dump, rows of the task's domains with the roles both and query, both and
            document; of other vectors, all. Several dumps of documents are one corpus.
        out: folder for the results.
        task: `QUERYDOMAIN2DOCUMENTDOMAIN`, e.g. video2goods.
        top_k: results a query; capped at the number of documents.
        block_rows: documents held at a time; 0 for as many as make 512 MiB. Does not change the results.
        trec: write the TREC run as well.
        quiet: no message and no progress bar.
        only: labels that a document must have, as `category=Fruit` (`evaluate.labels.Only`); others are not searched.
        queries_only: likewise for queries.
        dedup: cosine above which two documents of a list are one (`evaluate/dedup.py`); 0 = all are kept.
        labels: labels to keep in ranked.h5 for numbers by category; default: category, where a side has it.
        engine, device: what searches, and where (`evaluate/engines/choice.py`). Does not change the results.
        ranks: of a job that searches together: all of them call this with the same arguments, the first one writes; default: this process.
        index: ask an index (its folder, or one that is built in OUT/index first) in place of all documents; its `top_k` is this search's.

    Raises ValueError for vectors of two checkpoints or two widths, where a side has no rows, or none that a filter allows, for a label
    that neither side has, for a document that two dumps hold, for an index of other documents, and where `out` cannot be written.
    """
    query_domain, doc_domain = domains_of(task)
    asking = queries.side(QUERY_ROLES, query_domain) if isinstance(queries, Dump) else queries
    searched = everything = _documents(docs, doc_domain, index)
    check_together(asking, searched, quiet)
    if top_k < 1 or block_rows < 0:
        raise ValueError(f"--top_k {top_k} --block_rows {block_rows}: at least 1 result, and 0 or more rows")
    for source, side, domain, what in ((queries, asking, query_domain, "queries"), (docs, searched, doc_domain, "documents")):
        if not len(side):
            held = f"; its domains are {', '.join(source.domains)}" if isinstance(source, Dump) else ""
            raise ValueError(f"{side.name} holds no {domain} {what}, which {task} needs{held}")
    if index is not None and dedup:
        raise ValueError("--dedup looks for more documents until lists are full, which an index does not promise to find; leave --index out")
    ranks = ranks or Ranks()
    with ranks.one_outcome():
        if not ranks.rank:
            require_writable(out)
            if isinstance(everything, Joined):
                everything.require_distinct()
    if filter_queries := Only.parse(queries_only):
        asking = Chosen(asking, filter_queries)
    if filter_docs := Only.parse(only):
        searched = Chosen(searched, filter_docs)
    number = len(searched)
    if number < top_k and not quiet:
        say(f"{task}: {number} documents are fewer than --top_k {top_k}, so every list holds {'all' if index is None else 'at most'} {number}")
    k = min(top_k, number)
    kept_labels = labels_to_keep(asking, searched, labels)
    path = Path(out) / "ranked.h5"
    find: Finder = Exact(searched, engine, device, block_rows, ranks, quiet)
    by_index = None
    if index is not None:
        assert isinstance(everything, Joined)
        kept = searched.kept if isinstance(searched, Chosen) else None
        find = by_index = ByIndex(replace(index, top_k=min(top_k, len(everything))), everything, asking, out, kept, ranks, quiet)
    lists = _lists(find, ranks, asking, searched, k, dedup, Path(out))
    if lists is None:
        return path
    scores, rows, folded = lists
    used, places = renumber(np.concatenate([rows.ravel(), folded.doc]) if len(folded.doc) else rows.ravel(), number)
    places, folded = places[: rows.size].reshape(rows.shape), folded._replace(doc=places[rows.size :])
    doc_ids = searched.ids_at(used)
    attributes = RankedAttributes(
        task,
        number,
        searched.checkpoint if searched.checkpoint != UNKNOWN_CHECKPOINT else asking.checkpoint,
        queries_failed=asking.failed,
        docs_failed=searched.failed,
        dedup=dedup,
        only=str(filter_docs),
        queries_only=str(filter_queries),
    )
    if by_index is not None:
        card = by_index.card
        attributes = replace(attributes, index=str(card), index_recall=card.recall, index_recall_at=card.recall_at)
        if not quiet and (told := by_index.depth_told(rows)):
            say(f"{task}: {told}")
    # An older run is taken away first, so that the two files never tell of two searches.
    path.with_name("run.trec").unlink(missing_ok=True)
    query_ids = write_ranked(path, asking, searched, doc_ids, places, scores, attributes, folded, kept_labels)
    if trec:
        write_trec(path.with_name("run.trec"), query_ids, doc_ids, places, scores)
    if not quiet:
        best = f"best {scores.shape[1]}{' at most' if (rows[:, -1:] < 0).any() else ''}"
        say(f"{task}: {best} of {number} documents for each of {len(scores)} queries -> {path}")
    return path


def domains_of(task: str) -> tuple[str, str]:
    """(query domain, document domain) of a task's name. Raises ValueError where it is not `QUERYDOMAIN2DOCUMENTDOMAIN`."""
    query_domain, _, doc_domain = task.partition("2")
    if not query_domain or not doc_domain:
        raise ValueError(f"--task {task}: give QUERYDOMAIN2DOCUMENTDOMAIN, e.g. video2goods")
    return query_domain, doc_domain


def _documents(docs: Dump | Sequence[Dump] | Vectors, domain: str, index: Wanted | None) -> Vectors:
    """What is searched among; where an index is asked, with rows that can be read by number."""
    if isinstance(docs, Vectors):
        if index is not None:
            raise ValueError(f"{docs.name}: an index is made from dumps; make it one: python -m evaluate.dump convert")
        return docs
    if isinstance(docs, Dump) and index is None:
        return docs.side(DOCUMENT_ROLES, domain)
    return Joined([docs] if isinstance(docs, Dump) else docs, DOCUMENT_ROLES, domain)


def check_together(queries: Vectors, docs: Vectors, quiet: bool) -> None:
    """Raise ValueError where the sides have two checkpoints or widths; say so where one does not tell its checkpoint."""
    unknown = [side.name for side in (queries, docs) if side.checkpoint == UNKNOWN_CHECKPOINT]
    if not unknown and queries.checkpoint != docs.checkpoint:
        raise ValueError(
            f"{queries.name} was made by checkpoint {queries.checkpoint}, {docs.name} by {docs.checkpoint}; embed both with one checkpoint"
        )
    if queries.dim != docs.dim:
        raise ValueError(f"{queries.name} has embeddings of width {queries.dim}, {docs.name} of width {docs.dim}; embed both with one recipe")
    if unknown and not quiet:
        say(f"which checkpoint made {' and '.join(dict.fromkeys(unknown))} is not known; scores mean something only if one made both sides")


def labels_to_keep(queries: Vectors, docs: Vectors, wanted: Sequence[str] | None) -> list[str]:
    known = sorted({*queries.label_keys(), *docs.label_keys()})
    if missing := [key for key in wanted or () if key not in known]:
        raise ValueError(f"--labels {missing[0]}: neither {queries.name} nor {docs.name} has it; known: {', '.join(known) or 'none'}")
    return [key for key in ("category",) if key in known] if wanted is None else list(dict.fromkeys(wanted))


def _lists(
    find: Finder, ranks: Ranks, queries: Vectors, docs: Vectors, k: int, dedup: float, scratch: Path
) -> tuple[np.ndarray, np.ndarray, Folded] | None:
    """(scores float32 [Q, k], rows int64 [Q, k], folded) over all documents; -inf and -1 where folding left a list shorter. None but on rank 0."""
    vectors = np.empty((len(queries), queries.dim), np.float32)
    with ranks.one_outcome():
        for first, block in queries.blocks():
            vectors[first : first + len(block)] = block
            del block
    lists: list[tuple[np.ndarray, np.ndarray, Folded]] = []

    def lead(best: Finder) -> None:
        every = np.arange(len(vectors))
        lists.append(distinct_lists(best, len(vectors), docs, k, dedup, scratch) if dedup else (*best(every, k), NOTHING_FOLDED))

    ranks.led(find, lead, vectors)
    return lists[0] if lists else None


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and search."""
    from evaluate.dumps.opening import open_source  # here: programs that search dumps alone need no other form

    parser = CommandParser("python -m evaluate.search", __doc__)
    parser.add_argument("--queries", required=True, metavar="DUMP", help="finished dump that holds the queries, a .npy, or text features")
    parser.add_argument(
        "--docs", required=True, nargs="+", metavar="DUMP", help="likewise for the documents (may be the same); several dumps are one corpus"
    )
    parser.add_argument(
        "--query_ids", metavar="FILE", help="id list of a .npy: .txt, an id a line, or .json (default: NAME.ids.txt and the like beside it)"
    )
    parser.add_argument("--doc_ids", metavar="FILE", help="likewise for the documents")
    parser.add_argument("--converted", metavar="FOLDER", help="where text features become dumps (default: beside them, FILE.dump)")
    parser.add_argument("--task", required=True, help="QUERYDOMAIN2DOCUMENTDOMAIN, e.g. video2goods or goods2video")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where ranked.h5 and run.trec go")
    parser.add_argument("--top_k", type=int, default=1000, help="results a query, capped at the number of documents (default: %(default)s)")
    parser.add_argument("--only", nargs="+", default=[], metavar="LABEL=VALUE", help="search only documents with these labels, e.g. category=Fruit")
    parser.add_argument("--queries_only", nargs="+", default=[], metavar="LABEL=VALUE", help="search only with queries with these labels")
    parser.add_argument(
        "--dedup", type=float, default=0.0, metavar="COSINE", help="of documents more alike than this keep the best-ranked, e.g. 0.98"
    )
    parser.add_argument("--labels", nargs="*", metavar="LABEL", help="labels to keep for numbers by category (default: category, where known)")
    parser.add_argument("--engine", choices=ENGINES, default="auto", help="what searches; auto = the fastest that is here (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda; auto = cards where an engine sees one (default: %(default)s)")
    parser.add_argument(
        "--index", metavar="FOLDER|FACTORY|auto", help="ask an index: its folder, or a kind of FAISS to build in OUT/index (default: none)"
    )
    parser.add_argument("--memory", metavar="SIZE", help="most that --index auto may take, e.g. 8GB (default: half of this machine's)")
    parser.add_argument("--recall", type=float, help=f"share of the exact results that an index built here has to find (default: {Wanted.recall})")
    parser.add_argument("--block_rows", type=int, default=0, help="documents read at a time (default: 0, as many as make 512 MiB of two blocks)")
    parser.add_argument("--no_trec", action="store_true", help="leave the TREC run file out")
    given = parser.parse_args(argv)
    query_domain, doc_domain = domains_of(given.task)
    index = wanted_index(given.index, given.memory, given.recall)
    with joined() as ranks:
        with ranks.first_alone():  # it makes dumps of text features, which the others find
            queries = open_source(given.queries, query_domain, given.query_ids, given.converted)
            opened = [open_source(path, doc_domain, given.doc_ids, given.converted) for path in given.docs]
            dumps = [source for source in opened if isinstance(source, Dump)]
            if len(opened) > max(1, len(dumps)):
                raise ValueError("--docs: several are folders of dumps; make dumps of other files first: python -m evaluate.dump convert")
        search(
            queries,
            opened[0] if len(opened) == 1 else dumps,
            given.out,
            given.task,
            given.top_k,
            given.block_rows,
            trec=not given.no_trec,
            only=given.only,
            queries_only=given.queries_only,
            dedup=given.dedup,
            labels=given.labels,
            engine=given.engine,
            device=given.device,
            ranks=ranks,
            index=index,
        )


if __name__ == "__main__":
    run_command(main)
