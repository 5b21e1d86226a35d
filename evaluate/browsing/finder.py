"""What a person gives, and what is nearest to it: the encoder and the collections put together."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluate.browsing.collection import Collection
from evaluate.browsing.encoder import Encoder
from evaluate.browsing.uploads import Kind
from evaluate.dump import Dump
from evaluate.pages.cards import Card, labelled

BEGINNINGS = 10
QUERY_FRAMES = 5


@dataclass(frozen=True)
class Item:
    """An item as it is shown; score is None where it is what was searched with."""

    domain: str
    id: str
    card: Card
    score: float | None = None


@dataclass(frozen=True)
class Found:
    """What was searched with (`asked` in words, `query` as it looks), among which domain, and what was found."""

    asked: str
    query: Card
    among: str
    items: Sequence[Item]
    seconds: float


class Finder:
    """Searches the domains of `dumps` with what an encoder makes of pictures, clips and words, or with an item of theirs.

    Args:
        encoder: looks at words and items.
        uploads: another of the same command, which looks at files: one may keep it busy for seconds, and who opens the page or types words
            shall not wait for that. It is ended where the system takes no files.
        limit_s: seconds that the encoder may take for one search.

    Raises ValueError where an encoder cannot start, a dump is not of its checkpoint, or a domain is in two dumps.
    """

    def __init__(self, encoder: Encoder, uploads: Encoder, dumps: Sequence[Dump], limit_s: float) -> None:
        self._encoder, self._uploads, self._limit_s = encoder, uploads, limit_s
        self.collections: dict[str, Collection] = {}
        for dump in dumps:
            if dump.checkpoint != encoder.about["checkpoint"]:
                raise ValueError(
                    f"{dump.folder} was made by checkpoint {dump.checkpoint[:12]}, --run is checkpoint {encoder.about['checkpoint'][:12]} "
                    f"({encoder.about['recipe']}); give the run that made it (with its --weights), or embed again"
                )
            for domain in dump.domains:
                if domain in self.collections:
                    raise ValueError(f"{dump.folder} and {self.collections[domain].name} both hold {domain}; give one dump a domain")
                self.collections[domain] = Collection(dump, domain)
        if self.about["refuses"]["media"]:
            uploads.close()
        else:
            _ = uploads.about  # has loaded, or cannot

    @property
    def about(self) -> Mapping[str, Any]:
        """What the encoder says about itself (`evaluate/browsing/encoder.py`)."""
        return self._encoder.about

    def by_upload(self, file: Path, kind: Kind, words: str, among: str, k: int) -> Found:
        """What is nearest to the picture or clip in `file`, with `words` about it where there are any. Raises ValueError."""
        if reason := self.about["refuses"]["media"]:
            raise ValueError(reason)
        asked = f"a {kind.what}" + (f" and “{words}”" if words else "")
        return self._embedded(self._uploads, {"file": str(file), "words": words}, asked, among, k)

    def by_words(self, words: str, among: str, k: int) -> Found:
        """What is nearest to `words`. Raises ValueError."""
        if reason := self.about["refuses"]["words"]:
            raise ValueError(reason)
        return self._embedded(self._encoder, {"file": None, "words": words}, f"“{words}”", among, k)

    def by_item(self, domain: str, item: str, among: str, k: int) -> Found | None:
        """What is nearest to an item, the item itself left out; None where it is not in the collection of its domain."""
        begin = time.monotonic()
        own = self.collections[domain]
        row = own.row_of(item)
        if row is None:
            return None
        rows = self.collections[among].nearest(own.vector(row), k + (among == domain))
        others = [(other, score) for other, score in rows if (among, other) != (domain, row)][:k]
        [query] = self._items([(domain, row, None)], QUERY_FRAMES)
        items = self._items([(among, other, score) for other, score in others])
        return Found(f"{domain} {item}", query.card, among, items, time.monotonic() - begin)

    def beginnings(self, among: str) -> Sequence[Item]:
        """Some items to begin with."""
        return self._items([(among, row, None) for row in self.collections[among].some(BEGINNINGS)])

    def close(self) -> None:
        """End both encoders."""
        self._encoder.close()
        self._uploads.close()

    def _embedded(self, encoder: Encoder, given: Mapping[str, Any], asked: str, among: str, k: int) -> Found:
        begin = time.monotonic()
        answer = encoder.ask({"do": "embed", "among": among, **given}, self._limit_s)
        rows = self.collections[among].nearest(np.array(answer["vector"], np.float32), k)
        items = self._items([(among, row, score) for row, score in rows])
        return Found(asked, Card("", {}, answer["images"]), among, items, time.monotonic() - begin)

    def _items(self, rows: Sequence[tuple[str, int, float | None]], frames: int = 1) -> list[Item]:
        """The items at these (domain, row, score), a clip with up to `frames` of its frames."""
        collections = [self.collections[domain] for domain, _, _ in rows]
        names = [(own.shard_of(row), own.id_of(row)) for own, (_, row, _) in zip(collections, rows)]
        cards = self._encoder.ask({"do": "cards", "items": names, "frames": frames}, self._limit_s)["cards"]
        return [
            Item(domain, id, Card(card["title"], labelled(card["words"]), card["images"]), score)
            for (domain, _, score), (_, id), card in zip(rows, names, cards)
        ]
