"""Pictures of every usual kind become RGB, damaged ones are named."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pipeline.media import check_image, decode_image


def photo(width: int = 64, height: int = 48) -> Image.Image:
    """A smooth picture: red grows to the right, green downwards, blue is 60."""
    red = np.tile(np.linspace(0, 255, width), (height, 1))
    green = np.tile(np.linspace(0, 255, height)[:, None], (1, width))
    return Image.fromarray(np.stack([red, green, np.full_like(red, 60)], axis=2).astype(np.uint8))


def as_bytes(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), ("JPEG", {"quality": 95}), ("JPEG", {"quality": 95, "progressive": True}), ("WEBP", {"quality": 95})]
)
def test_jpeg_png_and_webp_are_decoded(kind, options):
    pixels = decode_image(as_bytes(photo(), kind, **options), "a.file")

    assert pixels.shape == (48, 64, 3) and pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - np.asarray(photo())).mean() < 4


@pytest.mark.parametrize(("orientation", "red_grows"), [(1, "right"), (3, "left"), (6, "down"), (8, "up")])
def test_exif_orientation_is_obeyed(orientation, red_grows):
    exif = Image.Exif()
    exif[0x0112] = orientation

    red = decode_image(as_bytes(photo(), "JPEG", quality=95, exif=exif), "a.jpg")[:, :, 0].astype(int)

    lying = red_grows in ("right", "left")
    assert red.shape == ((48, 64) if lying else (64, 48))
    line = red.mean(axis=0 if lying else 1)
    growth = line[-1] - line[0]
    assert growth > 200 if red_grows in ("right", "down") else growth < -200


@pytest.mark.parametrize(
    ("short_side", "expected"), [(None, (480, 640)), (241, (480, 640)), (240, (240, 320)), (100, (120, 160)), (60, (60, 80)), (10, (60, 80))]
)
def test_a_large_jpeg_is_decoded_smaller_but_never_below_the_short_side(short_side, expected):
    data = as_bytes(photo(640, 480), "JPEG")

    assert decode_image(data, "a.jpg", short_side=short_side).shape == (*expected, 3)


def test_png_keeps_its_size_whatever_the_short_side():
    assert decode_image(as_bytes(photo(), "PNG"), "a.png", short_side=10).shape == (48, 64, 3)


def test_transparent_parts_become_white():
    cut_out = Image.new("RGBA", (4, 2), (200, 10, 10, 255))
    cut_out.putpixel((0, 0), (200, 10, 10, 0))
    cut_out.putpixel((1, 0), (200, 10, 10, 127))
    few_colours = Image.new("P", (2, 1), 1)
    few_colours.putpalette([0, 0, 0, 200, 10, 10])
    few_colours.putpixel((0, 0), 0)

    pixels = decode_image(as_bytes(cut_out, "PNG"), "a.png")
    palette = decode_image(as_bytes(few_colours, "PNG", transparency=0), "b.png")

    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[0, 1].tolist() == [228, 133, 133]  # half-way between the red and white: 255 - 55 * 127 / 255 = 227.6
    assert pixels[1, 3].tolist() == [200, 10, 10]
    assert palette.tolist() == [[[255, 255, 255], [200, 10, 10]]]


def test_grey_sixteen_bit_one_bit_and_cmyk_become_rgb():
    grey = decode_image(as_bytes(Image.new("L", (3, 2), 77), "PNG"), "grey.png")
    deep = decode_image(as_bytes(Image.fromarray(np.array([[0, 0x4D00, 0xFFFF]], np.uint16)), "PNG"), "deep.png")
    lines = decode_image(as_bytes(Image.new("1", (3, 2), 1), "PNG"), "lines.png")
    print_colours = decode_image(as_bytes(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95), "print.jpg")

    assert grey.tolist() == [[[77] * 3] * 3] * 2
    assert deep.tolist() == [[[0] * 3, [77] * 3, [255] * 3]]
    assert lines.tolist() == [[[255] * 3] * 3] * 2
    assert np.abs(print_colours.astype(int) - [255, 0, 0]).max() < 8


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.05, 0.4, 0.9])
def test_a_truncated_picture_is_named(kind, share):
    rng = np.random.default_rng(0)
    data = as_bytes(Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)), kind)
    data = data[: int(len(data) * share)]

    for act in (decode_image, check_image):
        with pytest.raises(ValueError, match=r"goods/images/7/7\.jpg: "):
            act(data, "goods/images/7/7.jpg")


def test_damaged_bytes_are_named_or_decoded_but_raise_nothing_else():
    rng = np.random.default_rng(1)
    for kind in ("JPEG", "PNG", "WEBP"):
        whole = np.frombuffer(as_bytes(photo(), kind), np.uint8)
        for _ in range(150):
            data = whole.copy()
            places = rng.integers(0, len(data), 4)
            data[places] = rng.integers(0, 256, 4)
            try:
                assert decode_image(data.tobytes(), "spoilt").shape[2] == 3
            except ValueError as error:
                assert str(error).startswith("spoilt: ")


@pytest.mark.parametrize("data", [b"", b"<html>404</html>", b"GIF89a" + bytes(40)])
def test_what_is_no_picture_is_named(data):
    with pytest.raises(ValueError, match=r"7\.jpg: not a JPEG, PNG or WebP picture"):
        decode_image(data, "7.jpg")


def test_a_real_photo_passes_the_check(test_data):
    folder = test_data / "data" / "grocery" / "goods" / "images"
    path = next(folder.rglob("*.jpg"))

    check_image(path.read_bytes(), str(path))
    assert min(decode_image(path.read_bytes(), str(path)).shape[:2]) > 50
