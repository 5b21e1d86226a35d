"""What every corpus is read into: an item is a good, a video, a live stream, a query …, with its words, media, queries, labels and features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Domain = Literal["goods", "video", "live", "query", "image", "text"]
DOMAINS: tuple[str, ...] = ("goods", "video", "live", "query", "image", "text")

CLIPS: tuple[str, ...] = ("video", "live")
"""Domains whose items go on in time: their images are frames in that order, or they are one video file."""

Role = Literal["both", "query", "document"]
"""What an item of an evaluation split is for: searched with ("query"), searched among ("document"), or both."""

WORDS: tuple[str, ...] = ("title", "description", "caption", "recognised_text")
VIDEO_SUFFIXES: tuple[str, ...] = (".mp4", ".mkv", ".webm", ".mov", ".avi")
IMAGE_SUFFIXES: tuple[str, ...] = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class Query:
    """A search query: its number in the shard set, its words, and its cluster ids from coarse to fine (empty where unknown)."""

    id: int
    words: str
    cluster: tuple[int, ...] = ()


NO_QUERY = Query(-1, "")
"""What stands for the query of a document that could not be read."""


@dataclass(frozen=True)
class Item:
    """One item of a corpus. A modality that is missing is absent here, never a placeholder.

    `media` holds either image files in the order of time (one for a good, none for a query) or a single video file.
    `words` has keys out of WORDS, only for non-empty text. `features` are named .npy files or arrays.
    """

    id: str
    domain: str
    role: str = "both"
    words: Mapping[str, str] = field(default_factory=dict)
    media: tuple[Path, ...] = ()
    queries: tuple[Query, ...] = ()
    labels: Mapping[str, Any] = field(default_factory=dict)
    features: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_video_file(self) -> bool:
        """True where the media is one video file, to be decoded while streaming."""
        return len(self.media) == 1 and self.media[0].suffix.lower() in VIDEO_SUFFIXES
