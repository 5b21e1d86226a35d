"""How popular the clips of the sample corpus are: a law that neighbours' labels tell in part, and what a clip shows and says tells the rest.

    popularity = 6 + kind + trend + .7 lines + noise

kind, of the category, with a spread of 1, and trend, of the first product in the clip, with a spread of 1.2: other clips of the same things have
it, too. lines: how many of its three lines of text the clip has; noise has a spread of .3. Popularity is the logarithm to base 2 of a number of
comments.
"""

from __future__ import annotations

import math

from launch.seeds import generator
from pipeline.sources.procedural.goods import Product


def popularity(product: Product, clip: int, lines: int, seed: int) -> float:
    """The popularity of a clip, by the first product that it shows, its number among that product's clips, and the lines of text that it has."""
    kind = generator(seed, "popularity", "kind", product.category.name.english).normal(0, 1)
    trend = generator(seed, "popularity", "trend", product.number).normal(0, 1.2)
    noise = generator(seed, "popularity", product.number, clip).normal(0, 0.3)
    comments = max(1, round(2 ** (6 + kind + trend + 0.7 * lines + noise)))
    return round(math.log2(comments), 6)
