"""MQMC: multi-queue momentum contrast of micro-videos and products over frozen features (WSDM 2023).

settings.py     every choice, ours by default, as released by name
system.py       the method: vectors, queues, losses, what is searched
preparation.py  pairs of a clip and its good as batches
categories.py   the two upper levels of the ontology, from the train split
sizes.py        widths of the features, from the train split
build.py        a system for a train split, or from a checkpoint
runs.py         the paper's runs and smaller ones
published.py    a system from the release's weights
"""

from pipeline.featuring.settings import FeatureSettings
from pipeline.recipes.mqmc.build import build, check, rebuild
from pipeline.recipes.mqmc.published import from_mqmc
from pipeline.recipes.mqmc.runs import VARIANTS

IMPORTERS = {"mqmc": from_mqmc}
FEATURES = FeatureSettings()

__all__ = ["FEATURES", "IMPORTERS", "VARIANTS", "build", "check", "rebuild"]
