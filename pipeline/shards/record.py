"""The JSON member of a packed sample, as bytes that may have been damaged after packing."""

from __future__ import annotations

import json
from typing import Any

AGAIN = "pack it again (pipeline.pack --overwrite); pipeline.doctor says what else is wrong"
"""What to do about a shard that is not as it was packed."""


def read_record(data: bytes, id: str, name: str) -> dict[str, Any]:
    """The record in `data`, of the form that packing writes: id, domain, words, queries, labels.

    Args:
        id: of the item, as the shard's index has it.
        name: of the sample, for messages.

    Raises:
        ValueError: no UTF-8 JSON, another form, or the record of another item: then the tar is not the one that the index was packed with.
    """
    try:
        record = json.loads(data)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{name}: its json is not UTF-8 JSON ({error}); the tar is damaged, {AGAIN}") from error
    if not isinstance(record, dict) or record.get("id") != id:
        held = record.get("id") if isinstance(record, dict) else record
        raise ValueError(f"{name}: its json is of {held!r:.80}; the tar is not the one that was packed with its index, {AGAIN}")
    words, queries = record.get("words"), record.get("queries")
    if not (
        isinstance(words, dict)
        and all(isinstance(text, str) for text in words.values())
        and isinstance(record.get("labels"), dict)
        and isinstance(queries, list)
        and all(isinstance(query, dict) and query.keys() >= {"id", "words", "cluster"} for query in queries)
    ):
        raise ValueError(f"{name}: its json has no words, queries and labels as packing writes them; the tar is damaged, {AGAIN}")
    return record
