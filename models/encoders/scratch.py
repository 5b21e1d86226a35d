"""Small towers to train from nothing, for corpora of a few thousand items and for a CPU. transformers models like any other."""

from __future__ import annotations

import transformers

from models.encoders import Pooling, TextEncoder, VisionEncoder
from models.encoders.model_folder import ImageSettings

VISION_WIDTHS = {"tiny": (24, (64, 128, 256)), "small": (32, (128, 256, 512)), "medium": (64, (256, 512, 1024))}
"""Stem and stage widths: 0.13, 0.5 and 2.0 million parameters."""


def scratch_vision(dim: int, *, size: str = "small", image_size: int | None = None) -> VisionEncoder:
    """A small residual net without batch norm, random weights, for images of about 64 pixels.

    It is a BiT (Kolesnikov et al. 2020: pre-activation bottlenecks, group norm, standardised weights) of three stages with one block each, at
    strides 4, 8 and 16. Each row's numbers depend on that row alone, on any number of ranks.

    Args:
        dim: D.
        size: "tiny", "small" or "medium".
        image_size: pixels a side; None: 64.
    """
    if size not in VISION_WIDTHS:
        raise ValueError(f"vision size {size!r}: choose one of {', '.join(VISION_WIDTHS)}")
    stem, stages = VISION_WIDTHS[size]
    config = transformers.BitConfig(embedding_size=stem, hidden_sizes=stages, depths=(1,) * len(stages), num_groups=8)
    return VisionEncoder(transformers.BitModel(config), ImageSettings(size=image_size or 64), dim=dim)


def scratch_text(
    dim: int,
    vocabulary_size: int,
    *,
    width: int = 128,
    layers: int = 2,
    heads: int = 4,
    max_tokens: int = 128,
    pooling: Pooling = "mean",
    dropout: float = 0.1,
) -> TextEncoder:
    """A small BERT with random weights.

    Args:
        dim: D.
        vocabulary_size: of the tokenizer, whose padding is id 0.
        width, layers, heads: of the transformer; its inner layers are twice as wide.
        max_tokens: longest text, in tokens.
        pooling: as in `TextEncoder`; the mean learns faster from nothing than the first token.
        dropout: of words, attention and layers.
    """
    config = transformers.BertConfig(
        vocab_size=vocabulary_size,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=2 * width,
        max_position_embeddings=max_tokens,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    return TextEncoder(transformers.BertModel(config, add_pooling_layer=False), dim=dim, pooling=pooling)
