"""A `.npy` file [N, D] with a list of ids as vectors to search: memory-mapped a block at a time, so that it is never in memory whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from evaluate.dumps.id_list import id_list_of, read_id_blocks
from evaluate.ids import decode_ids
from evaluate.vectors import Vectors


class ArrayVectors(Vectors):
    """The rows of `array` with the ids in `ids` (default: the list beside it, `id_list_of`).

    Raises ValueError where the file is no float16 or float32 array [N, D] in row order with N, D > 0, and where N ids are not there.
    """

    def __init__(self, array: str | Path, ids: str | Path | None = None) -> None:
        self._path = Path(array)
        rows = self._map()
        if rows.ndim != 2 or rows.dtype not in (np.float16, np.float32) or not rows.size:
            raise ValueError(f"{array}: {rows.dtype} of shape {list(rows.shape)}; wanted float16 or float32 [N, D] with a row for each id")
        if not rows.flags.c_contiguous:
            raise ValueError(f"{array}: stored column by column; save np.ascontiguousarray(array), so that a row can be read without the others")
        self.name, self.dim, self.dtype, self._rows = str(array), rows.shape[1], str(rows.dtype), rows.shape[0]
        self._ids = id_list_of(self._path) if ids is None else Path(ids)
        number, self._id_bytes = 0, 1
        for block in self.id_blocks():
            number, self._id_bytes = number + len(block), max(self._id_bytes, block.dtype.itemsize)
        if number != self._rows:
            raise ValueError(f"{array} has {self._rows} rows, {self._ids} {number} ids; the list names every row, in order")

    def __len__(self) -> int:
        return self._rows

    @property
    def id_bytes(self) -> int:
        return self._id_bytes

    def id_blocks(self, rows_per_block: int = 65536) -> Iterator[np.ndarray]:
        yield from read_id_blocks(self._ids, rows_per_block)

    def blocks(self, rows_per_block: int = 65536, first: int = 0, last: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
        end = self._rows if last is None else last
        for begin in range(first, end, rows_per_block):
            # Mapped anew for each block: pages that a mapping has touched count as memory until it is gone.
            block = self._map()[begin : min(begin + rows_per_block, end)].astype(np.float32)
            broken = np.flatnonzero(~np.isfinite(block).all(axis=1))
            if len(broken):
                row = begin + int(broken[0])
                [name] = decode_ids(self.ids_at(np.array([row])))
                raise ValueError(f"{self.name}: row {row} ({name!r}) is not finite; make the array again without it")
            yield begin, block
            del block

    def _map(self) -> np.ndarray:
        if not self._path.is_file():
            raise ValueError(f"{self._path}: no such file")
        try:
            rows = np.load(self._path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"{self._path}: not a whole .npy file ({error})") from error
        if not isinstance(rows, np.ndarray):
            raise ValueError(f"{self._path}: an archive of several arrays; save the one array as .npy")
        return rows
