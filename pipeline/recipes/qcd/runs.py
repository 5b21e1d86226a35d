"""The paper's run and smaller ones of the same shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pipeline.recipe import Encoders, Optim, Packing, Recipe, Stream, Trainer
from pipeline.recipes.qcd.settings import QCDSettings, as_released


def real() -> Recipe:
    """The paper's fine-tuning as far as it is released: Chinese-CLIP towers, 16 V100, about two days."""
    return Recipe(
        name="qcd",
        system=QCDSettings(),
        packing=Packing(holdout_videos=5000),
        encoders=Encoders(vision="models/chinese-clip-vit-base-patch16", text="models/chinese-clip-vit-base-patch16"),
        stream=Stream(batch_size=1280, workers=8),
        optim=Optim(
            lr=0.01,
            factors={"text": 1e-2, "vision": 1e-3, "fusion": 1.0, "frame_integration": 1e-2, "decoder": 1e-3},
            schedule="step",
            step_epochs=3,
            gamma=0.1,
            clip_norm=5.0,
        ),
        trainer=Trainer(epochs=10),
    )


def released() -> Recipe:
    """The paper's run with the flaws of the release, to go on from imported weights (--init) as they were trained, or to compare with."""
    recipe = real()
    return replace(
        recipe, name="qcd:released", system=as_released(recipe.system, decoder_positions=32), stream=replace(recipe.stream, policy="published")
    )


def english() -> Recipe:
    """The same with a CLIP model, whose text tower reads English; any other CLIP folder by --encoders.vision and --encoders.text."""
    recipe = real()
    clip = "models/clip-vit-base-patch16"
    return replace(recipe, name="qcd:english", encoders=Encoders(vision=clip, text=clip), system=replace(recipe.system, title_length=77))


def smoke() -> Recipe:
    """The same shape for the sample corpus on one CPU: small towers from scratch, a few minutes."""
    return replace(
        real(),
        name="qcd:smoke",
        system=QCDSettings(
            dim=128, frames=2, image_size=48, query_length=16, title_length=32, heads=4, decoder_width=64, decoder_layers=1, dropout=0.0
        ),
        packing=Packing(holdout_videos=60, shard_samples=256, vocab_size=2000),
        encoders=Encoders(vision="scratch:tiny"),
        stream=Stream(batch_size=32, policy="published", workers=1),
        optim=Optim(name="adamw", lr=4e-3, factors={"text": 0.5}, weight_decay=0.01, schedule="cosine", warmup_steps=20),
        trainer=Trainer(epochs=1000, max_steps=640, validate_every=320, checkpoint_every=160),
    )


def photos() -> Recipe:
    """For a few thousand photos on a CPU, with pretrained towers (MobileNetV2 and MiniLM, say) that stay as they are.

    Their features of a photo and of its mirror image are computed once, and what is trained is everything behind them. So there are no
    random crops, which would make every frame a new one; photos are enlarged to 288 pixels, at which MobileNetV2's features retrieve a
    little better than at 224. No decoder: over a pretrained tokenizer's 30,000 words it takes two thirds of a step on a CPU. Batches are
    mixed, which draws goods and clips closer than single-domain ones do where a batch is small. Two threads, though there are two loading
    processes for two cores: most of the time goes into the towers' first look at each photo, while the loaders wait (--trainer.threads).
    """
    return replace(
        real(),
        name="qcd:photos",
        system=QCDSettings(
            dim=256,
            goods_words=("title", "description"),
            query_length=16,
            title_length=48,
            image_size=288,
            crop=(1.0, 1.0),
            temperature=0.1,
            heads=4,
            generation_weight=0.0,
        ),
        packing=Packing(holdout_videos=60, shard_samples=256),
        encoders=Encoders(
            vision="models/mobilenet_v2",
            text="models/all-MiniLM-L6-v2",
            frozen_vision_layers="all",
            frozen_text_layers="all",
            remember_features_mb=512,
        ),
        stream=Stream(batch_size=64, policy="published", domains="mixed", workers=2),
        optim=Optim(name="adamw", lr=3e-3, factors={"frame_integration": 0.05}, weight_decay=0.01, schedule="cosine", warmup_steps=20),
        trainer=Trainer(epochs=1000, max_steps=600, validate_every=300, checkpoint_every=300, threads=2),
    )


VARIANTS: dict[str, Callable[[], Recipe]] = {"real": real, "released": released, "english": english, "smoke": smoke, "photos": photos}
