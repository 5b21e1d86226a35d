"""Small tables of a corpus of micro-videos (titles, counts), and where the frames or the video of each lie."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pipeline.item import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from pipeline.sources import BadItem, decode

ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What an id looks like; a first line whose first column is something else is a head."""


def lines_of(file: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, line without its end) of the lines that are not blank. Raises BadItem for a line that is not UTF-8."""
    with open(file, "rb") as lines:
        for number, data in enumerate(lines, 1):
            line = decode(data, file.name).rstrip("\r\n")
            if line.strip():
                yield number, line


def unquoted(text: str) -> str:
    """A column of a CSV file as it was before it was quoted; one that was not quoted, commas and all, as it is."""
    text = text.strip()
    return text[1:-1].replace('""', '"') if len(text) > 1 and text[0] == text[-1] == '"' else text


def only_file(root: Path, *patterns: str) -> Path | None:
    """The file below `root` that the first of `patterns` that matches any names; None where none does. Raises ValueError for two."""
    for pattern in patterns:
        found = sorted(path for path in root.glob(pattern) if path.is_file())
        if len(found) > 1:
            raise ValueError(f"{root}: {found[0].name} and {found[1].name} are both {pattern}; keep one of them")
        if found:
            return found[0]
    return None


def media_of(root: Path, frames: tuple[str, ...], videos: tuple[str, ...], id: str) -> tuple[Path, ...]:
    """The item's frames in the order of their numbers, or its video file; nothing where it has neither. What comes first is taken.

    Args:
        frames: folders below `root` with frames `<id>_<number>.jpg`, numbered from 0 or 1, or with a folder `<id>` of images in the order of their
            names.
        videos: folders with `<id>.mp4` or another video file.
    """
    for folder in frames:
        if found := _frames(root / folder, id):
            return found
    for folder in videos:
        for suffix in VIDEO_SUFFIXES:
            if (root / folder / f"{id}{suffix}").is_file():
                return (root / folder / f"{id}{suffix}",)
    return ()


def number_in(text: str, file: str, line: int, what: str) -> float:
    """The number in a column. Raises BadItem where it is none, or below 0."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise BadItem(file, f"line {line}: {what} is {text!r}; wanted a count, 0 or more")
    return value


def _frames(folder: Path, id: str) -> tuple[Path, ...]:
    if (folder / id).is_dir():
        return tuple(sorted(path for path in (folder / id).iterdir() if path.suffix.lower() in IMAGE_SUFFIXES))
    for suffix in IMAGE_SUFFIXES:
        for first in (0, 1):
            found: list[Path] = []
            while (path := folder / f"{id}_{first + len(found)}{suffix}").is_file():
                found.append(path)
            if found:
                return tuple(found)
    return ()
