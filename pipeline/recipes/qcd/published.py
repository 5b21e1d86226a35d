"""Published weights as a QCD system: Real20M's own checkpoints, and Chinese-CLIP as it is, before any fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from models.encoders import TextEncoder, VisionEncoder, load_text, load_vision
from models.encoders.chinese_clip_names import text_tower, text_weights, vision_tower, vision_weights
from models.encoders.model_folder import ImageSettings, check_folder, projection_dim
from pipeline.foreign import Import, below, read_foreign
from pipeline.import_checkpoint import Imported, Wanted
from pipeline.recipe import Encoders, Stream
from pipeline.recipes.qcd.runs import real
from pipeline.recipes.qcd.settings import QCDSettings, as_released
from pipeline.recipes.qcd.system import QCD

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
MADE_BY_THE_PROGRAM = (".attn.bias", ".attn.masked_bias", ".crossattention.bias", ".crossattention.masked_bias", "embeddings.position_ids")
"""Masks and counters that older versions of transformers saved with the weights."""


def from_real20m(path: Path, wanted: Wanted) -> Imported:
    """A checkpoint of the Real20M release (`checkpoint.pth.tar`, `pretrain.pth.tar`) with the flaws its weights were trained with: padding is
    attended, the query side not normalised, token 0 added in the decoder, image-text contrast computed and not added.

    Groups: `state_dict` (vision), `doc_text_model`, `doc_fusion_model`, and `text_generation_model`, without which there is no decoder.

    Raises:
        ValueError: lists what is missing, unknown or misshapen.
    """
    groups = read_foreign(path)
    missing = [name for name in ("state_dict", "doc_text_model") if not isinstance(groups.get(name), Mapping)]
    if missing:
        raise ValueError(f"{path}: no group {' and '.join(missing)}; a Real20M checkpoint has them, this file holds {', '.join(map(str, groups))}")
    found = Import()
    vision_tensors = _part(found, groups["state_dict"], "state_dict", "visual_model.")
    text_tensors = _text(found, groups["doc_text_model"], path)
    vision_state, unknown = vision_weights(vision_tensors)
    found.unknown += [f"state_dict: visual_model.{name}" for name in unknown]
    fusion = _part(found, groups.get("doc_fusion_model", {}), "doc_fusion_model", "")
    decoder = _part(found, groups.get("text_generation_model", {}), "text_generation_model", "")
    try:
        text = TextEncoder(text_tower(text_tensors, wanted.text_heads), dim=_dim(vision_tensors), attend_padding=True)
        tower, size = vision_tower(vision_tensors, wanted.vision_heads)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    vision = VisionEncoder(tower, ImageSettings(size=size), dim=_dim(vision_tensors))
    found.take("document.vision", vision_state)
    found.take("document.text", text_weights(text_tensors, groups["doc_text_model"]["module.text_projection"]))
    found.take("document.frame_integration", below(fusion, "video_attention_pooling."))
    found.take("document.fusion", below(fusion, "attention_pooling."))
    others = [name for name in fusion if not name.startswith(("video_attention_pooling.", "attention_pooling."))]
    found.unknown += [f"doc_fusion_model: {name}" for name in others]
    if decoder:
        decoder.setdefault("gpt2_model.lm_head.weight", decoder.get("gpt2_model.transformer.wte.weight", torch.empty(0)))
        found.take("decoder", decoder)
    lengths = {name: min(getattr(QCDSettings, name), text.max_tokens or 512) for name in ("query_length", "title_length")}
    settings = as_released(QCDSettings(), dim=_dim(vision_tensors), **lengths, **_frames(fusion), **_decoder_sizes(decoder))
    return _imported(path, found, settings, text, vision, _tokenizer(path, wanted, text), wanted.new)


def from_chinese_clip(path: Path, wanted: Wanted) -> Imported:
    """Chinese-CLIP, from an OFA-Sys folder in transformers' format or from cn_clip's `.pt`: a clip is the mean of its frames, words and frames
    count half each, no decoder. Nothing of it is as Real20M released: padding is masked, and all sides are normalised.

    Raises:
        ValueError: lists what is missing, unknown or misshapen.
    """
    found = Import()
    if path.is_dir():
        check_folder(path, "--from chinese-clip")
        dim = projection_dim(path)
        text, vision = load_text(path, dim=dim), load_vision(path, dim=dim)
        found.take("document.text", text.state_dict())
        found.take("document.vision", vision.state_dict())
        tokenizer = wanted.tokenizer or path
    else:
        groups = read_foreign(path)
        weights = {name.removeprefix("module."): value for name, value in groups.get("state_dict", groups).items() if isinstance(value, Tensor)}
        visual, bert = below(weights, "visual."), _without_masks(found, below(weights, "bert."), "bert.")
        vision_state, unknown = vision_weights(visual)
        known = ("visual.", "bert.")
        found.unknown += [f"visual.{name}" for name in unknown]
        found.unknown += [name for name in weights if not name.startswith(known) and name not in ("text_projection", "logit_scale")]
        found.leave([name for name in weights if name == "logit_scale"], "the temperature of Chinese-CLIP's own training")
        try:
            tower, size = vision_tower(visual, wanted.vision_heads)
            text = TextEncoder(text_tower(bert, wanted.text_heads), dim=_dim(visual))
        except ValueError as error:
            raise ValueError(f"{path}: {error}; Chinese-CLIP with a ResNet is not read, take a ViT") from error
        vision = VisionEncoder(tower, ImageSettings(CLIP_MEAN, CLIP_STD, size), dim=_dim(visual))
        if "text_projection" in weights:
            found.take("document.text", text_weights(bert, weights["text_projection"]))
        found.take("document.vision", vision_state)
        tokenizer = _tokenizer(path, wanted, text)
    settings = QCDSettings(dim=text.dim, generation_weight=0.0)
    return _imported(path, found, settings, text, vision, tokenizer, ("frame_integration", "fusion"))


def _imported(
    path: Path, found: Import, settings: QCDSettings, text: TextEncoder, vision: VisionEncoder, tokenizer: Path, new: tuple[str, ...]
) -> Imported:
    # Where these come from, the weights' names say; a training that starts from them names its own folders.
    encoders = Encoders(vision=f"imported from {path.name}", text=f"imported from {path.name}")
    recipe = replace(real(), system=replace(settings, image_size=vision.image_size), encoders=encoders)
    system = QCD(recipe.system, Stream(), text, vision, tokenizer)
    # Where these are not in the file, a clip is the mean of its frames, and words and frames count half each.
    for parameter in (system.document.frame_integration.positional_embedding, *system.document.fusion.parameters()):
        torch.nn.init.zeros_(parameter)
    names = {name: f"document.{name}." for name in ("frame_integration", "fusion")}
    wrong = sorted(set(new) - set(names))
    if wrong:
        raise ValueError(f"--new {' '.join(wrong)}: parts that can be new are {', '.join(names)}")
    fresh = found.into(system, path, tuple(names[name] for name in new))
    parts = tuple(name for name, prefix in names.items() if any(one.startswith(prefix) for one in fresh))
    return Imported(system, recipe, found.left_out, parts)


def _part(found: Import, weights: Mapping[str, Any], group: str, prefix: str) -> dict[str, Tensor]:
    """The group's tensors under `prefix` (after DDP's own), without masks; those elsewhere are unknown."""
    start = f"module.{prefix}"
    found.unknown += [f"{group}: {name}" for name in weights if not name.startswith(start)]
    return _without_masks(found, below(weights, start), f"{group}: {prefix}")


def _without_masks(found: Import, weights: dict[str, Tensor], where: str) -> dict[str, Tensor]:
    made = [name for name in weights if name.endswith(MADE_BY_THE_PROGRAM)]
    found.leave([f"{where}{name}" for name in made], "masks and counters that the program makes itself")
    return {name: value for name, value in weights.items() if name not in made}


def _text(found: Import, weights: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """The text tower's tensors. The group holds them twice, and a whole vision tower that no forward uses."""
    if "module.text_projection" not in weights:
        raise ValueError(f"{path}: doc_text_model lacks module.text_projection")
    tower = _without_masks(found, below(weights, "module.text_model."), "doc_text_model: text_model.")
    twice = {**below(weights, "module.clip_model.bert."), "text_projection": weights.get("module.clip_model.text_projection")}
    used = {**tower, "text_projection": weights["module.text_projection"]}
    apart = [name for name, value in twice.items() if value is not None and name in used and not torch.equal(value, used[name])]
    if apart:
        raise ValueError(f"{path}: doc_text_model holds two different values of {', '.join(apart[:5])}; which one was trained is not known")
    known = ("module.text_model.", "module.clip_model.bert.", "module.clip_model.visual.")
    found.unknown += [
        f"doc_text_model: {name}"
        for name in weights
        if not name.startswith(known) and not name.endswith(("text_projection", "clip_model.logit_scale"))
    ]
    found.leave([name for name in weights if name.startswith("module.clip_model.visual.")], "a second vision tower, which no forward uses")
    found.leave([name for name in weights if name.startswith("module.clip_model.bert.")], "the text tower's second name")
    found.leave([name for name in weights if name == "module.clip_model.text_projection"], "the text tower's second name")
    found.leave([name for name in weights if name == "module.clip_model.logit_scale"], "the temperature of Chinese-CLIP's own training")
    return tower


def _dim(vision: Mapping[str, Tensor]) -> int:
    if "proj" not in vision:
        raise ValueError("the vision tower lacks its projection (proj)")
    return vision["proj"].shape[1]


def _frames(fusion: Mapping[str, Tensor]) -> dict[str, int]:
    positions = fusion.get("video_attention_pooling.positional_embedding")
    return {} if positions is None else {"frames": positions.shape[1]}


def _decoder_sizes(decoder: Mapping[str, Tensor]) -> dict[str, Any]:
    positions = decoder.get("gpt2_model.transformer.wpe.weight")
    if positions is None:
        return {"generation_weight": 0.0}
    layers = {name.split(".")[3] for name in decoder if name.startswith("gpt2_model.transformer.h.")}
    return {"decoder_layers": len(layers), "decoder_width": positions.shape[1], "decoder_positions": len(positions)}


def _tokenizer(path: Path, wanted: Wanted, text: TextEncoder) -> Path:
    if wanted.tokenizer is None:
        raise ValueError(f"{path} holds no vocabulary; name a folder that has it (Chinese-CLIP's or RoBERTa-wwm's) with --tokenizer")
    size = len(transformers.AutoTokenizer.from_pretrained(wanted.tokenizer, local_files_only=True, trust_remote_code=False))
    if size > text.vocabulary_size:
        raise ValueError(f"--tokenizer {wanted.tokenizer} has {size} words, the text tower {text.vocabulary_size}; it belongs to another model")
    return wanted.tokenizer
