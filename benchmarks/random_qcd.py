"""A QCD of random weights and a batch of random documents, for the programs that measure a training step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, BertModel, ViTConfig, ViTModel

from models.encoders import TextEncoder, VisionEncoder
from models.encoders.model_folder import ImageSettings
from pipeline.recipe import Stream
from pipeline.recipes.qcd.settings import QCDSettings
from pipeline.recipes.qcd.system import QCD
from pipeline.system import Batch

FRAMES, TITLE, QUERY, VOCABULARY = 5, 64, 16, 8000


def system_of(width: int, layers: int, pixels: int, checkpointing: bool = False) -> QCD:
    """QCD over towers of random weights."""
    sizes: dict[str, Any] = {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 64,
        "intermediate_size": 4 * width,
    }
    vision = VisionEncoder(
        ViTModel(ViTConfig(**sizes, image_size=pixels, patch_size=16), add_pooling_layer=False), ImageSettings(size=pixels), dim=512
    )
    text = TextEncoder(BertModel(BertConfig(**sizes, vocab_size=VOCABULARY), add_pooling_layer=False), dim=512)
    if checkpointing:
        assert vision.checkpoint_gradients() and text.checkpoint_gradients()
    return QCD(QCDSettings(frames=FRAMES, decoder_layers=1), Stream(), text, vision, Path())


def batch_of(size: int, pixels: int) -> Batch:
    """Random documents that have everything, each with a query of its own."""
    generator = torch.Generator().manual_seed(0)

    def words(length: int) -> torch.Tensor:
        return torch.randint(5, VOCABULARY, (size, length), generator=generator)

    everyone = torch.ones(size, dtype=torch.bool)
    return {
        "frames": torch.randint(256, (size, FRAMES, 3, pixels, pixels), dtype=torch.uint8, generator=generator),
        "has_vision": everyone,
        "has_words": everyone,
        "title_ids": words(TITLE),
        "title_mask": torch.ones(size, TITLE, dtype=torch.long),
        "query_ids": words(QUERY),
        "query_mask": torch.ones(size, QUERY, dtype=torch.long),
        "query": torch.arange(size),
        "document_queries": torch.arange(size)[:, None],
    }
