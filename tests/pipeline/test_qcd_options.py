"""Every option of QCD trains, resumes exactly, and does what its name says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from pipeline import caption as caption_module
from pipeline import train as train_module
from pipeline.checkpoint import load_checkpoint
from pipeline.pack import pack
from tests.pipeline.little_corpus import SMALL, write_little_corpus

MOMENTUM = ("--system.image_text", "momentum", "--system.image_text_queue", "30")
TOGETHER = {
    "queues and losses": (
        *(*MOMENTUM, "--system.memory_batches", "3", "--stream.policy", "cluster"),
        *("--system.cyclip_weight", "0.25", "--system.ranking_weight", "1", "--system.cluster_weight", "1"),
    ),
    "tiles, pieces, average": (
        *("--system.contrast_tile", "5", "--trainer.piece_size", "5", "--system.dropout", "0.1", "--trainer.ema_decay", "0.5"),
        *("--system.image_text", "plain"),
    ),
    "as released": ("--system.attend_padding", "true", "--system.normalise_query", "false", "--system.image_text_released", "true"),
}
"""Every option in one of three runs."""


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("options")
    pack(write_little_corpus(folder / "corpus", clusters=True), folder / "shards", workers=1, vocab_size=200)
    return folder / "shards"


def train(shards: Path, out: Path, *flags: str) -> Path:
    train_module.main([*SMALL, "--data", str(shards), "--out", str(out), "--optim.schedule", "constant", *flags])
    return out


def lines(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def saved(out: Path, step: int, name: str = "weights") -> dict[str, torch.Tensor]:
    return torch.load(out / f"checkpoints/step-{step:08d}/{name}.pt", weights_only=True)


@pytest.mark.parametrize("options", TOGETHER)
def test_a_halted_run_with_options_goes_on_as_if_nothing_had_happened(options: str, shards: Path, tmp_path: Path) -> None:
    flags = TOGETHER[options]

    train(shards, tmp_path / "straight", *flags, "--trainer.max_steps", "4")
    train(shards, tmp_path / "halted", *flags, "--trainer.max_steps", "2")
    train(shards, tmp_path / "halted", *flags, "--trainer.max_steps", "4")

    for name in ("weights", "ema") if "average" in options else ("weights",):
        straight, halted = saved(tmp_path / "straight", 4, name), saved(tmp_path / "halted", 4, name)
        assert straight.keys() == halted.keys()
        assert all(torch.equal(value, halted[key]) for key, value in straight.items())
    assert [line["loss"] for line in lines(tmp_path / "straight")] == [line["loss"] for line in lines(tmp_path / "halted")]


def test_tiles_give_the_losses_of_whole_matrices(shards: Path, tmp_path: Path) -> None:
    whole, tiled = (
        train(shards, tmp_path / "whole", "--trainer.max_steps", "3"),
        train(shards, tmp_path / "tiled", "--trainer.max_steps", "3", "--system.contrast_tile", "5"),
    )

    assert [line["loss"] for line in lines(whole)] == pytest.approx([line["loss"] for line in lines(tiled)], rel=1e-4)


def test_the_released_image_text_contrast_is_logged_and_not_added(shards: Path, tmp_path: Path) -> None:
    found = lines(train(shards, tmp_path, "--trainer.max_steps", "1", "--system.image_text", "plain", "--system.image_text_released", "true"))[0]

    terms = ("fusion", "title", "vision", "distance", "generation")
    assert found["image_text"] > 1 and found["loss"] == pytest.approx(sum(found[name] for name in terms), rel=1e-5)


def test_a_memory_makes_the_contrast_harder_once_it_is_filled(shards: Path, tmp_path: Path) -> None:
    frozen = ("--optim.lr", "0", "--trainer.max_steps", "3")  # the weights stand still, so that the candidates alone differ

    plain, remembering = (
        [line["fusion"] for line in lines(train(shards, tmp_path / name, *frozen, "--system.memory_batches", number))]
        for name, number in (("plain", "0"), ("memory", "2"))
    )

    assert plain[0] == pytest.approx(remembering[0], rel=1e-5)
    assert all(with_memory > without + 0.05 for with_memory, without in zip(remembering[1:], plain[1:]))


def test_the_slow_copies_follow_and_their_queue_fills(shards: Path, tmp_path: Path) -> None:
    out = train(shards, tmp_path, "--trainer.max_steps", "2", *MOMENTUM, "--system.momentum", "0.5", "--optim.lr", "0.01")

    state = saved(out, 2)
    live, slow = (state[f"{prefix}fusion.projection.weight"] for prefix in ("document.", "image_text.slow.copy."))
    assert 0 < (live - slow).abs().max() < 0.1
    assert 0 < state["image_text.titles.filled"] <= 24 and state["image_text.titles.features"][0].norm() == pytest.approx(1, abs=1e-4)


def test_a_new_run_with_momentum_starts_its_slow_copies_from_the_given_weights(shards: Path, tmp_path: Path) -> None:
    first = train(shards, tmp_path / "first", "--trainer.max_steps", "2", "--optim.lr", "0.01")

    second = train(shards, tmp_path / "second", "--init", str(first), "--trainer.max_steps", "1", "--optim.lr", "0", "--trainer.seed", "5", *MOMENTUM)

    wanted, found = saved(first, 2), saved(second, 1)
    for name, value in wanted.items():
        if name.startswith("document."):
            assert torch.equal(found[name], value) and torch.allclose(found[f"image_text.slow.copy.{name.removeprefix('document.')}"], value)


def test_the_average_is_what_its_formula_says_and_is_evaluated_by_name(shards: Path, tmp_path: Path) -> None:
    out = train(shards, tmp_path, "--trainer.max_steps", "2", "--trainer.checkpoint_every", "1", "--trainer.ema_decay", "0.75", "--optim.lr", "0.01")

    name = "document.fusion.projection.weight"
    start = torch.load(out / "checkpoints/step-00000001/ema.pt", weights_only=True)[name]
    second = 0.75 * start + 0.25 * saved(out, 2)[name]
    torch.testing.assert_close(saved(out, 2, "ema")[name], second)
    assert torch.equal(load_checkpoint(out, "ema").system.state_dict()[name], saved(out, 2, "ema")[name])
    assert torch.equal(load_checkpoint(out).system.state_dict()[name], saved(out, 2)[name])
    assert load_checkpoint(out).checksum != load_checkpoint(out, "ema").checksum


def test_a_run_without_an_average_says_so(shards: Path, tmp_path: Path) -> None:
    out = train(shards, tmp_path, "--trainer.max_steps", "1")

    with pytest.raises(ValueError, match=r"holds no slow average of the weights; train with --trainer.ema_decay"):
        load_checkpoint(out, "ema")


def test_clusters_beyond_the_number_told_and_settings_that_exclude_each_other_are_named(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a query's cluster is 3, but --system.clusters is 2"):
        train(shards, tmp_path / "one", "--trainer.max_steps", "3", "--system.cluster_weight", "1", "--system.clusters", "2")
    with pytest.raises(ValueError, match=r"contrast_tile and --system.memory_batches exclude each other"):
        train(shards, tmp_path / "two", "--system.contrast_tile", "4", "--system.memory_batches", "1")


def test_captions_are_written_for_every_item_with_frames(shards: Path, tmp_path: Path) -> None:
    run = train(shards, tmp_path / "run", "--trainer.max_steps", "40", "--optim.lr", "0.01", "--system.query_length", "8")
    out = tmp_path / "captions.jsonl"
    command = ["--checkpoint", str(run), "--shards", str(shards), "--domain", "goods", "--out", str(out), "--workers", "0"]

    for texts, flags in ((1, []), (2, ["--beams", "4", "--texts", "2"]), (3, ["--sample", "--texts", "3", "--temperature", "0.7"])):
        caption_module.main([*command, *flags])

        found = [json.loads(line) for line in out.read_text().splitlines()]
        scores = [[caption["log_probability"] for caption in one["captions"]] for one in found]
        assert sorted(one["id"] for one in found) == [f"g{number}" for number in range(8)]
        assert all(len(own) == texts and own == sorted(own, reverse=True) for own in scores)
    first_words = {caption["text"].split()[0] for one in found for caption in one["captions"]}
    assert first_words & {"item", "group"}  # it has learned what queries look like


def test_characters_of_chinese_stand_together_and_words_of_english_apart() -> None:
    assert caption_module.without_gaps("闪 电 水 瓶 straw zigzag 茶 壶 t 恤") == "闪电水瓶 straw zigzag 茶壶 t 恤"


def test_compiled_towers_give_the_same_losses_and_the_same_names(shards: Path, tmp_path: Path) -> None:
    plain = train(shards, tmp_path / "plain", "--trainer.max_steps", "2")

    compiled = train(shards, tmp_path / "compiled", "--trainer.max_steps", "2", "--trainer.compile", "eager")

    assert [line["loss"] for line in lines(compiled)] == pytest.approx([line["loss"] for line in lines(plain)], rel=1e-3)
    assert saved(compiled, 2).keys() == saved(plain, 2).keys()
