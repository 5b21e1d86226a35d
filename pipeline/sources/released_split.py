"""The split of MMRA's program: four fifths of the items to train on, the rest halved into test and val.

Its program calls scikit-learn's train_test_split twice, with test_size .2 and seed 9, then .5 and seed 18, and names the first half of the rest
test. That function's permutation is NumPy's, whose legacy generator does not change; it is made here without scikit-learn.
"""

from __future__ import annotations

import math

import numpy as np


def released_split(count: int) -> dict[str, np.ndarray]:
    """Places of the `count` items of each split, int64, in the order in which the program has them."""
    train, rest = _two_parts(count, 0.2, 9)
    test, val = _two_parts(len(rest), 0.5, 18)
    return {"train": train, "val": rest[val], "test": rest[test]}


def _two_parts(count: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(first, second), the second of a `share` of the items, rounded up. Source: scikit-learn's train_test_split with random_state `seed`."""
    order = np.random.RandomState(seed).permutation(count)
    second = math.ceil(share * count)
    return order[second:], order[:second]
