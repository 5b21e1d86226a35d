"""QCD's pre-training: words and frames of one document, without any query (Real20M, ACM MM 2023; never released).

settings.py      every choice; the paper's text and program are not to be had, so most are ours
system.py        the method: contrast, matching, masked words, entity prompts
wrong_pairs.py   who is shown a wrong partner, and which
exchange.py      rows of other ranks, by number
prompter.py      frozen towers that score a clip against the names of entities
preparation.py   batches with what is drawn of each document
build.py         a system from folders, from scratch, or from a checkpoint
runs.py          the paper's run as far as it is known, and smaller ones; qcd starts from their checkpoints
"""

from pipeline.recipes.qcd_pretrain.build import build, check, rebuild
from pipeline.recipes.qcd_pretrain.runs import VARIANTS

__all__ = ["VARIANTS", "build", "check", "rebuild"]
