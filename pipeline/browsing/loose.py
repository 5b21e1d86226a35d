"""An item that is in no shard: words just typed, or a file just given, as a system's preparation reads samples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.shards import Sample


class LooseItem(Sample):
    """A sample of `domain` with `words` by kind and at most one file.

    Args:
        name: what messages call it.
        file: its media: a path, whose suffix says what it is, or the bytes of a JPEG.
    """

    def __init__(self, name: str, domain: str, words: Mapping[str, str], file: Path | bytes | None) -> None:
        self._name, self._domain, self._file = name, domain, file
        self._record: dict[str, Any] | None = {"id": name, "domain": domain, "words": dict(words), "queries": [], "labels": {}}

    @property
    def id(self) -> str:
        return self._name

    @property
    def domain(self) -> str:
        return self._domain

    @property
    def shard(self) -> str:
        return ""

    @property
    def name(self) -> str:
        return self._name

    @property
    def members(self) -> tuple[str, ...]:
        if self._file is None:
            return ()
        return (self._file.suffix.removeprefix(".") if isinstance(self._file, Path) else "jpg",)

    def span(self, suffix: str) -> tuple[Path, int, int]:
        assert isinstance(self._file, Path) and suffix in self.members
        return self._file, 0, self._file.stat().st_size

    def bytes(self, suffix: str) -> bytes:
        if suffix not in self.members:
            raise ValueError(f"{self.name} lacks {suffix}")
        return self._file.read_bytes() if isinstance(self._file, Path) else self._file or b""
