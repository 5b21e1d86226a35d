"""What --index of a search names: the folder of an index, or a kind (auto, or a factory string of FAISS) that is built first."""

from __future__ import annotations

from pathlib import Path

from evaluate.approximate.build import Wanted, build
from evaluate.approximate.card import read_card
from evaluate.approximate.choose import check_recall
from evaluate.approximate.folder import check_folder
from evaluate.joined import Joined
from evaluate.vectors import Vectors
from launch.logs import say
from launch.sizes import bytes_of

FEW_QUERIES = 100


def wanted_index(index: str | None, memory: str | None = None, recall: float | None = None) -> Wanted | None:
    """What --index, --memory and --recall ask for (None: not given), None where no index is; looked at before any work is done.

    Raises ValueError for a folder without an index, for a size or a recall that is none, and where these two are given and nothing is built.
    """
    if memory is not None:
        bytes_of(memory, "--memory")
    if recall is not None:
        check_recall(recall)
    given = " ".join(flag for flag, value in (("--memory", memory), ("--recall", recall)) if value is not None)
    if not index:
        if given:
            raise ValueError(f"{given} without --index: every document is searched and all is found; give --index auto, too, or leave it out")
        return None
    if Path(index).is_dir():
        card = read_card(index)
        if given:
            raise ValueError(f"{given} with --index {index}, which is built already ({card}, recall {card.recall:.4f}); leave it out, or give a kind")
    return Wanted(index, memory or Wanted.memory, Wanted.recall if recall is None else recall)


def index_place(wanted: Wanted, out: str | Path) -> Path:
    """The folder that `index_folder` gives: `wanted.index` itself, or OUT/index."""
    return Path(wanted.index) if Path(wanted.index).is_dir() else Path(out) / "index"


def index_folder(wanted: Wanted, docs: Joined, queries: Vectors, out: str | Path, quiet: bool = False) -> Path:
    """The folder of the index to search `docs` by: `wanted.index` itself, or OUT/index, where one of that kind is built unless it is there.

    Args:
        queries: what will be searched with; some of them, drawn, are what the index is tuned on and measured with. Where they are fewer
            than a hundred, documents are.
        out: folder of the search's results.

    Raises ValueError for an index that is none or is not of `docs`, and where one cannot be built.
    """
    folder = index_place(wanted, out)
    if Path(wanted.index).is_dir():
        check_folder(folder, docs)
        return folder
    if _is_that(folder, wanted, docs):
        if not quiet:
            say(f"{folder} is there already")
        return folder
    build(docs, folder, wanted, queries if len(queries) >= FEW_QUERIES else None, quiet)
    return folder


def _is_that(folder: Path, wanted: Wanted, docs: Joined) -> bool:
    """Whether the index in `folder` is one of `docs` that was built for `wanted`."""
    if not (folder / "card.json").is_file():
        return False
    try:
        card = check_folder(folder, docs)
    except ValueError:
        return False
    there = (card.asked, card.wanted_recall, card.recall_at, card.seed)
    return there == (wanted.index, wanted.recall, wanted.top_k, wanted.seed) and card.bytes <= wanted.bytes()
