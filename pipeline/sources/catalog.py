"""The catalog layout: a JSONL file that any team can write, one JSON object a line.

    catalog.jsonl                     all splits; each line's `split` says which, "train" where it says nothing
    train.jsonl, val.jsonl, test.jsonl   or one file a split (then no line has a `split`)
    ground_truth_<task>.tsv           optional, e.g. video2goods: query id TAB relevant ids, comma-separated

Fields of a line, all optional but the first two:

    id                text without white space, commas or control characters, or a whole number; unique in its domain and split
    domain            goods, video, live, query, image or text
    split             a name such as "train", or a list of names (a good may be in train and in test)
    role              evaluation splits: "query" (searched with), "document" (searched among) or "both" (default)
    title, description, caption, recognised_text      text; also accepted together as an object `words`
    images            list of image paths (one for a good, frames in the order of time for a video or a live), or
    video             path of one video file (.mp4 .mkv .webm .mov .avi)
    queries           list of queries that found the item: text, or {"words": text, "cluster": [coarse, ..., fine]}
    labels            object of anything; `category` is by custom a list from coarse to fine
    features          object: name (lower-case letters, digits, _) -> path of a .npy file

    {"id": "sku-7", "domain": "goods", "title": "Blue kettle", "images": ["goods/7.jpg"], "queries": ["kettle"], "labels": {"brand": "Nami"}}
    {"id": "clip-3", "domain": "video", "caption": "tea time", "video": "clips/3.mp4", "queries": ["kettle", {"words": "tea", "cluster": [4, 12]}]}

Paths are relative to the folder of the JSONL file; absolute paths and `..` are refused. HTML entities in words are read as the
characters they stand for, and the word `null` alone is empty. A field that is not in this list is an error: other facts go
below `labels`.

`ground_truth_<task>.tsv` belongs to split test, or to val where there is no test; `ground_truth_<task>.<split>.tsv` to the
split it names. For a task without such a file a val or test split counts as relevant what shares a query. Packing makes the queries
of such a split items of domain query (`pipeline.packing.queries`), unless lines of the split have that domain.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from pipeline.item import DOMAINS, VIDEO_SUFFIXES, WORDS, Item, Query
from pipeline.sources import TASKS, UNNUMBERED, BadItem, Entry, Rejected, below, clean, decode

SPLITS = ("train", "val", "test")
ROLES = ("both", "query", "document")


class Catalog:
    """Reader of the catalog layout."""

    name = "catalog"
    looked_for = "catalog.jsonl, or train.jsonl, val.jsonl, test.jsonl"

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self._whole = (self.root / "catalog.jsonl").is_file()
        self._splits: tuple[str, ...] | None = None

    @classmethod
    def recognise(cls, root: Path) -> bool:
        """True where there is a catalog.jsonl or a JSONL file named after a split."""
        return any((Path(root) / f"{name}.jsonl").is_file() for name in ("catalog", *SPLITS))

    def splits(self) -> tuple[str, ...]:
        """The splits that the lines of catalog.jsonl name (one pass over the file), or those that have a file."""
        if self._splits is None:
            found = self._named_splits() if self._whole else {split for split in SPLITS if (self.root / f"{split}.jsonl").is_file()}
            self._splits = tuple(sorted(found, key=lambda split: (SPLITS.index(split) if split in SPLITS else len(SPLITS), split)))
        return self._splits

    def list_files(self, split: str) -> list[Path]:
        """The JSONL file and the ground-truth files of the split."""
        return [self._file(split), *self._truth_files(split).values()]

    def clusters(self, split: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Nothing: a catalog's queries carry their clusters."""
        return iter(())

    def entries(self, split: str) -> Iterator[Entry | Rejected]:
        """An entry for each line of the split, checked whole."""
        name = self._file(split).name
        for number, offset, data in _lines(self._file(split)):
            record: dict[str, Any] = {}
            try:
                record = _parse(data)
                if split not in _splits_of(record, self._whole):
                    continue
                item = self._item(record)
            except BadItem as error:
                id, domain = (str(record[key]) if isinstance(record.get(key), (str, int)) else "" for key in ("id", "domain"))
                yield Rejected(id, domain, name, f"line {number}: {error.reason}")
            else:
                payload = json.dumps({"file": name, "offset": offset, "bytes": len(data)})
                yield Entry(item.id, item.domain, item.role, item.queries, payload=payload, file=name, line=number)

    def read(self, entry: Entry) -> Item:
        """The item of the line that was listed."""
        at = json.loads(entry.payload)
        with open(self.root / at["file"], "rb") as file:
            file.seek(at["offset"])
            data = file.read(at["bytes"])
        try:
            return replace(self._item(_parse(data)), queries=entry.queries)
        except BadItem as error:
            raise BadItem(entry.file, f"line {entry.line}: {error.reason}") from error

    def ground_truth(self, split: str) -> dict[str, Iterator[tuple[str, list[str]]]]:
        """The lines of the split's ground-truth files."""
        return {task: _truth(file) for task, file in self._truth_files(split).items()}

    def derives_ground_truth(self, split: str) -> bool:
        """True for every split that is not for training."""
        return split != "train"

    def _file(self, split: str) -> Path:
        return self.root / ("catalog.jsonl" if self._whole else f"{split}.jsonl")

    def _truth_files(self, split: str) -> dict[str, Path]:
        evaluated = [name for name in self.splits() if name != "train"]
        unnamed_is_for = next((name for name in ("test", "val", *evaluated) if name in evaluated), None)
        names = {task: [f"ground_truth_{task}.{split}.tsv", *([f"ground_truth_{task}.tsv"] if split == unnamed_is_for else [])] for task in TASKS}
        found = {task: [self.root / name for name in listed if (self.root / name).is_file()] for task, listed in names.items()}
        return {task: files[0] for task, files in found.items() if files}

    def _named_splits(self) -> set[str]:
        found: set[str] = set()
        for _, _, data in _lines(self.root / "catalog.jsonl"):
            try:
                found.update(_splits_of(_parse(data), True))
            except BadItem:
                continue  # says nothing of splits; `entries` names the line and its fault
        return found or {"train"}

    def _item(self, record: dict[str, Any]) -> Item:
        _only(record, ("id", "domain", "split", "role", "words", "images", "video", "queries", "labels", "features", *WORDS), "")
        domain = _field(record, "domain", lambda value: value in DOMAINS, f"one of {', '.join(DOMAINS)}", required=True)
        id = _id(record)
        role = _field(record, "role", lambda value: value in ROLES, "query, document or both") or "both"
        words = _words(record)
        media = self._media(record)
        labels = _field(record, "labels", lambda value: isinstance(value, dict), "an object") or {}
        features = _field(record, "features", lambda value: isinstance(value, dict), "an object of name: path") or {}
        for name, path in features.items():
            if not re.fullmatch("[a-z0-9][a-z0-9_]{0,31}", name) or not isinstance(path, str) or not path.endswith(".npy"):
                _wrong(f"features.{name}", path, "the path of a .npy file, under a name of at most 32 lower-case letters, digits and _")
        arrays = {name: self.root / below("", path, "") for name, path in features.items()}
        if not words and not media and not arrays:
            raise BadItem("", "has neither words nor media")
        return Item(id, domain, role, words, media, _queries(record), labels, arrays)

    def _media(self, record: dict[str, Any]) -> tuple[Path, ...]:
        images = _field(record, "images", _is_list_of_text, "a list of paths") or []
        video = _field(record, "video", lambda value: isinstance(value, str), "a path")
        if images and video:
            raise BadItem("", "fields images and video are both given; an item is either images or one video file")
        if video and not video.lower().endswith(VIDEO_SUFFIXES):
            _wrong("video", video, f"a file that ends in {' '.join(VIDEO_SUFFIXES)}")
        for path in images:
            if path.lower().endswith(VIDEO_SUFFIXES):
                _wrong("images", path, "image files (a video file goes into the field video)")
        return tuple(self.root / below("", path, "") for path in (images or ([video] if video else [])))


def _parse(data: bytes) -> dict[str, Any]:
    def no_constant(text: str) -> NoReturn:
        raise BadItem("", f"{text} is not JSON")

    try:
        record = json.loads(decode(data, ""), parse_constant=no_constant)
        json.dumps(record, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise BadItem("", f"not JSON: {error.msg} at column {error.colno}") from error
    except UnicodeEncodeError as error:
        raise BadItem("", "has a lone surrogate escape, which is no character") from error
    except RecursionError as error:
        raise BadItem("", "is nested too deeply") from error
    except BadItem:
        raise
    except ValueError as error:  # Python refuses whole numbers of more than 4300 digits
        raise BadItem("", f"not JSON: {error}") from error
    if not isinstance(record, dict):
        raise BadItem("", "is not a JSON object")
    return record


def _wrong(name: str, value: Any, wanted: str) -> NoReturn:
    shown = json.dumps(value, ensure_ascii=False)
    raise BadItem("", f"field {name} is {shown if len(shown) <= 80 else shown[:80] + '…'}; wanted {wanted}")


def _field(record: dict[str, Any], name: str, fits: Callable[[Any], bool], wanted: str, required: bool = False) -> Any:
    value = record.get(name)
    if value is None and not required:
        return None
    if value is None:
        raise BadItem("", f"field {name} is missing; wanted {wanted}")
    if not fits(value):
        _wrong(name, value, wanted)
    return value


def _is_list_of_text(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


def _only(record: dict[str, Any], known: tuple[str, ...], within: str) -> None:
    for name in record:
        if name not in known:
            raise BadItem("", f"field {within}{name} is not known; wanted {', '.join(known)} (other facts go below labels)")


def _id(record: dict[str, Any]) -> str:
    wanted = "text without white space, commas or control characters, or a whole number"
    value = _field(record, "id", lambda value: isinstance(value, (str, int)) and not isinstance(value, bool), wanted, required=True)
    id = str(value)
    if not id or "," in id or any(letter.isspace() or unicodedata.category(letter) == "Cc" for letter in id):
        _wrong("id", value, wanted)
    return id


def _splits_of(record: dict[str, Any], whole: bool) -> list[str]:
    value = record.get("split")
    if value is None:
        return ["train"] if whole else list(SPLITS)
    names = value if isinstance(value, list) else [value]
    if not whole or not names or not all(isinstance(name, str) and re.fullmatch("[a-z0-9_]{1,32}", name) for name in names):
        _wrong("split", value, "a name or a list of names of lower-case letters, digits and _, in catalog.jsonl only")
    return names


def _words(record: dict[str, Any]) -> dict[str, str]:
    together = _field(record, "words", lambda value: isinstance(value, dict), "an object") or {}
    _only(together, WORDS, "words.")
    found: dict[str, str] = {}
    for name in WORDS:
        if record.get(name) is not None and together.get(name) is not None:
            raise BadItem("", f"field {name} is given twice, by itself and in words")
        text = _field(record if record.get(name) is not None else together, name, lambda value: isinstance(value, str), "text")
        if text and clean(text):
            found[name] = clean(text)
    return found


def _queries(record: dict[str, Any]) -> tuple[Query, ...]:
    found = []
    for value in _field(record, "queries", lambda value: isinstance(value, list), "a list") or []:
        query = {"words": value} if isinstance(value, str) else value
        if not isinstance(query, dict) or not isinstance(query.get("words"), str):
            _wrong("queries", value, 'text or {"words": text, "cluster": [ids]}')
        _only(query, ("words", "cluster"), "queries.")
        cluster = query.get("cluster") or []
        if not isinstance(cluster, list) or not all(type(level) is int for level in cluster):
            _wrong("queries.cluster", cluster, "a list of whole numbers from coarse to fine")
        if words := clean(query["words"]):
            found.append(Query(UNNUMBERED, words, tuple(cluster)))
    return tuple(found)


def _lines(file: Path) -> Iterator[tuple[int, int, bytes]]:
    """(number from 1, byte offset, bytes) of the lines that are not blank."""
    offset = 0
    with open(file, "rb") as lines:
        for number, data in enumerate(lines, 1):
            if data.strip():
                yield number, offset, data
            offset += len(data)


def _truth(file: Path) -> Iterator[tuple[str, list[str]]]:
    for number, _, data in _lines(file):
        columns = decode(data, f"{file} line {number}").rstrip("\r\n").split("\t")
        if len(columns) != 2 or not columns[0].strip():
            raise ValueError(f"{file}: line {number} has {len(columns)} tab-separated columns, not 2 (query id, relevant ids separated by commas)")
        yield columns[0].strip(), [id.strip() for id in columns[1].split(",") if id.strip()]
