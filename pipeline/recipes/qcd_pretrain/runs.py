"""The paper's run as far as it is known, and smaller ones of the same shape; each is what the qcd variant of the same name can start from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pipeline.recipe import Encoders, Optim, Packing, Recipe, Stream, Trainer
from pipeline.recipes.qcd import runs as qcd
from pipeline.recipes.qcd_pretrain.settings import PretrainSettings

CHINESE_CLIP = "models/chinese-clip-vit-base-patch16"
"""ViT-B/16 and RoBERTa-wwm, which QCD fine-tunes."""


def real() -> Recipe:
    """The paper's pre-training in kind; batches, learning rates, their number and the prompter (Chinese-CLIP itself, at the temperature it was
    trained with) are ours. Batches are mixed, so that words of goods and of clips are told apart in one space."""
    return Recipe(
        name="qcd_pretrain",
        system=PretrainSettings(prompter=CHINESE_CLIP, entity_temperature=0.01),
        packing=Packing(holdout_videos=5000),
        encoders=Encoders(vision=CHINESE_CLIP, text=CHINESE_CLIP),
        stream=Stream(batch_size=512, domains="mixed", workers=8),
        optim=Optim(
            name="adamw",
            lr=1e-4,
            factors={"text": 0.1, "vision": 0.1},
            weight_decay=0.01,
            schedule="cosine",
            warmup_steps=1000,
        ),
        trainer=Trainer(epochs=5),
    )


def smoke() -> Recipe:
    """The same shape for the sample corpus on one CPU: the towers of qcd:smoke and two layers of fusion encoder.

    Goods are as frequent as clips, though there are fewer of them. Without a prompter; a run of this recipe, or of qcd:smoke, can be the
    prompter of another (--system.prompter RUN).
    """
    return replace(
        qcd.smoke(),
        name="qcd_pretrain:smoke",
        system=PretrainSettings(
            dim=128,
            frames=2,
            image_size=48,
            query_length=16,
            title_length=32,
            temperature=0.05,
            heads=4,
            dropout=0.0,
            cross_layers=2,
            cross_width=128,
            cross_heads=4,
            level_words=("department", "shelf", "product"),
        ),
        stream=Stream(batch_size=32, policy="published", domains="mixed", workers=1),
        optim=Optim(name="adamw", lr=1e-3, factors={"text": 0.5}, weight_decay=0.01, schedule="cosine", warmup_steps=20),
    )


def photos() -> Recipe:
    """For a few thousand photos on a CPU, with the frozen pretrained towers of qcd:photos: their projections, the frame integration and the
    fusion encoder learn.

    A photo's places are averaged to 3 x 3, so that those of a few thousand photos can be remembered. Words are not: they are masked anew each
    time, and most of a step's time is theirs.
    """
    return replace(
        qcd.photos(),
        name="qcd_pretrain:photos",
        system=PretrainSettings(
            dim=256,
            goods_words=("title", "description"),
            query_length=16,
            title_length=48,
            image_size=288,
            crop=(1.0, 1.0),
            temperature=0.1,
            heads=4,
            cross_layers=2,
            cross_width=128,
            cross_heads=4,
            places_grid=3,
            level_words=("department", "kind"),
            level_weights_first=(1.0, 0.25),
            level_weights_last=(0.25, 0.75),
        ),
        optim=Optim(name="adamw", lr=1e-3, factors={"frame_integration": 0.05}, weight_decay=0.01, schedule="cosine", warmup_steps=20),
        trainer=Trainer(epochs=1000, max_steps=300, validate_every=150, checkpoint_every=150, threads=2),
    )


VARIANTS: dict[str, Callable[[], Recipe]] = {"real": real, "smoke": smoke, "photos": photos}
