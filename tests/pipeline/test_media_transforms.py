"""One crop and one flip for a whole clip; plain resize for evaluation."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pipeline.media import RandomResizedCropFlip, Resize


def gradient(width: int, height: int) -> np.ndarray:
    """[H, W, 3]: red is the place across, 0 to 250; green the place down, 0 to 250; blue 0."""
    frame = np.zeros((height, width, 3), np.uint8)
    frame[:, :, 0] = (np.arange(width) + 0.5) / width * 250
    frame[:, :, 1] = ((np.arange(height) + 0.5) / height * 250)[:, None]
    return frame


def region(pixels: np.ndarray) -> tuple[float, float, float, float]:
    """Of a cropped `gradient` [3, S, S]: left, upper, right, lower edge as shares of the frame, to about 0.02; mirrored: left > right."""
    size = pixels.shape[1]
    across, down = pixels[0].mean(axis=0) / 250, pixels[1].mean(axis=1) / 250
    half_pixel_across, half_pixel_down = (line[-2] - line[1] for line in (across, down))
    half_pixel_across, half_pixel_down = half_pixel_across / (size - 3) / 2, half_pixel_down / (size - 3) / 2
    return across[0] - half_pixel_across, down[0] - half_pixel_down, across[-1] + half_pixel_across, down[-1] + half_pixel_down


def test_all_frames_of_a_clip_get_the_same_crop_and_flip():
    clip = [gradient(160, 120)] * 5
    transform = RandomResizedCropFlip(32)
    results = [transform(clip, np.random.default_rng(seed)) for seed in range(20)]

    for pixels in results:
        assert pixels.shape == (5, 3, 32, 32) and pixels.dtype == np.uint8 and pixels.flags.c_contiguous
        assert (pixels == pixels[0]).all()
    lefts = {round(region(pixels[0])[0], 2) for pixels in results}
    mirrored = [region(pixels[0])[0] > region(pixels[0])[2] for pixels in results]
    assert len(lefts) > 8
    assert 3 < sum(mirrored) < 17


def test_the_crop_is_between_64_and_100_percent_with_a_ratio_of_three_to_four_at_most():
    frame, transform = gradient(200, 200), RandomResizedCropFlip(64, flip=0.0)

    edges = np.array([region(transform([frame], np.random.default_rng(seed))[0]) for seed in range(200)])

    wide, high = edges[:, 2] - edges[:, 0], edges[:, 3] - edges[:, 1]
    assert edges.min() > -0.02 and edges.max() < 1.02
    assert 0.62 < (wide * high).min() < 0.68 and 0.93 < (wide * high).max() < 1.02
    assert (wide / high).min() > 0.72 and (wide / high).max() < 1.38
    assert (wide / high).min() < 0.85 and (wide / high).max() > 1.18
    assert (edges[:, 0] < 0.02).any() and (edges[:, 2] > 0.98).any() and (edges[:, 0] > 0.1).any()


def test_photos_of_different_sizes_in_one_clip_get_the_same_share():
    frames = [gradient(120, 120), gradient(300, 300), gradient(60, 60)]

    for seed in range(10):
        pixels = RandomResizedCropFlip(24)(frames, np.random.default_rng(seed))

        expected = region(pixels[0])
        assert region(pixels[1]) == pytest.approx(expected, abs=0.03)
        assert region(pixels[2]) == pytest.approx(expected, abs=0.03)


def test_a_crop_of_everything_is_the_plain_resize_and_a_sure_flip_its_mirror():
    frame = gradient(90, 90)
    whole, rng = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0)}, np.random.default_rng(0)

    plain = Resize(30)([frame])

    assert (RandomResizedCropFlip(30, **whole, flip=0.0)([frame], rng) == plain).all()
    assert (RandomResizedCropFlip(30, **whole, flip=1.0)([frame], rng) == plain[:, :, :, ::-1]).all()


def test_where_no_crop_fits_the_largest_centre_crop_stands_in():
    # 400 x 100: any 64 % are wider than 4 / 3 allows. The centre crop is 133 x 100, a third of the width.
    pixels = RandomResizedCropFlip(40, flip=0.0)([gradient(400, 100)], np.random.default_rng(0))

    assert region(pixels[0]) == pytest.approx((1 / 3, 0, 2 / 3, 1), abs=0.02)


def test_the_generator_alone_decides_and_gives_the_same_amount_of_numbers_for_any_clip():
    transform = RandomResizedCropFlip(16)
    short, long = np.random.default_rng(4), np.random.default_rng(4)

    first = transform([gradient(40, 30)], short)
    again = transform([gradient(40, 30)] * 3 + [gradient(400, 20)], long)

    assert (first[0] == again[0]).all()
    assert short.random() == long.random()


def test_evaluation_resizes_the_whole_frame_without_keeping_the_aspect():
    pixels = Resize(50)(np.stack([gradient(200, 100)] * 2))

    assert pixels.shape == (2, 3, 50, 50)
    assert region(pixels[1]) == pytest.approx((0, 0, 1, 1), abs=0.02)


def test_resizing_averages_instead_of_picking_pixels():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200

    for interpolation in ("bilinear", "bicubic"):
        inside = Resize(16, interpolation)([stripes])[:, :, :, 1:-1]
        assert np.abs(inside.astype(int) - 100).max() <= 2, interpolation


def test_pillow_images_of_any_mode_are_taken():
    grey = Image.new("L", (20, 10), 99)

    assert (Resize(8)([grey, Image.fromarray(gradient(30, 30))])[0] == 99).all()


def test_wrong_settings_and_empty_clips_are_errors():
    with pytest.raises(ValueError, match="a clip without frames"):
        Resize(8)([])
    with pytest.raises(ValueError, match="interpolation one of bilinear, bicubic"):
        Resize(8, "nearest")
    with pytest.raises(ValueError, match=r"scale \(0\.0, 1\.0\)"):
        RandomResizedCropFlip(8, scale=(0.0, 1.0))
    with pytest.raises(ValueError, match="size must be at least 1"):
        RandomResizedCropFlip(0)
