"""Build index: dumps in, an index for approximate search out.

    python -m evaluate.build_index --docs DUMP --out INDEX                              chosen for half of this machine's memory, recall 0.95
    python -m evaluate.build_index --docs DUMP --out INDEX --memory 8GB --recall 0.99 --top_k 100 --queries CLIPS
    python -m evaluate.build_index --docs DUMP --out INDEX --index IVF16384,PQ64np       any factory string of FAISS
    python -m evaluate.build_index --docs DUMP --out INDEX --add NEW                    NEW's rows follow DUMP's
    python -m evaluate.search ... --docs DUMP NEW --index INDEX

writes INDEX/index.faiss, card.json and card.md, whole or not at all. The card says what the index is, and which share of the exact results it
was measured to find. Scores are inner products; vectors need not have one length. Under torchrun the first process does it, the others end.
"""

from __future__ import annotations

from evaluate.approximate.add import add
from evaluate.approximate.build import Wanted, build
from evaluate.dump import Dump
from evaluate.joined import Joined
from evaluate.search import DOCUMENT_ROLES, QUERY_ROLES, check_together
from launch.command import CommandParser, run_command
from launch.logs import is_main


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and build, or add."""
    default = Wanted()
    parser = CommandParser("python -m evaluate.build_index", __doc__)
    parser.add_argument(
        "--docs", required=True, nargs="+", metavar="DUMP", help="finished dumps of the documents; several are one corpus, in this order"
    )
    parser.add_argument("--out", required=True, metavar="FOLDER", help="the index")
    parser.add_argument("--add", nargs="+", default=[], metavar="DUMP", help="add these dumps to the index in --out, which was made from --docs")
    parser.add_argument("--domain", help="rows of this domain alone (default: the dumps' own, where they have one)")
    parser.add_argument("--index", default=default.index, metavar="auto|FACTORY", help="kind of index, as FAISS writes it (default: %(default)s)")
    parser.add_argument(
        "--memory", default=default.memory, metavar="SIZE", help="most that auto may take, e.g. 8GB (default: half of this machine's)"
    )
    parser.add_argument("--recall", type=float, default=default.recall, help="share of the exact results that it has to find (default: %(default)s)")
    parser.add_argument("--top_k", type=int, default=default.top_k, help="results of which that is the share (default: %(default)s)")
    parser.add_argument("--queries", metavar="DUMP", help="queries like those to come, to tune on and measure with (default: documents ask)")
    parser.add_argument("--query_domain", help="rows of this domain alone (default: the only one of --queries)")
    parser.add_argument(
        "--held_out", type=int, default=default.held_out, help="how many of them are drawn, half of them to tune on (default: %(default)s)"
    )
    parser.add_argument("--no_rerank", action="store_true", help="rank by the index alone: no exact scores from the dump")
    parser.add_argument("--seed", type=int, default=default.seed, help="draws them and what trains the index (default: %(default)s)")
    given = parser.parse_args(argv)
    if not is_main():
        return
    docs, new = [Dump(folder) for folder in given.docs], [Dump(folder) for folder in given.add]
    domain = given.domain or docs[0].domain
    queries = None
    if given.queries:
        asking = Dump(given.queries)
        queries = Joined([asking], QUERY_ROLES, given.query_domain or asking.domain)
        check_together(queries, Joined([*docs, *new], DOCUMENT_ROLES, domain), quiet=False)
    if new:
        add(given.out, docs, new, DOCUMENT_ROLES, domain, queries, given.held_out)
        return
    wanted = Wanted(given.index, given.memory, given.recall, given.top_k, not given.no_rerank, given.held_out, given.seed)
    build(Joined(docs, DOCUMENT_ROLES, domain), given.out, wanted, queries)


if __name__ == "__main__":
    run_command(main)
