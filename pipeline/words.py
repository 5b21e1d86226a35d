"""Words with a number each, for text encoders that embed whole words: their counts in a packed split, a vocabulary of them, vectors for them.

    SHARDS/train/words.tsv         word TAB how often it occurs in the split's queries and items, the commonest first
    CHECKPOINT/words.txt           a vocabulary, a word a line in the order of the numbers, the special ones first

Legend: V words of a vocabulary, D numbers of a word's vector, B texts, L words of the longest of them.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from launch.files import read_json, whole_file
from launch.logs import progress, say

COUNTS_FILE = "words.tsv"
VOCABULARY_FILE = "words.txt"
PADDING, START, END, UNKNOWN = SPECIAL = ("<pad>", "<start>", "<end>", "<unk>")
"""Numbers 0 to 3, as in SCAN's vocabularies."""
MOST_WORDS = 200_000
"""Words that are counted into a split's file, the commonest."""
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def words_of(text: str) -> list[str]:
    """The words of a text in lower case: letters and digits, with apostrophes inside; punctuation is left out."""
    return _WORD.findall(unicodedata.normalize("NFC", text).lower())


def write_word_counts(texts: Iterable[str], folder: Path) -> int:
    """Count the words of all texts into `folder`/words.tsv and return how many different ones were written; no file where there are none."""
    counts = Counter(word for text in texts for word in words_of(text))
    kept = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:MOST_WORDS]
    if kept:
        with whole_file(folder / COUNTS_FILE) as file:
            file.writelines(f"{word}\t{count}\n" for word, count in kept)
    return len(kept)


class Vocabulary:
    """Words by number: the special ones, then `words`.

    Raises:
        ValueError: a word is there twice.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words: tuple[str, ...] = (*SPECIAL, *words)
        self._number = {word: number for number, word in enumerate(self.words)}
        if len(self._number) < len(self.words):
            twice = next(word for word, count in Counter(self.words).items() if count > 1)
            raise ValueError(f"the word {twice!r} is in the vocabulary twice")

    def __len__(self) -> int:
        return len(self.words)

    def ids(self, text: str, most: int | None = None) -> list[int]:
        """The numbers of <start>, the text's words (unknown ones as <unk>; the first `most` of them) and <end>."""
        unknown = self._number[UNKNOWN]
        words = (self._number.get(word, unknown) for word in words_of(text)[:most])
        return [self._number[START], *words, self._number[END]]

    def save(self, folder: Path) -> None:
        """Write `folder`/words.txt; `read_vocabulary` reads it back."""
        with whole_file(folder / VOCABULARY_FILE) as file:
            file.writelines(f"{word}\n" for word in self.words)


def counted_vocabulary(split: Path, least_count: int = 1) -> Vocabulary:
    """The words that occur at least `least_count` times in the packed split at `split`, the commonest first.

    Raises:
        ValueError: the split has no counts, or no word is that common.
    """
    path = split / COUNTS_FILE
    if not path.is_file():
        raise ValueError(f"{path}: missing; pack the train split again (--overwrite) with a --vocab_size above 0, which counts its words")
    with open(path, encoding="utf-8") as file:
        counted = (line.rstrip("\n").split("\t") for line in file)
        words = [word for word, count in counted if int(count) >= least_count]
    if not words:
        raise ValueError(f"{path}: no word occurs {least_count} times; take words that are rarer")
    return Vocabulary(words)


def read_vocabulary(path: Path) -> Vocabulary:
    """The vocabulary in a file as `Vocabulary.save` writes it, or in JSON as SCAN's programs keep theirs (`word2idx`), or in a checkpoint's folder.

    Raises:
        ValueError: no such file, or its first words are not the special ones in their order.
    """
    path = path / VOCABULARY_FILE if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"{path}: no such file; a vocabulary is a text file with a word a line, or JSON with the numbers of words under word2idx")
    if path.suffix == ".json":
        numbers = read_json(path)
        numbers = numbers.get("word2idx") if isinstance(numbers, dict) else None
        if not isinstance(numbers, dict) or sorted(numbers.values()) != list(range(len(numbers))):
            raise ValueError(f"{path}: no word2idx that gives each of its words a number of its own, from 0 on")
        words = sorted(numbers, key=lambda word: numbers[word])
    else:
        words = path.read_text(encoding="utf-8").splitlines()
    if tuple(words[: len(SPECIAL)]) != SPECIAL:
        raise ValueError(f"{path}: begins with {', '.join(words[: len(SPECIAL)])}; the first four words are {', '.join(SPECIAL)}")
    try:
        return Vocabulary(words[len(SPECIAL) :])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_word_vectors(path: Path, vocabulary: Vocabulary) -> Tensor:
    """Vectors of the vocabulary's words out of a text file as GloVe's are (a line: word, then D numbers), float32 [V, D].

    The file is streamed. A word that it lacks gets random numbers with the deviation of those found, the same at every call; <pad> gets zeros.
    Says how many words were found.

    Raises:
        ValueError: no such file, a line without D numbers (its number is named), or none of the words.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; word vectors are a text file with a word and its numbers a line (GloVe)")
    wanted = {word: number for number, word in enumerate(vocabulary.words)}
    found: dict[int, list[float]] = {}
    width = 0
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(progress(file, what=f"read {path.name}", unit="line"), 1):
            if not width:
                width = len(line.split()) - 1
                if width == 1:  # word2vec's head line: how many words, how many numbers
                    width = 0
                    continue
            columns = line.rstrip("\n ").rsplit(" ", width)  # from the right: some of GloVe's words have spaces in them
            place = wanted.get(columns[0])
            if len(columns) != width + 1:
                raise ValueError(f"{path}: line {number} has {len(columns) - 1} numbers, the lines before have {width}; the file is damaged")
            if place is not None and place not in found:
                found[place] = _numbers(columns[1:], f"{path}: line {number}")
    if not found:
        raise ValueError(f"{path}: none of the vocabulary's {len(vocabulary)} words; is it in another language, or not in lower case?")
    rows = torch.tensor(list(found.values()))
    vectors = torch.randn(len(vocabulary), width, generator=torch.Generator().manual_seed(0)) * rows.std(correction=0)
    vectors[list(found)] = rows
    vectors[0] = 0
    say(f"{path}: vectors of {len(found):,} of {len(vocabulary) - len(SPECIAL):,} words")
    return vectors


def word_batch(texts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """(numbers int64 [B, L], 0 where a text is shorter than the longest; mask bool [B, L], True where there is a word)."""
    longest = max(map(len, texts))
    numbers = torch.tensor([[*text, *[0] * (longest - len(text))] for text in texts])
    return numbers, torch.arange(longest) < torch.tensor([len(text) for text in texts])[:, None]


def _numbers(texts: list[str], where: str) -> list[float]:
    try:
        numbers = [float(text) for text in texts]
    except ValueError as error:
        raise ValueError(f"{where}: {error}; wanted a word and its numbers") from error
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"{where}: a number is not finite")
    return numbers
