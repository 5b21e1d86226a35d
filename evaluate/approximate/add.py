"""Adding dumps to an index: their rows follow those that are there, under the lists that the first ones trained."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from evaluate.approximate.build import Built, Wanted, add_blocks, measured, say_card
from evaluate.approximate.card import Card, read_card, sources_of
from evaluate.approximate.folder import check_folder, load_index, prepare_folder, write_folder
from evaluate.approximate.held_out import hold_out, load_torch_first
from evaluate.dump import Dump
from evaluate.joined import Joined
from evaluate.vectors import Vectors
from launch.logs import say


def add(
    folder: str | Path,
    old: Sequence[Dump],
    new: Sequence[Dump],
    roles: tuple[str, ...],
    domain: str,
    queries: Vectors | None = None,
    held_out: int = 1000,
    quiet: bool = False,
) -> Card:
    """Add the dumps `new` to the index in `folder`, which was made from `old`; returns its new card.

    It is tuned and measured again, with queries and exact results among all documents, to the recall that its card wants; where it is no
    longer reached that is said. The index is held in memory, and the folder is exchanged when all is done. Done again, it does nothing.

    Raises ValueError where the index is not of `old` or is damaged, and where a dump or an item's id is there already.
    """
    everything = Joined([*old, *new], roles, domain)
    card = read_card(folder)
    # Where a dump lies does not matter, only what it is.
    if [source["shards"] for source in card.sources] == [source["shards"] for source in sources_of(everything)]:
        say(f"{folder} holds {everything.name} already")
        return card
    card = check_folder(folder, Joined(old, roles, domain))
    added = Joined(new, roles, domain)
    if not len(added):
        raise ValueError(f"{added.name} holds no documents to add")
    everything.require_distinct()
    prepare_folder(folder)
    load_torch_first(everything, held_out)
    index = load_index(folder, card, mapped=False)
    start = time.perf_counter()
    add_blocks(index, card.factory, added, quiet)
    built = Built(index, card.factory, card.why, card.rerank_factor > 0, card.trained_on, time.perf_counter() - start)
    wanted = Wanted(card.asked, recall=card.wanted_recall, top_k=card.recall_at, held_out=held_out, seed=card.seed)
    asking = hold_out(everything, queries, held_out, card.recall_at, card.seed, quiet)
    again = measured(built, everything, asking, wanted, queries)
    again = write_folder(folder, index, again)
    if not quiet:
        say_card(folder, again)
    if not again.reached:
        say(f"{folder}: what was added is unlike what trained its lists; build the index again from all dumps for recall {again.wanted_recall:g}")
    return again
