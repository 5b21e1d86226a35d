"""The concepts of a packed split of captions: counted while packing, cut to the commonest by whoever uses them.

    SHARDS/train/concepts.tsv     a line a concept, the commonest first: its word forms with commas between TAB number of captions that hold it TAB
                                  place:number of each later concept that so many captions hold as well, with spaces between
    CHECKPOINT/concepts.tsv       the same, for those of the checkpoint

CVSE takes 300 nouns, verbs and adjectives by hand-made lists; which words those are is published nowhere that we could read. So ours are the
commonest words that are no function words (`function_words.py`); a plural or a verb's -s belongs to its singular where the captions have both. A
caption's annotation is which concepts' forms it holds: it follows from the caption, at training and later, and is not stored beside it.

Legend: K concepts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np

from launch.files import whole_file
from pipeline.concepts.function_words import FUNCTION_WORDS
from pipeline.words import words_of

FILE = "concepts.tsv"
MOST_CONCEPTS = 1000
"""Concepts that packing keeps."""


@dataclass(frozen=True)
class Concepts:
    """K concepts, the commonest first.

    forms: the words of each, the first one its name. captions: int64 [K], how many captions hold each. together: int64 [K, K], how many hold both;
    symmetric, 0 on the diagonal.
    """

    forms: tuple[tuple[str, ...], ...]
    captions: np.ndarray
    together: np.ndarray

    def __len__(self) -> int:
        return len(self.forms)

    def first(self, count: int) -> Concepts:
        """The commonest `count` of them, or all where they are fewer."""
        return Concepts(self.forms[:count], self.captions[:count], self.together[:count, :count])

    def of(self, text: str) -> list[int]:
        """The numbers of the concepts that a caption holds, ascending."""
        return sorted({self._number[word] for word in _plain_words(text) if word in self._number})

    def save(self, folder: Path) -> None:
        """Write `folder`/concepts.tsv; `read_concepts` reads it back."""
        with whole_file(folder / FILE) as file:
            for place, (forms, count) in enumerate(zip(self.forms, self.captions)):
                later = " ".join(f"{other}:{self.together[place, other]}" for other in np.flatnonzero(self.together[place]) if other > place)
                file.write(f"{','.join(forms)}\t{count}\t{later}\n")

    @cached_property
    def _number(self) -> dict[str, int]:
        return {form: number for number, forms in enumerate(self.forms) for form in forms}


def count_concepts(texts: Callable[[], Iterable[str]], most: int = MOST_CONCEPTS) -> Concepts:
    """The `most` commonest concepts of the captions `texts()`, which are gone through twice; of equals the first by the alphabet."""
    words: Counter[str] = Counter()
    for text in texts():
        words.update(set(_plain_words(text)))
    forms: dict[str, list[str]] = {}
    for word in sorted(words):
        forms.setdefault(_base(word, words), []).append(word)
    counts: Counter[str] = Counter()
    for base, own in forms.items():
        counts[base] = sum(words[word] for word in own)
    # A caption may hold two forms of a concept; the second pass counts it once.
    kept = sorted(counts, key=lambda base: (-counts[base], base))[:most]
    spellings = tuple((base, *(word for word in forms[base] if word != base)) for base in kept)
    found = Concepts(spellings, np.zeros(len(kept), np.int64), np.zeros((len(kept), len(kept)), np.int64))
    for text in texts():
        held = found.of(text)
        found.captions[held] += 1
        for one, other in combinations(held, 2):
            found.together[one, other] += 1
    order = sorted(range(len(kept)), key=lambda place: (-found.captions[place], kept[place]))
    together = (found.together + found.together.T)[np.ix_(order, order)]
    return Concepts(tuple(spellings[place] for place in order), found.captions[order], together)


def read_concepts(folder: Path) -> Concepts:
    """The concepts of a packed split or a checkpoint.

    Raises:
        ValueError: there are none, or a line is not one of `Concepts.save`.
    """
    path = folder / FILE
    if not path.is_file():
        raise ValueError(
            f"{path}: missing; concepts are counted where captions (domain text) are packed with a --vocab_size above 0: pack them again"
        )
    forms: list[tuple[str, ...]] = []
    captions: list[int] = []
    pairs: list[tuple[int, int, int]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        try:
            words, count, later = line.split("\t")
            captions.append(int(count))
            pairs += [(number, int(other), int(both)) for other, both in (pair.split(":") for pair in later.split())]
        except ValueError as error:
            raise ValueError(f"{path}: line {number + 1} is not `forms TAB captions TAB place:number ...`: {line[:80]!r}") from error
        forms.append(tuple(words.split(",")))
    together = np.zeros((len(forms), len(forms)), np.int64)
    for one, other, both in pairs:
        together[one, other] = together[other, one] = both
    return Concepts(tuple(forms), np.array(captions, np.int64), together)


def _plain_words(text: str) -> list[str]:
    """The words that may be concepts, without a possessive's end."""
    words = (word.replace("’", "'").removesuffix("'s") for word in words_of(text))
    return [word for word in words if len(word) > 1 and word.isalpha() and word not in FUNCTION_WORDS]


def _base(word: str, known: Counter[str]) -> str:
    """The word without a plural's or a verb's -s where that is a word of the captions, else as it is."""
    endings: Sequence[tuple[str, str]] = (("ies", "y"), ("es", ""), ("s", ""))
    if not word.endswith(("ss", "us", "is")):
        for ending, singular in endings:
            if word.endswith(ending) and (base := word.removesuffix(ending) + singular) in known and len(base) > 2:
                return base
    return word
