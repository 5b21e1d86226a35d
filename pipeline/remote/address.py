"""Where a split lies that is not on this machine, as a person writes it.

    s3://bucket/shards/train      gs://bucket/shards/train      https://host/shards/train          the folder of a split
    s3://bucket/shards                                                                             the folder of several
    s3://bucket/shards/train/video-{000000..000099}.tar                                            some of its shards
    pipe:aws s3 cp s3://bucket/shards/train/{} -                                                   a command: {} is a file's name
    pipe:ssh host cat /data/shards/{train,val}/{}                                                  the same for two splits
    pipe:cat /data/shards/train/video-{000000..000099}.tar                                         some of its shards

{} may stand in any of them (https://host/get?file={}&key=…); without it a file's name goes behind the address. Everything that a split
consists of is had by its name: manifest.json, queries.jsonl, video-000000.tar, video-000000.index.npz, …
"""

from __future__ import annotations

import hashlib
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.remote.ranges import RANGE, expand

PIPE = "pipe:"
NAME = "{}"
_WORD = re.compile(r"[^\s'\"]+")
_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")


def is_remote(text: object) -> bool:
    """True where `text` is an address (scheme://…) or a command (pipe:…), and no path."""
    return isinstance(text, str) and (text.startswith(PIPE) or re.match(r"[a-z][a-z0-9+.-]*://", text) is not None)


@dataclass(frozen=True)
class Address:
    """A split elsewhere: `template` with {} where a file's name goes; `shards` is the range of them that is meant, None for all."""

    template: str
    shards: str | None = None

    @property
    def is_pipe(self) -> bool:
        """True where files are what a command prints."""
        return self.template.startswith(PIPE)

    def file(self, name: str) -> str:
        """The address of one of its files, or the command (after "pipe:") that prints it.

        Raises ValueError where the name, which a manifest may have given, would lead out of the split.
        """
        if not _SAFE.fullmatch(name):
            raise ValueError(f"{self}: {name!r:.80} is no name of a file of a packed split (letters, digits, _ . - and folders)")
        return self.template.replace(NAME, shlex.quote(name) if self.is_pipe else name)

    def below(self, folder: str) -> Address:
        """The split in the folder `folder` of this address."""
        return Address(self.template.replace(NAME, f"{folder}/{NAME}"), self.shards)

    def mirror(self) -> Path:
        """Where its files are kept, below the cache: the same for the same address, beside those of its neighbour splits."""
        found = re.search(r"([A-Za-z0-9_][A-Za-z0-9_.-]*)/\{\}", self.template)
        parent, last = (self.template.replace(found[0], NAME), found[1]) if found else (self.template, "split")
        words = re.sub(r"[^A-Za-z0-9_.-]+", "-", parent.split("?")[0]).strip("-.")
        return Path(f"{words[:60]}-{hashlib.sha256(parent.encode()).hexdigest()[:12]}", last)

    def __str__(self) -> str:
        return self.template.removesuffix(f"/{NAME}")


def addresses_of(text: str) -> list[Address]:
    """The splits that `text` names: one, or one for each entry of a list in braces.

    Raises ValueError for a command that does not say where a file's name goes, and for an address without a host.
    """
    if not text.startswith(PIPE):
        text = text.rstrip("/")
        if not urlsplit(text).netloc and not urlsplit(text).path.strip("/"):
            raise ValueError(f"{text}: an address without a host or a folder")
    word, shards = _naming(text)
    if word is None:
        if text.startswith(PIPE):
            raise ValueError(
                f"{text}: does not say where a file's name goes; write {NAME} there (pipe:aws s3 cp s3://bucket/shards/train/{NAME} -), or a range "
                "of shards"
            )
        word, named = text, f"{text}/{NAME}"
    else:
        named = f"{word[: len(word) - len(shards)]}{NAME}" if shards else word
    before, _, after = text.partition(word)
    if not RANGE.search(named):
        return [Address(before + named + after, shards)]
    marked = expand(named.replace(NAME, "\0"))
    return [Address(before + one.replace("\0", NAME) + after, shards) for one in marked]


def _naming(text: str) -> tuple[str | None, str | None]:
    """The word of `text` that has {} or ends with shards, and these shards; None where there is none."""
    words = _WORD.findall(text) if text.startswith(PIPE) else [text]
    for word in words:
        if NAME in word:
            return word, None
    for word in words:
        last = word.rpartition("/")[2]
        if last.endswith(".tar") and "/" in word:
            return word, last
    return None, None
