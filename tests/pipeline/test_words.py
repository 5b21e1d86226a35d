"""Words by number, and vectors for them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from launch.files import write_json
from pipeline import words
from pipeline.words import Vocabulary, counted_vocabulary, read_vocabulary, read_word_vectors, word_batch, words_of, write_word_counts

GLOVE = "shoes 1.0 2.0\nnot here 9 9\nwomen's 3.0 -2.0\nred -1.0 0.0\n"


def test_words_are_lower_case_without_punctuation() -> None:
    assert words_of("Women's RED-shoes, size_40 (new!) Café") == ["women's", "red", "shoes", "size", "40", "new", "café"]


def test_a_text_is_numbered_between_start_and_end_and_cut_to_its_first_words() -> None:
    vocabulary = Vocabulary(["shoes", "red"])

    assert vocabulary.words[:4] == ("<pad>", "<start>", "<end>", "<unk>")
    assert vocabulary.ids("Red suede shoes") == [1, 5, 3, 4, 2]
    assert vocabulary.ids("Red suede shoes", most=1) == [1, 5, 2]
    assert vocabulary.ids("") == [1, 2]


def test_counts_of_a_split_become_the_vocabulary_of_its_commoner_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert write_word_counts(iter(["red shoes", "Red bag, red box", "bag"]), tmp_path) == 4
    assert (tmp_path / "words.tsv").read_text() == "red\t3\nbag\t2\nbox\t1\nshoes\t1\n"

    assert counted_vocabulary(tmp_path).words[4:] == ("red", "bag", "box", "shoes")
    assert counted_vocabulary(tmp_path, least_count=2).words[4:] == ("red", "bag")
    with pytest.raises(ValueError, match=r"words.tsv: no word occurs 4 times"):
        counted_vocabulary(tmp_path, least_count=4)
    with pytest.raises(ValueError, match=r"words.tsv: missing; pack the train split again"):
        counted_vocabulary(tmp_path / "elsewhere")
    monkeypatch.setattr(words, "MOST_WORDS", 2)
    assert write_word_counts(iter(["red shoes", "red bag"]), tmp_path) == 2
    assert counted_vocabulary(tmp_path).words[4:] == ("red", "bag")


def test_texts_without_words_leave_no_file(tmp_path: Path) -> None:
    assert write_word_counts(iter(["", "!"]), tmp_path) == 0 and not list(tmp_path.iterdir())


def test_a_vocabulary_comes_back_from_its_file_and_from_the_json_of_scan(tmp_path: Path) -> None:
    Vocabulary(["red", "shoes"]).save(tmp_path)
    write_json(tmp_path / "v.json", {"word2idx": {"<pad>": 0, "<start>": 1, "<unk>": 3, "<end>": 2, "shoes": 5, "red": 4}, "idx": 6})
    wrong = tmp_path / "wrong.txt"

    assert read_vocabulary(tmp_path).words == read_vocabulary(tmp_path / "v.json").words == Vocabulary(["red", "shoes"]).words

    wrong.write_text("<pad>\nred\n")
    with pytest.raises(ValueError, match=r"wrong.txt: begins with <pad>, red; the first four words are <pad>, <start>, <end>, <unk>"):
        read_vocabulary(wrong)
    wrong.write_text("<pad>\n<start>\n<end>\n<unk>\nred\nred\n")
    with pytest.raises(ValueError, match=r"wrong.txt: the word 'red' is in the vocabulary twice"):
        read_vocabulary(wrong)
    write_json(tmp_path / "v.json", {"word2idx": {"<pad>": 0, "red": 2}})
    with pytest.raises(ValueError, match=r"v.json: no word2idx that gives each of its words a number of its own"):
        read_vocabulary(tmp_path / "v.json")


def test_vectors_are_those_of_the_file_and_others_are_as_wide_as_they(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "glove.txt").write_text(GLOVE)
    (tmp_path / "word2vec.txt").write_text("4 2\n" + GLOVE)
    vocabulary = Vocabulary(["shoes", "gone", "women's"])

    vectors = read_word_vectors(tmp_path / "glove.txt", vocabulary)

    assert vectors.dtype == torch.float32 and vectors.shape == (7, 2)
    assert vectors[[0, 4, 6]].tolist() == [[0, 0], [1, 2], [3, -2]]
    assert vectors[[1, 2, 3, 5]].abs().min() > 0 and vectors[[1, 2, 3, 5]].std() < 5
    assert "vectors of 2 of 3 words" in capsys.readouterr().out
    assert torch.equal(vectors, read_word_vectors(tmp_path / "word2vec.txt", vocabulary))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("red 1 2\nshoes 1\n", "line 2 has 1 numbers, the lines before have 2"),
        ("red 1 2\nshoes 1 x\n", "line 2: could not convert string to float: 'x'"),
        ("red 1 2\nshoes 1 nan\n", "line 2: a number is not finite"),
        ("rot 1 2\n", "none of the vocabulary's 5 words"),
    ],
)
def test_a_damaged_or_strange_file_of_vectors_is_named(tmp_path: Path, text: str, error: str) -> None:
    (tmp_path / "glove.txt").write_text(text)

    with pytest.raises(ValueError, match=f"glove.txt: {error}"):
        read_word_vectors(tmp_path / "glove.txt", Vocabulary(["shoes"]))


def test_shorter_texts_are_padded_and_masked() -> None:
    numbers, mask = word_batch([[1, 4, 2], [1, 2]])

    assert numbers.tolist() == [[1, 4, 2], [1, 2, 0]] and mask.tolist() == [[True] * 3, [True, True, False]]
