"""MicroLens-100k and its like, for popularity: titles of micro-videos, numbers of comments, frames or videos.

    MicroLens-100k_title_en.csv          id,title (or *_titles.csv); the title may hold commas, a head line is passed over
    MicroLens-100k_comment_en.txt        user TAB id TAB comment, a line a comment; where it is not there,
    MicroLens-100k_pairs.csv             user,id,time, a line a comment (the corpus' interactions are comments)
    MicroLens-100k_likes_and_views.txt   optional: id TAB likes TAB views; labels
    Microlens100K_captions_en.csv        optional: id TAB caption; words `caption`
    video_frames/<id>_<n>.jpg            as MMRA's program cuts them, or frames/; or, taken where there are none,
    videos/<id>.mp4                      or video/, MicroLens-100k_videos/

Labels: `comments`, and `popularity`, the logarithm to base 2 of their number. A video without comments has no popularity that the release could take
the logarithm of; it is rejected.

The split is that of MMRA's program (`pipeline.sources.released_split`) over the videos in the order of the title file: 15,790 to train on, 1,974
each for val and test of the 19,738 of MicroLens-100k. Which order the program's own table had it does not say.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.item import Item
from pipeline.sources import BadItem, Entry, Rejected, clean
from pipeline.sources.released_split import released_split
from pipeline.sources.tables import ID, lines_of, media_of, number_in, only_file, unquoted

TITLES = ("MicroLens-*_title_en.csv", "MicroLens-*_titles.csv")
COMMENTS = ("MicroLens-*_comment_en.txt", "MicroLens-*_comment*.txt")
PAIRS = ("MicroLens-*_pairs.csv",)
COUNTS = ("MicroLens-*_likes_and_views.txt",)
CAPTIONS = ("Micro[lL]ens*_captions_en.csv",)
FRAMES = ("video_frames", "frames")
VIDEOS = ("videos", "video", "MicroLens-100k_videos", "MicroLens-50k_videos")


class MicroLens:
    """Reader of the MicroLens layout."""

    name = "microlens"
    looked_for = "MicroLens-100k_title_en.csv (or MicroLens-*_titles.csv)"

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    @classmethod
    def recognise(cls, root: Path) -> bool:
        """True where there is a file of titles."""
        return any(any(Path(root).glob(pattern)) for pattern in TITLES)

    def splits(self) -> tuple[str, ...]:
        """All three, always."""
        return ("train", "val", "test")

    def list_files(self, split: str) -> list[Path]:
        """The tables that are there; all splits follow from all of them."""
        found = (only_file(self.root, *patterns) for patterns in (TITLES, COMMENTS, PAIRS, COUNTS, CAPTIONS))
        return [file for file in found if file is not None]

    def clusters(self, split: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Nothing: there are no queries."""
        return iter(())

    def entries(self, split: str) -> Iterator[Entry | Rejected]:
        """An entry for each video of the split that has comments, in the order of the program; lines at fault are told with split train."""
        file = self._titles()
        titles: list[tuple[int, str, str]] = []
        seen: set[str] = set()
        for number, line in lines_of(file):
            id, _, title = line.partition(",")
            id = unquoted(id)
            if number == 1 and not id.isdigit():
                continue
            reason = "" if ID.fullmatch(id) else f"id {id!r} is not made of letters, digits, _ and -"
            reason = reason or (f"id {id!r} is on a line before" if id in seen else "")
            if reason and split == "train":
                yield Rejected(id, "video", file.name, f"line {number}: {reason}")
            if not reason:
                seen.add(id)
                titles.append((number, id, clean(unquoted(title))))
        comments, where = self._comments()
        others, captions = self._counts(), self._captions()
        for place in released_split(len(titles))[split].tolist():
            number, id, title = titles[place]
            if not comments[id]:
                yield Rejected(id, "video", where, "has no comment: its popularity is the logarithm of their number")
                continue
            labels = {"comments": comments[id], "popularity": math.log2(comments[id]), **others.get(id, {})}
            words = {kind: text for kind, text in (("title", title), ("caption", captions.get(id, ""))) if text}
            yield Entry(id, "video", labels=labels, payload=json.dumps(words, ensure_ascii=False), file=file.name, line=number)

    def read(self, entry: Entry) -> Item:
        """The video's words, and its frames or its file."""
        words = json.loads(entry.payload)
        media = media_of(self.root, FRAMES, VIDEOS, entry.id)
        if not words and not media:
            raise BadItem(entry.file, f"line {entry.line}: has neither words nor media")
        return Item(entry.id, entry.domain, entry.role, words, media, labels=entry.labels)

    def ground_truth(self, split: str) -> dict[str, Iterator[tuple[str, list[str]]]]:
        """Nothing: nothing is searched."""
        return {}

    def derives_ground_truth(self, split: str) -> bool:
        """False: there are no queries to share."""
        return False

    def _titles(self) -> Path:
        file = only_file(self.root, *TITLES)
        assert file is not None, f"{self.root} was recognised by it"
        return file

    def _comments(self) -> tuple[Counter[str], str]:
        """(number of comments of each id, name of the file that they were counted in)."""
        file = only_file(self.root, *COMMENTS)
        separator, column = "\t", 1
        if file is None:
            file, separator = only_file(self.root, *PAIRS), ","
        if file is None:
            raise ValueError(f"{self.root}: neither {COMMENTS[0]} nor {PAIRS[0]}; popularity is the number of comments, which one of them tells")
        counts: Counter[str] = Counter()
        for _, line in lines_of(file):
            columns = line.split(separator, 2)
            if len(columns) > column:  # a comment may go on in a second line, which has no columns
                counts[unquoted(columns[column])] += 1
        return counts, file.name

    def _counts(self) -> dict[str, dict[str, Any]]:
        file = only_file(self.root, *COUNTS)
        found: dict[str, dict[str, Any]] = {}
        for number, line in lines_of(file) if file else ():
            columns = line.split("\t")
            if number == 1 and not columns[0].isdigit():
                continue
            values = [number_in(text, file.name, number, "likes or views") for text in columns[1:3]] if file else []
            found[columns[0]] = dict(zip(("likes", "views"), (int(value) for value in values)))
        return found

    def _captions(self) -> dict[str, str]:
        file = only_file(self.root, *CAPTIONS)
        pairs = (line.partition("\t") for _, line in lines_of(file)) if file else ()
        return {id: clean(text) for id, _, text in pairs}
