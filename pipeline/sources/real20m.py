"""The Real20M / Real400K layout: query-gathered goods and micro-videos, and live streams where there are any.

    train_file/train.txt            query TAB goods ids TAB video ids (comma-separated, `None` where a side is empty)
    train_file/cluster.txt          optional: query TAB level 0 TAB level 1 TAB level 2
    test_file/all_goods.txt         gallery and queries of either domain, five columns:
    test_file/all_videos.txt          id TAB goods|photo TAB query TAB image paths TAB text path
    test_file/goods_query.txt         (`photo` is a video; paths are comma-separated and lie below <domain>/images, <domain>/text)
    test_file/photo_query.txt
    test_file/eval_gt_video2goods.txt, eval_gt_good2video.txt       query id TAB relevant ids, spelt `<id>_0` and `<id>.jpg`
    goods/images/<id % 50000>/<id>.jpg       goods/text/<id % 50000>/<id>.txt     id, category, brand, entity, title, description
    video/frameid/<id % 50000>/<id>.txt      one line: comma-separated frame paths below video/images, or one video file there
    video/text/<id % 50000>/<id>.txt         caption, title, recognised text
    video/popularity.txt                     optional, ours: id TAB a number, the label `popularity` (goods/ and live/ likewise)

A corpus may have the train file alone or test files alone. Released names with a tail (`new_train_98000`, `all_goods_177839.txt`)
are taken where there is one such file. `null` in a text file means empty. HTML entities, which the released query file has
(`girl&#39;s`), are read as the characters they stand for. The test files' third column is kept as the label `query_words` and is
never encoded with its item: in some corpora it is the product's own name. It is also a query of its own, which the documents that
have it answer (query2goods, query2video).

Live streams (domain live) lie below `live/` as clips do below `video/`. Real20M has none, so their layout is ours:

    train_file/train.txt            a fourth column: live ids
    test_file/all_lives.txt, live_query.txt                         second column `live`
    test_file/eval_gt_live2goods.txt, eval_gt_goods2live.txt, eval_gt_live2video.txt, eval_gt_video2live.txt
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.item import VIDEO_SUFFIXES, Item, Query
from pipeline.sources import UNNUMBERED, BadItem, Entry, Rejected, below, clean, decode, read_bytes

FOLDERS = 50_000
"""Files lie in a folder named after id modulo this."""

_TEST_FILES = {
    "all_goods": "document",
    "goods_query": "query",
    "all_videos": "document",
    "photo_query": "query",
    "all_lives": "document",
    "live_query": "query",
}
_TRUTH_FILES = {
    "video2goods": ("eval_gt_video2goods.txt",),
    "goods2video": ("eval_gt_good2video.txt", "eval_gt_goods2video.txt"),
    "live2goods": ("eval_gt_live2goods.txt",),
    "goods2live": ("eval_gt_goods2live.txt",),
    "live2video": ("eval_gt_live2video.txt",),
    "video2live": ("eval_gt_video2live.txt",),
}
_DOMAINS = {"goods": "goods", "photo": "video", "video": "video", "live": "live"}
_TRAIN_DOMAINS = ("goods", "video", "live")
_GOODS_LINES = ("id", "category", "brand", "entity", "title", "description")
_CLIP_LINES = ("caption", "title", "recognised_text")


class Real20M:
    """Reader of the Real20M layout."""

    name = "real20m"
    looked_for = (
        "train_file/train.txt (or one file *train*), test_file/all_goods.txt, goods_query.txt, all_videos.txt, photo_query.txt, all_lives.txt, "
        "live_query.txt"
    )

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    @classmethod
    def recognise(cls, root: Path) -> bool:
        """True where there is a train file or any of the test files."""
        return bool(_candidates(Path(root) / "train_file", "train") or any(_candidates(Path(root) / "test_file", name) for name in _TEST_FILES))

    def splits(self) -> tuple[str, ...]:
        """Train where there is a train file, test where there are test files."""
        train = ("train",) if self._list_file("train_file", "train") else ()
        return train + (("test",) if any(self._list_file("test_file", name) for name in _TEST_FILES) else ())

    def list_files(self, split: str) -> list[Path]:
        """The train and cluster file, or the test and ground-truth files; with those of popularity."""
        if split == "train":
            files = [self._list_file("train_file", "train"), self._cluster_file()]
        else:
            files = [self._list_file("test_file", name) for name in _TEST_FILES] + list(self._truth_files().values())
        return [file for file in files if file is not None] + self._popularity_files()

    def clusters(self, split: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """The lines of cluster.txt. A level that is `None` ends the line's levels."""
        file = self._cluster_file()
        if split != "train" or file is None:
            return
        for number, line in _lines(file, self.root):
            if isinstance(line, BadItem):
                raise line
            words, *levels = line.split("\t")
            known = levels[: levels.index("None")] if "None" in levels else levels
            if not levels or not all(re.fullmatch(r"-?[0-9]+", level.strip()) for level in known):
                raise ValueError(f"{file}: line {number} is {line!r}; wanted a query and whole-number cluster ids, separated by tabs")
            if known:
                yield clean(words), tuple(int(level) for level in known)

    def entries(self, split: str) -> Iterator[Entry | Rejected]:
        """Train: an entry for each pair of query and id. Test: an entry for each line of the test files."""
        known = {file.parent.name: self._popularity(file) for file in self._popularity_files()}
        for entry in self._train_entries() if split == "train" else self._test_entries():
            if isinstance(entry, Entry) and entry.id in known.get(entry.domain, {}):
                entry = replace(entry, labels={**entry.labels, "popularity": known[entry.domain][entry.id]})
            yield entry

    def read(self, entry: Entry) -> Item:
        """The item with its words and media paths; see the module for the files."""
        if entry.payload:
            listed = json.loads(entry.payload)
            media = self._below_images(entry.domain, listed["images"], entry.file)
            text = below(f"{entry.domain}/text", listed["text"], entry.file) if listed["text"] else ""
        else:
            shard = f"{int(entry.id[-5:]) % FOLDERS}/{entry.id}"
            text = f"{entry.domain}/text/{shard}.txt"
            media = (self.root / f"goods/images/{shard}.jpg",) if entry.domain == "goods" else self._frame_list(entry.domain, shard)
        words, labels = self._text(entry.domain, text) if text else ({}, {})
        if not words and not media:
            raise BadItem(text or entry.file, "has neither words nor media")
        return Item(entry.id, entry.domain, entry.role, words, media, entry.queries, {**labels, **entry.labels})

    def ground_truth(self, split: str) -> dict[str, Iterator[tuple[str, list[str]]]]:
        """The released files, with `<id>_0` and `<id>.jpg` as plain ids."""
        return {task: self._truth(file) for task, file in self._truth_files().items()} if split == "test" else {}

    def derives_ground_truth(self, split: str) -> bool:
        """False: test items carry no queries."""
        return False

    def _train_entries(self) -> Iterator[Entry | Rejected]:
        file = self._list_file("train_file", "train")
        assert file is not None
        name = str(file.relative_to(self.root))
        for number, line in _lines(file, self.root):
            if isinstance(line, BadItem):
                yield Rejected("", "", name, f"line {number}: {line.reason}")
                continue
            columns = line.split("\t")
            if len(columns) not in (3, 4):
                wanted = "not 3 (query, goods ids, video ids) or 4 (and live ids)"
                yield Rejected("", "", name, f"line {number} has {len(columns)} tab-separated columns, {wanted}")
                continue
            words = clean(columns[0])
            queries = (Query(UNNUMBERED, words),) if words else ()
            for domain, column in zip(_TRAIN_DOMAINS, columns[1:]):
                for id in _ids(column):
                    if re.fullmatch("[0-9]+", id):
                        yield Entry(id, domain, queries=queries, file=name, line=number, repeats=True)
                    else:
                        yield Rejected(id, domain, name, f"line {number}: id {id!r} is not a number")

    def _test_entries(self) -> Iterator[Entry | Rejected]:
        for kind, role in _TEST_FILES.items():
            file = self._list_file("test_file", kind)
            if file is None:
                continue
            name = str(file.relative_to(self.root))
            for number, line in _lines(file, self.root):
                try:
                    if isinstance(line, BadItem):
                        raise line
                    yield _test_entry(line, role, name, number)
                except BadItem as error:
                    yield Rejected(line.split("\t")[0] if isinstance(line, str) else "", "", name, f"line {number}: {error.reason}")

    def _frame_list(self, domain: str, shard: str) -> tuple[Path, ...]:
        name = f"{domain}/frameid/{shard}.txt"
        lines = _text_lines(read_bytes(self.root, name), name, wanted=1)
        if len(lines) > 1:
            raise BadItem(name, f"has {len(lines)} lines, not 1 (comma-separated frame paths)")
        return self._below_images(domain, lines[0] if lines else "", name)

    def _popularity_files(self) -> list[Path]:
        return [file for domain in _TRAIN_DOMAINS if (file := self.root / domain / "popularity.txt").is_file()]

    def _popularity(self, file: Path) -> dict[str, float]:
        found = {}
        for number, line in _lines(file, self.root):
            try:
                id, value = str(line).split("\t")
                found[id] = float(value)
            except ValueError as error:
                raise ValueError(f"{file}: line {number} is {line!r}; wanted an id, a tab and a number") from error
        return found

    def _below_images(self, domain: str, column: str, file: str) -> tuple[Path, ...]:
        paths = _ids(column)
        if len(paths) > 1 and any(path.lower().endswith(VIDEO_SUFFIXES) for path in paths):
            raise BadItem(file, f"lists {len(paths)} files with a video file among them; an item is either frames or one video file")
        return tuple(self.root / below(f"{domain}/images", path, file) for path in paths)

    def _text(self, domain: str, name: str) -> tuple[dict[str, str], dict[str, Any]]:
        wanted = _GOODS_LINES if domain == "goods" else _CLIP_LINES
        lines = _text_lines(read_bytes(self.root, name), name, len(wanted))
        if len(lines) != len(wanted):
            raise BadItem(name, f"has {len(lines)} lines, not {len(wanted)} ({', '.join(wanted)})")
        fields = {key: text for key, line in zip(wanted, lines) if (text := clean(line))}
        if domain != "goods":
            return fields, {}
        labels: dict[str, Any] = {key: fields[key] for key in ("brand", "entity") if key in fields}
        if "category" in fields:
            labels = {"category": [part.strip() for part in fields["category"].split("/") if part.strip()], **labels}
        return {key: fields[key] for key in ("title", "description") if key in fields}, labels

    def _truth(self, file: Path) -> Iterator[tuple[str, list[str]]]:
        for number, line in _lines(file, self.root):
            if isinstance(line, BadItem):
                raise line
            columns = line.split("\t")
            if len(columns) != 2:
                raise ValueError(f"{file}: line {number} has {len(columns)} tab-separated columns, not 2 (query id, relevant ids)")
            plain = [re.sub(r"(_[0-9]+)?(\.[A-Za-z]+)?$", "", id) for id in (columns[0].strip(), *_ids(columns[1]))]
            for id in plain:
                if not re.fullmatch("[0-9]+", id):
                    raise ValueError(f"{file}: line {number}: {id!r} is not an id in the released spelling (<id>, <id>_0, <id>.jpg)")
            yield plain[0], plain[1:]

    def _truth_files(self) -> dict[str, Path]:
        folder = self.root / "test_file"
        return {task: folder / name for task, names in _TRUTH_FILES.items() for name in names if (folder / name).is_file()}

    def _cluster_file(self) -> Path | None:
        file = self.root / "train_file" / "cluster.txt"
        return file if file.is_file() else None

    def _list_file(self, folder: str, kind: str) -> Path | None:
        found = _candidates(self.root / folder, kind)
        if len(found) > 1:
            names = ", ".join(file.name for file in found)
            raise ValueError(f"{self.root / folder}: {names} could each be the {kind} file; keep one or name it {kind}.txt")
        return found[0] if found else None


def _candidates(folder: Path, kind: str) -> list[Path]:
    """`kind`.txt where it exists, else every file that has `kind` in its name and ends in .txt or has no suffix."""
    if (folder / f"{kind}.txt").is_file():
        return [folder / f"{kind}.txt"]
    if not folder.is_dir():
        return []
    return sorted(file for file in folder.glob(f"*{kind}*") if file.is_file() and file.suffix in ("", ".txt"))


def _test_entry(line: str, role: str, file: str, number: int) -> Entry:
    columns = [column.strip() for column in line.split("\t")]
    if len(columns) != 5:
        raise BadItem("", f"{len(columns)} tab-separated columns, not 5 (id, goods|photo|live, query, image paths, text path)")
    id, kind, query, images, text = columns
    if not re.fullmatch("[0-9]+", id):
        raise BadItem("", f"id {id!r} is not a number")
    if kind not in _DOMAINS:
        raise BadItem("", f"second column is {kind!r}, not goods, photo or live")
    words = clean(query)
    gathered_by = "" if words.lower() == "none" else words
    labels = {"query_words": gathered_by} if gathered_by else {}
    payload = json.dumps({"images": images, "text": "" if text.lower() in ("none", "null") else text}, ensure_ascii=False)
    return Entry(id, _DOMAINS[kind], role, labels=labels, payload=payload, file=file, line=number, repeats=True, gathered_by=gathered_by)


def _lines(file: Path, root: Path) -> Iterator[tuple[int, str | BadItem]]:
    """(number from 1, line without its end) of the lines that are not blank; a BadItem in place of a line that is not UTF-8."""
    with open(file, "rb") as lines:
        for number, data in enumerate(lines, 1):
            try:
                line = decode(data, str(file.relative_to(root))).rstrip("\r\n")
            except BadItem as error:
                yield number, error
                continue
            if line.strip():
                yield number, line


def _text_lines(data: bytes, name: str, wanted: int) -> list[str]:
    """The lines of a small text file; blank lines after the `wanted` ones are not counted."""
    lines = decode(data, name).split("\n")
    if not lines[-1]:
        lines.pop()
    while len(lines) > wanted and not lines[-1].strip():
        lines.pop()
    return lines


def _ids(column: str) -> list[str]:
    """The parts of a comma-separated column; none where it is empty, None or null."""
    return [] if column.strip().lower() in ("", "none", "null") else [part.strip() for part in column.split(",") if part.strip()]
