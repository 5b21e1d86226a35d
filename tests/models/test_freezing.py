"""What of a tower counts as its blocks, as leading, as unused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.encoders.freezing import blocks_of, leading_modules, unused_parameters
from tests.models.folders import text_model, vision_model


@pytest.mark.parametrize(
    ("kind", "blocks"), [("mobilenet_v2", 16), ("resnet", 2), ("convnextv2", 2), ("swin", 2), ("dinov2", 2)], ids=lambda value: str(value)
)
def test_blocks_are_the_layers_or_stages(kind: str, blocks: int) -> None:
    assert len(blocks_of(vision_model(kind))) == blocks


def test_leading_modules_end_with_the_last_frozen_block() -> None:
    tower = text_model("bert")

    def own(frozen_layers: int) -> set[str]:
        leading = set(leading_modules(tower, frozen_layers))  # type: ignore[arg-type]
        names = [name.split(".") for name, module in tower.named_modules() if module in leading]
        return {f"{name[0]}.{name[2]}" if name[0] == "encoder" else name[0] for name in names}

    assert own(0) == set()
    assert own(1) == {"embeddings", "encoder.0"}
    assert own(2) == {"embeddings", "encoder.0", "encoder.1"}
    assert set(leading_modules(tower, "all")) == set(tower.modules())


def test_a_tower_without_blocks_can_only_be_frozen_wholly() -> None:
    tower = nn.Sequential(nn.Linear(2, 2))

    assert len(leading_modules(tower, "all")) == 2
    with pytest.raises(ValueError, match="has no list of blocks"):
        leading_modules(tower, 1)


def test_parameters_without_a_say_are_found_by_the_graph() -> None:
    model = nn.ModuleDict({"used": nn.Linear(2, 2), "idle": nn.Linear(2, 2), "frozen": nn.Linear(2, 2).requires_grad_(False)})

    output = (model["used"](torch.ones(1, 2)) * 0).sum()

    assert unused_parameters(output, model) == [model["idle"].weight, model["idle"].bias]
