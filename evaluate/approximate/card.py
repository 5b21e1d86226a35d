"""The card of an index: what it is, what it was made from, how good it was measured to be; card.json for programs, card.md for people."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from evaluate.approximate.tune import Setting
from evaluate.joined import Joined
from launch.files import checksum, read_json, whole_file, write_json
from launch.sizes import in_words

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Card:
    """What card.json holds beside its format version."""

    asked: str
    """What was asked for: "auto" or a factory string."""
    factory: str
    """FAISS's factory string."""
    why: str
    """Why it was chosen."""
    parameters: str
    """How it is searched, as FAISS writes it, e.g. "nprobe=32"."""
    rerank_factor: int
    """Candidates re-ranked from the dump for each result; 0 = the index ranks by itself."""
    number: int
    """N vectors."""
    dim: int
    """Width D."""
    checkpoint: str
    """Checksum of the checkpoint that made the embeddings."""
    sources: list[dict[str, Any]]
    """For each dump, in the order of the rows: {"dump": its folder, "shards": [{"name", "rows", "checksum"}]}."""
    bytes: int
    """Size of index.faiss."""
    checksum: str
    """Its SHA-256."""
    trained_on: int
    """Vectors of the sample that it was trained on; 0 = needs no training."""
    seed: int
    """Draws the sample and the held-out queries."""
    build_s: float
    """Seconds from the first vector to the last, training with them; of the latest addition for one that was added to."""
    wanted_recall: float
    """Recall that was asked for."""
    recall: float
    """Recall that was measured: mean share of the exact best `recall_at` documents among as many found."""
    recall_at: int
    """k."""
    tuned_on: int
    """Queries that the parameters were tuned on."""
    measured_on: int
    """Other queries, with which the recall was measured."""
    queries: str
    """Where both came from."""
    queries_per_s: float
    """How many queries were answered a second in that measurement, re-ranking with them."""
    threads: int
    """Threads that answered them."""
    faiss: str
    """Version of FAISS."""
    metric: str = "inner product"
    """What the scores are."""

    @property
    def setting(self) -> Setting:
        """How it is searched."""
        return Setting(self.parameters, self.rerank_factor)

    @property
    def reached(self) -> bool:
        """Whether the wanted recall was. Flat finds everything: what it seems to miss ties, but for rounding, with what it finds."""
        return self.recall >= self.wanted_recall or self.factory == "Flat"

    def __str__(self) -> str:
        parts = [self.factory, self.parameters.replace(",", " "), f"re-ranked ({self.rerank_factor} a result)" if self.rerank_factor else ""]
        return ", ".join(part for part in parts if part)


def sources_of(docs: Joined) -> list[dict[str, Any]]:
    """What a card says of the dumps in `docs`. A dump of an older program has no checksums in its manifest: its shards are read."""
    return [
        {
            "dump": str(dump.folder.absolute()),
            "shards": [
                {"name": shard.path.stem, "rows": shard.rows, "checksum": shard.checksum or checksum(shard.path)}
                for owner, shard in docs.shards
                if owner is dump
            ],
        }
        for dump in docs.dumps
    ]


def write_card(folder: Path, card: Card) -> None:
    """Write card.json and card.md."""
    write_json(folder / "card.json", {"format_version": FORMAT_VERSION, **asdict(card)})
    with whole_file(folder / "card.md") as file:
        file.write(_text(card))


def read_card(folder: str | Path) -> Card:
    """The card of the index `folder`. Raises ValueError where there is none, or one of another form."""
    path = Path(folder) / "card.json"
    if not path.is_file():
        raise ValueError(f"{folder}: no card.json, so not an index; evaluate.build_index makes one")
    values = read_json(path)
    version = values.get("format_version") if isinstance(values, dict) else None
    if version != FORMAT_VERSION:
        raise ValueError(f"{path}: format version {version}, this program reads {FORMAT_VERSION}; build the index again")
    names = [field.name for field in fields(Card)]
    if missing := [name for name in names if name not in values]:
        raise ValueError(f"{path}: lacks {missing[0]}; build the index again")
    return Card(**{name: values[name] for name in names})


def _text(card: Card) -> str:
    recall = (
        f"{card.recall:.4f} of the exact best {card.recall_at} found ({'at least' if card.reached else 'LESS THAN'} {card.wanted_recall:g} wanted)"
    )
    rows = {
        "index": card.factory,
        "searched with": card.parameters or "nothing to set",
        "re-ranking": f"exact scores from the dump, candidates a result: {card.rerank_factor}"
        if card.rerank_factor
        else "none: scores are the index's",
        "recall": recall,
        "measured with": f"{card.measured_on} {card.queries}; tuned on {card.tuned_on} others",
        "speed": f"{card.queries_per_s:,.0f} queries a second, threads: {card.threads}",
        "vectors": f"{card.number:,} of width {card.dim}, {card.metric}",
        "size": in_words(card.bytes),
        "trained on": f"{card.trained_on:,} vectors" if card.trained_on else "needs no training",
        "built in": f"{card.build_s:.1f} s",
        "seed": card.seed,
        "checkpoint": card.checkpoint,
        "FAISS": card.faiss,
        "why this one": card.why,
    }
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    dumps = [f"- {source['dump']}: {sum(shard['rows'] for shard in source['shards']):,} rows" for source in card.sources]
    return "\n".join(["# Index", "", "| | |", "| --- | --- |", *lines, "", "Made from:", "", *dumps, ""])
