"""Where the pictures of a page are: inside it, so that it is one file, or beside it, so that many pages share them and load them lazily.

Either way their sum is bounded: a picture that would exceed it is left out, and counted.
"""

from __future__ import annotations

import base64
import shutil
from abc import ABC, abstractmethod
from pathlib import Path

IMAGE_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}


class Pictures(ABC):
    """The pictures of a page or of several: `number` of them make `bytes`, `left_out` had no room.

    Args:
        most_bytes: bound of their sum; None = none.
    """

    def __init__(self, most_bytes: int | None = None) -> None:
        self.most_bytes, self.number, self.bytes, self.left_out = most_bytes, 0, 0, 0

    @abstractmethod
    def address(self, file: Path) -> str | None:
        """What the page names as the source of the picture in `file`; None where there is no room for it."""

    def _has_room(self, size: int) -> bool:
        if self.most_bytes is not None and self.bytes + size > self.most_bytes:
            self.left_out += 1
            return False
        self.number += 1
        self.bytes += size
        return True


class Inside(Pictures):
    """Each picture is part of the page, once for each time that it is shown."""

    def address(self, file: Path) -> str | None:
        if not self._has_room(-(-file.stat().st_size // 3) * 4):
            return None
        return f"data:{IMAGE_TYPES[file.suffix.lower()]};base64,{base64.b64encode(file.read_bytes()).decode()}"


class Beside(Pictures):
    """Each picture is a file in `folder`/pictures, once, however often it is shown; pages in `folder` name it relative to themselves."""

    def __init__(self, folder: Path, most_bytes: int | None = None) -> None:
        super().__init__(most_bytes)
        self._folder = folder / "pictures"
        self._folder.mkdir()
        self._addresses: dict[Path, str | None] = {}

    def address(self, file: Path) -> str | None:
        if file not in self._addresses:
            name = f"{len(self._addresses):06d}{file.suffix.lower()}"
            has_room = self._has_room(file.stat().st_size)
            if has_room:
                shutil.copyfile(file, self._folder / name)
            self._addresses[file] = f"pictures/{name}" if has_room else None
        return self._addresses[file]
