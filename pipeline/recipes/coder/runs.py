"""Runs on Flickr30K and MSCOCO and a small one. Batch, optimiser and epochs are CVSE's: the paper's own could not be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from evaluate.judging.image_text import RSUM, TASKS
from pipeline.recipe import Evaluation, Optim, Packing, Recipe, Stream, Trainer
from pipeline.recipes.coder.settings import CODERSettings


def real() -> Recipe:
    """Flickr30K: 29,000 images to train on. The learning rate falls to a tenth half-way."""
    return Recipe(
        name="coder",
        system=CODERSettings(),
        stream=Stream(batch_size=128, policy="captions", workers=2),
        optim=Optim(lr=2e-4, schedule="step", step_epochs=25, clip_norm=2.0),
        trainer=Trainer(epochs=50, best_metric=RSUM),
        evaluation=Evaluation(tasks=TASKS, batch_size=128),
    )


def coco() -> Recipe:
    """MSCOCO: 113,287 images to train on."""
    recipe = real()
    return replace(
        recipe,
        name="coder:coco",
        system=replace(recipe.system, label_share=0.4, alpha=0.9),
        optim=replace(recipe.optim, step_epochs=15),
        trainer=replace(recipe.trainer, epochs=30),
    )


def smoke() -> Recipe:
    """The same shape for a hundred images on one CPU: narrow, two minutes. It learns such a corpus by heart, and no more is to be expected of it."""
    recipe = real()
    return replace(
        recipe,
        name="coder:smoke",
        system=replace(
            recipe.system,
            width=128,
            word_dim=64,
            least_count=1,
            dropout=0.1,
            queue_size=256,
            momentum=0.99,
            concept_count=100,
            concept_hidden=64,
            clusters=16,
        ),
        packing=Packing(shard_samples=500, vocab_size=2000),
        stream=Stream(batch_size=64, policy="captions", workers=1),
        optim=Optim(name="adamw", lr=1e-3, weight_decay=0.01, schedule="cosine", warmup_steps=20, clip_norm=2.0),
        trainer=Trainer(epochs=1000, max_steps=300, validate_every=100, checkpoint_every=100, best_metric=RSUM),
    )


VARIANTS: dict[str, Callable[[], Recipe]] = {"real": real, "coco": coco, "smoke": smoke}
