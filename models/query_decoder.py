"""A query's words, reconstructed from a document's vector.

Legend: B queries, L tokens, D dimensions of the condition, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Tensor, nn


@dataclass(frozen=True)
class Decoding:
    """How a text is drawn from the decoder: greedy as it stands, beam search with `beams`, sampling with `sample`.

    `beams` hypotheses are kept at each token. `texts` come back for each condition: the best beams, or as many samples. `temperature`,
    `top_k` (0: all words) and `top_p` shape sampling. `max_tokens` counts all tokens of a text, its start and end too.
    """

    beams: int = 1
    sample: bool = False
    texts: int = 1
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    max_tokens: int = 20

    def __post_init__(self) -> None:
        if self.beams < 1 or self.texts < 1 or self.max_tokens < 2 or not self.temperature > 0 or self.top_k < 0 or not 0 < self.top_p <= 1:
            raise ValueError(f"{self}: beams and texts from 1, max_tokens from 2, temperature above 0, top_k from 0, top_p above 0 up to 1")
        if self.texts > 1 and not self.sample and self.texts > self.beams:
            raise ValueError(f"{self.texts} texts a vector need as many beams (there are {self.beams}), or sampling")


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
        self.gpt2_model = transformers.GPT2LMHeadModel(
            transformers.GPT2Config(
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

    @torch.inference_mode()
    def generate(self, condition: Tensor, decoding: Decoding, *, start: int, end: int, padding: int) -> tuple[Tensor, Tensor]:
        """Texts for each condition [B, D], with a key-value cache: (ids [B, texts, L] from `start` on, padded behind `end`; scores [B, texts]).

        A score is the sum of the text's log probabilities (of tokens behind the start, to the end). The search is transformers' own `generate`.

        Raises:
            ValueError: more tokens than the decoder has positions.
        """
        if decoding.max_tokens > self.max_tokens:
            raise ValueError(f"texts of {decoding.max_tokens} tokens, but the decoder has {self.max_tokens} positions; ask for fewer")
        first = torch.full((len(condition), 1), start, device=condition.device)
        options: dict[str, Any] = {"token_type_ids": torch.zeros_like(first)} if self.token_type_zero else {}
        if decoding.sample:
            options |= {"temperature": decoding.temperature, "top_k": decoding.top_k, "top_p": decoding.top_p}
        search: Any = self.gpt2_model  # transformers' types know no model of its own that generates
        ids: Tensor = search.generate(
            first,
            attention_mask=torch.ones_like(first),
            encoder_hidden_states=self.condition(condition).unsqueeze(1),
            do_sample=decoding.sample,
            num_beams=decoding.beams,
            num_return_sequences=decoding.texts,
            max_length=decoding.max_tokens,
            eos_token_id=end,
            pad_token_id=padding,
            use_cache=True,
            **options,
        )
        scores = self._log_probability(ids, condition.repeat_interleave(decoding.texts, dim=0), end)
        return ids.unflatten(0, (len(condition), decoding.texts)), scores.view(len(condition), decoding.texts)

    def _log_probability(self, ids: Tensor, condition: Tensor, end: int) -> Tensor:
        log_p = self(ids, condition)[:, :-1].float().log_softmax(dim=-1).gather(2, ids[:, 1:, None])[..., 0]
        ended_before = (ids[:, 1:] == end).long().cumsum(dim=1) - (ids[:, 1:] == end).long() > 0
        return log_p.masked_fill(ended_before, 0.0).sum(dim=1)
