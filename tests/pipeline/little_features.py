"""What tests of the feature stage share: two tiny model folders, and the features of a sample."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertModel

from pipeline.shards import Sample, ShardSet
from tests.models.folders import WORDS, save, vision_model

SIDE = 32
LENGTH = 16


def write_models(folder: Path, tokenizer: Path) -> list[str]:
    """Flags of the stage for a residual net of `SIDE` pixels [16] and a BERT [16] over the packed vocabulary in `tokenizer`, both random."""
    vision = save(
        vision_model("resnet"),
        folder / "vision",
        size={"height": SIDE, "width": SIDE},
        image_mean=[0.4, 0.5, 0.6],
        image_std=[0.2, 0.25, 0.3],
    )
    torch.manual_seed(0)
    text = save(BertModel(BertConfig(**{**WORDS, "vocab_size": 200})), folder / "text")
    shutil.copytree(tokenizer, text, dirs_exist_ok=True)
    models = ["--vision", str(vision), "--text", str(text), "--text_length", str(LENGTH)]
    return [*models, "--precision", "fp32", "--workers", "0", "--batch_size", "3"]


def feature(sample: Sample, name: str) -> np.ndarray:
    """The array `name` of a sample."""
    return np.load(io.BytesIO(sample.bytes(f"{name}.npy")), allow_pickle=False)


def samples(shards: ShardSet, domain: str) -> dict[str, Sample]:
    """The samples of a domain by id, in the order of the shards."""
    opened = [shards.shard(number) for number in shards.of_domain(domain)]
    return {shard.ids[row]: shard.sample(row) for shard in opened for row in range(len(shard))}
