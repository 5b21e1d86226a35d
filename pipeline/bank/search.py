"""The nearest clips of each clip, among those whose popularity may be known, and never the clip itself.

Legend: Q clips looked up, N clips of the bank, K neighbours kept.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from evaluate.dump import Dump, DumpSide
from evaluate.embeddings import ANY_ROLE
from pipeline.bank.lists import NEIGHBOUR, NOBODY, first_rows
from pipeline.popularity import popularity_in
from pipeline.shards import ShardSet


def nearest(queries: np.ndarray, query_ids: np.ndarray, bank: np.ndarray, bank_ids: np.ndarray, kept: int) -> tuple[np.ndarray, np.ndarray]:
    """(scores float32, rows int64), both [Q, K'], of the best `kept` rows of the bank by inner product, none with the id that asks; -inf and -1 where
    there are fewer; K' is `kept`, or N where that is less.

    Args:
        queries, bank: [Q, D], [N, D].
        query_ids, bank_ids: [Q], [N]; an id may stand in the bank more than once.
    """
    from evaluate.engines.faiss_flat import search_arrays  # here: FAISS is loaded for a search alone

    _, counts = np.unique(bank_ids, return_counts=True)
    scores, rows = search_arrays(queries, bank, min(kept + int(counts.max()), len(bank)))
    own = bank_ids[rows] == query_ids[:, None]
    order = np.argsort(own, axis=1, kind="stable")[:, :kept]
    own, rows, scores = (np.take_along_axis(values, order, axis=1) for values in (own, rows, scores))
    return np.where(own, -np.inf, scores).astype(np.float32), np.where(own, -1, rows)


def neighbour_rows(shards: ShardSet, domain: str, own: Dump, searched: Mapping[str, tuple[ShardSet, Dump]], kept: int) -> np.ndarray:
    """NEIGHBOUR [N, K] of all clips of a split, in the order of its shards; a clip without a vector has no neighbours.

    Args:
        own: the dump of the split's vectors.
        searched: for each split searched its shards and its dump.

    Raises:
        ValueError: a clip of the bank has no popularity.
    """
    sides = {split: dump.side(ANY_ROLE, domain) for split, (_, dump) in searched.items()}
    places = np.concatenate([_places(number, searched[split][0], domain, side) for number, (split, side) in enumerate(sides.items())])
    vectors, ids = (np.concatenate(parts) for parts in zip(*((_vectors(side), side.ids()) for side in sides.values())))
    asking = own.side(ANY_ROLE, domain)
    scores, rows = nearest(_vectors(asking), asking.ids(), vectors, ids, kept)
    found = places[rows]
    found["similarity"] = scores
    found[rows < 0] = _nobody()
    firsts = first_rows(shards, domain)
    lists = np.full((sum(shards.shards[number].samples for number in shards.of_domain(domain)), kept), _nobody())
    asked = _places(0, shards, domain, asking, labelled=False)
    starts = np.array([firsts.get(info.name, 0) for info in shards.shards])
    lists[starts[asked["shard"]] + asked["row"], : found.shape[1]] = found
    return lists


def _places(number: int, shards: ShardSet, domain: str, side: DumpSide, labelled: bool = True) -> np.ndarray:
    """NEIGHBOUR [N]: where each row of a dump lies in its shards, and its popularity."""
    found = np.zeros(len(side), NEIGHBOUR)
    found["split"] = number
    if labelled:
        labels = popularity_in(side)
        if np.isnan(labels).any():
            row = int(np.flatnonzero(np.isnan(labels))[0])
            raise ValueError(
                f"{shards.folder}: {np.isnan(labels).sum()} of {len(labels)} {domain} items have no popularity and cannot be neighbours, the first "
                f"is {side.ids()[row].decode()!r}; give them a label popularity or leave them out of the corpus"
            )
        found["label"] = labels
    places = {(shards.shards[shard].name, id): (shard, row) for shard in shards.of_domain(domain) for row, id in enumerate(shards.shard(shard).ids)}
    first = 0
    for file, ids in zip(side.shards, side.id_blocks()):
        of_file = [places[file.path.stem, id.decode()] for id in ids]
        found["shard"][first : first + len(ids)], found["row"][first : first + len(ids)] = np.array(of_file, np.int32).reshape(-1, 2).T
        first += len(ids)
    return found


def _nobody() -> np.ndarray:
    return np.array((NOBODY, 0, 0, 0.0, 0.0), NEIGHBOUR)


def _vectors(side: DumpSide) -> np.ndarray:
    return np.concatenate([np.zeros((0, side.dim), np.float32), *(block for _, block in side.blocks())])
