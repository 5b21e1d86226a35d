"""The end of packing a split, by one process: rejected.jsonl, queries, ground truth, vocabulary, and the manifest last."""

from __future__ import annotations

import itertools
import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from launch.files import whole_file, write_json
from launch.logs import say
from pipeline.concepts.counts import count_concepts
from pipeline.packing.listing import Listing
from pipeline.packing.vocabulary import train_vocabulary
from pipeline.packing.writer import is_noted, read_note
from pipeline.shards import FORMAT_VERSION, MANIFEST, WORK_FOLDER, Shard, ShardInfo
from pipeline.sources import GALLERIES, TASKS, Rejected
from pipeline.words import write_word_counts

MOST_TEXTS = 1_000_000
"""Texts that a vocabulary is trained on, at most: every n-th query and sample."""


@dataclass(frozen=True)
class Outcome:
    """What became of a split: its shards and how much was rejected, with the first such item as an example."""

    shards: tuple[ShardInfo, ...]
    rejected: int
    example: Rejected | None


def finish(folder: Path, split: str, source: str, listing: Listing, inputs: dict[str, Any], *, list_rejected: bool, vocab_size: int) -> None:
    """Make a finished split of `folder`, whose shards are all complete.

    Args:
        list_rejected: whether what could not be listed belongs to this split (it is told once, where a listing gives two splits).
        vocab_size: entries of the WordPiece vocabulary; 0 = none.

    Raises ValueError where every item was rejected.
    """
    outcome = write_rejected(folder, split, listing, list_rejected)
    if not outcome.shards:
        example = f"; the first: {shown(outcome.example)}" if outcome.example else ""
        raise ValueError(f"{folder}: nothing to pack, {outcome.rejected} of {outcome.rejected} items were rejected (see rejected.jsonl){example}")
    queries = _write_queries(folder, split, listing)
    kinds = _write_ground_truth(folder, split, listing)
    pools = [task for task in TASKS if _write_pairs(folder / "pools" / f"{task}.tsv", listing.pools(split, task))]
    typed = 0 if listing.queries_are_links() else queries
    entries = train_vocabulary(lambda: _texts(folder, outcome.shards, typed), vocab_size, folder / "tokenizer") if vocab_size else 0
    if vocab_size:
        write_word_counts(_texts(folder, outcome.shards, typed, all_queries=True), folder)
    counts: Counter[str] = Counter()
    for info in outcome.shards:
        counts[info.domain] += info.samples
    if vocab_size and counts["text"]:
        captions = tuple(info for info in outcome.shards if info.domain == "text")
        count_concepts(lambda: _texts(folder, captions, 0)).save(folder)
    manifest = {
        "format_version": FORMAT_VERSION,
        "source": source,
        "split": split,
        "counts": dict(sorted(counts.items())),
        "rejected": outcome.rejected,
        "queries": queries,
        "ground_truth": kinds,
        "pools": pools,
        "vocabulary": entries,
        "inputs": inputs,
        "shards": [asdict(info) for info in outcome.shards],
    }
    write_json(folder / MANIFEST, manifest)
    shutil.rmtree(folder / WORK_FOLDER)
    say(f"{folder}: {summary(manifest)}")
    if outcome.example:
        say(f"{folder}: {outcome.rejected} rejected, listed in rejected.jsonl; the first: {shown(outcome.example)}")
    missing = [domain for domain in GALLERIES if not counts[domain]]
    if len(missing) > 1 and not (counts["image"] and counts["text"]):
        say(f"{folder}: no items of domain {' or '.join(missing)}; training needs goods and video, searching one domain with another needs two")


def summary(manifest: dict[str, Any]) -> str:
    """What a manifest says, in a line."""
    counts = ", ".join(f"{count:,} {domain}" for domain, count in manifest["counts"].items() if domain != "query")
    queries = manifest["counts"].get("query", manifest["queries"])
    return f"{counts}, {queries:,} queries in {len(manifest['shards']):,} shards"


def shown(rejected: Rejected) -> str:
    """What was rejected and why, in a line."""
    text = f"{rejected.domain} {rejected.id!r}, {rejected.file}: {rejected.reason}" if rejected.id else f"{rejected.file}: {rejected.reason}"
    return text if len(text) <= 300 else text[:300] + "…"


def write_rejected(folder: Path, split: str, listing: Listing, list_rejected: bool) -> Outcome:
    """Write rejected.jsonl of the shards that are complete; `list_rejected` as in `finish`."""
    shards: list[ShardInfo] = []

    def all_rejected() -> Iterator[Rejected]:
        if list_rejected:
            yield from listing.rejected()
        for listed in listing.shards(split):
            if not is_noted(folder, listed.name):
                continue
            note = read_note(folder, listed.name)
            if note.info.samples:
                shards.append(note.info)
            yield from note.rejected

    count, example = 0, None
    with whole_file(folder / "rejected.jsonl") as file:
        for rejected in all_rejected():
            count, example = count + 1, example or rejected
            file.write(json.dumps(asdict(rejected), ensure_ascii=False) + "\n")
    return Outcome(tuple(shards), count, example)


def _write_queries(folder: Path, split: str, listing: Listing) -> int:
    count = 0
    with whole_file(folder / "queries.jsonl") as file:
        for query in listing.queries(split):
            file.write(json.dumps({"id": query.id, "words": query.words, "cluster": list(query.cluster)}, ensure_ascii=False) + "\n")
            count += 1
    return count


def _write_ground_truth(folder: Path, split: str, listing: Listing) -> dict[str, str]:
    """Write ground_truth/<task>.tsv and return task -> kind. What a corpus' own file says is kept whole; derived pairs leave out
    items that were rejected."""
    kinds = listing.truth_kinds(split)
    with closing(_rejected_items(folder, split, listing)) as rejected:
        for task, kind in kinds.items():
            searched_with, searched_among = TASKS[task]
            with whole_file(folder / "ground_truth" / f"{task}.tsv") as file:
                for query, pairs in itertools.groupby(listing.truth(split, task), key=itemgetter(0)):
                    documents = [document for _, document in pairs]
                    if kind != "file":
                        documents = [document for document in documents if not _holds(rejected, searched_among, document)]
                    if documents and (kind == "file" or not _holds(rejected, searched_with, query)):
                        file.write(f"{query}\t{','.join(documents)}\n")
    return kinds


def _write_pairs(path: Path, lists: Iterator[tuple[str, list[str]]]) -> bool:
    """Write `id TAB ids` lines, where there are any; whether there were."""
    first = next(lists, None)
    if first is None:
        return False
    with whole_file(path) as file:
        file.writelines(f"{query}\t{','.join(documents)}\n" for query, documents in itertools.chain([first], lists))
    return True


def _rejected_items(folder: Path, split: str, listing: Listing) -> sqlite3.Connection:
    """The items that the packing processes rejected, in a temporary file, so that memory stays flat."""
    database = sqlite3.connect("")
    database.execute("CREATE TABLE rejected (domain TEXT, id TEXT, PRIMARY KEY (domain, id)) WITHOUT ROWID")
    for listed in listing.shards(split):
        rows = ((rejected.domain, rejected.id) for rejected in read_note(folder, listed.name).rejected)
        database.executemany("INSERT OR IGNORE INTO rejected VALUES (?, ?)", rows)
    return database


def _holds(rejected: sqlite3.Connection, domain: str, id: str) -> bool:
    return rejected.execute("SELECT 1 FROM rejected WHERE domain = ? AND id = ?", (domain, id)).fetchone() is not None


def _texts(folder: Path, shards: Sequence[ShardInfo], queries: int, all_queries: bool = False) -> Iterator[str]:
    """Words to train a vocabulary on: every n-th of the first `queries`, or all of those, and the words of every n-th sample; n is so large that
    `MOST_TEXTS` would do."""
    step = -(-(queries + sum(info.samples for info in shards)) // MOST_TEXTS)
    with open(folder / "queries.jsonl", encoding="utf-8") as lines:
        for line in itertools.islice(lines, 0, queries, 1 if all_queries else step):
            yield json.loads(line)["words"]
    for info in shards:
        shard = Shard(folder / f"{info.name}.tar", info)
        for row in range(0, len(shard), step):
            yield from shard.sample(row).words().values()
