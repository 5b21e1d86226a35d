"""Ranked lists as a TREC run file, which other evaluators read.

Legend: Q queries, K results a query, n queries of a block.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote_from_bytes

import numpy as np

from launch.files import whole_file

TREC_QUERIES_AT_ONCE = 128
SIGNIFICANT_DIGITS = 9
QUOTED = re.compile(rb"[\x01-\x20%\x7f]|\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80")
"""What an id cannot hold in a TREC file: UTF-8 of the characters that Unicode calls white space, control characters, and % itself."""


def write_trec(path: str | Path, query_ids: np.ndarray, doc_ids: np.ndarray, ranks: np.ndarray, scores: np.ndarray, tag: str = "reelgoods") -> None:
    """Write the lists as a TREC run, whole or not at all: a line `query Q0 document rank score tag` for each result, ranks from 1.

    White space, control characters and % in an id are percent-encoded (their UTF-8 bytes), since a space ends a column there;
    `urllib.parse.unquote` gives the id back. Scores have nine digits counted from the first of the largest score. trec_eval and its
    kin order results of equal score by id, descending, whatever rank is written: with ties their numbers may differ from ours.
    Arguments as `evaluate.ranked.write_ranked` has them.
    """
    # What does not change within a query, a document, a place or three digits is put together once, so that a line has few columns.
    query_names = np.array([name + b" Q0 " for name in _quoted(query_ids).tolist()])
    doc_names = np.array([name + b" " for name in [*_quoted(doc_ids).tolist(), b""]])
    places = np.array([b"%d " % place for place in range(1, ranks.shape[1] + 1)])
    largest = float(np.abs(scores, where=ranks >= 0, out=np.zeros_like(scores)).max(initial=0))
    spell = _speller(largest, b" " + tag.encode() + b"\n")
    with whole_file(path, "wb") as file:
        for first in range(0, len(query_names), TREC_QUERIES_AT_ONCE):
            chosen = slice(first, first + TREC_QUERIES_AT_ONCE)
            kept = ranks[chosen] >= 0
            columns = (query_names[chosen, None], doc_names[ranks[chosen]], places, *spell(np.where(kept, scores[chosen], np.float32(0))))
            file.write(_lines(columns, kept))


def _lines(columns: Sequence[np.ndarray], kept: np.ndarray) -> bytes:
    """The columns [n, K] side by side. NumPy pads text with zero bytes, no column holds one otherwise, so taking them all out is enough."""
    lines = np.empty(kept.shape, [(f"column_{number}", column.dtype) for number, column in enumerate(columns)])
    for number, column in enumerate(columns):
        lines[f"column_{number}"] = column
    return (lines if kept.all() else lines[kept]).tobytes().translate(None, b"\0")


def _speller(largest: float, end: bytes) -> Callable[[np.ndarray], list[np.ndarray]]:
    """A function that makes columns of scores [n, K]: sign, whole part and point, then groups of three digits, `end` behind the last.

    Groups are looked up, so that five million numbers take a second instead of ten. Where the `largest` of all scores has no ordinary
    size, they are spelt one by one.
    """
    exponent = int(np.floor(np.log10(largest))) if largest > 0 else 0
    groups = -(-(SIGNIFICANT_DIGITS - 1 - exponent) // 3)
    if not 1 <= groups <= 5 or exponent > 2:
        return lambda scores: [np.char.mod(b"%.9g" + end, scores)]
    signed = np.array([sign + b"%d." % number for sign in (b"", b"-") for number in range(1001)])
    inner, last = (np.array([b"%03d" % number + behind for number in range(1000)]) for behind in (b"", end))

    def spell(scores: np.ndarray) -> list[np.ndarray]:
        values = np.rint(np.abs(scores.astype(np.float64)) * 1000**groups).astype(np.int64)
        columns: list[np.ndarray] = []
        for group in range(groups):
            # NumPy divides by a constant several times faster than it takes a remainder.
            higher = values // 1000
            columns.insert(0, (inner if group else last)[values - 1000 * higher])
            values = higher
        return [signed[values + 1001 * (scores < 0)], *columns]

    return spell


def _quoted(ids: np.ndarray) -> np.ndarray:
    if not QUOTED.search(ids.tobytes()):
        return ids
    return np.array([QUOTED.sub(lambda found: quote_from_bytes(found.group()).encode(), text) for text in ids.tolist()], dtype=bytes)
