"""MMRA on a little catalogue of features whose popularity follows a known law: batches, training, checkpoints, evaluation."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluate.judging.prediction_metrics import nmse
from evaluate.predictions import read_predicted
from pipeline.checkpoint import load_checkpoint
from pipeline.pack import pack
from pipeline.popularity import Predictions, predict_shards
from pipeline.predict import main as predict
from pipeline.recipe import Recipe, from_dict, resolve
from pipeline.recipes.mmra import VARIANTS, check
from pipeline.recipes.mmra.preparation import NeighbourPreparation
from pipeline.recipes.mmra.system import MMRA
from pipeline.shards import ShardSet
from pipeline.training.validation import better, validate
from tests.pipeline.corpora import write_catalog
from tests.pipeline.little_features import samples
from tests.pipeline.little_pairs import npy
from tests.pipeline.little_popularity import find, new_system, packed_law, recipe, train

ABLATIONS = ({"retrieval": False}, {"positive": False}, {"negative": False}, {"vision": False}, {"words": False}, {"form": "released"})


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed_law(tmp_path_factory.mktemp("mmra"))


def batch_of(system: MMRA, split: ShardSet, training: bool = True) -> dict[str, torch.Tensor]:
    """The clips of a split's first shard."""
    preparation, rng = system.preparation(training), np.random.default_rng(0) if training else None
    return preparation.collate([preparation.sample(split.shard(0).sample(row), rng, None) for row in range(6)])


def predictions(system: MMRA, split: ShardSet, recipe: Recipe, out: Path) -> Predictions:
    options = {"recipe": recipe, "checkpoint": "x", "device": torch.device("cpu"), "precision": "fp32", "batch_size": 16, "workers": 0, "quiet": True}
    return predict_shards(system, split, out, **options)


@pytest.mark.parametrize("seed", [0, 1])
def test_neighbours_and_content_together_beat_either_alone_where_the_law_has_both(tmp_path: Path, seed: int) -> None:
    features = packed_law(tmp_path, kinds=60, seed=seed)
    splits = {name: ShardSet(features / name) for name in ("train", "test")}
    errors = {}
    for name, settings in (("whole", {}), ("without retrieval", {"retrieval": False})):
        system = fitted(new_system(recipe(1, **settings), splits["train"]), splits["train"])
        test = whole_split(system, splits["test"], training=False)
        with torch.no_grad():
            errors[name] = nmse(system.predict(test).numpy(), test["popularity"].numpy())
        if name == "whole":
            errors["neighbours"] = nmse(test["labels"].mean(dim=1).numpy(), test["popularity"].numpy())

    assert errors["whole"] < 0.06
    assert errors["without retrieval"] > 2 * errors["whole"]
    assert errors["neighbours"] > 5 * errors["whole"]


def fitted(system: MMRA, split: ShardSet, steps: int = 70) -> MMRA:
    """The system after some steps on batches of 160, all clips read once."""
    clips = whole_split(system, split, training=True)
    optimiser = torch.optim.Adam(system.train().parameters(), lr=0.02)
    draw = torch.Generator().manual_seed(0)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 0.02 * (1 - step / steps)
        rows = torch.randperm(len(clips["popularity"]), generator=draw)[:160]
        loss = system({name: value[rows] for name, value in clips.items()})["squared_error"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return system.eval()


def whole_split(system: MMRA, split: ShardSet, training: bool) -> dict[str, torch.Tensor]:
    """All clips of a split as one batch."""
    preparation, rng = system.preparation(training), np.random.default_rng(0) if training else None
    opened = [split.shard(number) for number in split.of_domain("video")]
    return preparation.collate([preparation.sample(shard.sample(row), rng, None) for shard in opened for row in range(len(shard))])


def test_a_batch_holds_clips_and_their_neighbours_with_what_is_missing_marked(tmp_path: Path) -> None:
    frames, words = np.arange(8, dtype=np.float32).reshape(2, 4), np.ones(3, np.float32)
    files = {"two.npy": npy(frames), "one.npy": npy(frames[0]), "words.npy": npy(words)}
    kinds = ({"vision": "two.npy", "words": "words.npy"}, {"vision": "one.npy"}, {"words": "words.npy"})
    records = [{"id": f"c{n}", "domain": "video", "features": kind, "labels": {"popularity": n}} for n, kind in enumerate(kinds)]
    root = write_catalog(tmp_path / "corpus", records, files)
    pack(root, tmp_path / "shards", workers=1, vocab_size=0)
    find(tmp_path / "shards", "--features", "[vision,words]")

    split = ShardSet(tmp_path / "shards/train")
    system = new_system(recipe(1), split)
    shard = split.shard(0)
    order = [list(shard.ids).index(f"c{n}") for n in range(3)]
    preparation = system.preparation(True)
    batch = preparation.collate([preparation.sample(shard.sample(row), np.random.default_rng(0), None) for row in order])

    assert batch["vision"].shape == (3, 2, 4) and batch["words"].shape == (3, 1, 3) and batch["near_vision"].shape == (3, 3, 2, 4)
    assert batch["has_vision"].tolist() == [[True, True], [True, False], [False, False]] and batch["has_words"].tolist() == [[True], [False], [True]]
    assert batch["popularity"].tolist() == [0, 1, 2]
    assert batch["present"].tolist() == [[True, True, False]] * 3  # two other clips are there to be found
    assert [sorted(row[:2]) for row in batch["labels"].tolist()] == [[1, 2], [0, 2], [0, 1]]
    assert not batch["near_vision"][~batch["near_has_vision"]].any()
    loss = system(batch)["squared_error"]
    loss.backward()
    assert loss.isfinite() and all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in system.parameters())


@pytest.mark.parametrize("settings", ABLATIONS, ids=lambda settings: next(iter(settings)))
def test_each_ablation_of_the_paper_trains_and_comes_back_from_its_checkpoint(shards: Path, settings: dict, tmp_path: Path) -> None:
    split, own = ShardSet(shards / "train"), recipe(1, **settings)

    system = train(own, split, tmp_path)
    loaded = load_checkpoint(tmp_path).system

    assert isinstance(loaded, MMRA) and loaded.settings == own.system
    batch = batch_of(system, split, training=False)
    torch.testing.assert_close(loaded.predict(batch), system.eval().predict(batch))
    assert ("similarity" in batch) == own.system.retrieval and ("vision" in batch) == own.system.vision


def test_what_is_remembered_of_neighbours_is_what_is_read(shards: Path) -> None:
    split = ShardSet(shards / "train")
    systems = [new_system(recipe(1, remember_mb=megabytes), split) for megabytes in (0, 1)]
    reading, remembering = (system.preparation(True) for system in systems)

    for _ in range(2):
        plain, kept = (preparation_batch(one, split) for one in (reading, remembering))
        torch.testing.assert_close(plain, kept, rtol=0, atol=0)

    assert len(remembering._remembered) > 6 and not reading._remembered


def preparation_batch(preparation: NeighbourPreparation, split: ShardSet) -> dict[str, torch.Tensor]:
    return preparation.collate([preparation.sample(split.shard(0).sample(row), np.random.default_rng(0), None) for row in range(6)])


def test_a_new_network_predicts_about_the_mean_of_the_train_split(shards: Path) -> None:
    split = ShardSet(shards / "train")
    mean = np.mean([sample.record["labels"]["popularity"] for sample in samples(split, "video").values()])

    ours, released = (new_system(recipe(1, start_at_mean=own), split).eval() for own in (True, False))

    batch = batch_of(ours, split)
    assert abs(ours.predict(batch).mean().item() - mean) < 0.5 < abs(released.predict(batch).mean().item() - mean)


def test_a_low_temperature_listens_to_the_nearest_neighbour(shards: Path) -> None:
    split = ShardSet(shards / "train")
    warm, cold = (new_system(recipe(1, temperature=temperature), split).eval() for temperature in (1.0, 1e-3))
    batch = {**batch_of(warm, split), "similarity": torch.tensor([[0.9, 0.8, 0.7]] * 6)}

    nearest = {**batch, "present": torch.tensor([[True, False, False]] * 6)}
    torch.testing.assert_close(cold.predict(batch), cold.predict(nearest))
    assert (warm.predict(batch) - warm.predict(nearest)).abs().max() > 1e-3


def test_a_run_that_is_broken_off_ends_as_one_that_was_not(shards: Path, tmp_path: Path) -> None:
    split, dropping = ShardSet(shards / "train"), {"dropout": 0.3}
    whole = train(recipe(4, **dropping), split, tmp_path / "whole")
    train(recipe(2, **dropping), split, tmp_path / "parts")
    again = train(recipe(4, **dropping), split, tmp_path / "parts")

    assert all(torch.equal(value, again.state_dict()[name]) for name, value in whole.state_dict().items())


def test_pieces_of_a_batch_give_the_gradients_of_the_whole(shards: Path, tmp_path: Path) -> None:
    split = ShardSet(shards / "train")

    whole, pieces = (train(recipe(2, {"piece_size": size}), split, tmp_path / str(size)) for size in (0, 5))

    for name, value in whole.state_dict().items():
        torch.testing.assert_close(value, pieces.state_dict()[name], rtol=1e-4, atol=1e-6)


def test_the_best_checkpoint_is_that_of_the_least_error(shards: Path, tmp_path: Path) -> None:
    own = recipe(6, {"validate_every": 2, "best_metric": "popularity/nmse,popularity/mae"})
    train(own, ShardSet(shards / "train"), tmp_path, ShardSet(shards / "val"))

    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    errors = {line["step"]: line["validation/popularity/nmse"] for line in lines if "validation/popularity/nmse" in line}
    best = (tmp_path / "checkpoints/best").read_text().strip()
    assert sorted(errors) == [2, 4, 6] and best == f"step-{min(errors, key=errors.get):08d}"
    assert better(("popularity/mae",), {"popularity/mae": 1}, {"popularity/mae": 2})
    assert not better(("a/spearman",), {"a/spearman": 1}, {"a/spearman": 2})


def test_a_run_ends_early_where_validations_stay_worse_and_does_not_go_on(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = recipe(40, {"validate_every": 1, "patience": 2, "best_metric": "popularity/mae"})
    own = dataclasses.replace(own, optim=dataclasses.replace(own.optim, lr=1.0))  # each step is a leap: soon no better one comes
    splits = ShardSet(shards / "train"), tmp_path, ShardSet(shards / "val")

    train(own, *splits)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    found = {line["step"]: line["validation/popularity/mae"] for line in lines if "validation/popularity/mae" in line}
    train(own, *splits)

    last, best = max(found), min(found, key=lambda step: (found[step], -step))
    assert last < 40 and last == best + 2 and f"stopped early after step {last}" in capsys.readouterr().out
    assert (tmp_path / "checkpoints/latest").read_text().strip() == f"step-{last:08d}"
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == len(lines)


def test_a_metric_that_is_not_defined_is_left_out_of_the_validation(shards: Path, tmp_path: Path) -> None:
    own = recipe(1)
    system = new_system(own, ShardSet(shards / "train"))
    with torch.no_grad():
        system.network.last.weight.zero_()

    found = validate(system, ShardSet(shards / "val"), own, tmp_path, "x", torch.device("cpu"), "fp32")

    assert sorted(found) == ["popularity/mae", "popularity/nmse"]


def test_the_command_reports_the_model_beside_simpler_methods(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(recipe(3), ShardSet(shards / "train"), tmp_path / "run")

    predict(["--checkpoint", str(tmp_path / "run"), "--data", str(shards), "--out", str(tmp_path / "out"), "--workers", "0", "--shown", "4"])

    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    held = read_predicted(tmp_path / "out/predictions.h5")
    assert list(metrics["baselines"]) == ["mean", "mean of neighbours", "ridge", "svr"] == list(held.baselines)
    assert metrics["baselines"]["mean"]["spearman"] is None and metrics["baselines"]["mean"]["nmse"] > 1
    assert (metrics["items"], metrics["items_evaluated"], metrics["split"], metrics["bank"]) == (12, 12, "test", "train")
    assert metrics["mae"] == pytest.approx(np.abs(held.predicted - held.true).mean())
    assert metrics["nmse_by_256"] == pytest.approx(metrics["nmse"])  # one batch holds them all
    near = held.neighbours
    assert near is not None and near.labels.shape == (12, 3)
    assert held.baselines["mean of neighbours"] == pytest.approx(near.labels.mean(axis=1), rel=1e-6)
    assert [id.partition("_")[0] for id in near.ids[0]] == [held.ids[0].partition("_")[0]] * 3  # of its kind
    page = (tmp_path / "out/report.html").read_text()
    assert page.count("data-item-id") == 4 and page.count("data-neighbour-id") == 12 and "mean of neighbours" in page
    assert "mean of neighbours" in capsys.readouterr().out


def test_the_features_of_ridge_are_those_of_the_clips_it_predicts(tmp_path: Path) -> None:
    """Popularity that is linear in the features is found exactly but for the penalty."""
    rng = np.random.default_rng(0)
    files, records = {}, []
    for n in range(60):
        frames = rng.standard_normal((2, 3)).astype(np.float32)
        files[f"{n}.npy"] = npy(frames)
        labels = {"popularity": float(2 * frames.mean(axis=0)[0] - frames.mean(axis=0)[2])}
        split = "train" if n < 45 else "val" if n < 50 else "test"
        records.append({"id": f"c{n}", "domain": "video", "split": split, "features": {"vision": f"{n}.npy"}, "labels": labels})
    pack(write_catalog(tmp_path / "corpus", records, files), tmp_path / "shards", workers=1, vocab_size=0)
    own = recipe(1, retrieval=False)
    train(own, ShardSet(tmp_path / "shards/train"), tmp_path / "run")

    arguments = ["--checkpoint", str(tmp_path / "run"), "--data", str(tmp_path / "shards"), "--out", str(tmp_path / "out"), "--workers", "0"]
    predict([*arguments, "--baselines", "ridge", "neighbours"])

    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert list(metrics["baselines"]) == ["ridge"] and metrics["baselines"]["ridge"]["nmse"] < 1e-3  # without lists there are no neighbours


def test_what_does_not_go_together_is_refused_before_anything_starts(shards: Path) -> None:
    own, split = recipe(1), ShardSet(shards / "train")

    with pytest.raises(ValueError, match=r"--stream.policy document: mmra learns from clips by themselves"):
        check(dataclasses.replace(own, stream=dataclasses.replace(own.stream, policy="document")))
    with pytest.raises(ValueError, match=r"mmra predicts popularity and searches nothing"):
        check(dataclasses.replace(own, evaluation=dataclasses.replace(own.evaluation, tasks=("video2goods",))))
    with pytest.raises(ValueError, match=r"5 neighbours of each clip were kept, --system.neighbours is 6"):
        new_system(recipe(1, neighbours=6), split).require(split)
    with pytest.raises(ValueError, match=r"its neighbours are of the bank train, --system.bank is released"):
        new_system(recipe(1, bank="released"), split).require(split)
    with pytest.raises(ValueError, match=r"--system.temperature 0.0: must be above 0"):
        new_system(recipe(1, temperature=0.0), split)
    with pytest.raises(ValueError, match=r"mmra predicts popularity and has no vectors to search with"):
        new_system(own, split).embed({}, "video")


def test_a_training_clip_without_popularity_is_named_and_one_to_be_predicted_needs_none(tmp_path: Path) -> None:
    features = {"vision": "a.npy"}
    known = [{"id": f"c{n}", "domain": "video", "features": features, "labels": {"popularity": n}} for n in range(3)]
    asked = [{"id": f"t{n}", "domain": "video", "split": "test", "features": features, "labels": {"popularity": 4} if n else {}} for n in range(2)]
    files = {"a.npy": npy([1.0, 2.0])}
    pack(write_catalog(tmp_path / "corpus", [*known, *asked], files), tmp_path / "shards", workers=1, vocab_size=0)
    find(tmp_path / "shards", "--features", "[vision]")
    own = recipe(1)
    system = train(own, ShardSet(tmp_path / "shards/train"), tmp_path / "run")

    found = predictions(system, ShardSet(tmp_path / "shards/test"), own, tmp_path / "out")

    assert found.known.tolist() == [False, True] and np.isfinite(found.predicted).all()
    unlabelled = write_catalog(tmp_path / "other", [*known, {"id": "x", "domain": "video", "features": features}], files)
    pack(unlabelled, tmp_path / "other_shards", workers=1, vocab_size=0)
    with pytest.raises(ValueError, match=r"sample \d \('x'\) has no popularity to learn from"):
        new_system(own, ShardSet(tmp_path / "other_shards/train"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_recipe_goes_through_clips_and_is_read_back_as_it_was(variant: str) -> None:
    found = resolve("mmra" if variant == "real" else f"mmra:{variant}")

    check(found)
    assert from_dict(json.loads(json.dumps(found.to_dict()))) == found
