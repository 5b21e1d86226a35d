"""Blocks of documents, the next one read while the last one is searched."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def read_ahead(blocks: Iterator[T]) -> Iterator[T]:
    """What `blocks` yields, in its order; a thread reads one ahead, so two are held at a time if the caller lets go of each (`del`) in time.

    An error of reading is raised where its block would have come.
    """
    with ThreadPoolExecutor(1, "reader") as reader:
        end = object()
        coming = reader.submit(next, blocks, end)
        while (block := coming.result()) is not end:
            coming = reader.submit(next, blocks, end)
            yield block  # type: ignore[misc]
            del block
