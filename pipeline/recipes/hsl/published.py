"""The release's weights as an HSL system."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from models.hsl_names import GROUPS, NAMES, OF_WORDS, UNUSED, released_settings
from pipeline.foreign import Import, below, load_foreign
from pipeline.import_checkpoint import Imported, Wanted
from pipeline.recipes.hsl.runs import released
from pipeline.recipes.hsl.system import HSL
from pipeline.words import read_vocabulary


def from_hsl(path: Path, wanted: Wanted) -> Imported:
    """A checkpoint of the HSL release: a list of the state dicts of image encoder, text encoder and word embedding, by itself or under `model`.

    Which word has which number is not in it: `wanted.words` names that program's vocabulary. A linear layer beside the word embedding, where widths
    differ, is taken whatever it is called.

    Raises:
        ValueError: lists what is missing, unknown or misshapen; or no vocabulary is given, or one of another size.
    """
    groups = _groups(path)
    try:
        sizes = released_settings(groups)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if wanted.words is None:
        raise ValueError(f"{path}: its words are numbers; give --words FILE with that program's vocabulary (a word a line, or JSON with word2idx)")
    vocabulary = read_vocabulary(wanted.words)
    if len(vocabulary) != sizes["vocabulary"]:
        raise ValueError(f"{wanted.words}: {len(vocabulary)} words, the embedding of {path} has {sizes['vocabulary']}; they belong to two models")
    recipe = released()
    told = {name: sizes[name] for name in ("width", "dim", "feedforward", "image_layers", "text_layers")}
    settings = replace(recipe.system, **told, word_dim=sizes["vector_dim"], heads=wanted.text_heads or recipe.system.heads)
    system = HSL(settings, vocabulary, sizes["regions"], sizes["vector_dim"])
    found = Import()
    for group, weights in groups.items():
        ours = "text" if group in OF_WORDS else "image"
        names = {**NAMES[group], **(_projection(weights) if group == "word_embed" else {})}
        for theirs, own in names.items():
            found.take(f"{ours}.{own.removesuffix('.')}", below(weights, theirs))
        found.leave([f"{group}: {name}" for name in weights if name.startswith(UNUSED)], "templates of layers, which no forward uses")
        found.unknown += [f"{group}: {name}" for name in weights if not name.startswith((*names, UNUSED))]
    found.into(system, path)
    return Imported(system, replace(recipe, system=settings), found.left_out)


def _projection(weights: Mapping[str, Tensor]) -> dict[str, str]:
    """Its name and ours, where there is one layer beside the embedding."""
    others = {name.rpartition(".")[0] + "." for name in weights if not name.startswith("embed.")}
    return dict.fromkeys(others, "project.") if len(others) == 1 else {}


def _groups(path: Path) -> dict[str, dict[str, Tensor]]:
    held: Any = load_foreign(path)
    model = held.get("model") if isinstance(held, Mapping) else held
    if not isinstance(model, list) or len(model) != len(GROUPS) or not all(isinstance(weights, Mapping) for weights in model):
        inside = ", ".join(map(str, held)) if isinstance(held, Mapping) else f"a list of {len(held)}"
        raise ValueError(f"{path}: no list of the state dicts of {', '.join(GROUPS)}; a checkpoint of HSL has one, this file holds {inside:.200}")
    return {group: {name.removeprefix("module."): value for name, value in weights.items()} for group, weights in zip(GROUPS, model)}
