"""A pre-training system: from model folders, from scratch, or from what a checkpoint describes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers

from launch.logs import say
from models.encoders import TextEncoder, VisionEncoder
from pipeline.entities import entities_of
from pipeline.masked_words import WordMasking
from pipeline.recipe import Recipe
from pipeline.recipes.qcd_pretrain.prompter import Prompter, check_prompter, load_prompter
from pipeline.recipes.qcd_pretrain.settings import PretrainSettings
from pipeline.recipes.qcd_pretrain.system import QCDPretrain
from pipeline.shards import ShardSet
from pipeline.towers import build_towers, check_towers, rebuild_towers


def check(recipe: Recipe) -> None:
    """Raise ValueError where a folder that the recipe names is not there, before anything is packed or started."""
    check_towers(recipe.encoders)
    s: PretrainSettings = recipe.system
    if not s.prompter:
        return
    check_prompter(s.prompter)
    for flag, weights in (("level_weights_first", s.level_weights_first), ("level_weights_last", s.level_weights_last)):
        if len(weights) != len(s.level_words):
            raise ValueError(f"--system.{flag} has {len(weights)} numbers, but --system.level_words names {len(s.level_words)} levels; give as many")


def build(recipe: Recipe, packed_tokenizer: Path | None, shards: ShardSet | None = None) -> QCDPretrain:
    """A new system: towers from the recipe's folders or from scratch, the prompter from its folder, everything else from scratch.

    All ranks call this together.

    Args:
        packed_tokenizer: the vocabulary that packing trained; a text tower from scratch uses it.
        shards: the train split, whose goods name the entities; needed where there is a prompter.

    Raises:
        ValueError: a folder is missing or does not fit, there is no vocabulary for a text tower from scratch, or there are no entities.
    """
    s: PretrainSettings = recipe.system
    text, vision, tokenizer = build_towers(recipe.encoders, packed_tokenizer, dim=s.dim, image_size=s.image_size or None, scratch_dropout=s.dropout)
    if s.masking_weight:
        WordMasking(transformers.AutoTokenizer.from_pretrained(tokenizer, local_files_only=True, trust_remote_code=False), s.masked_share)
    prompter = None
    if s.prompter:
        assert shards is not None, "entities are named by the train split"
        prompter = load_prompter(s, vision.image_size, entities_of(shards, len(s.level_words), s.entity_goods))
        if recipe.encoders.remember_features_mb:
            prompter.vision.remember_features(recipe.encoders.remember_features_mb)
        counts = ", ".join(f"{len(names):,} {word}" for word, names in zip(s.level_words, prompter.entities))
        say(f"entity prompts by {s.prompter}: {counts}")
    else:
        say("no entity prompts (--system.prompter names what would score them)")
    return _assembled(recipe, text, vision, tokenizer, prompter)


def rebuild(recipe: Recipe, description: dict[str, Any], checkpoint: Path) -> QCDPretrain:
    """The system that `describe` described, its weights to be loaded, without the encoders' and the prompter's folders."""
    text, vision = rebuild_towers(description)
    found = description["prompter"]
    prompter = Prompter.from_description(found, recipe.system.entity_temperature) if found else None
    return _assembled(recipe, text, vision, checkpoint / "tokenizer", prompter)


def _assembled(recipe: Recipe, text: TextEncoder, vision: VisionEncoder, tokenizer: Path, prompter: Prompter | None) -> QCDPretrain:
    if recipe.trainer.channels_last:
        vision.use_channels_last()
        if prompter is not None:
            prompter.vision.use_channels_last()
    return QCDPretrain(recipe.system, recipe.stream, text, vision, tokenizer, prompter)
