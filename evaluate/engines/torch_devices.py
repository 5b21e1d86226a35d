"""Where torch searches, by the name that a person gives."""

from __future__ import annotations

import os

import torch

from evaluate.engines.device_names import check_device, number_of
from evaluate.engines.torch_card import Card
from evaluate.engines.torch_processor import Processor


def device_for(name: str) -> Card:
    """The device that `name` asks for: "auto" (this rank's card where there is one), "cpu", "cuda", "cuda:1".

    Raises ValueError for one that is not known or not here.
    """
    check_device(name)
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return Processor()
    if not torch.cuda.is_available():
        raise ValueError(f"--device {name}: torch sees no GPU here; run launch/setup.sh for a build that serves your card, or use --device cpu")
    named = number_of(name, torch.cuda.device_count(), "torch")
    local = int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count()
    return Card(torch.device("cuda", local if named is None else named))
