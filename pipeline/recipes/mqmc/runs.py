"""The paper's runs and smaller ones of the same shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pipeline.recipe import Evaluation, Optim, Packing, Recipe, Stream, Trainer
from pipeline.recipes.mqmc.settings import MQMCSettings, as_released

BEST = "video2goods/median_rank,video2goods/recall@10"
"""The paper keeps the checkpoint of the best median rank on the validation split; of equal ones ours is the one of the best recall@10."""


def real() -> Recipe:
    """The paper's run on MVS (13,165 pairs). Its learning rate was to fall at epochs 120 and 160 of 50, so it does not."""
    return Recipe(
        name="mqmc",
        system=MQMCSettings(),
        packing=Packing(shard_samples=4000, vocab_size=0),
        stream=Stream(batch_size=256, policy="pairs", workers=2),
        optim=Optim(lr=1e-4, weight_decay=1e-3, schedule="constant", clip_norm=0.0),
        trainer=Trainer(epochs=50, best_metric=BEST),
        evaluation=Evaluation(batch_size=256),
    )


def large() -> Recipe:
    """The paper's run on MVS-large (126,206 pairs): the same settings, ten times the steps."""
    return replace(real(), name="mqmc:large", packing=Packing(shard_samples=10_000, vocab_size=0))


def released() -> Recipe:
    """The paper's run with the flaws of the release, to compare with, or to go on from imported weights (--init)."""
    recipe = real()
    return replace(recipe, name="mqmc:released", system=as_released(recipe.system))


def smoke() -> Recipe:
    """The same shape for a few hundred pairs on one CPU: small towers, small queues, a minute or two. Against learning the pairs by heart,
    features have one length and are left out at random, clips get noise of the kind that clips of one product differ by, the temperature is
    higher, the features of clips and goods are contrasted more, scores are cosines, and negatives count alike: of so few pairs the
    centroids of categories say little. It is validated at the end alone: on few clips median rank and recall@10 are at their best early,
    long before hit@1 is, and would name an early checkpoint the best."""
    return replace(
        real(),
        name="mqmc:smoke",
        system=MQMCSettings(
            dim=128,
            width=256,
            hidden=256,
            queue_size=32,
            momentum=0.99,
            temperature=0.15,
            weighting="none",
            cross_weight=1.0,
            scale_features=True,
            dropout=0.3,
            noise_within=2.0,
            noise_isotropic=1.0,
            normalise=True,
        ),
        packing=Packing(shard_samples=256, vocab_size=0),
        stream=Stream(batch_size=128, policy="pairs", workers=1),
        optim=Optim(name="adamw", lr=1e-3, weight_decay=0.01, schedule="cosine", warmup_steps=20),
        trainer=Trainer(epochs=1000, max_steps=400, validate_every=400, checkpoint_every=200, best_metric=BEST),
    )


VARIANTS: dict[str, Callable[[], Recipe]] = {"real": real, "large": large, "released": released, "smoke": smoke}
