"""Pictures from the bytes of JPEG, PNG and WebP files, to RGB."""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps

_FORMATS = ("JPEG", "PNG", "WEBP")
_DAMAGE = (OSError, ValueError, SyntaxError, EOFError, IndexError, struct.error, Image.DecompressionBombError)  # what Pillow raises for it


def decode_image(data: bytes, name: str, short_side: int | None = None) -> np.ndarray:
    """The picture in a file's bytes, RGB uint8 [H, W, 3], upright as its EXIF orientation says.

    Transparent parts become white, as shops show their goods; 16-bit grey keeps its upper eight bits.

    Args:
        data: a JPEG, PNG or WebP file; of an animation the first picture.
        name: what a message calls it.
        short_side: a JPEG much larger than needed may be decoded at 1/2, 1/4 or 1/8, several times faster, as long as its shorter
            side keeps at least this many pixels; None: the stored size.

    Raises ValueError naming the picture where the file is truncated, damaged or of another kind.
    """
    try:
        with Image.open(BytesIO(data), formats=_FORMATS) as image:
            if short_side:
                image.draft(None, (short_side, short_side))
            image.load()
            return np.asarray(_rgb(ImageOps.exif_transpose(image)))
    except Image.UnidentifiedImageError:
        raise ValueError(f"{name}: not a JPEG, PNG or WebP picture ({len(data)} bytes, starting {data[:8]!r})") from None
    except _DAMAGE as error:
        raise ValueError(f"{name}: the picture cannot be decoded, its file is truncated or damaged ({error})") from error


def check_image(data: bytes, name: str) -> None:
    """Raise ValueError, naming it, where `data` is no picture that decodes to its end: done once, when a corpus is packed."""
    decode_image(data, name, short_side=1)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow's own conversion clips instead of scaling
        return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")
