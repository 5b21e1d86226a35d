"""Pre-training as a run: losses fall, a stopped run goes on, fine-tuning starts from it, and the recipes of both fit together."""

from __future__ import annotations

import math
import os
import signal
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from pipeline import train as train_module
from pipeline.checkpoint import find_checkpoint, start_from
from pipeline.documents import DocumentSettings
from pipeline.order import order_of
from pipeline.pack import pack
from pipeline.recipe import resolve
from pipeline.recipes.qcd.build import build as build_qcd
from pipeline.recipes.qcd_pretrain.runs import VARIANTS
from pipeline.shards import ShardSet
from pipeline.stream import Slice, training_batches
from pipeline.training.step import Step
from tests.pipeline.little_corpus import SMALL
from tests.pipeline.little_pretraining import new_system, pretrain, recipe, write_categorised_corpus


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    folder = tmp_path_factory.mktemp("pretrain_runs")
    pack(write_categorised_corpus(folder / "corpus"), folder / "shards", workers=1, vocab_size=200)
    return ShardSet(folder / "shards/train")


@pytest.fixture(scope="module")
def prompter(shards: ShardSet, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A short run with contrast alone, as ALPRO trains its prompter."""
    folder = tmp_path_factory.mktemp("prompter")
    pretrain(recipe(3, matching_weight=0.0, masking_weight=0.0), shards, folder)
    return str(folder)


def weights(out: Path) -> dict[str, torch.Tensor]:
    return torch.load(find_checkpoint(out) / "weights.pt", weights_only=True)


def test_every_loss_falls_on_a_batch_that_is_seen_again_and_again(shards, prompter):
    chosen = recipe(1, prompter=prompter, masked_share=0.4, entity_temperature=0.002)
    system = new_system(chosen, shards)
    order, preparation = order_of(shards, chosen.stream, 0), system.preparation(training=True)
    batch = next(training_batches(shards, order, preparation, seed=0, part=Slice(0, 1), epochs=range(1), workers=0, prefetch=2))
    optimiser = torch.optim.AdamW([parameter for parameter in system.parameters() if parameter.requires_grad], lr=3e-3)
    both = batch["has_words"] & batch["has_vision"]
    least = [-(scores * scores.log()).nan_to_num(0).sum(dim=1)[both].mean().item() for scores in system.prompter(batch["frames"])]

    history = []
    for _ in range(60):
        terms = system(batch)
        sum(terms.values()).backward()
        optimiser.step()
        optimiser.zero_grad()
        history.append({name: value.item() for name, value in terms.items()})

    begin, end = history[0], history[-1]
    assert end["vtc"] < 0.1 * begin["vtc"] and end["mlm"] < 0.1 * begin["mlm"]
    unsure = math.log(3) - 2 / 3 * math.log(2)  # of one right pair in three, with nothing seen of either
    assert end["vtm"] < 0.8 * unsure < begin["vtm"]
    for level, (weight, entropy) in enumerate(zip((1.0, 1.0, 0.25), least), start=1):  # soft targets cost their entropy at least
        above = [line[f"entities_{level}"] - weight * entropy for line in (begin, end)]
        assert above[0] > 0 and -1e-4 < above[1] < 0.3 * above[0]


def test_the_prompter_does_not_move_and_all_that_is_trained_does(shards, prompter, tmp_path):
    before = new_system(recipe(2, prompter=prompter), shards).state_dict()

    trained = pretrain(recipe(2, prompter=prompter), shards, tmp_path)

    after = weights(tmp_path)
    assert after.keys() == before.keys() and any(name.startswith("prompter.prompts_") for name in after)
    still = {name for name in after if torch.equal(after[name], before[name])}
    assert {name for name in after if name.startswith(("prompter.", "document.fusion."))} <= still
    moving = {name for name, parameter in trained.named_parameters() if parameter.requires_grad}
    assert not moving & still


def test_a_run_that_was_stopped_goes_on_as_if_nothing_had_happened(shards, prompter, tmp_path, monkeypatch):
    chosen = recipe(5, prompter=prompter, dropout=0.1)
    pretrain(chosen, shards, tmp_path / "straight")
    take, calls = Step.__call__, []

    def interrupted(self, batches):
        calls.append(len(calls))
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return take(self, batches)

    monkeypatch.setattr(Step, "__call__", interrupted)
    with pytest.raises(SystemExit):
        pretrain(chosen, shards, tmp_path / "halted")
    assert find_checkpoint(tmp_path / "halted").name == "step-00000003"
    pretrain(chosen, shards, tmp_path / "halted")

    straight, halted = weights(tmp_path / "straight"), weights(tmp_path / "halted")
    assert len(calls) == 5
    assert all(torch.equal(straight[name], halted[name]) for name in straight)


def test_fine_tuning_starts_from_the_towers_frame_integration_and_gate(shards, prompter):
    smoke, own = resolve("qcd:smoke"), recipe(1)
    shared = {name: getattr(own.system, name) for name in ("dim", "heads", "image_size")}
    torch.manual_seed(3)
    system = build_qcd(replace(smoke, system=replace(smoke.system, **shared)), shards.tokenizer())

    said = start_from(system, find_checkpoint(prompter))

    taken, found = weights(Path(prompter)), system.state_dict()
    assert "text, vision, frame_integration, fusion; new: decoder" in said
    names = [name for name in found if name.startswith("document.")]
    assert len(names) > 50 and all(torch.equal(found[name], taken[name]) for name in names)


def test_the_commands_of_prompter_pre_training_and_fine_tuning_follow_each_other(shards, tmp_path, capsys):
    place = SMALL.index("--system.decoder_width")
    without_decoder = [*SMALL[:place], *SMALL[place + 2 :], "--system.cross_width", "32", "--system.cross_heads", "2"]

    def train(name: str, *flags: str) -> str:
        train_module.main([*flags, "--data", str(shards.folder.parent), "--out", str(tmp_path / name), "--trainer.max_steps", "2"])
        return str(tmp_path / name)

    scores = train("prompter", *SMALL)
    before = train("before", *without_decoder, "--recipe", "qcd_pretrain:smoke", "--system.prompter", scores)
    train("tuned", *SMALL, "--init", before)

    said = capsys.readouterr().out
    assert f"entity prompts by {scores}: 2 department, 4 shelf, 8 product" in said
    assert f"from {before}/checkpoints/step-00000002: text, vision, frame_integration, fusion; new: decoder" in said


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_recipe_has_the_towers_and_documents_of_the_fine_tuning_of_its_name(variant):
    pretraining, tuning = VARIANTS[variant](), resolve(f"qcd:{variant}")

    same = [field.name for field in fields(DocumentSettings)] + ["dim", "heads"]
    assert {name: getattr(pretraining.system, name) for name in same} == {name: getattr(tuning.system, name) for name in same}
    assert (pretraining.encoders, pretraining.packing) == (tuning.encoders, tuning.packing)
