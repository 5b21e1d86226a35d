"""Cards are what a person sees of an item: title, words, pictures. They come from a folder with `cards.json`:

{DOMAIN: {ID: {"title": "...", "words": {"caption": "...", ...}, "images": ["relative/path.jpg", ...]}}}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluate.pages.pictures import IMAGE_TYPES, Inside, Pictures
from launch.files import read_json

LABELS = {"title": "Title", "description": "Description", "caption": "Caption", "recognised_text": "Recognised text"}


@dataclass(frozen=True)
class Card:
    """What a person sees of an item: its title ("" where it has none), its words by a person's names for them, its images as addresses,
    and how many more images it has, for which the page had no room."""

    title: str
    words: Mapping[str, str]
    images: Sequence[str]
    left_out: int = 0

    def words_beside(self, headline: bool) -> dict[str, str]:
        """Its words by their labels, its title among them unless that is the headline."""
        words = {"Title": self.title, **self.words} if self.title and "Title" not in self.words else dict(self.words)
        return {label: text for label, text in words.items() if not (headline and label == "Title")}


class Cards:
    """The cards of a folder, or of none: an item without a card is shown by its id alone.

    Args:
        pictures: where a page's pictures go; default: inside it, as many as there are.

    Raises ValueError where the folder has no cards.json, and where a card names an image that is not there or of unknown type.
    """

    def __init__(self, folder: str | Path | None, pictures: Pictures | None = None) -> None:
        self._folder = None if folder is None else Path(folder)
        self.pictures = pictures or Inside()
        self._cards: Mapping[str, Any] = {}
        if self._folder is not None:
            listing = self._folder / "cards.json"
            if not listing.is_file():
                raise ValueError(f"{listing}: no such file; pipeline.cards writes it, or leave --cards out")
            self._cards = read_json(listing)

    def of(self, domain: str, item: str, images: int | None = None) -> Card:
        """The card of `item`, empty where there is none, with up to `images` of its images (default: all)."""
        card = self._cards.get(domain, {}).get(item, {})
        files = [self._file(name, item) for name in card.get("images", [])[:images]]
        addresses = [self.pictures.address(file) for file in files]
        kept = [address for address in addresses if address is not None]
        return Card(card.get("title") or "", labelled(card.get("words", {})), kept, len(files) - len(kept))

    def _file(self, name: str, item: str) -> Path:
        assert self._folder is not None
        path = self._folder / name
        if path.suffix.lower() not in IMAGE_TYPES or not path.is_file():
            raise ValueError(f"{path}, an image of {item!r} in {self._folder / 'cards.json'}: no such .jpg, .png or .webp file; make the cards again")
        return path


def labelled(words: Mapping[str, str]) -> dict[str, str]:
    """An item's words by a person's names for their kinds, without those that are empty."""
    return {LABELS.get(name, name): text for name, text in words.items() if text}
