"""Small corpora written by tests, file by file."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image


def picture(colour: tuple[int, int, int] = (200, 30, 30), size: tuple[int, int] = (16, 12), form: str = "JPEG") -> bytes:
    """The bytes of an image file of one colour."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, form)
    return file.getvalue()


def clip(frames: int = 8, size: int = 32) -> bytes:
    """The bytes of an MP4 file whose frames go from dark to light."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            level = np.full((size, size, 3), 255 * number // frames, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(level, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def write_files(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write `files` (path below root -> content) and return the root."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def write_catalog(
    root: Path, records: Iterable[Mapping[str, Any]], files: Mapping[str, str | bytes] | None = None, name: str = "catalog.jsonl"
) -> Path:
    """Write a catalog of `records` and the `files` beside it, and return its root."""
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    return write_files(root, {name: lines, **(files or {})})


def real20m_files() -> dict[str, str | bytes]:
    """A corpus in the Real20M layout: two goods and three clips in train, one good and two clips in test, all of them whole."""
    files: dict[str, str | bytes] = {
        "train_file/train.txt": "girl&#39;s coat\t101\t100203,50204\nblue kettle\t101,50102\t205\nlonely words\tNone\tNone\n",
        "train_file/cluster.txt": "girl&#39;s coat\t1\t2\t30\n",
        "goods/images/101/101.jpg": picture((1, 2, 3)),
        "goods/text/101/101.txt": "101\nClothes/Coats\nNami\ncoat\nA coat &amp; hood\nnull\n",
        "goods/images/102/50102.jpg": picture((4, 5, 6)),
        "goods/text/102/50102.txt": "50102\nnull\nnull\nnull\nnull\nnull\n",
        "video/frameid/203/100203.txt": "9/a_0.jpg,9/a_1.jpg\n",
        "video/text/203/100203.txt": "look at this\nnull\n NULL \n",
        "video/frameid/204/50204.txt": "9/a_1.jpg\n",
        "video/text/204/50204.txt": "null\nnull\nnull\n",
        "video/frameid/205/205.txt": "null\n",
        "video/text/205/205.txt": "茶壶\n蓝色\n30% off\n",
        "video/images/9/a_0.jpg": picture((7, 8, 9)),
        "video/images/9/a_1.jpg": picture((10, 11, 12)),
        "test_file/all_goods.txt": "101\tgoods\tCoat\t101/101.jpg\t101/101.txt\n",
        "test_file/goods_query.txt": "101\tgoods\tCoat\t101/101.jpg\t101/101.txt\n",
        "test_file/all_videos.txt": "100203\tphoto\tnone\t9/a_0.jpg,9/a_1.jpg\t203/100203.txt\n",
        "test_file/photo_query.txt": "205\tphoto\tnone\tnone\t205/205.txt\n",
        "test_file/eval_gt_video2goods.txt": "205_0\t101.jpg\n",
        "test_file/eval_gt_good2video.txt": "101\t100203.jpg,205_0.jpg\n",
    }
    return files
