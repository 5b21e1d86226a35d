"""Words of a caption to one vector of length 1: whole words through a recurrent net, or the tokens of any transformers text model.

Legend: B captions, L words or tokens of the longest, V words of the vocabulary, E features of a word, C of a token, W features out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from models.encoders import TextEncoder
from models.fusion.guided_pooling import GuidedPooling


class WordEncoder(nn.Module):
    """Embedded words through a GRU in both directions, which are averaged, each word at length 1; then one vector out of them all.

    Source: CVSE (E = 300 from GloVe, W = 1024), on which CODER builds.

    Args:
        vocabulary: V; word 0 is padding.
        word_dim: E.
        width: W.
        dropout: of the words' features, and in the pooling.
    """

    def __init__(self, vocabulary: int, word_dim: int, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, word_dim, padding_idx=0)
        self.dropout = nn.Dropout(dropout)
        self.gru = nn.GRU(word_dim, width, batch_first=True, bidirectional=True)
        self.pooling = GuidedPooling(width, dropout)

    @torch.no_grad()
    def take_vectors(self, vectors: Tensor) -> None:
        """Begin with these vectors of the words, [V, E]."""
        self.words.weight.copy_(vectors)

    def forward(self, words: Tensor, present: Tensor) -> Tensor:
        """words [B, L] int64, present [B, L] bool, the words of a caption first -> [B, W]."""
        embedded = self.dropout(self.words(words))
        lengths = present.sum(dim=1).clamp(min=1)
        packed = pack_padded_sequence(embedded, lengths.cpu(), batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=words.shape[1])
        forth, back = states.float().chunk(2, dim=-1)
        return normalize(self.pooling(normalize((forth + back) / 2, dim=-1), present).float(), dim=-1)


class TokenEncoder(nn.Module):
    """The tokens of a transformers text model, projected and at length 1; then one vector out of them all.

    Source: ours. CODER's program needs transformers, so that a BERT text encoder is likely; how it is used there is not known.

    Args:
        text: the model, its projection to W. It pools by the mean, so that nothing is trained that tokens do not depend on.
        dropout: in the pooling; the model keeps its own.
    """

    def __init__(self, text: TextEncoder, dropout: float = 0.0) -> None:
        super().__init__()
        assert text.pooling == "mean", "a pooler of its own would get no gradient"
        self.text = text
        self.pooling = GuidedPooling(text.dim, dropout)

    def forward(self, tokens: Tensor, present: Tensor) -> Tensor:
        """tokens [B, L] int64, present [B, L] bool -> [B, W]."""
        states = self.text.projection(self.text.outputs(tokens, present.long()).tokens)
        return normalize(self.pooling(normalize(states.float(), dim=-1), present).float(), dim=-1)
