"""Packing: what comes out, that it comes out the same, and what is said of what cannot be packed."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from launch.command import run_command
from launch.files import read_json
from pipeline.pack import main, pack
from pipeline.packing.listing import Listing, write_listing
from pipeline.shards import ShardSet
from pipeline.sources import open_source
from tests.pipeline.corpora import clip, picture, real20m_files, write_catalog, write_files

REPOSITORY = Path(__file__).parents[2]


def content(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def rejected(folder: Path) -> list[tuple[str, str, str]]:
    """(id, file, reason) of the lines of rejected.jsonl."""
    lines = [json.loads(line) for line in (folder / "rejected.jsonl").read_text().splitlines()]
    return [(line["id"], line["file"], line["reason"]) for line in lines]


def ids(shards: ShardSet, domain: str) -> list[str]:
    return [id for number in shards.of_domain(domain) for id in shards.shard(number).ids]


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog of 210 goods and 210 clips, some of which cannot be packed."""
    root = tmp_path_factory.mktemp("crowd")
    records: list[dict[str, Any]] = []
    for number in range(210):
        queries = [f"query {number % 17}", f"colour {number % 3}"]
        records.append({"id": f"g{number}", "domain": "goods", "title": f"Kettle number {number}", "images": ["a.jpg"], "queries": queries})
        frames = ["b.jpg"] if number % 50 else ["gone.jpg"]
        records.append({"id": f"v{number}", "domain": "video", "images": [*frames, "a.jpg"], "queries": queries[:1]})
    return write_catalog(root, records, {"a.jpg": picture(), "b.jpg": picture((0, 0, 0))})


SMALL_SHARDS = ["--shard_samples", "10", "--vocab_size", "300", "--holdout_videos", "12"]


@pytest.fixture(scope="module")
def crowd_packed(crowd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The crowd packed by one process."""
    out = tmp_path_factory.mktemp("packed")
    main(["--data", str(crowd), "--out", str(out), "--workers", "1", *SMALL_SHARDS])
    return out


def command(*words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, *words], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_grocery_is_packed_whole(test_data: Path, tmp_path: Path) -> None:
    folders = pack(test_data / "data" / "grocery", tmp_path, workers=1)

    train, test = ShardSet(folders["train"]), ShardSet(folders["test"])

    assert train.counts == {"goods": 81, "video": 999} and test.counts == {"goods": 81, "video": 67}
    assert train.manifest["rejected"] == test.manifest["rejected"] == 0
    assert len(train.queries()) == 301 and sum(bool(query.cluster) for query in train.queries()) == 270
    assert [query.cluster for query in train.queries() if query.words == "alpro blueberry soyghurt"] == [(1, 39, 39)]
    assert sorted(ids(test, "goods"))[:2] == ["1000001", "1000008"] and ids(test, "video")[:2] == ["3000003", "3000006"]
    assert {info.role for info in test.shards} == {"both"}
    truth = {task: test.ground_truth(task) for task in ("video2goods", "goods2video")}
    assert {task: len(path.read_text().splitlines()) for task, path in truth.items() if path} == {"video2goods": 67, "goods2video": 60}
    assert test.manifest["ground_truth"] == {"video2goods": "file", "goods2video": "file"} and train.manifest["ground_truth"] == {}
    clip_frames = (test_data / "data/grocery/video/images/3/3000003_2.jpg").read_bytes()
    first = test.shard(test.of_domain("video")[0]).sample(0)
    assert first.frames() == ["00.jpg", "01.jpg", "02.jpg", "03.jpg"] and first.bytes("02.jpg") == clip_frames
    good = next(s for n in train.of_domain("goods") for s in map(train.shard(n).sample, range(len(train.shard(n)))) if s.id == "1000064")
    assert good.words()["title"] == "Lime" and good.record["labels"] == {"category": ["Fruit", "Lime"], "entity": "Lime"}
    assert train.tokenizer() == folders["train"] / "tokenizer" and test.tokenizer() is None


def test_a_held_out_grocery_clip_finds_its_own_product_and_no_other(test_data: Path, tmp_path: Path) -> None:
    source = open_source(test_data / "data" / "grocery")

    write_listing(tmp_path / "l", source, "train", shard_samples=1000, holdout_videos=100, holdout_goods=60, stop_at_bad=True)

    with closing(Listing(tmp_path / "l")) as listing:
        train, val = ({entry.id for n in range(len(listing.shards(s))) for entry in listing.entries(s, n)} for s in ("train", "val"))
        pairs = list(listing.truth("val", "video2goods"))
    assert len(train) == 81 + 899 and len({id for id in val if id.startswith("2")} - train) == 100
    assert len(pairs) == 100 == len({clip_id for clip_id, _ in pairs})
    queries = {line.split("\t")[0]: line.rstrip("\n").split("\t")[1:] for line in (source.root / "train_file/train.txt").open()}
    own_names = {tuple(sides) for sides in queries.values() if "," not in sides[0]}
    assert all(any(good == goods and clip_id in clips.split(",") for goods, clips in own_names) for clip_id, good in pairs)


def test_one_and_two_processes_write_the_same_bytes(crowd: Path, crowd_packed: Path, tmp_path: Path) -> None:
    main(["--data", str(crowd), "--out", str(tmp_path), "--workers", "2", *SMALL_SHARDS])

    assert content(tmp_path) == content(crowd_packed)
    assert set(os.listdir(tmp_path)) == {"train", "val"}


def test_two_ranks_under_torchrun_write_the_same_bytes(crowd: Path, crowd_packed: Path, tmp_path: Path) -> None:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "pipeline.pack"]

    job = command(*torchrun, "--data", str(crowd), "--out", str(tmp_path), "--workers", "1", *SMALL_SHARDS)

    _, errors = job.communicate(timeout=120)
    assert job.returncode == 0, errors.decode()
    assert content(tmp_path) == content(crowd_packed)


def test_packing_killed_in_the_middle_goes_on_and_ends_the_same(crowd: Path, crowd_packed: Path, tmp_path: Path) -> None:
    work = tmp_path / "train" / ".pack"
    job = command("-m", "pipeline.pack", "--data", str(crowd), "--out", str(tmp_path), "--workers", "2", *SMALL_SHARDS)
    while len(list(work.glob("*-*.json"))) < 3:
        assert job.poll() is None
        time.sleep(0.002)
    helpers = [int(pid) for pid in Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()]

    job.send_signal(signal.SIGKILL)
    job.communicate()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in helpers) and time.monotonic() < deadline:
        time.sleep(0.01)

    assert len(helpers) >= 2 and not any(Path(f"/proc/{pid}").exists() for pid in helpers)
    complete = {path.stem: (tmp_path / "train" / f"{path.stem}.tar").stat().st_mtime_ns for path in work.glob("*-*.json")}
    assert 3 <= len(complete) < len(ShardSet(crowd_packed / "train").shards) and not (tmp_path / "train" / "manifest.json").exists()
    main(["--data", str(crowd), "--out", str(tmp_path), "--workers", "1", *SMALL_SHARDS])
    assert content(tmp_path) == content(crowd_packed)
    assert {name: (tmp_path / "train" / f"{name}.tar").stat().st_mtime_ns for name in complete} == complete


def test_memory_of_packing_is_flat_at_ten_times_the_items(tmp_path: Path) -> None:
    program = (
        "import resource, sys; from pipeline.pack import pack\n"
        "for corpus in sys.argv[1:]:\n"
        "    pack(corpus, corpus + '-packed', workers=1, shard_samples=60, vocab_size=500)\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)\n"
    )
    corpora = []
    for items in (600, 6000):
        domains = ("goods", "video")
        records = ({"id": str(n), "domain": domains[n % 2], "title": f"Kettle {n % 90}", "queries": [f"query {n // 20}"]} for n in range(items))
        corpora.append(str(write_catalog(tmp_path / str(items), records)))

    job = command("-c", program, *corpora)

    said, errors = job.communicate(timeout=200)
    assert job.returncode == 0, errors.decode()
    small, large = (int(line) for line in said.decode().splitlines() if line.isdigit())
    assert ShardSet(tmp_path / "6000-packed" / "train").counts == {"goods": 3000, "video": 3000}
    assert large - small < 8, f"peak memory {small} MB after 600 items, {large} MB after 6000"


def test_held_out_clips_leave_train_and_goods_stay_in_both(crowd_packed: Path) -> None:
    train, val = ShardSet(crowd_packed / "train"), ShardSet(crowd_packed / "val")

    held_out = set(ids(val, "video"))

    assert val.counts == {"goods": 210, "video": 12 - sum(id in {"v0", "v50", "v100", "v150", "v200"} for id, _, _ in rejected(val.folder))}
    assert held_out.isdisjoint(ids(train, "video")) and sorted(ids(val, "goods")) == sorted(ids(train, "goods"))
    assert train.manifest["rejected"] + val.manifest["rejected"] == 5 and train.counts["video"] + val.counts["video"] == 205
    assert val.manifest["ground_truth"] == {"video2goods": "most specific shared query", "goods2video": "most specific shared query"}


def test_relevant_to_a_held_out_clip_are_the_goods_of_its_most_specific_query(tmp_path: Path) -> None:
    words = {"g1": ["kettle", "blue"], "g2": ["kettle", "tea"], "g3": ["kettle"], "g4": ["other"]}
    words |= {"v1": ["kettle", "blue", "tea", "nothing sold"], "v2": ["kettle"]}
    records = [{"id": id, "domain": {"g": "goods", "v": "video"}[id[0]], "title": id, "queries": queries} for id, queries in words.items()]
    records += [{"id": f"w{n}", "domain": "video", "title": "no query that goods share", "queries": ["alone"]} for n in range(9)]
    corpus = write_catalog(tmp_path / "corpus", records)

    pack(corpus, tmp_path / "out", workers=1, vocab_size=0, holdout_videos=2, holdout_goods=1)

    val = ShardSet(tmp_path / "out" / "val")
    assert sorted(ids(val, "video")) == ["v1", "v2"] and sorted(ids(val, "goods")) == ["g1", "g2", "g3"]
    assert (val.folder / "ground_truth/video2goods.tsv").read_text() == "v1\tg1,g2\nv2\tg1,g2,g3\n"
    assert (val.folder / "ground_truth/goods2video.tsv").read_text() == "g1\tv1,v2\ng2\tv1,v2\ng3\tv2\n"
    assert [query.words for query in val.queries()] == ["kettle", "blue", "tea", "nothing sold"]


def test_more_clips_held_out_than_there_are_is_an_error_with_both_numbers(tmp_path: Path) -> None:
    records = [{"id": f"{n}", "domain": domain, "title": "x", "queries": ["q"]} for domain in ("goods", "video") for n in range(3)]
    corpus = write_catalog(tmp_path / "corpus", records)

    with pytest.raises(ValueError, match=r"--holdout_videos 3: the train split has 3 clips, .*at least one clip must stay"):
        pack(corpus, tmp_path / "out", workers=1, holdout_videos=3)


def test_what_cannot_be_packed_is_listed_with_file_and_reason(tmp_path: Path) -> None:
    files = real20m_files()
    whole = files["video/images/9/a_0.jpg"]
    files |= {
        "train_file/train.txt": "coat\t101,50102,103,x4\t100203,50204,205,206,207\n",
        "goods/images/101/101.jpg": whole[: len(whole) // 2],  # type: ignore[dict-item]
        "goods/text/102/50102.txt": "one\ntwo\n",
        "goods/text/103/103.txt": "103\nnull\nnull\nnull\nnull\nnull\n",
        "video/images/9/a_0.jpg": b"<html>not found</html>",
        "video/frameid/206/206.txt": "../../../../etc/passwd\n",
        "video/text/206/206.txt": "a\nb\nc\n",
        "video/frameid/207/207.txt": "9/cut.mp4\n",
        "video/text/207/207.txt": "a\nb\nc\n",
        "video/images/9/cut.mp4": clip()[:-200],
    }
    corpus = write_files(tmp_path / "corpus", files)

    pack(corpus, tmp_path / "out", workers=1, splits=["train"], vocab_size=0)

    train = ShardSet(tmp_path / "out" / "train")
    assert train.counts == {"video": 2} and train.manifest["rejected"] == 7
    listed = {id: (file, reason) for id, file, reason in rejected(train.folder)}
    assert listed["x4"] == ("train_file/train.txt", "line 1: id 'x4' is not a number")
    assert listed["101"][0] == "goods/images/101/101.jpg" and "truncated" in listed["101"][1] and "goods/images" not in listed["101"][1]
    assert listed["50102"] == ("goods/text/102/50102.txt", "has 2 lines, not 6 (id, category, brand, entity, title, description)")
    assert listed["103"] == ("goods/images/103/103.jpg", "missing file")
    assert listed["100203"][0] == "video/images/9/a_0.jpg" and "<html>no" in listed["100203"][1]
    assert listed["206"][0] == "video/frameid/206/206.txt" and "'../../../../etc/passwd'" in listed["206"][1]
    assert listed["207"][0] == "video/images/9/cut.mp4"
    assert sorted(ids(train, "video")) == ["205", "50204"]


def test_the_first_bad_item_stops_packing_where_that_is_asked_for(tmp_path: Path) -> None:
    unread = write_catalog(tmp_path / "a", [{"id": "g1", "domain": "goods", "images": ["gone.jpg"]}])
    unlisted = write_catalog(tmp_path / "b", [{"id": "g1", "domain": "goods", "images": "gone.jpg"}])

    with pytest.raises(ValueError, match=r"a/gone\.jpg: missing file \(item 'g1'; --on_bad_item list goes on without it\)"):
        pack(unread, tmp_path / "out", workers=1, on_bad_item="stop")
    with pytest.raises(ValueError, match=r'b/catalog\.jsonl: line 1: field images is "gone\.jpg"; wanted a list of paths \(--on_bad_item list'):
        pack(unlisted, tmp_path / "out-b", workers=1, on_bad_item="stop")


def test_a_split_of_bad_items_alone_is_an_error_that_shows_the_first(tmp_path: Path) -> None:
    corpus = write_catalog(tmp_path / "corpus", [{"id": f"g{n}", "domain": "goods", "images": ["gone.jpg"]} for n in range(3)])

    with pytest.raises(ValueError, match=r"nothing to pack, 3 of 3 items were rejected .* the first: goods 'g[012]', gone\.jpg: missing file"):
        pack(corpus, tmp_path / "out", workers=1)

    assert len(rejected(tmp_path / "out" / "train")) == 3 and not (tmp_path / "out" / "train" / "manifest.json").exists()


def test_the_second_line_of_an_id_is_rejected_naming_both_lines(tmp_path: Path) -> None:
    records = [{"id": "a", "domain": "goods", "title": title} for title in ("first", "second")] + [{"id": "a", "domain": "video", "title": "third"}]

    pack(write_catalog(tmp_path / "corpus", records), tmp_path / "out", workers=1, vocab_size=0)

    train = ShardSet(tmp_path / "out" / "train")
    assert rejected(train.folder) == [("a", "catalog.jsonl", "line 2: id 'a' of domain goods is on line 1 of catalog.jsonl already")]
    assert [train.shard(n).sample(0).words()["title"] for n in range(2)] == ["first", "third"]


def test_a_query_of_two_clusters_is_rejected_naming_both(tmp_path: Path) -> None:
    queries = [{"words": "tea"}, {"words": "tea", "cluster": [1, 2]}, {"words": "tea", "cluster": [1, 3]}]
    records = [{"id": f"g{n}", "domain": "goods", "title": "x", "queries": [query]} for n, query in enumerate(queries)]

    pack(write_catalog(tmp_path / "corpus", records), tmp_path / "out", workers=1, vocab_size=0)

    train = ShardSet(tmp_path / "out" / "train")
    assert [reason for _, _, reason in rejected(train.folder)] == ["line 3: query 'tea' has cluster [1, 3] here and [1, 2] before"]
    assert [query.cluster for query in train.queries()] == [(1, 2)]


def test_items_of_a_test_file_are_shards_by_what_they_are_for(tmp_path: Path) -> None:
    corpus = write_files(tmp_path / "corpus", real20m_files())

    pack(corpus, tmp_path / "out", workers=1, splits=["test"])

    test = ShardSet(tmp_path / "out" / "test")
    assert [(info.name, info.role) for info in test.shards] == [
        ("goods-000000", "both"),
        ("video.document-000000", "document"),
        ("video.query-000000", "query"),
    ]
    assert (test.folder / "ground_truth/goods2video.tsv").read_text() == "101\t100203,205\n"


def test_a_query_on_several_ground_truth_lines_has_the_ids_of_all(tmp_path: Path) -> None:
    files = {**real20m_files(), "test_file/eval_gt_video2goods.txt": "205_0\t101.jpg\n7_0\t8.jpg\n205_1\t102.jpg,101.jpg\n"}

    pack(write_files(tmp_path / "corpus", files), tmp_path / "out", workers=1, splits=["test"])

    assert (tmp_path / "out/test/ground_truth/video2goods.tsv").read_text() == "205\t101,102\n7\t8\n"


def test_an_id_listed_with_other_files_for_the_same_purpose_is_rejected(tmp_path: Path) -> None:
    line = "101\tgoods\tCoat\t101/101.jpg\t101/101.txt\n"
    files = {**real20m_files(), "test_file/all_goods.txt": line + line + line.replace("101/101.jpg", "102/50102.jpg")}

    pack(write_files(tmp_path / "corpus", files), tmp_path / "out", workers=1, splits=["test"])

    ((id, file, reason),) = rejected(tmp_path / "out" / "test")
    assert (id, file) == ("101", "test_file/all_goods.txt")
    assert reason == "line 3: id '101' of domain goods is on line 1 of test_file/all_goods.txt already, with other files"


def test_relevance_by_shared_queries_where_a_catalog_has_no_ground_truth(tmp_path: Path) -> None:
    words = {"g1": ["kettle", "tea"], "g2": ["tea"], "g3": ["other"], "v1": ["tea", "kettle"], "v2": ["nobody"], "v3": ["other"]}
    records = [{"id": id, "domain": {"g": "goods", "v": "video"}[id[0]], "title": id, "queries": queries} for id, queries in words.items()]
    records[0]["role"], records[5]["role"] = "query", "document"
    corpus = write_catalog(tmp_path / "corpus", records, name="val.jsonl")

    pack(corpus, tmp_path / "out", workers=1)

    val = ShardSet(tmp_path / "out" / "val")
    assert val.manifest["ground_truth"] == {"video2goods": "shared queries", "goods2video": "shared queries"}
    assert (val.folder / "ground_truth/video2goods.tsv").read_text() == "v1\tg2\n"
    assert (val.folder / "ground_truth/goods2video.tsv").read_text() == "g1\tv1\ng2\tv1\ng3\tv3\n"


def test_rejected_items_are_not_relevant_where_relevance_is_derived(tmp_path: Path) -> None:
    records = [{"id": "g1", "domain": "goods", "images": ["gone.jpg"], "queries": ["q"]}]
    records += [{"id": id, "domain": domain, "title": "x", "queries": ["q"]} for id, domain in (("g2", "goods"), ("v1", "video"))]  # type: ignore[misc]

    pack(write_catalog(tmp_path / "corpus", records, name="val.jsonl"), tmp_path / "out", workers=1)

    truth = {task: (tmp_path / f"out/val/ground_truth/{task}.tsv").read_text() for task in ("video2goods", "goods2video")}
    assert truth == {"video2goods": "v1\tg2\n", "goods2video": "g2\tv1\n"}


def test_images_keep_their_bytes_unless_they_are_of_another_kind(tmp_path: Path) -> None:
    files = {f"{form}.img": picture((250, 0, 0), form=form) for form in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")}
    records = [{"id": form, "domain": "goods", "images": [f"{form}.img"]} for form in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")]

    pack(write_catalog(tmp_path / "corpus", records, files, name="test.jsonl"), tmp_path / "out", workers=1)

    shard = ShardSet(tmp_path / "out" / "test").shard(0)
    samples = [shard.sample(row) for row in range(6)]
    assert [sample.frames() for sample in samples] == [["jpg"], ["png"], ["webp"], ["jpg"], ["jpg"], ["jpg"]]
    assert [sample.bytes(sample.frames()[0]) for sample in samples[:3]] == [files[f"{sample.id}.img"] for sample in samples[:3]]
    for sample in samples[3:]:
        red, green, blue = Image.open(io.BytesIO(sample.bytes("jpg"))).getpixel((5, 5))  # type: ignore[misc]
        assert red > 240 and green < 10 and blue < 10


def test_larger_images_are_made_smaller_on_request_and_smaller_ones_are_kept(tmp_path: Path) -> None:
    files = {"large.png": picture(size=(90, 60), form="PNG"), "small.png": picture(size=(20, 30), form="PNG")}
    corpus = write_catalog(tmp_path / "corpus", [{"id": "v", "domain": "video", "images": sorted(files)}], files, name="test.jsonl")

    pack(corpus, tmp_path / "out", workers=1, resize_short_side=20)

    sample = ShardSet(tmp_path / "out" / "test").shard(0).sample(0)
    assert sample.frames() == ["00.jpg", "01.png"]
    assert Image.open(io.BytesIO(sample.bytes("00.jpg"))).size == (30, 20) and sample.bytes("01.png") == files["small.png"]


def test_a_video_file_is_stored_as_it_is(tmp_path: Path) -> None:
    film = clip()
    corpus = write_catalog(tmp_path / "corpus", [{"id": "v", "domain": "video", "video": "v.MP4"}], {"v.MP4": film}, name="test.jsonl")

    pack(corpus, tmp_path / "out", workers=1)

    sample = ShardSet(tmp_path / "out" / "test").shard(0).sample(0)
    assert sample.members == ("json", "mp4") and sample.video() == "mp4" and sample.frames() == [] and sample.bytes("mp4") == film


def test_a_feature_that_is_no_array_is_rejected(tmp_path: Path) -> None:
    records = [{"id": "a", "domain": "video", "features": {"clip": "bad.npy"}}, {"id": "b", "domain": "video", "title": "fine"}]
    corpus = write_catalog(tmp_path / "corpus", records, {"bad.npy": b"rubbish"}, name="test.jsonl")

    pack(corpus, tmp_path / "out", workers=1)

    ((id, file, reason),) = rejected(tmp_path / "out" / "test")
    assert (id, file) == ("a", "bad.npy") and reason.startswith("not a .npy array")


def test_train_items_are_mixed_and_test_items_keep_their_order(tmp_path: Path) -> None:
    records = [{"id": f"{n:03d}", "domain": "goods", "title": "x", "split": ["train", "test"]} for n in range(200)]

    pack(write_catalog(tmp_path / "corpus", records), tmp_path / "out", workers=1, vocab_size=0)

    train, test = (ids(ShardSet(tmp_path / "out" / split), "goods") for split in ("train", "test"))
    assert test == sorted(test) and sorted(train) == test
    assert sum(int(b) == int(a) + 1 for a, b in pairwise(train)) < 10


def test_shards_are_cut_evenly_and_a_small_split_into_several(tmp_path: Path) -> None:
    records = [{"id": f"{domain}{n}", "domain": domain, "title": "x"} for domain, count in (("goods", 130), ("video", 63)) for n in range(count)]
    corpus = write_catalog(tmp_path / "corpus", records, name="test.jsonl")

    pack(corpus, tmp_path / "a", workers=1)
    pack(corpus, tmp_path / "b", workers=1, shard_samples=50)

    assert [info.samples for info in ShardSet(tmp_path / "a" / "test").shards] == [65, 65, 63]
    assert [info.samples for info in ShardSet(tmp_path / "b" / "test").shards] == [43, 43, 44, 31, 32]


def test_a_packed_corpus_is_left_alone_and_other_settings_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = write_catalog(tmp_path / "corpus", [{"id": "a", "domain": "goods", "title": "x"}])
    pack(corpus, tmp_path / "out", workers=1, vocab_size=0)
    before = (tmp_path / "out/train/manifest.json").stat().st_mtime_ns

    pack(corpus, tmp_path / "out", workers=1, vocab_size=0)

    assert "train: already packed, 1 goods, 0 queries in 1 shards" in capsys.readouterr().out
    assert (tmp_path / "out/train/manifest.json").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match=r"packed from other inputs \(shard_samples was 1000, now 5\); give another --out, or --overwrite"):
        pack(corpus, tmp_path / "out", workers=1, vocab_size=0, shard_samples=5)
    write_catalog(corpus, [{"id": "b", "domain": "goods", "title": "x"}])
    with pytest.raises(ValueError, match=r"\(file catalog\.jsonl was [0-9a-f]{12}, now [0-9a-f]{12}\)"):
        pack(corpus, tmp_path / "out", workers=1, vocab_size=0)
    pack(corpus, tmp_path / "out", workers=1, vocab_size=0, overwrite=True)
    assert ids(ShardSet(tmp_path / "out" / "train"), "goods") == ["b"]


def test_an_unfinished_split_of_other_settings_is_begun_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = write_catalog(tmp_path / "corpus", [{"id": "a", "domain": "goods", "images": ["gone.jpg"]}])
    with pytest.raises(ValueError, match="nothing to pack"):
        pack(corpus, tmp_path / "out", workers=1)

    write_files(corpus, {"gone.jpg": picture()})
    pack(corpus, tmp_path / "out", workers=1, shard_samples=7)

    assert "was begun with other inputs (shard_samples was 1000, now 7); packing it from the start" in capsys.readouterr().out
    assert ids(ShardSet(tmp_path / "out" / "train"), "goods") == ["a"]


def test_a_folder_of_something_else_is_never_touched(tmp_path: Path) -> None:
    corpus = write_catalog(tmp_path / "corpus", [{"id": "a", "domain": "goods", "title": "x"}])
    write_files(tmp_path / "out", {"train/thesis.txt": "years of work"})

    with pytest.raises(ValueError, match=r"out/train: not empty and not a packed split; give another --out"):
        pack(corpus, tmp_path / "out", workers=1, overwrite=True)

    assert content(tmp_path / "out") == {"train/thesis.txt": b"years of work"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--out", "CORPUS/packed"], "lies inside the corpus"),
        (["--splits", "val"], "no split val; it has train"),
        (["--shard_samples", "0"], "--shard_samples 0: must be at least 1"),
        (["--vocab_size", "3"], "--vocab_size 3: a vocabulary needs at least 10 entries, or 0 for none"),
        (["--source", "real20m"], "not laid out as --source real20m"),
    ],
)
def test_wrong_words_on_the_command_line_get_one_clear_line(tmp_path: Path, words: list[str], expected: str) -> None:
    corpus = write_catalog(tmp_path / "corpus", [{"id": "a", "domain": "goods", "title": "x"}])

    with pytest.raises(ValueError, match=expected):
        main(["--data", str(corpus), "--out", str(tmp_path / "out"), *(word.replace("CORPUS", str(corpus)) for word in words)])


def test_a_corpus_with_a_val_split_of_its_own_holds_nothing_out(tmp_path: Path) -> None:
    for name in ("train", "val"):
        write_catalog(tmp_path / "corpus", [{"id": "a", "domain": "goods", "title": "x"}], name=f"{name}.jsonl")

    with pytest.raises(ValueError, match=r"--holdout_videos 5: .* has a split val of its own"):
        pack(tmp_path / "corpus", tmp_path / "out", holdout_videos=5)


def test_a_packed_shard_set_is_no_corpus(tmp_path: Path) -> None:
    pack(write_catalog(tmp_path / "corpus", [{"id": "a", "domain": "goods", "title": "x"}]), tmp_path / "out", workers=1)

    with pytest.raises(ValueError, match="out: a packed shard set already; --data names the root of a corpus"):
        pack(tmp_path / "out", tmp_path / "again")


def test_a_corpus_of_one_domain_is_packed_and_said_to_be_of_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = write_catalog(tmp_path / "corpus", [{"id": "a", "domain": "goods", "title": "x", "queries": ["q"]}])

    pack(corpus, tmp_path / "out", workers=1)

    assert "no items of domain video; training and evaluation need goods and video" in capsys.readouterr().out
    assert read_json(tmp_path / "out/train/manifest.json")["counts"] == {"goods": 1}


def test_a_missing_corpus_ends_the_command_with_one_line_and_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["pack", "--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")])

    with pytest.raises(SystemExit) as caught:
        run_command(main)

    assert caught.value.code == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'nowhere'}: no such folder; --data names the root of a corpus\n"
