"""Randomness follows from names, not from processes."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from launch.seeds import generator, seed_everything


def test_the_same_names_draw_the_same_numbers_in_another_process():
    here = generator(7, "epoch", 3, "1000316").integers(1 << 30, size=4).tolist()

    program = "from launch.seeds import generator; print(generator(7, 'epoch', 3, '1000316').integers(1 << 30, size=4).tolist())"
    there = subprocess.run([sys.executable, "-c", program], env=os.environ | {"PYTHONHASHSEED": "12345"}, capture_output=True, text=True, check=True)

    assert there.stdout.strip() == str(here)


@pytest.mark.parametrize(
    ("one", "other"),
    [((0, 1), (1, 0)), ((0, "a"), (0, "b")), (("ab", "c"), ("a", "bc")), ((1, 23), (12, 3)), ((0,), (0, ""))],
)
def test_other_names_draw_other_numbers(one, other):
    assert generator(*one).integers(1 << 62) != generator(*other).integers(1 << 62)


def test_draws_of_neighbouring_items_are_uniform_together():
    draws = np.array([generator(0, 0, str(item)).random() for item in range(2000)])

    counts, _ = np.histogram(draws, bins=10, range=(0, 1))

    assert abs(draws.mean() - 0.5) < 0.02
    assert counts.min() > 150


def draws() -> list[float]:
    return [random.random(), float(np.random.rand()), float(torch.rand(()))]


def test_a_seed_repeats_python_numpy_and_torch():
    seed_everything(5)
    first = draws()

    seed_everything(5)

    assert draws() == first


@pytest.mark.parametrize(("seed", "rank"), [(6, 0), (5, 1)])
def test_another_seed_or_rank_draws_other_numbers(seed, rank):
    seed_everything(5)
    first = draws()

    seed_everything(seed, rank)

    assert all(a != b for a, b in zip(first, draws(), strict=True))
