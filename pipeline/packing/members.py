"""The members of a sample: an item's record, its checked images or video file, its features.

Images keep the bytes of their file where it is JPEG, PNG or WebP, whatever its name says; others, and those that are made smaller, are
written as JPEG of quality 95.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from pipeline.item import Item
from pipeline.media.check import check_video
from pipeline.media.images import check_image, decode_image
from pipeline.shards.npy import read_numbers
from pipeline.sources import BadItem, read_bytes

JPEG_QUALITY = 95
_SIGNATURES = {"jpg": rb"\xff\xd8\xff", "png": rb"\x89PNG\r\n\x1a\n", "webp": rb"RIFF....WEBP"}
_OTHER_FORMATS = ("BMP", "GIF", "TIFF")


def key_of(id: str) -> str:
    """The name of a sample's members in the tar: the id where it is safe as a file name, else "~" and a hash of it.

    No safe id begins with "~", so the two kinds never meet.
    """
    if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", id):
        return id
    return "~" + hashlib.blake2b(id.encode(), digest_size=16).hexdigest()


def members_of(item: Item, root: Path, resize_short_side: int | None) -> list[tuple[str, bytes]]:
    """(suffix, bytes) of the item's members in the order in which they are written.

    Args:
        root: the corpus' root; files are named relative to it in errors.
        resize_short_side: images whose shorter side has more pixels than this are made that small; None keeps all.

    Raises:
        BadItem: a file is missing or cannot be decoded, or a feature has numbers that are not finite.
    """
    return [("json", _record(item)), *_media(item, root, resize_short_side), *_features(item, root)]


def _record(item: Item) -> bytes:
    queries = [{"id": query.id, "words": query.words, "cluster": list(query.cluster)} for query in item.queries]
    record = {"id": item.id, "domain": item.domain, "words": dict(item.words), "queries": queries, "labels": dict(item.labels)}
    return json.dumps(record, ensure_ascii=False, allow_nan=False).encode()


def _media(item: Item, root: Path, resize_short_side: int | None) -> Iterator[tuple[str, bytes]]:
    if item.is_video_file:
        path = item.media[0]
        name = str(path.relative_to(root))
        data = read_bytes(root, name)
        try:
            check_video(path, name)
        except ValueError as error:
            raise BadItem(name, _reason(error, name)) from error
        yield path.suffix[1:].lower(), data
        return
    digits = max(2, len(str(len(item.media) - 1)))
    for number, path in enumerate(item.media):
        name = str(path.relative_to(root))
        data = read_bytes(root, name)
        try:
            suffix, data = _image(data, name, resize_short_side)
        except ValueError as error:
            raise BadItem(name, _reason(error, name)) from error
        yield suffix if len(item.media) == 1 else f"{number:0{digits}d}.{suffix}", data


def _image(data: bytes, name: str, resize_short_side: int | None) -> tuple[str, bytes]:
    suffix = next((suffix for suffix, signature in _SIGNATURES.items() if re.match(signature, data, re.DOTALL)), None)
    if suffix is None:
        suffix, data = "jpg", _jpeg(_other_picture(data, name))
    check_image(data, name)
    if resize_short_side is not None:
        with Image.open(io.BytesIO(data)) as image:  # its size alone; nothing is decoded
            scale = resize_short_side / min(image.size)
        if scale < 1:
            picture = Image.fromarray(decode_image(data, name))
            size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
            return "jpg", _jpeg(picture.resize(size, Image.Resampling.LANCZOS))
    return suffix, data


def _other_picture(data: bytes, name: str) -> Image.Image:
    try:
        with Image.open(io.BytesIO(data), formats=_OTHER_FORMATS) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, struct.error, Image.DecompressionBombError) as error:
        kinds = ", ".join((*(suffix.upper() for suffix in _SIGNATURES), *_OTHER_FORMATS))
        raise ValueError(f"{name}: no picture that can be decoded ({len(data)} bytes, starting {data[:8]!r}; wanted {kinds})") from error


def _jpeg(picture: Image.Image) -> bytes:
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG", quality=JPEG_QUALITY)
    return encoded.getvalue()


def _features(item: Item, root: Path) -> Iterator[tuple[str, bytes]]:
    for feature, value in sorted(item.features.items()):
        if isinstance(value, Path):
            name = str(value.relative_to(root))
            yield f"{feature}.npy", _checked_array(read_bytes(root, name), name)
        else:
            encoded = io.BytesIO()
            np.save(encoded, np.asarray(value), allow_pickle=False)
            yield f"{feature}.npy", _checked_array(encoded.getvalue(), "", f"feature {feature}: ")


def _checked_array(data: bytes, name: str, which: str = "") -> bytes:
    try:
        read_numbers(data)
    except ValueError as error:
        raise BadItem(name, f"{which}{error}") from error
    return data


def _reason(error: ValueError, name: str) -> str:
    """The error's words without the file's name before them, which rejected.jsonl has in a field of its own."""
    return str(error).removeprefix(f"{name}: ")
