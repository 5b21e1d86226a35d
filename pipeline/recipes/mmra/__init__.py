"""MMRA: the popularity of micro-videos from their features and from what became of clips like them (SIGIR 2024).

settings.py     every choice, ours by default, as released by name
system.py       the method: the network, its loss, its predictions
preparation.py  clips and their neighbours as batches
sizes.py        widths of the features and mean popularity, from the train split
build.py        a system for a train split, or from a checkpoint
runs.py         the paper's run and smaller ones
published.py    a system from the release's weights
"""

from pipeline.bank.settings import BankSettings
from pipeline.featuring.settings import FeatureSettings
from pipeline.recipes.mmra.build import build, check, rebuild
from pipeline.recipes.mmra.published import from_mmra
from pipeline.recipes.mmra.runs import VARIANTS

IMPORTERS = {"mmra": from_mmra}
FEATURES = FeatureSettings(
    vision="models/vit-base-patch16-224-in21k",
    text="models/angle-bert-base-uncased-nli-en-v1",
    frames=10,
    pool="none",
    video_words=("title",),
)
BANK = BankSettings(
    text="models/uae-large-v1",
    captions="models/blip-image-captioning-base",
    prompt="Represent this sentence for searching relevant passages: {text}",
)

__all__ = ["BANK", "FEATURES", "IMPORTERS", "VARIANTS", "build", "check", "rebuild"]
