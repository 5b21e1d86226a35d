"""The MVS layout packed: links, products in common, harm, memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.pack import pack
from pipeline.shards import ShardSet
from tests.pipeline.mvs_pairs import hot, items, listed, many, pair, product, with_tree, write_mvs
from tests.pipeline.packed import content, ids, rejected

ROOT = Path(__file__).resolve().parents[2]


def test_products_that_are_equal_row_for_row_are_one_and_relevant_to_each_of_their_clips(tmp_path: Path) -> None:
    half = pair(4, product=0)["imgtext"] / 2  # the same photo with other words is another product
    pairs = [pair(0), pair(1, product=1), pair(2, product=0), pair(3, product=1), pair(4, product=0, imgtext=half)]
    doubled = pair(5, product=0)
    pairs.append(doubled | {"img": doubled["img"].astype(np.float64)})  # equal once it is float32
    write_mvs(tmp_path / "corpus", pairs, "val")

    found = listed(tmp_path / "corpus", "val")
    folder = pack(tmp_path / "corpus", tmp_path / "shards", workers=1)["val"]

    first, second, third = product(0), product(1), product(0, imgtext=half)
    assert [entry.id for entry in found] == [first, "v0", second, "v1", "v2", "v3", third, "v4", "v5"]
    truth = {task: (folder / f"ground_truth/{task}.tsv").read_text() for task in ("video2goods", "goods2video")}
    assert truth["video2goods"] == f"v0\t{first}\nv1\t{second}\nv2\t{first}\nv3\t{second}\nv4\t{third}\nv5\t{first}\n"
    clips_of = dict(line.split("\t") for line in truth["goods2video"].splitlines())
    assert clips_of == {first: "v0,v2,v5", second: "v1,v3", third: "v4"}


def test_an_item_with_neither_is_rejected_with_its_place(tmp_path: Path) -> None:
    empty_clip, empty_product = {"video": np.zeros((1, 6)), "videotext": np.zeros(4)}, {"img": np.zeros(5), "imgtext": np.zeros(4)}
    write_mvs(tmp_path / "corpus", [pair(0), pair(1, **empty_clip), pair(2, **empty_product)], "val")

    folder = pack(tmp_path / "corpus", tmp_path / "shards", workers=1)["val"]

    file = "MVS_val_dataset.pkl"
    assert rejected(folder) == [
        ("p2", file, "element 2: img and imgtext are zeros alone: nothing is there"),
        ("v2", file, "element 2: its product is left out: img and imgtext are zeros alone: nothing is there"),
        ("v1", file, "element 1: video and videotext are zeros alone: nothing is there"),
    ]
    shards = ShardSet(folder)
    assert (ids(shards, "goods"), ids(shards, "video")) == ([product(0), product(1)], ["v0"])
    assert (folder / "ground_truth/video2goods.tsv").read_text() == f"v0\t{product(0)}\n"


class Harm:
    def __reduce__(self) -> Any:
        return os.system, ("exit 1",)


def test_a_pickle_that_tries_to_run_something_stops_packing_by_name(tmp_path: Path) -> None:
    write_mvs(tmp_path / "corpus", [pair(0), pair(1, img=Harm())])

    with pytest.raises(ValueError, match=rf"MVS_train_dataset\.pkl: byte \d+: it tried to use {os.system.__module__}\.system; a corpus may hold"):
        pack(tmp_path / "corpus", tmp_path / "shards", workers=1)

    assert not list((tmp_path / "shards").rglob("manifest.json"))


def test_a_product_is_the_same_item_in_every_split(tmp_path: Path) -> None:
    write_mvs(tmp_path, [pair(0), pair(1), pair(2)])
    write_mvs(tmp_path, [pair(7, product=2), pair(8)], "val")

    goods = {split: {id for id, item in items(tmp_path, split).items() if item.domain == "goods"} for split in ("train", "val")}

    assert goods["train"] & goods["val"] == {product(2)}


def test_links_are_packed_as_queries_that_nothing_is_searched_with(tmp_path: Path) -> None:
    with_tree(write_mvs(tmp_path / "corpus", many(30)))
    write_mvs(tmp_path / "corpus", many(12), "val")

    folders = pack(tmp_path / "corpus", tmp_path / "shards", workers=1)

    train, val = ShardSet(folders["train"]), ShardSet(folders["val"])
    assert (train.counts, val.counts) == ({"goods": 10, "video": 30}, {"goods": 4, "video": 12})
    assert train.tokenizer() is None and train.manifest["vocabulary"] == 0
    assert val.manifest["ground_truth"] == {"video2goods": "shared queries", "goods2video": "shared queries"}
    goods_of = {query: sample.id for sample in samples(train, "goods") for query in numbers(sample)}
    clips = {sample.id: goods_of[query] for sample in samples(train, "video") for query in numbers(sample)}
    assert clips == {f"v{number}": product(number // 3) for number in range(30)}


def samples(shards: ShardSet, domain: str) -> list[Any]:
    return [shards.shard(number).sample(row) for number in shards.of_domain(domain) for row in range(len(shards.shard(number)))]


def numbers(sample: Any) -> list[int]:
    return [query.id for query in sample.queries()]


def test_packing_by_several_processes_gives_the_same_bytes(tmp_path: Path) -> None:
    with_tree(write_mvs(tmp_path / "corpus", many(300)))

    alone = pack(tmp_path / "corpus", tmp_path / "alone", workers=1, shard_samples=25)["train"]
    together = pack(tmp_path / "corpus", tmp_path / "together", workers=2, shard_samples=25)["train"]

    assert len(ShardSet(alone).shards) > 8
    assert content(alone) == content(together)


def test_clips_can_be_held_out_where_there_is_no_val_split(tmp_path: Path) -> None:
    write_mvs(tmp_path / "corpus", many(30))

    folders = pack(tmp_path / "corpus", tmp_path / "shards", workers=1, holdout_videos=5, holdout_goods=6)

    val = ShardSet(folders["val"])
    assert val.counts["video"] == 5 and val.counts["goods"] >= 5 and "query" not in val.counts
    truth = dict(line.split("\t") for line in (folders["val"] / "ground_truth/video2goods.tsv").read_text().splitlines())
    assert truth == {id: product(int(id[1:]) // 3) for id in ids(val, "video")}


def test_the_grocery_features_are_read_whole(test_data: Path, tmp_path: Path) -> None:
    root = test_data / "data/grocery_mvs"

    folders = pack(root, tmp_path / "shards", workers=1)

    train, val = ShardSet(folders["train"]), ShardSet(folders["val"])
    assert (train.source, train.counts, val.counts) == ("mvs", {"goods": 81, "video": 500}, {"goods": 60, "video": 67})
    assert rejected(folders["train"]) == rejected(folders["val"]) == []
    clips, products = samples(val, "video"), samples(val, "goods")
    assert {sample.members for sample in clips} == {("json", "vision.npy")}, "these clips have no words"
    assert {sample.members for sample in products} == {("json", "vision.npy", "words.npy")}
    truth = [line.split("\t") for line in (folders["val"] / "ground_truth/video2goods.tsv").read_text().splitlines()]
    assert len(truth) == 67 and all("," not in products for _, products in truth)


MEASURE = """
import json, re, sys
from pathlib import Path
from pipeline.sources.mvs import MVS

source = MVS(Path(sys.argv[1]))
seen = 0
for entry in source.entries("train"):
    seen += 1
    if entry.line % 100 == 0:
        source.read(entry)
peak = re.search(r"VmHWM:\\s+([0-9]+) kB", Path("/proc/self/status").read_text())  # ru_maxrss begins with that of the process that started this one
print(json.dumps({"seen": seen, "peak": int(peak.group(1)) / 1024}))
"""


def test_ten_times_the_pairs_take_no_more_memory(tmp_path: Path) -> None:
    def measured(count: int) -> dict[str, float]:
        root = tmp_path / str(count)
        root.mkdir()
        vectors = np.random.default_rng(0).normal(size=(count, 256)).astype(np.float32)
        hots = {"first_cluster": hot(0, 2), "second_cluster": hot(1, 3), "third_cluster": hot(2, 5), "queue_index": 1}
        write_mvs(root, [{key: vector.copy() for key in ("video", "img", "videotext", "imgtext")} | hots for vector in vectors])
        command = [sys.executable, "-c", MEASURE, str(root)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, timeout=300)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    small, large = measured(800), measured(8000)

    assert (small["seen"], large["seen"]) == (1600, 16_000)
    # The file's numbers would be 29 MB more, and so would what its pickle puts aside.
    assert large["peak"] - small["peak"] < 4
