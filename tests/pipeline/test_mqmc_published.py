"""The release's weights through the import command: parity numbers from embeddings to the queues after a step, and every kind of misfit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from launch.files import read_json
from losses.category_weights import category_distances, upper_centroids
from losses.weighted_queue_contrast import weighted_logits
from pipeline.checkpoint import load_checkpoint
from pipeline.import_checkpoint import main
from pipeline.recipes.mqmc.categories import MVS_LEFT_OUT, MVS_UPPER
from pipeline.recipes.mqmc.system import MQMC
from tests.mqmc_reference import MQMCReference

TARGETS = torch.zeros(8, dtype=torch.long)


@pytest.fixture(scope="module")
def reference(test_data: Path) -> MQMCReference:
    return MQMCReference(test_data)


@pytest.fixture(scope="module")
def run(reference: MQMCReference, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder that a checkpoint file of the release's form becomes."""
    folder = tmp_path_factory.mktemp("mqmc")
    torch.save({"epoch": 7, "arch": "resnet50", "state_dict": reference.checkpoint(), "optimizer": {"state": {}}}, folder / "model_best.pth.tar")
    main(["--from", "mqmc", str(folder / "model_best.pth.tar"), "--out", str(folder / "run")])
    return folder / "run"


def imported(run: Path, reference: MQMCReference) -> MQMC:
    """The system of the run, with the queues that the reference had before its step."""
    system = load_checkpoint(run).system
    assert isinstance(system, MQMC)
    system.queues.video.copy_(reference.queue("queue_video"))
    system.queues.goods.copy_(reference.queue("queue_product"))
    return system


@torch.no_grad()
def test_embeddings_of_both_sides_are_the_releases_and_so_are_their_keys(run, reference) -> None:
    system, batch = imported(run, reference), reference.batch()

    for side, theirs in (("video", "video"), ("goods", "product")):
        inputs = {name: batch[f"{side}_{name}"] for name in ("vision", "words", "has_vision", "has_words")}
        fusion = system.get_submodule(side).modalities(inputs["vision"], inputs["has_vision"], inputs["words"], inputs["has_words"]).fusion
        reference.assert_same(system.embed(inputs, side), f"eval_{theirs}")
        reference.assert_same(system.keys[side](fusion), f"eval_{theirs}_key")


def test_weights_logits_and_losses_in_training_are_the_releases(run, reference) -> None:
    system, batch = imported(run, reference).train(), reference.batch()

    rows = system.encode(batch)
    terms = system.losses(rows, batch)

    for side, other, direction in (("video", "goods", "v2p"), ("goods", "video", "p2v")):
        negatives = system.negatives(other, batch)
        logits = weighted_logits(rows[f"{side}_query"], rows[f"{other}_key"], negatives, 0.07)
        reference.assert_same(negatives.weights.repeat_interleave(8, dim=1), f"weights_{direction}")
        # As products of unit vectors: what the temperature makes of their rounding differs by more among numbers of threads.
        reference.assert_same(logits, f"logits_{direction}", unit=1 / 0.07)
        torch.testing.assert_close(terms[f"{side}2{other}"] / 0.8, cross_entropy(logits, TARGETS))
    reference.assert_same((terms["video2goods"] + terms["goods2video"]) / 0.8, "loss_contrast")
    reference.assert_same(terms["cross"] / 0.1, "loss_cross")
    reference.assert_same(terms["intra"] / 0.1, "loss_intra")
    reference.assert_same(sum(terms.values(), torch.zeros(())), "loss_total")


def test_centroids_distances_queues_and_pointers_before_and_after_a_step_are_the_releases(run, reference) -> None:
    system, batch = imported(run, reference).train(), reference.batch()

    for side, theirs in (("video", "video"), ("goods", "product")):
        centroids = system.queues.centroids(side)
        upper, _ = upper_centroids(centroids, system.queues.filled, reference["upper_of_middle"], 6, MVS_LEFT_OUT)
        reference.assert_same(centroids.T, f"mean_{theirs}")
        reference.assert_same(category_distances(centroids), f"dist_{theirs}")
        reference.assert_same(category_distances(upper), f"dist_{theirs}_upper")
    system(batch)
    system.after_step()

    reference.assert_same(system.queues.video.permute(2, 1, 0), "queue_video_after")
    reference.assert_same(system.queues.goods.permute(2, 1, 0), "queue_product_after")
    reference.assert_same(system.queues.centroids("video").T, "mean_video_after")
    assert torch.equal(system.queues.pointer, reference["ptr_after"])
    assert list(MVS_UPPER) == reference["upper_of_middle"].tolist()


def test_queues_begin_with_the_files_random_rows_and_what_is_left_out_has_its_reason(run, reference) -> None:
    system, listed = load_checkpoint(run).system, read_json(run / "import.json")

    rows = torch.nn.functional.normalize(reference.checkpoint()["queue"], dim=0).permute(2, 1, 0)
    torch.testing.assert_close(system.get_buffer("queues.video"), rows)
    torch.testing.assert_close(system.get_buffer("queues.goods"), rows)
    assert system.get_buffer("queues.filled").eq(8).all()
    assert listed["left_out"]["GU_k_img.fc.0.weight"] == "encoders of modalities that no forward uses"
    assert listed["left_out"]["queue_cluster3"] == "categories of rows, which follow from the queue that a row is in"
    assert listed["new"] == [] and listed["format"] == "mqmc"


def refused(file: dict[str, Tensor], tmp_path: Path) -> str:
    torch.save(file, tmp_path / "file.pth.tar")
    with pytest.raises(ValueError) as caught:
        main(["--from", "mqmc", str(tmp_path / "file.pth.tar"), "--out", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()
    return str(caught.value)


def test_missing_unknown_and_misshapen_tensors_are_listed_together_and_nothing_is_written(reference, tmp_path: Path) -> None:
    file = reference.checkpoint()
    del file["GU_q_video_fuse.cg.fc.bias"]
    file["encoder_q_video.g.0.weight"] = torch.ones(2)
    file["GU_q_ptext.BN.running_mean"] = torch.ones(3)

    message = refused(file, tmp_path)

    assert "missing: video.fusion.gate.bias;" in message
    assert "unknown: encoder_q_video.g.0.weight;" in message
    assert "misshapen: goods.words.layers.1.running_mean is [3], wanted [32]; nothing was imported" in message


def test_files_of_another_kind_and_of_another_ontology_are_refused(reference, tmp_path: Path) -> None:
    file = reference.checkpoint()

    assert "no queue_cluster1; a checkpoint of MQMC has them" in refused({k: v for k, v in file.items() if k != "queue_cluster1"}, tmp_path)
    assert "9 middle and 6 upper categories; the release has the 30 and 6 of MVS" in refused(file | {"queue": file["queue"][:, :, :9]}, tmp_path)


def test_counters_and_pointers_of_a_file_that_holds_them_are_taken_under_any_prefix(reference, tmp_path: Path) -> None:
    file = reference.checkpoint() | {"encoder_q_video.f.1.num_batches_tracked": torch.tensor(12), "queue_ptr": torch.arange(30) % 8}
    torch.save({f"module.{name}": value for name, value in file.items()}, tmp_path / "file.pth.tar")

    main(["--from", "mqmc", str(tmp_path / "file.pth.tar"), "--out", str(tmp_path / "run")])

    system = load_checkpoint(tmp_path / "run").system
    assert system.get_buffer("video.query.1.num_batches_tracked").item() == 12
    assert system.get_buffer("goods.query.1.num_batches_tracked").item() == 0
    assert system.get_buffer("queues.pointer").tolist() == [number % 8 for number in range(30)]
