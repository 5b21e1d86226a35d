"""Predicted numbers and true ones: predictions.h5, which the report reads.

    ids [N], predicted float64 [N], true float64 [N]     nan where an item's true value is not known
    baselines/<name> float64 [N]                         what simpler methods predict for the same items
    neighbours/ids [N, K], labels, similarities float32 [N, K]      where a neighbour model looked; "" and nan where an item has fewer
    attributes                                           format_version, task, split, checkpoint, bank, failed (items that could not be read)

Legend: N items, K neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from evaluate.ids import decode_ids, encode_ids, stored
from launch.files import whole_path

FORMAT_VERSION = 1


@dataclass(frozen=True)
class NeighbourTable:
    """The K neighbours of N items: ids (lists of text, "" where there is none), labels and similarities float32 [N, K]."""

    ids: list[list[str]]
    labels: np.ndarray
    similarities: np.ndarray


@dataclass(frozen=True)
class Predicted:
    """What predictions.h5 holds; arrays are float64 [N]; `bank` says among what neighbours were looked up."""

    task: str
    ids: list[str]
    predicted: np.ndarray
    true: np.ndarray
    baselines: Mapping[str, np.ndarray] = field(default_factory=dict)
    neighbours: NeighbourTable | None = None
    split: str = ""
    checkpoint: str = ""
    failed: int = 0
    bank: str = ""

    @property
    def known(self) -> np.ndarray:
        """bool [N]: whose true value is known."""
        return np.isfinite(self.true)


def write_predicted(path: str | Path, predicted: Predicted) -> None:
    """Write predictions.h5, whole or not at all."""
    with whole_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("ids", data=stored(encode_ids(predicted.ids)))
        file.create_dataset("predicted", data=predicted.predicted, dtype="f8")
        file.create_dataset("true", data=predicted.true, dtype="f8")
        group = file.create_group("baselines", track_order=True)
        for name, values in predicted.baselines.items():
            group.create_dataset(name, data=values, dtype="f8")
        if predicted.neighbours is not None:
            near = predicted.neighbours
            file.create_dataset("neighbours/ids", data=near.ids, dtype=h5py.string_dtype("utf-8"))
            file.create_dataset("neighbours/labels", data=near.labels, dtype="f4")
            file.create_dataset("neighbours/similarities", data=near.similarities, dtype="f4")
        attributes: dict[str, Any] = {name: getattr(predicted, name) for name in ("task", "split", "checkpoint", "failed", "bank")}
        for name, value in {"format_version": FORMAT_VERSION, **attributes}.items():
            file.attrs[name] = value


def read_predicted(path: str | Path) -> Predicted:
    """What a predictions.h5 holds. Raises ValueError where it is none, or of another format version."""
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file; pipeline.predict writes it")
    try:
        with h5py.File(path, "r") as file:
            values = dict(file.attrs)
            if values.get("format_version") != FORMAT_VERSION:
                raise ValueError(f"{path}: format version {values.get('format_version')}, this program reads {FORMAT_VERSION}; predict again")
            near = file.get("neighbours")
            return Predicted(
                str(values["task"]),
                decode_ids(file["ids"][:]),
                file["predicted"][:],
                file["true"][:],
                {name: own[:] for name, own in file["baselines"].items()},
                None if near is None else NeighbourTable(near["ids"].asstr()[:].tolist(), near["labels"][:], near["similarities"][:]),
                str(values["split"]),
                str(values["checkpoint"]),
                int(values["failed"]),
                str(values["bank"]),
            )
    except (OSError, KeyError) as error:
        raise ValueError(f"{path}: not a whole predictions.h5 ({error}); predict again") from error
