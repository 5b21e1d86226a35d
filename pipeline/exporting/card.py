"""README.md of an exported folder: what its files are, and how towers and projections are put together."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

import torch
import transformers

from models.encoders import TextEncoder, VisionEncoder
from models.encoders.model_folder import PROJECTION
from pipeline.exporting.agreement import TOLERANCE
from pipeline.exporting.forms import Exports

TEXT_POOLING = {
    "first": "hidden[:, 0]  # the first token",
    "mean": "(hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)  # the mean of the tokens that are not padding",
    "own": "output.pooler_output  # the model's own",
}


def card(origin: str, exports: Exports, differences: Mapping[str, float]) -> str:
    """The text of README.md.

    Args:
        origin: a line that says what was exported.
        differences: what was written (`vision/`, `text/`, graphs by name) -> its greatest difference from the system.
    """
    parts = [f"# Exported from {origin}", _inputs(exports)]
    if "vision/" in differences:
        parts += _towers(exports)
    graphs = {name: graph for name, graph in exports.graphs.items() if f"{name}.onnx" in differences}
    if graphs:
        parts += [
            "## ONNX",
            "Batches may be of any size and texts of any number of tokens that the tower has positions for. "
            "More than 1.8 GB of weights lie beside their graph, in `NAME.onnx.data`.",
        ]
        parts += ["\n".join(f"- `{name}.onnx`: {graph.says}." for name, graph in graphs.items())]
    found = "\n".join(f"| `{name}` | {value:.1e} |" for name, value in differences.items())
    parts += [
        "## Compared before it was written",
        f"Greatest difference from the system itself, in an entry of vectors of length 1, on random batches (accepted: {TOLERANCE:.0e}):",
        f"| file | difference |\n| --- | --- |\n{found}",
    ]
    return "\n\n".join(parts) + "\n"


def _inputs(exports: Exports) -> str:
    size = exports.vision.image_size
    lengths = ", ".join(f"{length} ({kind})" for kind, length in exports.lengths.items())
    padded = (
        "Words attend to padding, as the system was trained: pad them to these lengths, or the vectors differ."
        if exports.text.attend_padding
        else "How far a batch is padded makes no difference."
    )
    return (
        f"Frames are squeezed to {size} x {size} pixels. Words are cut to so many tokens: {lengths}. {padded} "
        "`recipe.json` holds every setting of the run, such as which words of a document are joined."
    )


def _towers(exports: Exports) -> list[str]:
    vision, text = exports.vision, exports.text
    flags = "--encoders.vision FOLDER/vision --encoders.text FOLDER/text" + (" --system.attend_padding true" if text.attend_padding else "")
    return [
        "## With transformers",
        f"- `vision/`: {type(vision.tower).__name__}; `{PROJECTION}` holds `weight` [{vision.dim}, {vision.width}].\n"
        f"- `text/`: {type(text.tower).__name__} and its tokenizer; `{PROJECTION}` holds `weight` [{text.dim}, {text.width}].",
        _vision_code(vision),
        _text_code(text),
        f"Vectors are compared after division by their lengths. Training takes both folders, projections included: `{flags}`.",
    ]


def _vision_code(vision: VisionEncoder) -> str:
    images, tower = vision.describe()["images"], vision.tower
    # Position tables made for another size are interpolated, as the encoder does.
    takes = "interpolate_pos_encoding" in inspect.signature(tower.forward).parameters
    resized = takes and getattr(tower.config, "image_size", images["size"]) not in (images["size"], [images["size"]] * 2, (images["size"],) * 2)
    flipped = "frames.flip(1)  # blue first" if images["reversed_channels"] else "frames"
    return "\n".join(
        [
            "```python",
            "import torch",
            "from safetensors.torch import load_file",
            f"from transformers import {type(tower).__name__}",
            "",
            "# frames: uint8 [B, 3, S, S], RGB",
            f"tower = {_load(tower, 'vision')}",
            f"mean, std = torch.tensor({list(images['mean'])}), torch.tensor({list(images['std'])})",
            f"pixels = ({flipped} / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)",
            f"output = tower(pixel_values=pixels{', interpolate_pos_encoding=True' if resized else ''})",
            f"pooled = {_vision_pooling(tower, images['size'], resized)}",
            f"vectors = pooled @ load_file('vision/{PROJECTION}')['weight'].T",
            "```",
        ]
    )


def _text_code(text: TextEncoder) -> str:
    lines = [
        "```python",
        "import torch",
        "from safetensors.torch import load_file",
        f"from transformers import AutoTokenizer, {type(text.tower).__name__}",
        "",
        "# ids, mask: int64 [B, L], the tokenizer's input_ids and attention_mask",
        "tokenizer = AutoTokenizer.from_pretrained('text')",
        f"tower = {_load(text.tower, 'text')}",
        f"output = tower(input_ids=ids, attention_mask={'torch.ones_like(mask)' if text.attend_padding else 'mask'})",
        "hidden = output.last_hidden_state",
        f"pooled = {TEXT_POOLING[text.pooling]}",
        f"vectors = pooled @ load_file('text/{PROJECTION}')['weight'].T",
        "```",
    ]
    return "\n".join(lines)


def _load(tower: transformers.PreTrainedModel, folder: str) -> str:
    without = ", add_pooling_layer=False" if "add_pooling_layer" in inspect.signature(type(tower).__init__).parameters else ""
    pooled = getattr(tower, "pooler", None) is not None
    return f"{type(tower).__name__}.from_pretrained('{folder}'{'' if pooled else without}).eval()"


@torch.no_grad()
def _vision_pooling(tower: transformers.PreTrainedModel, size: int, resized: bool) -> str:
    output = tower(pixel_values=torch.zeros(1, 3, size, size), **({"interpolate_pos_encoding": True} if resized else {}))
    if getattr(output, "pooler_output", None) is not None:
        return "output.pooler_output.flatten(1)  # the model's own"
    if output.last_hidden_state.dim() == 3:
        return "output.last_hidden_state[:, 0]  # the first token"
    return "output.last_hidden_state.mean((2, 3))  # the mean of the positions"
