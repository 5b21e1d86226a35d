"""The fusion encoder of pre-training, and the head that asks it for words."""

from __future__ import annotations

import pytest
import torch

from models.fusion.cross_encoder import CrossEncoder
from models.word_head import WordHead

MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])


@pytest.fixture
def encoder() -> CrossEncoder:
    torch.manual_seed(0)
    return CrossEncoder(3, 6, 5, width=8, layers=2, heads=2, dropout=0.0)


def inputs(encoder: CrossEncoder) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    title, words, vision, places = (torch.randn(2, *shape, generator=draw) for shape in ((3,), (4, 6), (3,), (3, 5)))
    return encoder.words(title, words), encoder.places(vision, places)


def test_a_side_is_its_vector_and_then_its_tokens(encoder: CrossEncoder) -> None:
    side, vector, tokens = encoder.places, torch.randn(2, 3), torch.randn(2, 4, 5)

    found = side(vector, tokens)

    assert found.shape == (2, 5, 8)
    torch.testing.assert_close(found[:, 0], side.vector(vector))
    torch.testing.assert_close(found[1, 3], side.tokens(tokens[1, 2]))


def test_the_title_sees_the_last_word_and_the_other_way_round(encoder: CrossEncoder) -> None:
    words, places = inputs(encoder)
    other_last, other_title = words.clone(), words.clone()
    other_last[0, 4, 0] += 3  # not all of them: the norms take a common shift away
    other_title[0, 0, 0] += 3

    plain = encoder(words, MASK, places)

    assert plain.shape == (2, 5, 8)
    assert not torch.allclose(encoder(other_last, MASK, places)[0, 0], plain[0, 0], atol=1e-3)
    assert not torch.allclose(encoder(other_title, MASK, places)[0, 4], plain[0, 4], atol=1e-3)


def test_padding_is_seen_by_nobody_and_may_be_as_long_as_it_likes(encoder: CrossEncoder) -> None:
    words, places = inputs(encoder)
    padded = torch.cat([words, torch.full((2, 2, 8), 50.0)], dim=1)
    padded[1, 4] = -50.0

    plain = encoder(words, MASK, places)
    longer = encoder(padded, torch.cat([MASK, torch.zeros(2, 2, dtype=torch.int64)], dim=1), places)

    torch.testing.assert_close(longer[0, :5], plain[0])
    torch.testing.assert_close(longer[1, :4], plain[1, :4])


def test_every_place_of_the_image_counts_and_their_order_does_not(encoder: CrossEncoder) -> None:
    words, places = inputs(encoder)
    other = places.clone()
    other[0, 2] += 1

    plain = encoder(words, MASK, places)

    torch.testing.assert_close(encoder(words, MASK, places[:, [2, 0, 3, 1]]), plain)
    changed = encoder(words, MASK, other)
    assert not torch.allclose(changed[0], plain[0], atol=1e-3)
    torch.testing.assert_close(changed[1], plain[1])


@pytest.mark.parametrize("length", [4, 0])
def test_a_text_without_a_word_is_its_title_alone_with_a_finite_gradient(encoder: CrossEncoder, length: int) -> None:
    words, places = inputs(encoder)

    output = encoder(words[:, : 1 + length], torch.zeros(2, length, dtype=torch.int64), places)
    output[:, 0].square().sum().backward()

    torch.testing.assert_close(output[:, 0], encoder(words[:, :1], torch.zeros(2, 0), places)[:, 0])
    reached = {name: parameter.grad for name, parameter in encoder.named_parameters() if not name.startswith("words.tokens.")}
    assert all(gradient is not None and gradient.isfinite().all() for gradient in reached.values())


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ValueError, match="3 attention heads do not divide a fusion encoder of width 8"):
        CrossEncoder(3, 6, 5, width=8, layers=1, heads=3, dropout=0.0)


def test_the_head_scores_words_by_the_given_table_which_is_no_parameter_of_its_own() -> None:
    torch.manual_seed(0)
    head, table = WordHead(8, 3, 5), torch.randn(5, 3, requires_grad=True)
    with torch.no_grad():
        head.bias[2] = 7.0
    vectors = torch.randn(2, 8)

    logits = head(vectors, table)
    logits[:, 4].sum().backward()

    expected = head.transform(vectors) @ table.T + torch.tensor([0, 0, 7.0, 0, 0])
    torch.testing.assert_close(logits, expected)
    assert table.grad is not None and table.grad[4].abs().min() > 0 and table.grad[:4].abs().max() == 0
    assert all(parameter is not table for parameter in head.parameters())
