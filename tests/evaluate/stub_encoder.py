"""A program that answers as an encoder does (`evaluate/browsing/encoder.py`) without a model: python -m tests.evaluate.stub_encoder [refusing]

A file of which the fifth byte from the end is h hangs, d dies, b is refused, n is refused by name, l is said to have taken too long; other files
and words give the unit vector of their length modulo 4.
"""

from __future__ import annotations

import base64
import io
import json
import os
import sys
import time
from pathlib import Path

from PIL import Image


def picture(colour: tuple[int, int, int]) -> str:
    file = io.BytesIO()
    Image.new("RGB", (48, 36), colour).save(file, "JPEG")
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def embedded(request: dict) -> dict:
    data = Path(request["file"]).read_bytes() if request["file"] else b""
    if data[-5:-4] == b"h":
        time.sleep(60)
    if data[-5:-4] == b"d":
        os.kill(os.getpid(), 9)
    if data[-5:-4] in (b"b", b"l"):
        return {"error": "it is damaged", "late": data[-5:-4] == b"l"}
    if data[-5:-4] == b"n":
        return {"error": "it jpg: the picture cannot be decoded"}
    place = (len(data) or len(request["words"])) % 4
    return {"vector": [float(place == row) for row in range(4)], "images": [picture((200, 0, 0))] if data else []}


def card(shard: str, item: str, frames: int) -> dict:
    return {"title": f"Title of {item} <i>", "words": {"caption": f"from {shard}"}, "images": [picture((0, 0, 200))] * frames}


if __name__ == "__main__":
    refuses = {"media": "", "words": ""}
    if sys.argv[1:] == ["refusing"]:
        refuses = {"media": "stub takes no pictures and no clips: it has features", "words": "stub takes no words: it has features"}
    print(json.dumps({"recipe": "stub", "checkpoint": "c0ffee", "refuses": refuses, "corpus": ""}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        answer = embedded(request) if request["do"] == "embed" else {"cards": [card(*item, request["frames"]) for item in request["items"]]}
        print(json.dumps(answer), flush=True)
