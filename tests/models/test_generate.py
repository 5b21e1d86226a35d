"""Texts from the query decoder: transformers' own search, with a cache, against the plain loops it stands for."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from models.query_decoder import Decoding, QueryDecoder

START, END, PADDING = 1, 2, 0


@pytest.fixture(params=[False, True], ids=["plain", "token type zero"])
def decoder(request: pytest.FixtureRequest) -> QueryDecoder:
    torch.manual_seed(3)
    decoder = QueryDecoder(7, condition_dim=8, width=16, layers=2, heads=2, max_tokens=6, token_type_zero=request.param).eval()
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return decoder


def generate(decoder: QueryDecoder, condition: Tensor, decoding: Decoding) -> tuple[Tensor, Tensor]:
    return decoder.generate(condition, decoding, start=START, end=END, padding=PADDING)


def log_probability(decoder: QueryDecoder, condition: Tensor, text: tuple[int, ...]) -> float:
    """Of the tokens behind the first, by one plain forward."""
    ids = torch.tensor([text])
    log_p = decoder(ids, condition[None])[0].log_softmax(dim=-1)
    return sum(float(log_p[place, token]) for place, token in enumerate(text[1:]))


@torch.no_grad()
def test_greedy_takes_the_likeliest_token_each_time_and_stops_at_the_end(decoder: QueryDecoder) -> None:
    condition = 5 * torch.randn(60, 8)

    ids, scores = generate(decoder, condition, Decoding(max_tokens=6))

    ended = 0
    for row in range(60):
        text = [START]
        while len(text) < 6 and text[-1] != END:
            text.append(int(decoder(torch.tensor([text]), condition[row : row + 1])[0, -1].argmax()))
        ended += text[-1] == END
        assert ids[row, 0].tolist()[: len(text)] == text and not ids[row, 0, len(text) :].any()
        assert scores[row, 0].item() == pytest.approx(log_probability(decoder, condition[row], tuple(text)), abs=1e-4)
    assert 0 < ended < 60  # both ways to stop were seen


@torch.no_grad()
def test_beams_as_many_as_there_are_texts_find_the_likeliest_text(decoder: QueryDecoder) -> None:
    condition = torch.randn(2, 8)

    ids, scores = generate(decoder, condition, Decoding(beams=64, texts=3, max_tokens=4))

    tokens = [token for token in range(7) if token != END]
    bodies = [body for length in range(3) for body in itertools.product(tokens, repeat=length)]
    for row in range(2):
        # transformers compares ended texts by log probability over length; those cut off at the last token compete as well.
        texts = [(START, *body, END) for body in bodies] + [(START, *body) for body in itertools.product(tokens, repeat=3)]
        best = max(texts, key=lambda text: log_probability(decoder, condition[row], text) / (len(text) - 1))
        found = tuple(ids[row, 0].tolist())
        found = found[: found.index(END) + 1] if END in found else found
        assert found == best
        assert scores[row, 0].item() == pytest.approx(log_probability(decoder, condition[row], best), abs=1e-4)


def test_samples_follow_the_decoders_probabilities_and_the_seed(decoder: QueryDecoder) -> None:
    condition = torch.randn(1, 8)
    expected = decoder(torch.tensor([[START]]), condition)[0, 0].softmax(dim=-1).detach()

    torch.manual_seed(0)
    ids, _ = generate(decoder, condition, Decoding(sample=True, texts=4000, max_tokens=2))
    torch.manual_seed(0)
    again, _ = generate(decoder, condition, Decoding(sample=True, texts=4000, max_tokens=2))

    shares = torch.bincount(ids[0, :, 1], minlength=7) / 4000
    assert torch.equal(ids, again)
    assert (shares - expected).abs().max() < 0.04


def test_sampling_among_one_word_is_greedy(decoder: QueryDecoder) -> None:
    condition = torch.randn(4, 8)

    greedy, _ = generate(decoder, condition, Decoding(max_tokens=6))
    sampled, _ = generate(decoder, condition, Decoding(sample=True, top_k=1, max_tokens=6))

    assert torch.equal(greedy, sampled)


def test_settings_that_cannot_be_are_named(decoder: QueryDecoder) -> None:
    with pytest.raises(ValueError, match="texts of 9 tokens, but the decoder has 6 positions"):
        generate(decoder, torch.randn(1, 8), Decoding(max_tokens=9))
    with pytest.raises(ValueError, match="3 texts a vector need as many beams"):
        Decoding(texts=3)
    with pytest.raises(ValueError, match="temperature above 0"):
        Decoding(sample=True, temperature=0)
