"""The release's weights as an MMRA system."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from models.mmra_names import released_settings, released_weights
from pipeline.foreign import Import, read_foreign
from pipeline.import_checkpoint import Imported, Wanted
from pipeline.recipes.mmra.runs import released
from pipeline.recipes.mmra.sizes import Sizes
from pipeline.recipes.mmra.system import MMRA


def from_mmra(path: Path, wanted: Wanted) -> Imported:
    """The `state_dict` of the release's model. alpha is in none of its tensors: it is the release's default, .6.

    The release saves the model itself (`model_N.pth`), which cannot be read without running its program; where that program is, and is trusted,
    torch.save(torch.load(FILE, weights_only=False).state_dict(), ...) gives a file that can.

    Raises:
        ValueError: lists what is missing, unknown or misshapen.
    """
    try:
        groups = read_foreign(path)
    except ValueError as error:
        raise ValueError(f"{error}. MMRA's program saves its model whole; save its state_dict() with that program and import that file") from error
    inner = groups.get("state_dict")
    named = inner if isinstance(inner, dict) else groups
    tensors = {name.removeprefix("module."): value for name, value in named.items() if isinstance(value, Tensor)}
    try:
        shape = released_settings(tensors)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    recipe = released()
    settings = replace(recipe.system, width=shape["width"], hidden=shape["hidden"])
    system = MMRA(settings, Sizes(shape["vision_dim"], shape["words_dim"]))
    found = Import()
    taken, found.unknown = released_weights(tensors)
    found.take("network", taken)
    found.into(system, path)
    return Imported(system, replace(recipe, system=settings), found.left_out)
