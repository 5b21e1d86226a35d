"""The release's weights through the import command give the release's numbers; every kind of misfit is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline.checkpoint import load_checkpoint
from pipeline.import_checkpoint import main
from pipeline.recipes.mmra.system import MMRA
from pipeline.system import Batch
from tests.mmra_reference import MMRAReference


@pytest.fixture(scope="module")
def reference(test_data: Path) -> MMRAReference:
    return MMRAReference(test_data)


def batch_of(reference: MMRAReference) -> Batch:
    """The reference's inputs as a batch of the preparation."""
    vision, _, words, _ = reference.item()
    near = reference.neighbours()
    assert near.vision is not None and near.words is not None
    batch = {"vision": vision, "words": words, "similarity": near.similarity, "labels": near.labels, "popularity": torch.zeros(len(vision))}
    batch |= {"near_vision": near.vision, "near_words": near.words[:, :, None]}
    batch |= {f"has_{name}": torch.ones(batch[name].shape[:2], dtype=torch.bool) for name in ("vision", "words")}
    batch |= {f"near_has_{name}": torch.ones(batch[f"near_{name}"].shape[:3], dtype=torch.bool) for name in ("vision", "words")}
    return batch | {"present": torch.ones(near.labels.shape, dtype=torch.bool)}


@pytest.mark.parametrize("wrapped", [False, True])
@torch.no_grad()
def test_an_imported_checkpoint_predicts_what_the_release_predicts(reference: MMRAReference, wrapped: bool, tmp_path: Path) -> None:
    weights = reference.checkpoint()
    torch.save({"state_dict": {f"module.{name}": value for name, value in weights.items()}} if wrapped else weights, tmp_path / "model.pth")

    main(["--from", "mmra", str(tmp_path / "model.pth"), "--out", str(tmp_path / "run")])

    loaded = load_checkpoint(tmp_path / "run")
    assert isinstance(loaded.system, MMRA) and loaded.recipe.name == "mmra:released" and loaded.recipe.system.bank == "released"
    reference.assert_same(loaded.system.predict(batch_of(reference)), "prediction")
    reference.assert_same(loaded.system.encode(batch_of(reference))["prediction"], "prediction")


def test_what_is_no_checkpoint_of_the_release_is_refused_with_what_to_do(reference: MMRAReference, tmp_path: Path) -> None:
    weights = reference.checkpoint()
    short = {name: value for name, value in weights.items() if "label" not in name}
    torch.save(short, tmp_path / "short.pth")
    torch.save({**weights, "relu.slope": torch.zeros(1)}, tmp_path / "more.pth")
    torch.save({**weights, "label_embedding_linear.bias": torch.zeros(3)}, tmp_path / "shape.pth")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "whole.pth")

    for name, message in (
        ("short", r"label_embedding_linear.weight, label_embedding_linear.bias missing \(2 of 40\)"),
        ("more", "unknown: relu.slope"),
        ("shape", r"network.label.bias is \[3\], wanted \[32\]"),
        ("whole", r"MMRA's program saves its model whole; save its state_dict\(\)"),
    ):
        with pytest.raises(ValueError, match=message):
            main(["--from", "mmra", str(tmp_path / f"{name}.pth"), "--out", str(tmp_path / "run")])
    assert not (tmp_path / "run/checkpoints").exists()
