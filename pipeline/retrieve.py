"""Evaluate one retrieval task with a checkpoint: pack if needed, embed both domains, search, report.

    bash video2goods_evaluate.sh --checkpoint RUN --data CORPUS --out OUT
    bash launch/evaluate.sh query2goods --checkpoint RUN --data CORPUS --out OUT
    torchrun --nproc_per_node 8 -m pipeline.retrieve --task video2goods --checkpoint RUN --data CORPUS --out OUT

OUT/metrics.json and report.html are what to look at; ranked.h5 and run.trec hold the ranked lists, dumps/ the embeddings. Where a system's own score
is no product of embeddings (hsl with max), OUT/proposed has the lists by embeddings and OUT those that the score has put in order. Every stage can
be run by itself: pipeline.pack, pipeline.embed, evaluate.search (or evaluate.pools), pipeline.rerank, pipeline.cards, evaluate.report. Killed and
started again, it goes on.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch

from evaluate.approximate.build import Wanted
from evaluate.approximate.given import wanted_index
from evaluate.dump import Dump
from evaluate.engines.choice import ENGINES
from evaluate.judging.ground_truth import read_ground_truth
from evaluate.pools import search_pools
from evaluate.ranked import Ranked
from evaluate.ranks import JobRanks, Ranks
from evaluate.report import report, shown
from evaluate.search import domains_of, search
from launch import distributed
from launch.command import CommandParser, run_command
from launch.files import require_writable
from launch.logs import is_main, say
from launch.lost_rank import ending_when_lost
from pipeline.bad_items import bad_items_of
from pipeline.cards import write_cards
from pipeline.checkpoint import Loaded, find_checkpoint, load_checkpoint
from pipeline.corpus import Corpus, open_corpus
from pipeline.embed import add_embedding_arguments, embed_checkpoint, start_embedding
from pipeline.precision import resolve_precision
from pipeline.remote.settings import add_cache_arguments, use_cache
from pipeline.rerank import rerank
from pipeline.shards import ShardSet
from pipeline.sources import READERS, TASKS


def retrieve(loaded: Loaded, corpus: Corpus, split: str, task: str, out: Path, arguments: argparse.Namespace) -> None:
    """Evaluate `task` ("video2goods") on `split` and write everything below `out`; all ranks call it, rank 0 reports.

    Raises:
        ValueError: the split lacks a domain or the task's ground truth.
    """
    device = start_embedding(arguments)
    try:
        with ending_when_lost("during the evaluation", "it goes on from the shards that are embedded"):
            shards, ground_truth = _shards_of(corpus, split, task, loaded)
            pools = _pools_of(shards, task, arguments.candidates, loaded)
            dumps = Path(arguments.dumps) if arguments.dumps else out / "dumps"
            sides = [dumps / domain for domain in domains_of(task)]
            for domain, folder in zip(domains_of(task), sides):
                embed_checkpoint(
                    loaded,
                    shards,
                    domain,
                    folder,
                    device=device,
                    precision=arguments.precision,
                    batch_size=arguments.batch_size,
                    workers=arguments.workers,
                    dtype=arguments.dtype,
                    bad_items=bad_items_of(arguments),
                )
            # A search is the same with any number of threads, embedding is not. Each rank looks at its slice of the documents.
            torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0))))
            ranks = JobRanks() if distributed.world_size() > 1 else Ranks()
            queries, docs = map(Dump, sides)
            index = wanted_index(arguments.index, arguments.memory, arguments.recall)
            lists = out / "proposed" if loaded.system.scores_pairs else out
            if pools is None:
                found = search(
                    queries, docs, lists, task, _depth(arguments, loaded), engine=arguments.engine, device=arguments.device, ranks=ranks, index=index
                )
            elif is_main():
                found = search_pools(queries, docs, pools, lists, task)
    finally:
        distributed.stop()
    if not is_main():
        return
    ranked = Ranked(found)
    if loaded.system.scores_pairs:
        precision = resolve_precision(arguments.precision, device)
        how = {"device": device, "precision": precision, "batch_size": arguments.batch_size, "workers": arguments.workers}
        ranked = rerank(loaded.system, shards, ranked, out, ranked.depth, **how)
    truth = read_ground_truth(ground_truth)
    wanted = shown(ranked, truth, arguments.shown)
    cards = write_cards(shards, task, wanted, out / "cards", loaded.recipe.stream.decoder)
    metrics = report(ranked, truth, out, cards=cards, split=split, shown_queries=arguments.shown)
    shown_first = ("ndcg@5", "hit@1", "recall@10") if pools is not None else ("hit@1", "recall@10", "recall@100", "median_rank")
    numbers = ", ".join(f"{name} {metrics[name]:.3f}" for name in shown_first if name in metrics)
    say(f"{task} ({split} split): {numbers}\nreport: {out}/report.html")


def _shards_of(corpus: Corpus, split: str, task: str, loaded: Loaded) -> tuple[ShardSet, Path]:
    """(packed split, ground truth of `task` in it)."""
    shards = ShardSet(corpus.pack(split, loaded.recipe.packing))
    shards.require_domains(*domains_of(task))
    ground_truth = shards.ground_truth(task)
    if ground_truth is None:
        there = ", ".join(shards.manifest["ground_truth"]) or "no task"
        raise ValueError(
            f"{shards.folder}: no ground truth for {task} (it has it for {there}); add it to the corpus (Dataset/README.md) and pack again, "
            "or use pipeline.embed and evaluate.search alone"
        )
    return shards, ground_truth


def _depth(arguments: argparse.Namespace, loaded: Loaded) -> int:
    """How many documents of each query a search keeps."""
    if not loaded.system.scores_pairs:
        return arguments.top_k
    return min(arguments.top_k, arguments.reranked or loaded.recipe.evaluation.reranked)


def _pools_of(shards: ShardSet, task: str, candidates: str, loaded: Loaded) -> Path | None:
    """The file of each query's own candidates, where lists are to hold these alone.

    Raises:
        ValueError: they are asked for, and the split names none.
    """
    pools = shards.pools(task)
    if candidates == "pools" and pools is None:
        raise ValueError(f"--candidates pools: {shards.folder} names no candidates of queries for {task} (kddcup does); give --candidates all")
    return pools if candidates == "pools" or (candidates == "auto" and loaded.recipe.evaluation.pools) else None


def main(argv: list[str] | None = None) -> None:
    parser = CommandParser("evaluate", __doc__)
    tasks = ", ".join(TASKS)
    parser.add_argument("--task", required=True, help=f"what is searched with, 2, what is searched among (the scripts set it): {tasks}")
    parser.add_argument("--checkpoint", required=True, help="run folder (its best checkpoint, else the latest) or one checkpoint folder")
    parser.add_argument("--data", required=True, help="corpus root (its layout is recognised), packed shard set, or its address (s3:// …)")
    parser.add_argument("--out", required=True, help="folder for dumps, ranked lists, metrics.json and report.html")
    parser.add_argument("--split", help="split to evaluate (default: test where there is one, else val)")
    parser.add_argument("--source", help=f"reader of the corpus ({', '.join(READERS)}), where recognition fails")
    parser.add_argument("--shards", help="folder for packed shards (default: OUT/shards)")
    parser.add_argument("--dumps", help="folder for the dumps (default: OUT/dumps); give both tasks the same one to embed once")
    parser.add_argument("--top_k", type=int, default=1000, help="documents kept for each query (default 1000)")
    parser.add_argument(
        "--candidates",
        choices=("auto", "all", "pools"),
        default="auto",
        help="rank all documents, or each query's own candidates alone (KDD Cup); auto = as the recipe says, where the split names some",
    )
    parser.add_argument(
        "--reranked", type=int, help="documents a list whose order the system's own score decides (hsl with max; default: as the recipe says)"
    )
    parser.add_argument("--engine", choices=ENGINES, default="auto", help="what searches; auto = the fastest that is here (default: %(default)s)")
    parser.add_argument(
        "--index", metavar="FOLDER|FACTORY|auto", help="ask an index: its folder, or a kind of FAISS to build in OUT/index (default: none)"
    )
    parser.add_argument("--memory", metavar="SIZE", help="most that --index auto may take, e.g. 8GB (default: half of this machine's)")
    parser.add_argument("--recall", type=float, help=f"share of the exact results that an index built here has to find (default: {Wanted.recall})")
    parser.add_argument("--shown", type=int, default=24, help="queries shown in the report, hits and misses (default 24)")
    add_embedding_arguments(parser)
    add_cache_arguments(parser)
    parser.add_argument("--check", action="store_true", help="look at flags and folders, then stop")
    arguments = parser.parse_args(argv)
    use_cache(arguments)
    domains_of(arguments.task)
    wanted_index(arguments.index, arguments.memory, arguments.recall)
    find_checkpoint(arguments.checkpoint)
    out = Path(arguments.out)
    require_writable(out)
    corpus = open_corpus(arguments.data, source=arguments.source, shards=arguments.shards or out / "shards", bad_items=bad_items_of(arguments))
    split = corpus.evaluation_split(arguments.split)
    if arguments.check:
        return
    loaded = load_checkpoint(arguments.checkpoint, arguments.weights)
    say(f"{arguments.task} on the {split} split of {arguments.data} with {loaded.folder} ({loaded.recipe.name}, step {loaded.state.step})")
    retrieve(loaded, corpus, split, arguments.task, out, arguments)


if __name__ == "__main__":
    run_command(main)
