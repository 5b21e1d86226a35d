"""How an item looks on a page: its title, and its frames as small pictures inside the page."""

from __future__ import annotations

import base64
import io

from PIL import Image

from pipeline.frames import FrameReader
from pipeline.shards import Sample

HEIGHT = 240
"""Pixels of a picture on the page."""


def title_of(sample: Sample) -> str:
    """Its title; of an item of features alone its category; "" where it has neither."""
    words = sample.words()
    if words or sample.frames() or sample.video():
        return words.get("title", "")
    return " > ".join(map(str, sample.record["labels"].get("category", ())))


def images_of(sample: Sample, reader: FrameReader, count: int) -> list[str]:
    """`count` frames as data URIs, none where it has no media. Raises ValueError where they cannot be read."""
    found = []
    for frame in reader.read(sample, count, None, 2 * HEIGHT) or ():
        picture = Image.fromarray(frame)
        picture.thumbnail((4 * HEIGHT, HEIGHT))
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=85)
        found.append(f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}")
    return found
