"""Embedding and evaluating shards that were damaged after packing: what cannot be read is listed, counted over restarts, and replaced by nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from evaluate.dump import Dump
from evaluate.ids import decode_ids
from launch.files import read_json, write_json
from pipeline.embed import main as embed_main
from pipeline.pack import pack
from pipeline.retrieve import main as evaluate
from pipeline.shards import ShardSet
from pipeline.train import main as train
from tests.pipeline.broken import change, listed, samples, zeros_from
from tests.pipeline.little_corpus import SMALL, write_little_corpus
from tests.pipeline.little_pairs import packed_pairs


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`shards`, `run`, and `dump` of the training clips, all of them whole."""
    folder = tmp_path_factory.mktemp("embedding")
    pack(write_little_corpus(folder / "corpus"), folder / "shards", workers=1, shard_samples=5, vocab_size=200)
    train([*SMALL, "--data", str(folder / "shards"), "--out", str(folder / "run"), "--trainer.max_steps", "1"])
    embed(folder / "run", folder / "shards/train", folder / "dump")
    return folder


@pytest.fixture
def split(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound / "shards", tmp_path / "shards")) / "train"


def embed(run: Path, split: Path, out: Path, *flags: str) -> dict[str, np.ndarray]:
    """The dump of the clips of `split`, by id."""
    where = ["--checkpoint", str(run), "--shards", str(split), "--domain", "video", "--out", str(out)]
    embed_main([*where, "--workers", "0", "--batch_size", "5", *flags])
    rows = Dump(out).side()
    return dict(zip(decode_ids(rows.ids()), np.concatenate([block for _, block in rows.blocks()]), strict=True))


def damage_frames(split: Path, id: str) -> None:
    for frame in range(3):
        change(split, id, f"{frame:02}.jpg", zeros_from(0.4))


def shard_of(split: Path, id: str) -> int:
    shards = ShardSet(split)
    return next(number for number in shards.of_domain("video") if id in shards.shard(number).ids)


def test_what_cannot_be_read_is_listed_and_all_others_have_the_vectors_that_they_had(sound: Path, split: Path, tmp_path: Path) -> None:
    shards = ShardSet(split)
    damage_frames(split, "v0_0")
    change(split, "v3_1", "json", zeros_from(0.5))
    cut = next(number for number in shards.of_domain("video") if not {"v0_0", "v3_1"} & set(shards.shard(number).ids))
    os.truncate(shards.tar(cut), shards.shards[cut].bytes // 2)

    found, whole = embed(sound / "run", split, tmp_path / "dump"), embed(sound / "run", sound / "shards/train", sound / "dump")

    failed = listed(tmp_path / "dump/failed.jsonl")
    assert failed.keys() == {"v0_0", "v3_1", *shards.shard(cut).ids}
    assert "its file is truncated or damaged" in failed["v0_0"] and "not UTF-8 JSON" in failed["v3_1"]
    assert all(f"bytes, the manifest says {shards.shards[cut].bytes}" in failed[id] and "pack it again" in failed[id] for id in shards.shard(cut).ids)
    assert found.keys() == whole.keys() - failed.keys()
    assert all(np.allclose(found[id], whole[id], atol=1e-3) for id in found)


def test_the_count_goes_on_over_a_restart_and_the_end_is_that_of_one_start(sound: Path, split: Path, tmp_path: Path) -> None:
    first, second = (next(id for id in ShardSet(split).shard(number).ids) for number in ShardSet(split).of_domain("video")[:2])
    for id in (first, second):
        damage_frames(split, id)
    run, out = sound / "run", tmp_path / "dump"

    for _ in range(2):  # the second time the first shard is complete, and what failed in it counts
        with pytest.raises(
            ValueError, match=rf"train, video: 2 of 24 items are bad, --max_bad_items 1 allows 1; one of them: .*{second}.*failed\.jsonl"
        ):
            embed(run, split, out, "--max_bad_items", "1")
        assert [path.name for path in out.glob("*.h5")] == ["video-000000.h5"] and not (out / "manifest.json").exists()
    with pytest.raises(
        ValueError, match=rf"sample 0 \('{first}'\).* \(--on_bad_item skip goes on without such items and lists them in .*failed\.jsonl\)"
    ):
        embed(run, split, tmp_path / "stopped", "--on_bad_item", "stop")
    embed(run, split, out, "--max_bad_items", "2")
    embed(run, split, tmp_path / "straight")

    assert (out / "failed.jsonl").read_bytes() == (tmp_path / "straight/failed.jsonl").read_bytes()
    assert read_json(out / "manifest.json")["shards"] == read_json(tmp_path / "straight/manifest.json")["shards"]


def test_an_evaluation_has_the_same_flags_and_sees_an_exchanged_member_with_verify(sound: Path, split: Path, tmp_path: Path) -> None:
    test = split.parent / "test"
    change(test, "v2_3", "00.jpg", lambda data: samples(test)["v2_3"].bytes("01.jpg").ljust(len(data), b"\0")[: len(data)])
    flags = ["--task", "video2goods", "--checkpoint", str(sound / "run"), "--data", str(split.parent), "--workers", "0", "--shown", "0"]

    evaluate([*flags, "--out", str(tmp_path / "unseen"), "--on_bad_item", "stop"])
    evaluate([*flags, "--out", str(tmp_path / "seen"), "--verify"])
    with pytest.raises(ValueError, match=r"another checksum than in manifest\.json; it was changed or exchanged after packing"):
        evaluate([*flags, "--out", str(tmp_path / "stopped"), "--verify", "--on_bad_item", "stop"])

    failed = listed(tmp_path / "seen/dumps/video/failed.jsonl")
    assert failed.keys() == set(ShardSet(test).shard(shard_of(test, "v2_3")).ids)
    assert read_json(tmp_path / "unseen/metrics.json")["queries"] > 0


def test_features_that_are_not_finite_or_cut_are_left_out_of_training_and_of_dumps(tmp_path: Path) -> None:
    shards, run = packed_pairs(tmp_path), tmp_path / "run"
    nan = np.float32(np.nan).tobytes()
    for part in ("train", "test"):
        clip = "v0_0" if part == "train" else "v0_3"
        change(shards / part, clip, "vision.npy", lambda data: data[:-4] + nan)
        change(shards / part, "g1", "vision.npy", lambda data: b"\x93NUMPY\x01\x00\xff\xff" + data[10:])

    sizes = ["--system.dim", "8", "--system.width", "16", "--system.hidden", "12", "--system.queue_size", "6"]
    flags = ["--recipe", "mqmc:smoke", "--data", str(shards), "--out", str(run), "--stream.batch_size", "12", "--stream.workers", "0"]
    train([*flags, *sizes, "--packing.holdout_videos", "0", "--trainer.max_steps", "4", "--trainer.precision", "fp32", "--trainer.threads", "1"])
    found = embed(run, shards / "test", tmp_path / "dump")

    unread = listed(run / "bad_items.jsonl")
    assert unread.keys() == {"v0_0", "g1"}
    assert "vision.npy is no array that can be used: 1 of 12 numbers are not finite (NaN or infinite)" in unread["v0_0"]
    assert "vision.npy is no array that can be used: not a .npy array" in unread["g1"]
    assert listed(tmp_path / "dump/failed.jsonl").keys() == {"v0_3"} and "v0_3" not in found and len(found) == 7


def test_a_manifest_cannot_have_anything_written_outside_the_folder_that_is_named(sound: Path, split: Path, tmp_path: Path) -> None:
    manifest = read_json(split / "manifest.json")
    for wrong in (
        manifest | {"split": "../../elsewhere"},
        manifest | {"shards": [{**manifest["shards"][0], "name": "../outside"}]},
        manifest | {"shards": [{**manifest["shards"][0], "name": "/tmp/outside"}]},
    ):
        write_json(split / "manifest.json", wrong)

        with pytest.raises(ValueError, match=r"manifest\.json: '.*(elsewhere|outside)' is no name of a split or a shard \(letters, digits, _ \. -\)"):
            embed(sound / "run", split, tmp_path / "out/dump")

    assert not (tmp_path / "out").exists()


def test_a_settings_file_is_read_as_data(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(f"trainer: !!python/object/apply:os.mkdir ['{tmp_path}/ran']\n")

    with pytest.raises(ValueError, match="--help lists the flags"):
        train(["--recipe", "qcd:smoke", "--data", str(tmp_path), "--out", str(tmp_path / "run"), "--config", str(tmp_path / "settings.yaml")])

    assert not (tmp_path / "ran").exists()


def test_code_that_lies_in_a_shard_sets_tokenizer_is_not_run_whatever_is_answered(
    split: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    tokenizer = split / "tokenizer"
    (tokenizer / "own.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w')\nfrom transformers import BertTokenizer\nclass Own(BertTokenizer): pass\n"
    )
    settings = read_json(tokenizer / "tokenizer_config.json") if (tokenizer / "tokenizer_config.json").is_file() else {}
    write_json(tokenizer / "tokenizer_config.json", settings | {"auto_map": {"AutoTokenizer": ["own.Own", None]}, "tokenizer_class": "Own"})

    with pytest.raises(ValueError, match="custom code"):
        train([*SMALL, "--data", str(split.parent), "--out", str(tmp_path / "run"), "--trainer.max_steps", "1"])

    assert not (tmp_path / "ran").exists()
