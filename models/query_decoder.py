"""A query's words, reconstructed from a document's vector.

Legend: B queries, L tokens, D dimensions of the condition, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel


class QueryDecoder(nn.Module):
    """Small GPT-2 whose tokens also attend to a conditioning vector, written from scratch; the loss is `losses.reconstruction`.

    Source: QCD (Real20M): 4 layers, 8 heads, width 512, conditioned on the frames' normalised vector. Padding belongs at the right, where no
    token before it sees it.

    Args:
        vocabulary_size: V, of the tokenizer that made the ids.
        condition_dim: D; a linear layer is put between where it is not `width`.
        width, layers, heads: of the decoder.
        max_tokens: longest query, in tokens.
        dropout: of embeddings, attention and residuals.
        token_type_zero: QCD as released also adds the embedding of token 0 at every position (GPT-2 looks token types up among the words).
    """

    def __init__(
        self,
        vocabulary_size: int,
        *,
        condition_dim: int = 512,
        width: int = 512,
        layers: int = 4,
        heads: int = 8,
        max_tokens: int = 32,
        dropout: float = 0.1,
        token_type_zero: bool = False,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"{heads} attention heads do not divide a decoder of width {width}")
        self.max_tokens, self.token_type_zero = max_tokens, token_type_zero
        self.gpt2_model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=vocabulary_size,
                n_positions=max_tokens,
                n_embd=width,
                n_layer=layers,
                n_head=heads,
                add_cross_attention=True,
                use_cache=False,
                resid_pdrop=dropout,
                embd_pdrop=dropout,
                attn_pdrop=dropout,
                bos_token_id=None,
                eos_token_id=None,
            )
        )
        self.condition = nn.Identity() if condition_dim == width else nn.Linear(condition_dim, width)

    def forward(self, ids: Tensor, condition: Tensor) -> Tensor:
        """ids [B, L] int64, condition [B, D] -> logits [B, L, V]; those at l predict the token at l + 1. Raises ValueError for L > max_tokens."""
        if ids.shape[1] > self.max_tokens:
            raise ValueError(f"queries of {ids.shape[1]} tokens, but the decoder has {self.max_tokens} positions; cut them or raise max_tokens")
        types = torch.zeros_like(ids) if self.token_type_zero else None
        seen = self.condition(condition).unsqueeze(1)
        return self.gpt2_model(input_ids=ids, token_type_ids=types, encoder_hidden_states=seen).logits
