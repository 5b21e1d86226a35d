"""Evaluate one retrieval task with a checkpoint: pack if needed, embed both domains, search, report.

    bash video2goods_evaluate.sh --checkpoint RUN --data CORPUS --out OUT
    bash launch/evaluate.sh query2goods --checkpoint RUN --data CORPUS --out OUT
    torchrun --nproc_per_node 8 -m pipeline.retrieve --task video2goods --checkpoint RUN --data CORPUS --out OUT

OUT/metrics.json and report.html are what to look at; ranked.h5 and run.trec hold the ranked lists, dumps/ the embeddings. Every stage can
be run by itself: pipeline.pack, pipeline.embed, evaluate.search, pipeline.cards, evaluate.report. Killed and started again, it goes on.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch

from evaluate.approximate.given import wanted_index
from evaluate.dump import Dump
from evaluate.engines.choice import ENGINES
from evaluate.judging.ground_truth import read_ground_truth
from evaluate.ranked import Ranked
from evaluate.ranks import JobRanks, Ranks
from evaluate.report import report, shown
from evaluate.search import domains_of, search
from launch import distributed
from launch.command import CommandParser, run_command
from launch.logs import is_main, say
from launch.lost_rank import ending_when_lost
from pipeline.cards import write_cards
from pipeline.checkpoint import Loaded, find_checkpoint, load_checkpoint
from pipeline.corpus import Corpus, open_corpus
from pipeline.embed import add_embedding_arguments, embed_checkpoint, start_embedding
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
                )
            # A search is the same with any number of threads, embedding is not. Each rank looks at its slice of the documents.
            torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0))))
            ranks = JobRanks() if distributed.world_size() > 1 else Ranks()
            queries, docs = map(Dump, sides)
            index = wanted_index(arguments.index, arguments.memory, arguments.recall)
            found = search(queries, docs, out, task, arguments.top_k, engine=arguments.engine, device=arguments.device, ranks=ranks, index=index)
    finally:
        distributed.stop()
    if not is_main():
        return
    ranked = Ranked(found)
    truth = read_ground_truth(ground_truth)
    wanted = shown(ranked, truth, arguments.shown)
    cards = write_cards(shards, task, wanted, out / "cards", loaded.recipe.stream.decoder)
    metrics = report(ranked, truth, out, cards=cards, split=split, shown_queries=arguments.shown)
    numbers = ", ".join(f"{name} {metrics[name]:.3f}" for name in ("hit@1", "recall@10", "recall@100", "median_rank") if name in metrics)
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


def main(argv: list[str] | None = None) -> None:
    parser = CommandParser("evaluate", __doc__)
    tasks = ", ".join(TASKS)
    parser.add_argument("--task", required=True, help=f"what is searched with, 2, what is searched among (the scripts set it): {tasks}")
    parser.add_argument("--checkpoint", required=True, help="run folder (its best checkpoint, else the latest) or one checkpoint folder")
    parser.add_argument("--data", required=True, help="corpus root (its layout is recognised) or packed shard set")
    parser.add_argument("--out", required=True, help="folder for dumps, ranked lists, metrics.json and report.html")
    parser.add_argument("--split", help="split to evaluate (default: test where there is one, else val)")
    parser.add_argument("--source", help=f"reader of the corpus ({', '.join(READERS)}), where recognition fails")
    parser.add_argument("--shards", help="folder for packed shards (default: OUT/shards)")
    parser.add_argument("--dumps", help="folder for the dumps (default: OUT/dumps); give both tasks the same one to embed once")
    parser.add_argument("--top_k", type=int, default=1000, help="documents kept for each query (default 1000)")
    parser.add_argument("--engine", choices=ENGINES, default="auto", help="what searches; auto = the fastest that is here (default: %(default)s)")
    parser.add_argument(
        "--index", metavar="FOLDER|FACTORY|auto", help="ask an index: its folder, or a kind of FAISS to build in OUT/index (default: none)"
    )
    parser.add_argument("--memory", default="", metavar="SIZE", help="most that --index auto may take, e.g. 8GB (default: half of this machine's)")
    parser.add_argument(
        "--recall", type=float, default=0.95, help="share of the exact results that an index built here has to find (default: %(default)s)"
    )
    parser.add_argument("--shown", type=int, default=24, help="queries shown in the report, hits and misses (default 24)")
    add_embedding_arguments(parser)
    parser.add_argument("--check", action="store_true", help="look at flags and folders, then stop")
    arguments = parser.parse_args(argv)
    domains_of(arguments.task)
    wanted_index(arguments.index, arguments.memory, arguments.recall)
    find_checkpoint(arguments.checkpoint)
    out = Path(arguments.out)
    corpus = open_corpus(arguments.data, source=arguments.source, shards=arguments.shards or out / "shards")
    split = corpus.evaluation_split(arguments.split)
    if arguments.check:
        return
    loaded = load_checkpoint(arguments.checkpoint, arguments.weights)
    say(f"{arguments.task} on the {split} split of {arguments.data} with {loaded.folder} ({loaded.recipe.name}, step {loaded.state.step})")
    retrieve(loaded, corpus, split, arguments.task, out, arguments)


if __name__ == "__main__":
    run_command(main)
