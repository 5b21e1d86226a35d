"""Noise in titles: how many characters, in which ways, how often."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from pipeline.title_noise import noisy_title


def changes(title: str, noisy: str) -> Counter:
    """What became of each character of a title whose characters are all different, none a space."""
    found: Counter = Counter()
    for character in title:
        if character not in noisy:
            found["dropped"] += 1
        elif character * 2 in noisy:
            found["doubled"] += 1
        elif f"{character} " in noisy:
            found["spaced"] += 1
        else:
            found["kept"] += 1
    return found


@pytest.mark.parametrize(("length", "disturbed"), [(10, 2), (14, 2), (15, 3), (26, 5)])
def test_a_fifth_of_the_characters_rounded_down_is_disturbed(length, disturbed):
    title = "abcdefghijklmnopqrstuvwxyz"[:length]

    for seed in range(20):
        found = changes(title, noisy_title(title, 1.0, np.random.default_rng(seed)))
        assert found["kept"] == length - disturbed


def test_the_order_of_characters_stays():
    title = "双头蓝色木柄雨伞儿童长款"

    for seed in range(50):
        noisy = noisy_title(title, 1.0, np.random.default_rng(seed))
        assert [title.index(character) for character in noisy if character != " "] == sorted(
            title.index(character) for character in noisy if character != " "
        )


def test_doubled_dropped_and_spaced_come_at_even_chance_and_every_character_has_its_turn():
    title, rng = "abcdefghijklmnopqrst", np.random.default_rng(0)

    found, dropped = Counter(), Counter()
    for _ in range(1500):
        noisy = noisy_title(title, 1.0, rng)
        found.update(changes(title, noisy))
        dropped.update(character for character in title if character not in noisy)

    assert all(1850 < found[kind] < 2150 for kind in ("doubled", "dropped", "spaced"))  # 4 of 20 in 1500 titles: 2000 of each
    assert set(dropped) == set(title)


def test_titles_are_disturbed_as_often_as_asked_for():
    rng = np.random.default_rng(0)

    often = sum(noisy_title("a title of some length", 0.6, rng) != "a title of some length" for _ in range(2000))

    assert 1120 < often < 1280


def test_short_titles_and_a_probability_of_zero_leave_title_and_generator_alone():
    rng, untouched = np.random.default_rng(5), np.random.default_rng(5)

    assert noisy_title("nine char", 1.0, rng) == "nine char"
    assert noisy_title("a title of some length", 0.0, rng) == "a title of some length"
    assert rng.random() == untouched.random()


def test_the_generator_alone_decides():
    title = "blue umbrella with a wooden handle"

    first, again, other = (noisy_title(title, 1.0, np.random.default_rng(seed)) for seed in (1, 1, 2))

    assert first == again != other
