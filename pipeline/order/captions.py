"""The captions policy: an epoch is every caption once, each with its image."""

from __future__ import annotations

from pipeline.order.pairs import PairOrder


class CaptionOrder(PairOrder):
    """Batches of G pairs as 2G draws, as `PairOrder` makes them: caption, its image, caption, its image, ... An image comes
    once for each of its captions.

    Raises:
        ValueError: no caption shares a query with an image.
    """

    first_domains = ("text",)
    second_domain = "image"
    without_pairs = (
        "no text shares a query with an image, so there are no pairs to train on; --stream.policy captions needs a corpus of images and their "
        "captions (scan)"
    )
