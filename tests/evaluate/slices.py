"""Vectors in memory, for tests that search without files."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from evaluate.ids import encode_ids
from evaluate.vectors import Vectors


class Rows(Vectors):
    """The rows of an array, with their numbers as ids."""

    name = "rows"

    def __init__(self, rows: np.ndarray) -> None:
        self._rows, self.dim = rows, rows.shape[1]

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def id_bytes(self) -> int:
        return len(str(len(self)))

    def id_blocks(self) -> Iterator[np.ndarray]:
        yield encode_ids(str(row) for row in range(len(self)))

    def blocks(self, rows_per_block: int = 65536, first: int = 0, last: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
        last = len(self) if last is None else last
        for begin in range(first, last, rows_per_block):
            yield begin, self._rows[begin : min(begin + rows_per_block, last)]
