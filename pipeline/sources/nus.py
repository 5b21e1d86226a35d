"""The micro-videos of NUS (Vine), for popularity: text, loops, likes, reposts, comments, and frames, videos or features of frames.

    nus.tsv                      a head line, then a line a video: id, text, and any of loops, likes, reposts, comments
    features/<id>.npy            optional: [T, C] or [C], features of its frames; `vision` of the item
    frames/<id>_<n>.jpg          optional (MMRA's program cuts four), or, taken where there are none,
    videos/<id>.mp4

This layout of the corpus is ours. Labels: the counts, and `popularity`, the logarithm to base 2 of one more than the mean of those that the file has
(a mean of counts is the target of TMALL, with which the corpus came; one more, so that a video that nobody liked has a popularity, is ours).
Columns of other names are passed over.

The split is that of MMRA's program (`pipeline.sources.released_split`) over the lines of the file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

from pipeline.item import Item
from pipeline.sources import BadItem, Entry, Rejected, clean
from pipeline.sources.released_split import released_split
from pipeline.sources.tables import ID, lines_of, media_of, number_in

TABLE = "nus.tsv"
COUNTS = ("loops", "likes", "reposts", "comments")


class NUS:
    """Reader of the NUS layout."""

    name = "nus"
    looked_for = TABLE

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    @classmethod
    def recognise(cls, root: Path) -> bool:
        """True where there is the table."""
        return (Path(root) / TABLE).is_file()

    def splits(self) -> tuple[str, ...]:
        """All three, always."""
        return ("train", "val", "test")

    def list_files(self, split: str) -> list[Path]:
        """The table."""
        return [self.root / TABLE]

    def clusters(self, split: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Nothing: there are no queries."""
        return iter(())

    def entries(self, split: str) -> Iterator[Entry | Rejected]:
        """An entry for each video of the split, in the order of the program; a line at fault is told with the split that it is in."""
        lines = list(lines_of(self.root / TABLE))
        head = lines[0][1].split("\t") if lines else []
        counted = [name for name in COUNTS if name in head]
        if "id" not in head or not counted:
            raise ValueError(
                f"{self.root / TABLE}: its first line has {', '.join(head) or 'nothing'}; wanted the names of its columns, id, text, and one or more "
                f"of {', '.join(COUNTS)}"
            )
        rows = lines[1:]
        for place in released_split(len(rows))[split].tolist() if rows else ():
            number, line = rows[place]
            values = line.split("\t")
            columns = dict(zip(head, values))
            id = columns.get("id", "").strip()
            try:
                if len(values) != len(head):
                    raise BadItem(TABLE, f"line {number}: {len(values)} columns, not {len(head)}")
                if not ID.fullmatch(id):
                    raise BadItem(TABLE, f"line {number}: id {id!r} is not made of letters, digits, _ and -")
                counts = {name: number_in(columns[name], TABLE, number, name) for name in counted}
            except BadItem as error:
                yield Rejected(id, "video", TABLE, error.reason)
                continue
            popularity = math.log2(1 + sum(counts.values()) / len(counts))
            text = clean(columns.get("text", ""))
            payload = json.dumps({"title": text} if text else {}, ensure_ascii=False)
            yield Entry(id, "video", labels={**counts, "popularity": popularity}, payload=payload, file=TABLE, line=number)

    def read(self, entry: Entry) -> Item:
        """The video's text, its features, and its frames or its file."""
        words = json.loads(entry.payload)
        media = media_of(self.root, ("frames", "video_frames"), ("videos", "video"), entry.id)
        array = self.root / "features" / f"{entry.id}.npy"
        features = {"vision": array} if array.is_file() else {}
        if not (words or media or features):
            raise BadItem(entry.file, f"line {entry.line}: has neither text nor media nor features")
        return Item(entry.id, entry.domain, entry.role, words, media, labels=entry.labels, features=features)

    def ground_truth(self, split: str) -> dict[str, Iterator[tuple[str, list[str]]]]:
        """Nothing: nothing is searched."""
        return {}

    def derives_ground_truth(self, split: str) -> bool:
        """False: there are no queries to share."""
        return False
