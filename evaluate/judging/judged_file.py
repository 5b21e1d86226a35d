"""judged.h5: where each query's relevant documents stand, from which every metric of every query can be computed again.

    query_ids [Q], relevant int64 [Q]     the lists' queries, and how many documents are relevant to each
    truth uint64 [Q]                      which they are: sum of the hashes of their ids (`evaluate.ids.id_hashes`) modulo 2^64
    query, rank int64 [F]                 row of the query and rank of each relevant document found, as `evaluate.judging.metrics.Found` has them
    attributes                            format_version, JudgedAttributes

The report writes it, `evaluate.compare` reads it. Legend: Q queries, F found pairs.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path

import h5py
import numpy as np

from evaluate.ids import stored
from evaluate.judging.judged import Judged
from evaluate.judging.metrics import Found
from evaluate.ranked import Ranked
from launch.files import whole_path

FORMAT_VERSION = 2


@dataclass(frozen=True)
class JudgedAttributes:
    """What was judged."""

    task: str
    split: str
    docs: int
    """N, number of documents searched."""
    candidates: int
    """Most documents that a list could hold."""
    depth: int
    """K, results a query."""
    checkpoint: str
    lists: str
    """Checksum of the lists, as ranked.h5 has it."""
    corpus: str
    """Sum of the hashes of the ids of all documents searched, modulo 2^64, in hexadecimal."""


@dataclass(frozen=True)
class JudgedFile:
    """What judged.h5 holds; query_ids are UTF-8 bytes [Q], truth uint64 [Q] says which documents are relevant to each."""

    attributes: JudgedAttributes
    query_ids: np.ndarray
    found: Found
    truth: np.ndarray


def judged_of(ranked: Ranked, judged: Judged, split: str) -> JudgedFile:
    """What is to be kept of lists and their judgement."""
    about = ranked.attributes
    attributes = JudgedAttributes(about.task, split, about.docs, ranked.candidates, ranked.depth, about.checkpoint, about.lists, judged.corpus)
    return JudgedFile(attributes, ranked.query_ids, judged.found, judged.truth)


def write_judged(path: str | Path, kept: JudgedFile) -> None:
    """Write judged.h5, whole or not at all."""
    with whole_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("query_ids", data=stored(kept.query_ids))
        for name in ("relevant", "query", "rank"):
            file.create_dataset(name, data=getattr(kept.found, name), dtype="int64")
        file.create_dataset("truth", data=kept.truth, dtype="uint64")
        for name, value in {"format_version": FORMAT_VERSION, **asdict(kept.attributes)}.items():
            file.attrs[name] = value


def read_judged(path: str | Path) -> JudgedFile:
    """What judged.h5 holds. Raises ValueError where the file is not one, or of another format version."""
    try:
        with h5py.File(path, "r") as file:
            values = {name: value.item() if isinstance(value, np.generic) else value for name, value in file.attrs.items()}
            if values.get("format_version") != FORMAT_VERSION:
                raise ValueError(f"{path}: format version {values.get('format_version')}, this program reads {FORMAT_VERSION}; report again")
            attributes = JudgedAttributes(**{field.name: values[field.name] for field in fields(JudgedAttributes)})
            found = Found(file["relevant"][:], file["query"][:], file["rank"][:], attributes.depth)
            return JudgedFile(attributes, file["query_ids"][:], found, file["truth"][:])
    except (OSError, KeyError) as error:
        raise ValueError(f"{path}: not what evaluate.report writes ({error}); report again") from error
