"""Frames of a clip to one vector.

Legend: B items, T frames, D dimensions.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import transformers
from torch import Tensor, nn


class ResidualAttentionBlock(nn.Module):
    """CLIP's transformer block: x + attention(norm(x)), then x + mlp(norm(x)), the mlp four times as wide with QuickGELU.

    A new one adds nothing: the last weights of both branches begin at zero (ours).
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.ln_1 = nn.LayerNorm(dim)
        last = nn.Linear(4 * dim, dim)
        self.mlp = nn.Sequential(OrderedDict(c_fc=nn.Linear(dim, 4 * dim), gelu=transformers.activations.QuickGELUActivation(), c_proj=last))
        self.ln_2 = nn.LayerNorm(dim)
        for parameter in (*self.attn.out_proj.parameters(), *last.parameters()):
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        normed = self.ln_1(x)
        x = x + self.attn(normed, normed, normed, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class FrameIntegration(nn.Module):
    """Mean over a clip's frames after they have seen each other.

        out = mean_t( x + blocks(x + positions) ),   x the frames' vectors

    A single image stands for T equal frames, as published for goods. Not normalised. With new blocks a clip is the mean of its frames, so
    that a small corpus need not unlearn random mixing.

    Source: the multi-frame integration of X-CLIP (Ni et al. 2022, section 3.2), one block of 8 heads in QCD. Parameters bear the names of
    the release.

    Args:
        dim: D.
        frames: T, the number of learned positions.
        heads: attention heads; D is a multiple.
        layers: blocks.
    """

    def __init__(self, dim: int, frames: int = 5, heads: int = 8, layers: int = 1) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"{heads} attention heads do not divide {dim} dimensions")
        self.positional_embedding = nn.Parameter(torch.empty(1, frames, dim))
        nn.init.trunc_normal_(self.positional_embedding, std=0.02)
        self.resblocks = nn.Sequential(*(ResidualAttentionBlock(dim, heads) for _ in range(layers)))

    def forward(self, frames: Tensor) -> Tensor:
        """frames [B, T, D], or [B, 1, D] for single images -> [B, D]. Raises ValueError for another number of frames."""
        positions = self.positional_embedding.shape[1]
        if frames.shape[1] not in (1, positions):
            raise ValueError(f"clips of {frames.shape[1]} frames, but there are positions for {positions}; give {positions} frames, or 1 image")
        frames = frames.expand(-1, positions, -1)
        return (frames + self.resblocks(frames + self.positional_embedding)).mean(dim=1)
