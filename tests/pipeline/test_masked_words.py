"""Which words are hidden, and as what."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.masked_words import WordMasking

PADDING, UNKNOWN, FIRST, LAST, MASK = range(5)
WORDS = 40


class LittleTokenizer(SimpleNamespace):
    """40 words of which the first five are special."""

    def __len__(self) -> int:
        return WORDS


TOKENIZER = LittleTokenizer(name_or_path="little", mask_token_id=MASK, all_special_ids=[PADDING, UNKNOWN, FIRST, LAST, MASK])


def drawn(ids: list[int], seed: int = 0, share: float = 0.15) -> tuple[np.ndarray, np.ndarray]:
    return WordMasking(TOKENIZER, share)(np.array(ids), np.random.default_rng(seed))


def test_special_words_and_padding_are_never_asked_for_and_never_put_in() -> None:
    ids = [FIRST, 7, UNKNOWN, 8, 9, MASK, 10, LAST, PADDING, PADDING]
    ordinary = [1, 3, 4, 6]

    for seed in range(200):
        hidden, asked = drawn(ids, seed, share=0.9)

        assert set(np.flatnonzero(asked)) <= set(ordinary) and asked.sum() == round(0.9 * 4)
        assert (hidden[~asked] == np.array(ids)[~asked]).all()
        assert not set(hidden[asked]) & {PADDING, UNKNOWN, FIRST, LAST}


def test_fifteen_in_a_hundred_words_are_asked_for_and_at_least_one() -> None:
    long, short = [FIRST, *range(5, 25), LAST], [FIRST, 5, 6, LAST]

    assert [drawn(long, seed)[1].sum() for seed in range(3)] == [3, 3, 3]
    assert [drawn(short, seed)[1].sum() for seed in range(3)] == [1, 1, 1]
    assert drawn([FIRST, LAST])[1].sum() == 0


def test_eight_of_ten_become_the_mask_one_another_word_and_one_stays() -> None:
    ids = np.full(20_000, 39)

    hidden, asked = WordMasking(TOKENIZER, 0.5)(ids, np.random.default_rng(0))

    found = hidden[asked]
    assert asked.sum() == 10_000
    assert (found == MASK).mean() == pytest.approx(0.8, abs=0.015)
    assert (found == 39).mean() == pytest.approx(0.1 + 0.1 / 35, abs=0.015)  # a word drawn at random may be the same
    assert set(found) - {MASK} == set(range(5, WORDS))


def test_what_is_drawn_depends_on_the_generator_and_not_on_the_padding() -> None:
    ids = [FIRST, *range(5, 25), LAST]

    hidden, asked = drawn(ids, seed=3)
    padded, padded_asked = drawn([*ids, PADDING, PADDING], seed=3)
    other = drawn(ids, seed=4)[1]

    assert (padded[: len(ids)] == hidden).all() and (padded_asked[: len(ids)] == asked).all()
    assert (other != asked).any()
    assert ids == [FIRST, *range(5, 25), LAST]


def test_a_tokenizer_without_a_mask_and_a_share_that_is_none_are_refused() -> None:
    with pytest.raises(ValueError, match=r"clip: this tokenizer has no \[MASK\].*masking_weight 0"):
        WordMasking(LittleTokenizer(name_or_path="clip", mask_token_id=None, all_special_ids=[]), 0.15)
    with pytest.raises(ValueError, match=r"--system.masked_share 1.5: a share between 0 and 1"):
        WordMasking(TOKENIZER, 1.5)
