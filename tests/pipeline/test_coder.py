"""CODER on a little corpus of regions and captions: batches, losses, training, checkpoints, evaluation."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from evaluate.rsum import rsum
from launch.logs import say
from models.momentum.online_clusters import OnlineClusters
from pipeline.checkpoint import load_checkpoint
from pipeline.pack import pack
from pipeline.precision import autocast
from pipeline.recipe import from_dict, resolve
from pipeline.recipes.coder import VARIANTS, check
from pipeline.recipes.coder.system import CODER
from pipeline.retrieve import main as retrieve
from pipeline.shards import ShardSet
from tests.pipeline.little_captions import FORMS, new_system, packed_captions, recipe, train
from tests.pipeline.little_features import samples, write_models

ABLATIONS = ({"queue_size": 0}, {"diversity": 0.0}, {"concepts": False}, {"cluster_weight": 0.0}, {"text": "tokens"}, FORMS["plain"])


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed_captions(tmp_path_factory.mktemp("coder"))


def pairs_of(system: CODER, split: ShardSet, images: int = 6) -> dict[str, Tensor]:
    """A batch of the first two captions of some images, each with its image."""
    texts, pictures = samples(split, "text"), samples(split, "image")
    preparation, rng = system.preparation(True), np.random.default_rng(0)
    drawn = [one for image in range(images) for number in range(2) for one in (texts[f"{image}_{number}"], pictures[str(image)])]
    return preparation.collate([preparation.sample(one, rng, one.queries()[0]) for one in drawn])


def items_of(system: CODER, split: ShardSet, domain: str) -> tuple[list[str], dict[str, Tensor]]:
    """All items of a domain: ids, and one batch."""
    found, preparation = samples(split, domain), system.preparation(False)
    return list(found), preparation.collate([preparation.sample(one, None, None) for one in found.values()])


def test_a_batch_holds_pairs_of_regions_and_words_with_their_concepts(shards: Path) -> None:
    split = ShardSet(shards / "train")
    system = new_system(recipe(1), split)

    batch = pairs_of(system, split)

    assert batch["regions"].shape == (12, 4, 10) and batch["has_regions"].all() and batch["words"].shape == batch["has_words"].shape
    assert torch.equal(batch["regions"][0], batch["regions"][1]) and batch["image"].tolist()[::2] == batch["image"].tolist()[1::2]
    names = [forms[0] for forms in system._concepts.forms]
    held = [{names[number] for number in row.nonzero()[:, 0].tolist()} for row in batch["concepts"]]
    assert "red" in held[0] and "dog" in held[1] and len(names) == 8
    preparation = system.preparation(True)
    rows = [preparation.sample(one, np.random.default_rng(0), one.queries()[0]) for one in samples(split, "text").values()]
    with pytest.raises(ValueError, match=r"are no caption and its image; coder needs --stream.policy captions"):
        preparation.collate(rows[:2])


@pytest.mark.parametrize("queue_size", [0, 32])
def test_the_instance_term_is_info_nce_without_rows_of_the_same_image_and_with_queues_over_keys_of_the_slow_copy_alone(
    shards: Path, queue_size: int
) -> None:
    split = ShardSet(shards / "train")
    system = new_system(recipe(1, diversity=0.0, momentum=0.9, concepts=False, queue_size=queue_size), split).eval()
    batch, suffix = pairs_of(system, split), "_key" if queue_size else ""
    with torch.no_grad():
        for parameter in system.branches.parameters():  # so that the slow copy is another net
            parameter.add_(0.05 * torch.randn_like(parameter))

    def encoded() -> dict[str, Tensor]:
        return {name: value.detach() for name, value in system.encode(batch).items()}

    def slow(rows: dict[str, Tensor], queued: dict[str, Tensor]) -> float:
        losses = []
        for one, other in (("image", "text"), ("text", "image")):
            keys = torch.cat([found[f"{other}_instance{suffix}"] for found in (rows, queued) if found])
            owners = batch["image"].repeat(len(keys) // 12)
            for row in range(12):
                logits = rows[f"{one}_instance"][row] @ keys.T / 0.05
                kept = owners != batch["image"][row]
                kept[row] = True
                losses.append((logits[kept].logsumexp(0) - logits[row]).item())
        return float(np.mean(losses))

    first = encoded()
    empty = system(batch)["instance"].item()
    assert empty == pytest.approx(slow(first, {}), rel=1e-4)
    assert not any(queue.filled for queue in system.queues.values())  # rows go in after the step
    system.after_step()
    then = encoded()
    full = system(batch)["instance"].item()
    assert full == pytest.approx(slow(then, first if queue_size else {}), rel=1e-4)
    if queue_size:
        assert full > empty
        assert (first["text_instance"] - first["text_instance_key"]).abs().max() > 0.01  # another net's
        assert (then["text_instance_key"] - first["text_instance_key"]).abs().max() > 0.01  # which follows
        assert system.queues["text_instance"].keys[:12, 0].tolist() == batch["image"].tolist()


def test_pseudo_labels_are_of_the_pairs_and_concepts_alone_learn_from_them(shards: Path) -> None:
    split = ShardSet(shards / "train")
    system = new_system(recipe(1), split).eval()
    batch = pairs_of(system, split)
    before = system.clusters.centroids.clone()

    terms = system(batch)
    terms["clusters"].backward()

    rows = system.encode(batch)
    centred = rows["image_instance_key"] + rows["text_instance_key"]
    pseudo = OnlineClusters(4, 16)
    pseudo.centroids.copy_(before)
    shares = pseudo(torch.nn.functional.normalize(centred, dim=-1), torch.zeros(0, 16))
    slow = [-(shares * system.tell_cluster(rows[f"{side}_concept"]).log_softmax(dim=1)).sum(dim=1).mean().item() for side in ("image", "text")]
    assert sorted(terms) == ["clusters", "concept", "instance"] and terms["clusters"].item() == pytest.approx(0.1 * np.mean(slow), rel=1e-4)
    assert system.tell_cluster.directions.grad.any() and system.branches.concepts.graph.outer.weight.grad.any()
    assert torch.equal(before, system.clusters.centroids)
    system.after_step()
    assert not torch.equal(before, system.clusters.centroids)


def test_a_pair_that_could_not_be_read_leaves_no_trace_but_its_place(shards: Path) -> None:
    split, found = ShardSet(shards / "train"), []
    texts, pictures = samples(split, "text"), samples(split, "image")
    for missing in (False, True):
        system = new_system(recipe(1), split)
        preparation, rng = system.preparation(True), np.random.default_rng(0)
        drawn = [one for image in range(6) for one in (texts[f"{image}_0"], pictures[str(image)])]
        rows = [preparation.sample(one, rng, one.queries()[0]) for one in drawn]
        whole = preparation.collate([row | {} for row in rows])
        system(whole)
        system.after_step()
        if missing:  # the image of one more pair, and all of another
            rows = [*rows[:4], preparation.sample(texts["7_0"], rng, texts["7_0"].queries()[0]), preparation.absent("image"), *rows[4:]]
            rows += [preparation.absent("text"), preparation.absent("image")]
        batch = preparation.collate(rows)
        terms = system(batch)
        sum(terms.values()).backward()
        system.after_step()
        gradients = {name: value.grad for name, value in system.named_parameters() if value.grad is not None}
        found.append((batch["image"].tolist(), {name: term.item() for name, term in terms.items()}, gradients, dict(system.named_buffers())))

    (numbers, terms, gradients, buffers), (others, again, same, held) = found
    assert len(others) == len(numbers) + 2 and others[2] == others[-1] == -1
    assert again == pytest.approx(terms, rel=1e-5)
    for one, other in ((gradients, same), (buffers, held)):
        for name, value in one.items():
            torch.testing.assert_close(other[name], value, rtol=1e-4, atol=1e-6)


def test_a_step_in_bf16_says_nearly_what_one_in_fp32_says(shards: Path) -> None:
    split, found = ShardSet(shards / "train"), []
    for precision in ("fp32", "bf16"):
        system = new_system(recipe(1), split).train()
        batch = pairs_of(system, split)
        for _ in range(2):  # the first fills the queues
            with autocast(precision, torch.device("cpu")):
                terms = system(batch)
            system.after_step()
        sum(terms.values()).backward()
        found.append({name: term.item() for name, term in terms.items()})
        assert all(term.dtype == torch.float32 for term in terms.values())
        assert all(parameter.grad.isfinite().all() for part in system.parts().values() for parameter in part.parameters())

    assert found[1] != found[0] and found[1] == pytest.approx(found[0], rel=0.05)


@pytest.mark.parametrize("settings", ABLATIONS, ids=lambda settings: "_".join(settings))
def test_each_ablation_trains_every_weight_and_comes_back_from_its_checkpoint(shards: Path, settings: dict, tmp_path: Path) -> None:
    split, own = ShardSet(shards / "train"), recipe(2, **settings)
    untrained = new_system(own, split)

    system = train(own, split, tmp_path)
    loaded = load_checkpoint(tmp_path).system

    assert isinstance(loaded, CODER) and loaded.settings == own.system
    trained = [id(value) for part in system.parts().values() for value in part.parameters() if value.requires_grad]
    assert sorted(trained) == sorted(id(value) for value in system.parameters() if value.requires_grad)
    stood = [
        name for name, value in system.named_parameters() if value.requires_grad and torch.equal(value, dict(untrained.named_parameters())[name])
    ]
    assert stood == []
    for domain in ("image", "text"):
        _, batch = items_of(loaded, ShardSet(shards / "val"), domain)
        torch.testing.assert_close(loaded.embed(batch, domain), system.eval().embed(batch, domain))
    plain = own.system.queue_size == 0 and not own.system.concepts
    assert (system.keys is None) == plain and system.embedding_dim == (32 if own.system.concepts else 16)


def test_a_run_that_is_broken_off_ends_as_one_that_was_not_and_pieces_as_the_whole(shards: Path, tmp_path: Path) -> None:
    split, dropping = ShardSet(shards / "train"), {"dropout": 0.2}
    whole = train(recipe(4, **dropping), split, tmp_path / "whole")
    train(recipe(2, **dropping), split, tmp_path / "parts")
    again = train(recipe(4, **dropping), split, tmp_path / "parts")

    assert all(torch.equal(value, again.state_dict()[name]) for name, value in whole.state_dict().items())

    one, other = (train(recipe(2, {"piece_size": size}), split, tmp_path / str(size)) for size in (0, 5))
    for name, value in one.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[name], rtol=1e-4, atol=1e-5)


def test_search_over_a_dump_gives_the_weighted_sum_of_both_branches(shards: Path, tmp_path: Path) -> None:
    train(recipe(3, alpha=0.7), ShardSet(shards / "train"), tmp_path / "run")
    out = ["--checkpoint", str(tmp_path / "run"), "--data", str(shards), "--split", "val", "--dumps", str(tmp_path / "dumps"), "--dtype", "float32"]
    for task in ("image2text", "text2image"):
        retrieve(["--task", task, *out, "--out", str(tmp_path / task), "--workers", "0", "--precision", "fp32", "--shown", "4"])

    system = load_checkpoint(tmp_path / "run").system
    assert isinstance(system, CODER)
    (images, pictures), (texts, captions) = (items_of(system, ShardSet(shards / "val"), domain) for domain in ("image", "text"))
    with torch.no_grad():
        v, t = system._vectors(system.branches, "image", pictures), system._vectors(system.branches, "text", captions)
    exact = 0.7 * v["image_instance"] @ t["text_instance"].T + 0.3 * v["image_concept"] @ t["text_concept"].T

    lists = [line.split() for line in (tmp_path / "image2text/run.trec").read_text().splitlines()]
    scores = {(query, doc): float(score) for query, _, doc, _, score, _ in lists}
    assert len(scores) == 12 * 60
    assert [scores[image, text] for image in images for text in texts] == pytest.approx(exact.flatten().tolist(), abs=1e-5)
    numbers = rsum([tmp_path / "text2image", tmp_path / "image2text"])
    own = torch.tensor([images.index(text.rpartition("_")[0]) for text in texts])
    ranks = (exact > exact[own, torch.arange(60)]).sum(dim=0)
    best = torch.stack([(exact[row] > exact[row][own == row].max()).sum() for row in range(12)])
    for task, found in (("text2image", ranks), ("image2text", best)):
        assert [numbers[f"{task}/R@{k}"] for k in (1, 5, 10)] == pytest.approx([100 * (found < k).float().mean().item() for k in (1, 5, 10)])
    assert numbers["rsum"] == pytest.approx(sum(value for name, value in numbers.items() if name != "rsum"))


def test_images_and_captions_of_other_splits_are_found_after_a_little_training(shards: Path, tmp_path: Path) -> None:
    system = train(recipe(30, {"validate_every": 15}), ShardSet(shards / "train"), tmp_path, ShardSet(shards / "val"))

    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    found = [line["validation/rsum"] for line in lines if "validation/rsum" in line]
    last = [line for line in lines if "validation/rsum" in line][-1]
    assert len(found) == 2 and last["validation/rsum"] == pytest.approx(
        100 * sum(last[f"validation/{task}/hit@{k}"] for task in ("image2text", "text2image") for k in (1, 5, 10))
    )
    assert found[-1] > 400  # by chance about 270
    assert system.queues["text_concept"].filled == 20


def test_new_weights_restart_the_slow_copy(shards: Path) -> None:
    system = new_system(recipe(1), ShardSet(shards / "train"))
    with torch.no_grad():
        for parameter in system.branches.parameters():
            parameter.add_(1)

    system.weights_replaced()

    assert all(torch.equal(value, system.keys.copy.state_dict()[name]) for name, value in system.branches.state_dict().items())


def test_words_and_concepts_begin_with_the_vectors_of_a_file(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "glove.txt").write_text("dog 1 2 3\nred 4 5 6\n")

    system = new_system(recipe(1, word_vectors=str(tmp_path / "glove.txt")), ShardSet(shards / "train"))

    assert system.branches.text.words.weight[system._words.words.index("red")].tolist() == [4, 5, 6]
    names = [forms[0] for forms in system._concepts.forms]
    assert system.branches.concepts.graph.words[names.index("dog")].tolist() == [1, 2, 3] and system.describe()["word_dim"] == 3


def test_a_transformers_folder_encodes_captions_and_the_checkpoint_needs_it_no_more(shards: Path, tmp_path: Path) -> None:
    split = ShardSet(shards / "train")
    flags = write_models(tmp_path / "models", split.tokenizer())
    own = recipe(1, text="tokens")
    own = dataclasses.replace(own, encoders=dataclasses.replace(own.encoders, text=flags[flags.index("--text") + 1], frozen_text_layers=1))
    check(own)

    system = train(own, split, tmp_path / "run").eval()
    shutil.rmtree(tmp_path / "models")
    loaded = load_checkpoint(tmp_path / "run").system

    _, batch = items_of(loaded, ShardSet(shards / "val"), "text")
    torch.testing.assert_close(loaded.embed(batch, "text"), system.embed(batch, "text"))
    assert 0 < sum(value.requires_grad for value in system.branches.text.parameters()) < len(list(system.branches.text.parameters()))


def test_what_does_not_go_together_is_refused_before_anything_starts(shards: Path, tmp_path: Path) -> None:
    own, split = recipe(1), ShardSet(shards / "train")

    with pytest.raises(ValueError, match=r"--stream.policy pairs: coder compares images with their own captions"):
        check(dataclasses.replace(own, stream=dataclasses.replace(own.stream, policy="pairs")))
    with pytest.raises(ValueError, match=r"--system.word_vectors glove.txt: no such file"):
        check(recipe(1, word_vectors="glove.txt"))
    with pytest.raises(ValueError, match=r"--encoders.text bert encodes captions with --system.text tokens alone"):
        check(dataclasses.replace(own, encoders=dataclasses.replace(own.encoders, text="bert")))
    with pytest.raises(ValueError, match=r"--system.alpha 2: the instance branch's share"):
        new_system(recipe(1, alpha=2), split)
    with pytest.raises(ValueError, match=r"has no vector for items of domain goods"):
        new_system(own, split).embed({}, "goods")


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_recipe_draws_captions_and_is_read_back_as_it_was(variant: str) -> None:
    found = resolve("coder" if variant == "real" else f"coder:{variant}")

    check(found)
    assert from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_coco_captions_are_learnt_by_heart_and_others_are_not(test_data: Path, tmp_path: Path) -> None:
    pack(test_data / "data/coco_mini", tmp_path / "shards", workers=1, vocab_size=1000)
    smoke = resolve("coder:smoke")
    own = dataclasses.replace(
        smoke,
        system=dataclasses.replace(smoke.system, width=64, most_regions=6, queue_size=128, momentum=0.9),
        stream=dataclasses.replace(smoke.stream, batch_size=48, workers=0),
        optim=dataclasses.replace(smoke.optim, lr=5e-3),
        trainer=dataclasses.replace(smoke.trainer, max_steps=30, validate_every=30, log_every=5, precision="fp32"),
    )

    system = train(own, ShardSet(tmp_path / "shards/train"), tmp_path / "run", ShardSet(tmp_path / "shards/val")).eval()

    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    instance = [line["instance"] for line in lines if "instance" in line]
    assert instance[-1] < 0.3 * instance[0]
    (images, pictures), (texts, captions) = (items_of(system, ShardSet(tmp_path / "shards/train"), domain) for domain in ("image", "text"))
    with torch.no_grad():
        best = (system.embed(captions, "text") @ system.embed(pictures, "image").T).argmax(dim=1)
    known = np.mean([images[place] == text.rpartition("_")[0] for text, place in zip(texts, best.tolist(), strict=True)])
    new = [line["validation/text2image/hit@1"] for line in lines if "validation/text2image/hit@1" in line][-1]
    say(f"coco_mini: text2image R@1 {known:.3f} of 86 images learnt, {new:.3f} of 20 new ones")
    assert known > 0.85 and new < 0.5
