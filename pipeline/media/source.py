"""Where a video's bytes are (a file, a span of an uncompressed tar, or memory), and the names of what may read them."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import NamedTuple, TypeAlias

BACKENDS = ("decord", "pyav")


class Span(NamedTuple):
    """`size` bytes at byte `offset` of the file `path`: a member of an uncompressed tar."""

    path: str | Path
    offset: int
    size: int


Source: TypeAlias = "str | Path | Span | tuple[str | Path, int, int] | bytes"
"""A path, a span (a plain tuple will do), or the file's bytes."""


def known_backend(backend: str) -> str:
    """`backend` itself. Raises ValueError where it is none."""
    if backend not in BACKENDS:
        raise ValueError(f"video backend {backend!r}: choose one of {', '.join(BACKENDS)}")
    return backend


def source_name(source: Source) -> str:
    """What to call `source` in a message where the caller has no better name for it."""
    if isinstance(source, bytes):
        return f"a video of {len(source)} bytes"
    if isinstance(source, tuple):
        path, offset, size = source
        return f"{path} (bytes {offset} to {offset + size})"
    return str(source)


def opened_by_ffmpeg(source: Source) -> str | BytesIO:
    """What FFmpeg opens to read `source`: an absolute path, FFmpeg's `subfile` address of a span, or a file object over the bytes.

    A span is read in place, so that a clip's bytes need not pass through memory as a whole.
    """
    if isinstance(source, bytes):
        return BytesIO(source)
    if isinstance(source, tuple):
        path, offset, size = source
        return f"subfile,,start,{offset},end,{offset + size},,:{os.path.abspath(path)}"
    return os.path.abspath(source)
