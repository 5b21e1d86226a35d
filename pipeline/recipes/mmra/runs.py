"""The paper's run and smaller ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pipeline.popularity import POPULARITY
from pipeline.recipe import Evaluation, Optim, Packing, Recipe, Stream, Trainer
from pipeline.recipes.mmra.settings import MMRASettings, as_released

BEST = f"{POPULARITY}/nmse,{POPULARITY}/mae"
"""The paper keeps the checkpoint of the least sum of MAE and nMSE on the validation split; ours is that of the least nMSE."""


def real() -> Recipe:
    """The paper's run on MicroLens-100k (15,790 clips): at most 100 epochs, and none after 20 without a better one."""
    return Recipe(
        name="mmra",
        system=MMRASettings(),
        packing=Packing(vocab_size=0),
        stream=Stream(batch_size=64, policy="clips", workers=2),
        optim=Optim(lr=1e-4, schedule="constant", clip_norm=0.0),
        trainer=Trainer(epochs=100, patience=20, best_metric=BEST),
        evaluation=Evaluation(tasks=(POPULARITY,), batch_size=256),
    )


def released() -> Recipe:
    """The run of the program: its attention, its learning rate, its leak of validation labels. To compare with, or to go on from imported
    weights. The program goes through the clips in one order; here they are shuffled."""
    recipe = real()
    return replace(recipe, name="mmra:released", system=as_released(recipe.system), optim=replace(recipe.optim, lr=1e-5))


def smoke() -> Recipe:
    """The same shape for some hundred clips on one CPU: narrow, a minute. Of so few clips features are left out at random, and near neighbours count
    more than far ones."""
    recipe = real()
    return replace(
        recipe,
        name="mmra:smoke",
        system=replace(recipe.system, width=64, hidden=(64, 32), temperature=0.1, dropout=0.2),
        packing=Packing(vocab_size=0, holdout_videos=100),
        optim=Optim(name="adamw", lr=1e-3, weight_decay=0.01, schedule="cosine", warmup_steps=20),
        stream=Stream(batch_size=64, policy="clips", workers=1),
        trainer=Trainer(epochs=1000, max_steps=300, validate_every=50, checkpoint_every=100, best_metric=BEST),
    )


VARIANTS: dict[str, Callable[[], Recipe]] = {"real": real, "released": released, "smoke": smoke}
