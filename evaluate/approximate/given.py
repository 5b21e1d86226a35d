"""What --index of a search names: the folder of an index, or a kind (auto, or a factory string of FAISS) that is built first."""

from __future__ import annotations

from pathlib import Path

from evaluate.approximate.build import Wanted, build
from evaluate.approximate.card import read_card
from evaluate.approximate.choose import check_recall
from evaluate.approximate.folder import check_folder
from evaluate.joined import Joined
from evaluate.ranks import in_a_job
from evaluate.vectors import Vectors
from launch.logs import say

FEW_QUERIES = 100


def wanted_index(index: str | None, memory: str, recall: float) -> Wanted | None:
    """What --index, --memory and --recall ask for, None where no index is; looked at before any work is done.

    Raises ValueError for a folder without an index, for a size or a recall that is none, and in a job for an index that is yet to be built.
    """
    if not index:
        return None
    wanted = Wanted(index, memory, recall)
    if Path(index).is_dir():
        read_card(index)
    else:
        check_recall(recall)
        wanted.bytes()
        if in_a_job():
            raise ValueError(f"--index {index}: an index is built by one process; build it with evaluate.build_index and give its folder")
    return wanted


def index_folder(wanted: Wanted, docs: Joined, queries: Vectors, out: str | Path, quiet: bool = False) -> Path:
    """The folder of the index to search `docs` by: `wanted.index` itself, or OUT/index, where one of that kind is built unless it is there.

    Args:
        queries: what will be searched with; some of them, drawn, are what the index is tuned on and measured with. Where they are fewer
            than a hundred, documents are.
        out: folder of the search's results.

    Raises ValueError for an index that is none or is not of `docs`, and where one cannot be built.
    """
    given = Path(wanted.index)
    if given.is_dir():
        check_folder(given, docs)
        return given
    folder = Path(out) / "index"
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
