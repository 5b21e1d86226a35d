"""An index on disk: a folder that is there whole or not at all, and is searched only beside the dumps that it was made from.

INDEX/index.faiss    FAISS's file; row i is row i of the dumps, one after another
INDEX/card.json      what it is and how good (`card.py`); card.md says it to people
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from evaluate.approximate.card import Card, read_card, sources_of, write_card
from evaluate.approximate.faiss_index import read_index, write_index
from evaluate.approximate.search import IndexSearch
from evaluate.joined import Joined
from evaluate.vectors import UNKNOWN_CHECKPOINT
from launch.files import checksum, require_writable, whole_folder

INDEX_FILE = "index.faiss"
CHECKED_BYTES = 1 << 28
"""A mapped file up to this size is held against its card's checksum, within a second; to read a larger one would undo the mapping."""


def prepare_folder(folder: str | Path) -> None:
    """Look, before the work, whether an index can be written to `folder`, and remove what builds of it that were killed have left beside it.

    Raises ValueError where it cannot be written, and where something that is no index would be replaced.
    """
    folder = Path(folder)
    if folder.exists() and not (folder / "card.json").is_file() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ValueError(f"--out {folder}: is there and is no index, which would replace it; give a folder of its own")
    require_writable(folder.parent, folder)
    for left in folder.parent.iterdir():
        named = re.fullmatch(rf"\.{re.escape(folder.name)}\.(\d+)\.tmp", left.name)
        if named is not None and not _runs(int(named[1])):
            shutil.rmtree(left, ignore_errors=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def write_folder(folder: str | Path, index: Any, card: Card) -> Card:
    """Write index and card to `folder`, whole or not at all; returns the card with the file's size and checksum."""
    with whole_folder(folder) as temporary:
        file = temporary / INDEX_FILE
        write_index(index, file)
        card = replace(card, bytes=file.stat().st_size, checksum=checksum(file))
        write_card(temporary, card)
    return card


def open_index(folder: str | Path, docs: Joined) -> tuple[IndexSearch, Card]:
    """The index in `folder`, mapped, ready to search, and its card.

    Raises ValueError where it is none, is cut short or damaged, or was not made from `docs`.
    """
    card = check_folder(folder, docs)
    return IndexSearch(load_index(folder, card), docs, card.setting, f"{folder} ({card.factory})"), card


def load_index(folder: str | Path, card: Card, mapped: bool = True) -> Any:
    """FAISS's index in `folder`, whose card is `card`; `mapped` as `read_index` has it.

    Raises ValueError where the file is not the one that was written. Of a mapped file beyond `CHECKED_BYTES` only its head is looked at:
    `IndexSearch` refuses rows that it does not have, other damage goes unseen.
    """
    file = Path(folder) / INDEX_FILE
    if (not mapped or card.bytes <= CHECKED_BYTES) and checksum(file) != card.checksum:
        raise ValueError(f"{file}: its SHA-256 is not the one on its card, so it is damaged; build the index again")
    index = read_index(file, mapped)
    if (index.ntotal, index.d) != (card.number, card.dim):
        raise ValueError(
            f"{file}: {index.ntotal} vectors of width {index.d}, its card says {card.number} of {card.dim}; it is damaged: build the index again"
        )
    return index


def check_folder(folder: str | Path, docs: Joined) -> Card:
    """The card of the index in `folder`, held against its file and `docs`: raises ValueError as `open_index`."""
    card = read_card(folder)
    file = Path(folder) / INDEX_FILE
    size = file.stat().st_size if file.is_file() else 0
    if size != card.bytes:
        raise ValueError(f"{file}: {size} bytes, its card says {card.bytes}; build the index again")
    if card.dim != docs.dim:
        raise ValueError(f"{folder} has vectors of width {card.dim}, {docs.name} of width {docs.dim}; build an index of this dump")
    if UNKNOWN_CHECKPOINT not in (card.checkpoint, docs.checkpoint) and card.checkpoint != docs.checkpoint:
        raise ValueError(
            f"{folder} was made from embeddings of checkpoint {card.checkpoint}, {docs.name} is of {docs.checkpoint}; build an index of this dump"
        )
    _check_sources(folder, card, docs)
    return card


def _check_sources(folder: str | Path, card: Card, docs: Joined) -> None:
    theirs, ours = card.sources, sources_of(docs)
    for its, own in zip(theirs, ours):
        if its["shards"] != own["shards"]:
            differing = next((shard["name"] for shard in own["shards"] if shard not in its["shards"]), "fewer shards")
            raise ValueError(
                f"{folder} was made from {its['dump']}, which {own['dump']} is not ({differing} differs); "
                f"{'build the index again' if len(theirs) == 1 else 'give --docs in the order of its card, or build it again'}"
            )
    if len(ours) > len(theirs):
        raise ValueError(f"{folder} does not hold {ours[len(theirs)]['dump']}; add it: python -m evaluate.build_index --add")
    if len(ours) < len(theirs):
        raise ValueError(f"{folder} holds {theirs[len(ours)]['dump']}, too; give --docs all its dumps, in the order of its card")
