"""The cluster policy: batches of hard negatives, whose queries are of one cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from launch.seeds import generator
from pipeline.item import Query
from pipeline.order.order import Draw
from pipeline.order.published import PublishedOrder, draws
from pipeline.recipe import Stream
from pipeline.shards import ShardSet


class ClusterOrder(PublishedOrder):
    """QCD's batches of hard negatives: all queries of a batch are of one cluster, all its documents of one domain.

    Queries, sides and documents of an epoch are those that the published policy draws. Which of them make up a batch (ours): on each side
    the queries of one cluster, in random order, are cut into batches. What is left over of each cluster, less than a batch, comes together
    in the order of the clusters' paths, so that neighbours are siblings, then come the queries without a cluster; these are cut into
    batches too, and the last one is filled up from the side's next shuffle. All batches are then shuffled. So every query is seen
    once, and every batch is of one cluster but those of what was left over.

    A cluster is known by its path, the ids from the coarsest level down to `cluster_level` (0 as released). Queries whose path ends
    before that level make up a cluster of their own. Beside the entries of PublishedOrder, 4 bytes a query are held.

    Raises:
        ValueError: batches of mixed domains are asked for, a level below 0, or no query has a cluster.
    """

    def __init__(self, shards: ShardSet, settings: Stream, seed: int) -> None:
        if settings.domains == "mixed":
            raise ValueError("--stream.policy cluster makes batches of one domain, --stream.domains is mixed; give --stream.domains single")
        if settings.cluster_level < 0:
            raise ValueError(f"--stream.cluster_level {settings.cluster_level}: levels count from 0, the coarsest")
        super().__init__(shards, settings, seed)
        self._cluster, self._clusters = _numbered(shards.queries(), settings.cluster_level)
        if (self._cluster[self._queries] == self._clusters).all():
            raise ValueError(
                f"{shards.folder}: none of its {len(self._queries)} queries has a cluster, which --stream.policy cluster needs; pack the corpus "
                "with train_file/cluster.txt, or with `cluster` in a catalogue's queries, or give --stream.policy published"
            )

    def _documents(self, epoch: int, side: str, skip: int) -> Iterator[Draw]:
        drawn = self._drawn(epoch, side, 0)
        cluster = self._cluster[drawn["query"]]
        by_cluster = np.argsort(cluster, kind="stable")
        found, first, counts = np.unique(cluster[by_cluster], return_index=True, return_counts=True)
        full = np.where(found == self._clusters, 0, counts // self._size * self._size)
        in_full = np.arange(len(drawn)) - np.repeat(first, counts) < np.repeat(full, counts)
        parts = [drawn[by_cluster[in_full]], drawn[by_cluster[~in_full]]]
        lacking, shuffle = -len(drawn) % self._size, 1
        while lacking:
            parts.append(self._drawn(epoch, side, shuffle)[:lacking])
            lacking, shuffle = lacking - len(parts[-1]), shuffle + 1
        batches = np.concatenate(parts).reshape(-1, self._size)
        order = generator(self._seed, "batches", epoch, side).permutation(len(batches))
        return draws(batches[order].reshape(-1)[skip:])


def _numbered(queries: Iterable[Query], level: int) -> tuple[np.ndarray, int]:
    """The number of each query's cluster, int32 [queries], and how many clusters there are, which is the number of those without one.

    Clusters are numbered in the order of their paths, parents before their children.
    """
    known: dict[tuple[int, ...], int] = {(): 0}
    found = np.fromiter((known.setdefault(query.cluster[: level + 1], len(known)) for query in queries), dtype=np.int32)
    numbers = np.empty(len(known), dtype=np.int32)
    for number, path in enumerate(sorted(known, key=lambda path: (not path, path))):
        numbers[known[path]] = number
    return numbers[found], len(known) - 1
