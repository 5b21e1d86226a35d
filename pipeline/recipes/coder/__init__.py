"""CODER: images and captions by momentum queues, diversity-sensitive contrast and concepts (ECCV 2022).

settings.py     every choice, and whose it is: CODER's own figures could not be read
system.py       the method: vectors, queues, losses, what is searched
preparation.py  pairs of an image and a caption as batches
build.py        a system for a train split, or from a checkpoint
runs.py         runs on Flickr30K and MSCOCO, and smaller ones
"""

from pipeline.recipes.coder.build import build, check, rebuild
from pipeline.recipes.coder.runs import VARIANTS

__all__ = ["VARIANTS", "build", "check", "rebuild"]
