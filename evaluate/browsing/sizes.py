"""How many pixels an uploaded picture or a clip's frame has, told by its header: a PNG of half a megabyte may hold 169 million.

    python -m evaluate.browsing.sizes picture|clip FILE      -> {"size": [WIDTH, HEIGHT]} or {"error": "..."}

Those who read headers for us are libraries, too, so they do it in a process of their own, bounded in memory and in time.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

from evaluate.browsing.encoder import CHECKOUT, TooLate
from evaluate.browsing.uploads import Kind

PIXELS = 50_000_000
"""The most that are decoded: a frame of 8K video has 33 million, and the decoder needs about 16 bytes for each."""
ADDRESS_SPACE = 4 << 30
"""Bytes that reading a header may map: for the largest WebP libwebp reserves, without touching it, 2 GiB."""
_FORMATS = ("JPEG", "PNG", "WEBP")
_CONTAINERS = {"format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi", "protocol_whitelist": "file"}


class TooManyPixels(ValueError):
    """More than are decoded."""


def check_size(file: Path, kind: Kind, limit_s: float) -> None:
    """Look at the header of `file`, for at most `limit_s` seconds.

    Raises:
        TooManyPixels: there are more than `PIXELS`.
        TooLate: it took too long.
        ValueError: the header cannot be read, so nobody knows.
    """
    command = [sys.executable, "-m", "evaluate.browsing.sizes", kind.what, str(file)]
    try:
        ended = subprocess.run(command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise TooLate(f"its header could not be read within {limit_s:g} s (--time_limit)") from None
    if ended.returncode:
        raise ValueError(f"what reads its header died of it (exit code {ended.returncode}); the file is damaged, or made to do that")
    answer = json.loads(ended.stdout)
    if "error" in answer:
        raise ValueError(answer["error"])
    width, height = answer["size"]
    if width * height > PIXELS:
        subject = "the picture" if kind.what == "picture" else "a frame"
        raise TooManyPixels(
            f"{subject} has {width:,} x {height:,} = {width * height / 1e6:,.1f} megapixels; at most {PIXELS / 1e6:g}: make it smaller"
        )


def _picture_size(file: str) -> tuple[int, int]:
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # ours is the bound, and the message needs the number
    try:
        with Image.open(file, formats=_FORMATS) as image:
            return image.size
    except (OSError, ValueError, SyntaxError, IndexError) as error:
        raise ValueError("the picture cannot be opened, its file is truncated or damaged") from error


def _clip_size(file: str) -> tuple[int, int]:
    import av

    try:
        with av.open(file, metadata_errors="replace", options=_CONTAINERS) as container:
            sizes = [(stream.width, stream.height) for stream in container.streams.video]
    except av.FFmpegError as error:
        raise ValueError(f"the clip cannot be opened ({error.strerror}), its file is truncated or damaged") from error
    if not sizes:
        raise ValueError("there is no video stream in it")
    return max(sizes, key=lambda size: size[0] * size[1])


def main() -> None:
    """Print the size, or why there is none."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    what, file = sys.argv[1:]
    try:
        print(json.dumps({"size": _picture_size(file) if what == "picture" else _clip_size(file)}))
    except ValueError as error:
        print(json.dumps({"error": str(error)}))


if __name__ == "__main__":
    main()
