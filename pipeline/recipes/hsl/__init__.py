"""HSL: product images found by words, compared region by region and as a whole, at two levels each (ICASSP 2021; KDD Cup 2020).

settings.py     every choice, ours by default, as released by name
system.py       the method: vectors of images and queries, losses, scores, what is searched
preparation.py  regions and words as batches
build.py        a system for a train split, or from a checkpoint
runs.py         the published run and a smaller one
published.py    a system from the release's weights
"""

from pipeline.recipes.hsl.build import build, check, rebuild
from pipeline.recipes.hsl.published import from_hsl
from pipeline.recipes.hsl.runs import VARIANTS

IMPORTERS = {"hsl": from_hsl}

__all__ = ["IMPORTERS", "VARIANTS", "build", "check", "rebuild"]
