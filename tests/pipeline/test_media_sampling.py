"""Which frames of a clip are looked at."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.media.sampling import frame_positions, positions_at, segment_points


@pytest.mark.parametrize(
    ("length", "count", "expected"),
    [
        (10, 5, [1, 3, 5, 7, 9]),
        (7, 5, [0, 2, 3, 4, 6]),  # 0.7 2.1 3.5 4.9 6.3
        (2, 5, [0, 0, 1, 1, 1]),  # 0.2 0.6 1.0 1.4 1.8
        (1, 3, [0, 0, 0]),
        (1189, 1, [594]),
    ],
)
def test_evaluation_takes_the_frame_at_the_centre_of_each_segment(length, count, expected):
    assert frame_positions(length, count, None) == expected


def test_centres_are_the_released_formula_for_every_length():
    for count in (1, 3, 5, 8):
        for length in range(1, 400):
            assert frame_positions(length, count) == [int((2 * i + 1) * length / (2 * count)) for i in range(count)]


def test_a_drawn_point_takes_the_frame_that_covers_it():
    # Segments of 7 / 5 = 1.4 frames: 0 + 0, 1.4 + 0.7, 2.8 + 1.26, 4.2 + 0.14, 5.6 + 1.386
    assert positions_at(7, [0.0, 0.5, 0.9, 0.1, 0.99]) == [0, 2, 4, 4, 6]


def test_training_takes_one_frame_of_each_segment_and_all_frames_alike():
    rng = np.random.default_rng(0)

    drawn = np.array([frame_positions(10, 5, rng) for _ in range(2000)])

    assert (drawn // 2 == np.arange(5)).all()
    assert np.bincount(drawn.ravel(), minlength=10) == pytest.approx(1000, abs=120)


def test_a_short_clip_repeats_frames_in_order():
    drawn = frame_positions(3, 8, np.random.default_rng(1))

    assert len(drawn) == 8
    assert drawn == sorted(drawn)
    assert set(drawn) <= {0, 1, 2}


def test_the_last_frame_is_never_passed():
    assert positions_at(3, [np.nextafter(1.0, 0.0)]) == [2]
    assert positions_at(10, [np.nextafter(1.0, 0.0)] * 3)[-1] == 9


def test_the_same_generator_draws_the_same_frames():
    assert frame_positions(100, 5, np.random.default_rng(7)) == frame_positions(100, 5, np.random.default_rng(7))
    assert frame_positions(100, 5, np.random.default_rng(7)) != frame_positions(100, 5, np.random.default_rng(8))


def test_no_frames_and_none_wanted_are_errors():
    with pytest.raises(ValueError, match="a clip of 0 frames"):
        frame_positions(0, 5)
    with pytest.raises(ValueError, match="0 frames wanted"):
        segment_points(0)
