"""Training on shards that were damaged after packing: what cannot be read is left out, listed, and the run is the same run however it is dealt."""

from __future__ import annotations

import json
import os
import shutil
from itertools import combinations
from pathlib import Path

import pytest
import torch

from pipeline import train as train_module
from pipeline.pack import pack
from pipeline.shards import ShardSet
from tests.pipeline.broken import change, endless_clip, lines, listed, padded_clip, samples, zeros_from
from tests.pipeline.little_corpus import SMALL, write_little_corpus
from tests.pipeline.media_clips import X264_CLOSED, write_clip

FLAGS = [*SMALL, "--stream.policy", "document", "--optim.lr", "0.01", "--optim.eps", "0.01", "--optim.schedule", "constant"]
STEPS = 5
"""Batches of an epoch of the document policy, 26 clips and 8 goods in batches of 12, and one more; without the videos an epoch has two less."""

DAMAGED = {"v0_0": "not UTF-8 JSON", "v1_1": "its file is truncated or damaged", "g3": "its file is truncated or damaged"}
"""Items of which single members are damaged -> what is said of them."""


def packed(folder: Path, videos: bool = True) -> Path:
    """The little corpus, with two video files where wanted, packed in shards of four; `folder`/shards."""
    root = write_little_corpus(folder / "corpus")
    if videos:
        add_videos(root)
    pack(root, folder / "shards", workers=1, shard_samples=4, vocab_size=200)
    return folder / "shards"


def add_videos(root: Path) -> None:
    """Add the clips hang and early, both of them whole."""
    (root / "hang.mp4").write_bytes(padded_clip(len(endless_clip())))
    write_clip(root / "early.mp4", options=X264_CLOSED)
    with open(root / "catalog.jsonl", "a", encoding="utf-8") as file:
        for name in ("hang", "early"):
            file.write(json.dumps({"id": name, "domain": "video", "video": f"{name}.mp4", "queries": ["item 0"]}) + "\n")


def damage(train: Path) -> None:
    """Damage single members."""
    change(train, "v0_0", "json", lambda data: data.replace(b'"id"', b'"\xff\xfe"', 1))
    for frame in range(3):
        change(train, "v1_1", f"{frame:02}.jpg", zeros_from(0.4))
    change(train, "g3", "jpg", zeros_from(0.4))


def damage_shards(train: Path) -> tuple[set[str], set[str]]:
    """Cut one tar short and exchange two of one size for each other: the ids in the first, and in the others."""
    spared = {"hang", "early", *DAMAGED}
    shards = ShardSet(train)
    whole = [n for n in shards.of_domain("video") if not spared & set(shards.shard(n).ids)]
    one, other = next(pair for pair in combinations(whole, 2) if shards.shards[pair[0]].bytes == shards.shards[pair[1]].bytes)
    cut = next(number for number in whole if number not in (one, other))
    first, second = shards.tar(one), shards.tar(other)
    first.rename(train / "aside")
    second.rename(first)
    (train / "aside").rename(second)
    os.truncate(shards.tar(cut), shards.shards[cut].bytes - 512)
    return set(shards.shard(cut).ids), {*shards.shard(one).ids, *shards.shard(other).ids}


def commands_for(folder: Path) -> dict[int, list[list[str]]]:
    """For R of 1, 2, 3 ranks: R/run is a run of an epoch over the damaged shards."""
    shards = packed(folder, videos=False)
    damage(shards / "train")
    flags = ["--data", str(shards), "--trainer.max_steps", str(STEPS - 2)]
    return {ranks: [["pipeline.train", *FLAGS, *flags, "--out", str(folder / str(ranks) / "run")]] for ranks in (1, 2, 3)}


@pytest.fixture
def folder(ran: dict[str, Path]) -> Path:
    return ran[__name__]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module")
def straight(sound: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run over shards with `damage`; they are beside it."""
    folder = tmp_path_factory.mktemp("straight")
    damage(Path(shutil.copytree(sound, folder / "shards")) / "train")
    return train(folder / "shards", folder / "run")


@pytest.fixture
def shards(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "shards"))


def train(shards: Path, out: Path, *flags: str) -> Path:
    train_module.main([*FLAGS, "--data", str(shards), "--out", str(out), "--trainer.max_steps", str(STEPS), *flags])
    return out


def weights(run: Path, step: int = STEPS) -> dict[str, torch.Tensor]:
    return torch.load(run / f"checkpoints/step-{step:08d}/weights.pt", weights_only=True)


def logged(run: Path) -> list[dict[str, float]]:
    return [{name: value for name, value in line.items() if name != "samples_per_s"} for line in lines(run / "log.jsonl")]


@pytest.mark.parametrize("ranks", [2, 3])
def test_many_ranks_leave_the_same_items_out_and_end_with_the_same_weights(folder: Path, ranks: int) -> None:
    one, many = folder / "1/run", folder / str(ranks) / "run"

    found = {line["id"]: line for line in lines(one / "bad_items.jsonl")}
    assert found.keys() == DAMAGED.keys() and all(DAMAGED[id] in line["reason"] for id, line in found.items())
    assert sorted(map(str, lines(many / "bad_items.jsonl"))) == sorted(map(str, found.values()))  # of one step, each rank's own come together
    alone, shared = weights(one, STEPS - 2), weights(many, STEPS - 2)
    assert max((alone[name].float() - value).abs().max().item() for name, value in shared.items() if value.numel()) < 1e-4


def test_whatever_is_damaged_the_run_goes_on_without_it_and_lists_every_item_once(shards: Path, tmp_path: Path) -> None:
    damage(shards / "train")
    cut, exchanged = damage_shards(shards / "train")
    change(shards / "train", "early", "mp4", zeros_from(0.3))
    change(shards / "train", "hang", "mp4", lambda data: endless_clip())

    run = train(shards, tmp_path / "run", "--stream.decode_timeout_s", "2")

    found = listed(run / "bad_items.jsonl")
    for id, reason in DAMAGED.items():
        assert reason in found.pop(id)
    assert "gave no frames within 2 s and was ended" in found.pop("hang")
    assert "FFmpeg cannot read it" in found.pop("early")
    assert found.keys() == cut | exchanged
    assert all("bytes, the manifest says" in found[id] and "pipeline.pack --overwrite" in found[id] for id in cut)
    assert any("the tar is not the one that was packed with its index" in found[id] for id in exchanged)  # the others' records begin elsewhere
    counts = [line["bad_items"] for line in logged(run) if "bad_items" in line]
    assert counts == sorted(counts) and counts[-1] == len(DAMAGED) + 2 + len(cut) + len(exchanged)
    assert all(line["domain"] in ("goods", "video") and line["shard"].startswith(line["domain"]) for line in lines(run / "bad_items.jsonl"))


def test_a_run_that_stopped_among_bad_items_goes_on_as_if_nothing_had_happened(straight: Path, tmp_path: Path) -> None:
    shards, halted = straight.parent / "shards", tmp_path / "halted"

    train(shards, halted, "--trainer.max_steps", "2")
    early = lines(halted / "bad_items.jsonl")
    with open(halted / "bad_items.jsonl", "a", encoding="utf-8") as file:  # it was killed after a later step had found one, and in a line's middle
        file.write(json.dumps({"id": "later", "domain": "video", "shard": "x", "shard_number": 0, "reason": "y", "step": 3}) + '\n{"id": "v')
    train(shards, halted)

    assert all(torch.equal(weights(straight)[name], value) for name, value in weights(halted).items())
    assert (straight / "bad_items.jsonl").read_bytes() == (halted / "bad_items.jsonl").read_bytes()
    assert logged(straight) == logged(halted)
    assert 0 < len(early) < len(DAMAGED)


def test_too_many_bad_items_stop_a_run_which_goes_on_where_more_are_allowed(straight: Path, tmp_path: Path) -> None:
    shards, stopped = straight.parent / "shards", tmp_path / "stopped"

    with pytest.raises(
        ValueError, match=r"train, step \d: 3 of 34 items are bad, --max_bad_items 2 allows 2; one of them: .*bad_items\.jsonl\), or allow"
    ):
        train(shards, stopped, "--max_bad_items", "2", "--trainer.checkpoint_every", "1")
    assert listed(stopped / "bad_items.jsonl").keys() == DAMAGED.keys()
    train(shards, stopped, "--max_bad_items", "3")

    assert all(torch.equal(weights(straight)[name], value) for name, value in weights(stopped).items())


def test_the_first_bad_item_stops_a_run_where_that_is_asked_for(shards: Path, tmp_path: Path) -> None:
    change(shards / "train", "g3", "jpg", zeros_from(0.4))

    with pytest.raises(
        ValueError, match=r"goods-\d+\.tar: sample \d \('g3'\) jpg: the picture cannot .* \(--on_bad_item skip goes on without such items"
    ):
        train(shards, tmp_path / "run", "--on_bad_item", "stop")


def test_a_damaged_index_stops_a_run_under_either_policy(shards: Path, tmp_path: Path) -> None:
    path = shards / "train/video-000001.index.npz"
    path.write_bytes(zeros_from(0.5)(path.read_bytes()))

    with pytest.raises(ValueError, match=r"video-000001\.index\.npz: .*; pack it again"):
        train(shards, tmp_path / "run")


def test_a_shard_that_only_its_checksum_tells_is_seen_with_verify(shards: Path, tmp_path: Path) -> None:
    split = shards / "train"
    change(split, "v2_0", "00.jpg", lambda data: samples(split)["v2_0"].bytes("01.jpg").ljust(len(data), b"\0")[: len(data)])
    number = next(n for n in ShardSet(split).of_domain("video") if "v2_0" in ShardSet(split).shard(n).ids)

    unseen = train(shards, tmp_path / "unseen", "--trainer.max_steps", "1")
    seen = train(shards, tmp_path / "seen", "--verify")

    assert not (unseen / "bad_items.jsonl").exists()
    found = listed(seen / "bad_items.jsonl")
    assert found.keys() == set(ShardSet(split).shard(number).ids)
    assert all("another checksum than in manifest.json; it was changed or exchanged after packing" in reason for reason in found.values())
