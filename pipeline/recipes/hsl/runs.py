"""The published run and a smaller one of the same shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pipeline.recipe import Evaluation, Optim, Packing, Recipe, Stream, Trainer
from pipeline.recipes.hsl.settings import HSLSettings, as_released

BEST = "query2goods/ndcg@5"
"""The contest's metric, over each query's own candidates."""


def real() -> Recipe:
    """The run of the release's instructions on KDD Cup 2020: mean aggregation, every row of the file once an epoch, 30 epochs. Its word vectors are
    GloVe's of 42 billion words (--system.word_vectors glove.42B.300d.txt)."""
    return Recipe(
        name="hsl",
        system=HSLSettings(),
        packing=Packing(regions=20, shard_samples=4000),
        stream=Stream(batch_size=256, policy="links", workers=4),
        optim=Optim(lr=2e-4, schedule="step", step_epochs=1, gamma=0.9, clip_norm=2.0),
        trainer=Trainer(epochs=30, best_metric=BEST),
        evaluation=Evaluation(tasks=("query2goods",), pools=True, batch_size=256),
    )


def released() -> Recipe:
    """The same with the release's flaw, to compare with, or to go on from imported weights (--init)."""
    recipe = real()
    return replace(recipe, name="hsl:released", system=as_released(recipe.system))


def smoke() -> Recipe:
    """The same shape for some thousand photos on one CPU: narrow, one layer a level, about a minute."""
    recipe = real()
    return replace(
        recipe,
        name="hsl:smoke",
        system=HSLSettings(width=128, dim=128, feedforward=256, image_layers=1, text_layers=1, word_dim=128, regions=8, temperature=0.1),
        packing=Packing(regions=8, vocab_size=2000),
        stream=Stream(batch_size=64, policy="links", workers=1),
        optim=Optim(name="adamw", lr=1e-3, weight_decay=0.01, schedule="cosine", warmup_steps=20, clip_norm=2.0),
        trainer=Trainer(epochs=1000, max_steps=300, validate_every=100, checkpoint_every=100, best_metric=BEST),
    )


VARIANTS: dict[str, Callable[[], Recipe]] = {"real": real, "released": released, "smoke": smoke}
