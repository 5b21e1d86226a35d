"""Several packed corpora trained on as one, each with a weight.

    --train_corpora "/data/real20m=0.7,s3://bucket/mvs=0.3"
    train_corpora: [{shards: /data/real20m, weight: 0.7}, {shards: "pipe:aws s3 cp s3://bucket/mvs/train/{} -", weight: 0.3}]        in a YAML file

Weights are shares of the batches, of any sum. `pipeline.order.mixture` says how turns are dealt.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.item import Query
from pipeline.shards.shard_set import Shard, ShardSet, open_shards


class Mixture(ShardSet):
    """The parts as one shard set: their shards one after the other, their queries numbered on.

    A query of one corpus is another than that of the same words in the next one; a batch holds one corpus, so it only matters to memories of
    earlier batches. What a split has beside its shards (folder, vocabulary) is that of the heaviest part, the first of equals.

    Args:
        parts: packed splits; each is opened anew with its place among all queries.
        weights: of the parts, above 0.
    """

    def __init__(self, parts: Sequence[ShardSet], weights: Sequence[float]) -> None:
        self.weights = tuple(weights)
        numbers = [int(part.manifest["queries"]) for part in parts]
        self.parts = tuple(part.numbered_from(first) for part, first in zip(parts, itertools.accumulate(numbers, initial=0)))
        self.first_shards = tuple(itertools.accumulate((len(part.shards) for part in parts[:-1]), initial=0))
        self._main = self.parts[max(range(len(parts)), key=lambda number: (weights[number], -number))]
        self.folder, self.split, self.source = self._main.folder, self._main.split, self._main.source
        self.shards = tuple(info for part in parts for info in part.shards)
        domains = sorted({domain for part in parts for domain in part.counts})
        self.counts = {domain: sum(part.counts.get(domain, 0) for part in parts) for domain in domains}
        self.manifest = {**self._main.manifest, "counts": self.counts, "queries": sum(numbers)}
        self.first_query = 0

    def shard(self, number: int) -> Shard:
        """The shard at `number` in `shards`; those used last of its part stay open."""
        part, own = self._place(number)
        return self.parts[part].shard(own)

    @property
    def cache_bytes(self) -> int | None:
        """Most that shards of the parts that are elsewhere may take; None where all parts are here. They share a cache."""
        return max((part.cache_bytes for part in self.parts if part.cache_bytes is not None), default=None)

    def tar(self, number: int) -> Path:
        """Where the tar of the shard at `number` is, or will be once it is fetched."""
        part, own = self._place(number)
        return self.parts[part].tar(own)

    def is_here(self, number: int) -> bool:
        """True where that tar is read in its own place."""
        part, own = self._place(number)
        return self.parts[part].is_here(own)

    def mark_damaged(self, number: int, damage: str) -> None:
        """Let nothing be read of the shard at `number`."""
        part, own = self._place(number)
        self.parts[part].mark_damaged(own, damage)

    def ask(self, numbers: Sequence[int]) -> None:
        """Have shards that will soon be read fetched beside the work, part by part; returns at once."""
        for number in numbers:
            part, own = self._place(number)
            self.parts[part].ask([own])

    def queries(self) -> list[Query]:
        """All queries of all parts; a query's id is its place in the list."""
        return [Query(query.id + part.first_query, query.words, query.cluster) for part in self.parts for query in part.queries()]

    def ground_truth(self, task: str) -> Path | None:
        """None: a mixture is trained on, not searched."""
        return None

    def pools(self, task: str) -> Path | None:
        """None: a mixture is trained on, not searched."""
        return None

    def tokenizer(self) -> Path | None:
        """The vocabulary of the heaviest part."""
        return self._main.tokenizer()

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def _place(self, number: int) -> tuple[int, int]:
        part = bisect.bisect_right(self.first_shards, number) - 1
        return part, number - self.first_shards[part]


def mixture_of(corpora: Mapping[str, float]) -> Mixture:
    """The train splits of packed corpora, in the order of their addresses, so that the order in which they are written does not matter.

    Raises ValueError where one is no packed corpus or has no train split.
    """
    addresses = sorted(corpora)
    return Mixture([open_shards(address, "train") for address in addresses], [corpora[address] for address in addresses])


def heaviest(corpora: Mapping[str, float]) -> str:
    """The address of the heaviest corpus, the first by name of equals."""
    return min(corpora, key=lambda address: (-corpora[address], address))


def read_corpora(given: str | Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Address -> weight of what --train_corpora says, "ADDRESS=WEIGHT,…" or a list of {shards, weight}.

    Raises ValueError where a weight is missing or not above 0, and where an address comes twice.
    """
    if isinstance(given, str):
        pairs: list[tuple[Any, Any]] = [(address, weight) for address, _, weight in (entry.strip().rpartition("=") for entry in _entries(given))]
    else:
        pairs = [(entry.get("shards"), entry.get("weight")) for entry in given]
    corpora: dict[str, float] = {}
    for address, text in pairs:
        try:
            weight = float(text)
        except (TypeError, ValueError):
            weight = math.nan
        if not address or not 0 < weight < math.inf:
            shown = f"{address}={text}" if address else str(text)
            raise ValueError(
                f'--train_corpora {shown!r}: write ADDRESS=WEIGHT with a weight above 0, e.g. "/data/a=0.7,/data/b=0.3"; where an address has a '
                "comma, a list of {shards, weight} in a YAML file"
            )
        if address in corpora:
            raise ValueError(f"--train_corpora {address}: comes twice; add its weights up")
        corpora[str(address)] = weight
    return corpora


def _entries(text: str) -> list[str]:
    """`text` cut at its commas, but not at those within braces."""
    entries, depth = [""], 0
    for letter in text:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            entries.append("")
        else:
            entries[-1] += letter
    return entries
