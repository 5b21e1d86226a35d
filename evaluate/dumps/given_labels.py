"""Labels for a dump to be, from a file of JSON lines; whether they are those of its items."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from evaluate.labels import MISSING, LabelValues, label_keys

Labels = Mapping[str, Mapping[str, Any]]
"""Item id -> its labels."""


def read_labels(path: str | Path, domain: str) -> Labels:
    """Item id -> labels, from JSON lines with `id` and `labels`; lines of another `domain` are passed over.

    Raises ValueError naming file and line for one of another form.
    """
    labels: dict[str, Mapping[str, Any]] = {}
    with open(path, encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            try:
                record = json.loads(line) if line.strip() else {"id": "", "domain": ""}
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}: line {number} is not JSON ({error})") from error
            own = record.get("labels", {}) if isinstance(record, dict) else None
            if not isinstance(own, dict) or not isinstance(record.get("id"), str | int):
                raise ValueError(f'{path}: line {number} is not {{"id": ..., "labels": {{...}}}}: {line[:60]!r}')
            if record.get("domain", domain) == domain:
                labels[str(record["id"])] = own
    return labels


def refuse_labels_of_others(path: str | Path, labels: Labels, source: Path, ids: Iterable[str]) -> None:
    """Raise ValueError where none of `ids`, those of `source`, has labels; ends at the first that has."""
    first = ""
    for name in ids:
        if labels.get(name):
            return
        first = first or name
    labelled = [name for name, own in labels.items() if own]
    held = f"it has labels of {len(labelled)} others, such as {labelled[0]!r}" if labelled else "no line for their domain has any"
    raise ValueError(f"{path}: no labels for any id of {source}, such as {first!r}; {held}; give the labels of these items, or none")


def labelled_rows(shard: Path) -> int:
    """How many rows of the file `shard` have a label."""
    with h5py.File(shard, "r") as file:
        known = np.zeros(len(file["ids"]), bool)
        for key in label_keys(file):
            known |= LabelValues().codes(file, key) != MISSING
    return int(known.sum())
