"""QCD: query-guided cross-domain retrieval of goods and micro-videos (Real20M, ACM MM 2023).

settings.py   every choice, ours by default, as released by name
system.py     the method: rows, losses, what is searched
image_text.py words against frames of one document: plain, or with slow copies and queues
memory.py     pairs of the last batches as further candidates
build.py      a system from folders, from scratch, or from a checkpoint
runs.py       the paper's run and smaller ones
published.py  systems from published weights
"""

from pipeline.recipes.qcd.build import build, check, rebuild
from pipeline.recipes.qcd.published import from_chinese_clip, from_real20m
from pipeline.recipes.qcd.runs import VARIANTS

IMPORTERS = {"real20m": from_real20m, "chinese-clip": from_chinese_clip}

__all__ = ["IMPORTERS", "VARIANTS", "build", "check", "rebuild"]
