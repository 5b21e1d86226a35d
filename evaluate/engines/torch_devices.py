"""Where torch searches, by the name that a person gives."""

from __future__ import annotations

import os

import torch

from evaluate.engines.torch_card import Card
from evaluate.engines.torch_processor import Processor


def device_for(name: str) -> Card:
    """The device that `name` asks for: "auto" (this rank's card where there is one), "cpu", "cuda", "cuda:1"."""
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return Processor()
    if not name.startswith("cuda") and name != "auto":
        raise ValueError(f"--device {name}: choose auto, cpu or cuda")
    if not torch.cuda.is_available():
        raise ValueError(f"--device {name}: torch sees no GPU here; run launch/setup.sh for a build that serves your card, or use --device cpu")
    local = int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count()
    return Card(torch.device(name) if ":" in name else torch.device("cuda", local))
