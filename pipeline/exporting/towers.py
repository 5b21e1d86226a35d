"""A tower as a model folder of transformers, with its projection beside the weights; read again, it gives the same numbers or is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from torch.nn.functional import normalize

from launch.files import write_json
from models.encoders import Encoder, load_text, load_vision
from models.encoders.model_folder import PROJECTION, ImageSettings, quiet_transformers
from pipeline.exporting.agreement import require_agreement
from pipeline.exporting.draw import ROWS, Draw
from pipeline.exporting.forms import Exports

POOLINGS = {"first": "cls", "mean": "mean"}
"""Our name of a pooling -> sentence-transformers'; a model's own needs no name."""


@torch.no_grad()
def write_vision(exports: Exports, folder: Path) -> float:
    """Write the vision tower into the new `folder`; returns the greatest difference between its vectors and those of the folder read again.

    Raises:
        ValueError: it is above the tolerance.
    """
    vision, draw = exports.vision, Draw(exports.vision, exports.text, exports.lengths)
    _write_tower(vision, folder)
    write_json(folder / "preprocessor_config.json", _processor(ImageSettings(**vision.describe()["images"])))
    again = load_vision(folder, dim=vision.dim).eval()
    batches = [draw.frames(rows) for rows in ROWS]
    return require_agreement(f"{folder.name}/", ((normalize(vision(*batch)), normalize(again(*batch))) for batch in batches))


@torch.no_grad()
def write_text(exports: Exports, folder: Path) -> float:
    """Write the text tower and its tokenizer, as `write_vision`."""
    text, draw = exports.text, Draw(exports.vision, exports.text, exports.lengths)
    _write_tower(text, folder)
    transformers.AutoTokenizer.from_pretrained(exports.tokenizer, local_files_only=True, trust_remote_code=False).save_pretrained(folder)
    if text.pooling in POOLINGS:
        (folder / "1_Pooling").mkdir()
        write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": text.width, "pooling_mode": POOLINGS[text.pooling]})
    again = load_text(folder, dim=text.dim, attend_padding=text.attend_padding).eval()
    batches = [draw.words(rows, tokens) for rows in ROWS for tokens in draw.tokens]
    return require_agreement(f"{folder.name}/", ((normalize(text(*batch)), normalize(again(*batch))) for batch in batches))


def _write_tower(encoder: Encoder, folder: Path) -> None:
    # Weights in channels-last order are not contiguous, and safetensors takes no others.
    weights = {name: value.contiguous() for name, value in encoder.tower.state_dict().items()}
    with quiet_transformers():
        encoder.tower.save_pretrained(folder, state_dict=weights)
    save_file({"weight": encoder.projection.weight.detach().contiguous()}, folder / PROJECTION)


def _processor(images: ImageSettings) -> dict[str, Any]:
    """preprocessor_config.json: each frame whole, squeezed to a square, as ours are in evaluation."""
    return {
        "image_processor_type": "MobileViTImageProcessor" if images.reversed_channels else "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": images.size, "width": images.size},
        "resample": 2,
        "do_center_crop": False,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(images.mean),
        "image_std": list(images.std),
        "do_flip_channel_order": images.reversed_channels,
    }
