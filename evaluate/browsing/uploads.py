"""What an uploaded file is, told by its first bytes: its name is somebody's claim, and what opens it must not guess.

Playlists and the like, which FFmpeg would follow to other files and hosts, begin otherwise and are refused with the rest.
"""

from __future__ import annotations

import codecs
from typing import Literal, NamedTuple

HEAD_BYTES = 256
ACCEPTED = "a JPEG, PNG or WebP picture, or an MP4, MOV, WebM, Matroska or AVI clip"


class Kind(NamedTuple):
    """What a file is to be read as, and the suffix that says so."""

    what: Literal["picture", "clip"]
    suffix: str


def kind_of(head: bytes, name: str) -> Kind:
    """The kind of a file that begins with `head` (`HEAD_BYTES` of it); `name` is what the message calls it.

    Raises ValueError where it is none that is read here.
    """
    if head[:3] == b"\xff\xd8\xff":
        return Kind("picture", ".jpg")
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return Kind("picture", ".png")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return Kind("picture", ".webp")
    if head[4:8] == b"ftyp":
        return Kind("clip", ".mov" if head[8:12] == b"qt  " else ".mp4")
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return Kind("clip", ".webm" if b"webm" in head[:64] else ".mkv")
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return Kind("clip", ".avi")
    raise ValueError(f"{name}: {_guess(head)}; give {ACCEPTED}")


def _guess(head: bytes) -> str:
    if not head:
        return "an empty file"
    if b"<svg" in head.lower():
        return "an SVG drawing, which is a program rather than a picture"
    if head[:3] == b"GIF":
        return "a GIF"
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # the last character may be cut
    except UnicodeDecodeError:
        text = "\0"
    return f"of a kind that is not read here (it begins with {head[:8].hex(' ')})" if "\0" in text else "a text, whatever its name says"
