"""Packing: what comes out, and that it comes out the same."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image

from pipeline.pack import main, pack
from pipeline.shards import ShardSet
from tests.pipeline.corpora import clip, picture, real20m_files, write_catalog, write_files
from tests.pipeline.packed import SMALL_SHARDS, content, ids, write_crowd

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_crowd(tmp_path_factory.mktemp("crowd"))


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

    assert train.counts == {"goods": 81, "video": 999} and test.counts == {"goods": 81, "query": 81, "video": 67}
    assert train.manifest["rejected"] == test.manifest["rejected"] == 0
    assert len(train.queries()) == 301 and sum(bool(query.cluster) for query in train.queries()) == 270
    assert [query.cluster for query in train.queries() if query.words == "alpro blueberry soyghurt"] == [(1, 39, 39)]
    assert sorted(ids(test, "goods"))[:2] == ["1000001", "1000008"] and ids(test, "video")[:2] == ["3000003", "3000006"]
    assert {(info.domain, info.role) for info in test.shards} == {("goods", "both"), ("video", "both"), ("query", "query")}
    truth = {task: test.ground_truth(task) for task in ("video2goods", "goods2video", "query2goods")}
    assert {task: len(path.read_text().splitlines()) for task, path in truth.items() if path} == {
        "video2goods": 67,
        "goods2video": 60,
        "query2goods": 81,
    }
    kinds = {"video2goods": "file", "goods2video": "file", "query2goods": "found by the query"}
    assert test.manifest["ground_truth"] == kinds and train.manifest["ground_truth"] == {}
    clip_frames = (test_data / "data/grocery/video/images/3/3000003_2.jpg").read_bytes()
    first = test.shard(test.of_domain("video")[0]).sample(0)
    assert first.frames() == ["00.jpg", "01.jpg", "02.jpg", "03.jpg"] and first.bytes("02.jpg") == clip_frames
    good = next(s for n in train.of_domain("goods") for s in map(train.shard(n).sample, range(len(train.shard(n)))) if s.id == "1000064")
    assert good.words()["title"] == "Lime" and good.record["labels"] == {"category": ["Fruit", "Lime"], "entity": "Lime"}
    assert train.tokenizer() == folders["train"] / "tokenizer" and test.tokenizer() is None


def test_one_and_two_processes_write_the_same_bytes(crowd: Path, crowd_packed: Path, tmp_path: Path) -> None:
    main(["--data", str(crowd), "--out", str(tmp_path), "--workers", "2", *SMALL_SHARDS])

    assert content(tmp_path) == content(crowd_packed)
    assert set(os.listdir(tmp_path)) == {"train", "val"}
    assert sorted(file.split("-")[0] for file in os.listdir(tmp_path / "val") if file.endswith("-000000.tar")) == ["goods", "query.query", "video"]


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
        "import re, sys; from pathlib import Path; from pipeline.pack import pack\n"
        "for corpus in sys.argv[1:]:\n"
        "    pack(corpus, corpus + '-packed', workers=1, shard_samples=60, vocab_size=500)\n"
        "    # ru_maxrss would begin at the peak of the process that started this one.\n"
        "    print(int(re.search(r'VmHWM:\\s+([0-9]+) kB', Path('/proc/self/status').read_text())[1]) // 1024)\n"
    )
    corpora = []
    for items in (600, 6000):
        domains, splits = ("goods", "video"), ("train", "test")
        records = (
            {"id": str(n), "domain": domains[n % 2], "split": splits[n // 2 % 2], "title": f"Kettle {n % 90}", "queries": [f"query {n // 20}"]}
            for n in range(items)
        )
        corpora.append(str(write_catalog(tmp_path / str(items), records)))

    job = command("-c", program, *corpora)

    said, errors = job.communicate(timeout=200)
    assert job.returncode == 0, errors.decode()
    small, large = (int(line) for line in said.decode().splitlines() if line.isdigit())
    assert ShardSet(tmp_path / "6000-packed" / "train").counts == {"goods": 1500, "video": 1500}
    assert ShardSet(tmp_path / "6000-packed" / "test").counts == {"goods": 1500, "query": 300, "video": 1500}
    assert large - small < 8, f"peak memory {small} MB after 600 items, {large} MB after 6000"


def test_items_of_a_test_file_are_shards_by_what_they_are_for(tmp_path: Path) -> None:
    corpus = write_files(tmp_path / "corpus", real20m_files())

    pack(corpus, tmp_path / "out", workers=1, splits=["test"])

    test = ShardSet(tmp_path / "out" / "test")
    assert [(info.name, info.role) for info in test.shards] == [
        ("goods-000000", "both"),
        ("query.query-000000", "query"),
        ("video.document-000000", "document"),
        ("video.query-000000", "query"),
    ]
    assert (test.folder / "ground_truth/goods2video.tsv").read_text() == "101\t100203,205\n"


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
