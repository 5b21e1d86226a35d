"""Models in transformers' folder format: loaded whole or refused with the reason, described in JSON, rebuilt without the folder."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from launch.files import read_json

WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
PROJECTION = "projection.safetensors"
"""Beside the weights of a single tower: the projection that belongs to it, tensor `weight` [D, C] (pipeline.export writes it)."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
EXAMPLES = {
    "--encoders.vision": "hf download OFA-Sys/chinese-clip-vit-base-patch16 --local-dir",
    "--encoders.text": "hf download hfl/chinese-roberta-wwm-ext --local-dir",
}


@dataclass(frozen=True)
class ImageSettings:
    """How a tower wants its pixels: `(value / 255 - mean) / std` for each channel, square images of `size` pixels.

    `reversed_channels`: blue first, as MobileViT was trained.
    """

    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    size: int = 224
    reversed_channels: bool = False


def load_tower(path: str | Path, *, flag: str, part: str, dropout: float | None = None) -> tuple[transformers.PreTrainedModel, nn.Linear | None]:
    """The `part` ("vision" or "text") of the model in folder `path`, float32, and the projection that belongs to it, if there is one.

    A two-tower model (Chinese-CLIP, CLIP, SigLIP …) gives one of its towers; a single model is taken whole, with the projection that
    projection.safetensors beside its weights holds. A pooler of the classification kind (dense layer on the first token) is removed. Nothing is
    downloaded and no code from the folder is run.

    Args:
        path: folder with config.json and weights (safetensors, or pytorch_model.bin read with weights_only).
        flag: the command-line flag that named the folder, for messages.
        dropout: sets every dropout and drop-path rate of the model; None leaves them as the folder has them.

    Raises:
        ValueError: no such folder, no config or weights in it, weights that do not fit or are missing, a model of the other kind.
    """
    path = Path(path)
    check_folder(path, flag)
    with quiet_transformers():
        try:
            config = transformers.AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
            if dropout is not None:
                set_dropout(config, dropout)
            model, report = _class_for(config).from_pretrained(
                path,
                config=config,
                dtype=torch.float32,
                local_files_only=True,
                trust_remote_code=False,
                weights_only=True,
                output_loading_info=True,
            )
        except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
            raise ValueError(f"{flag} {path}: transformers cannot load it: {error}") from error
    tower, prefix = _take_part(model, part, f"{flag} {path}")
    inner = {"vision": "visual_projection", "text": "text_projection"}[part]
    projection = getattr(model, inner, None) if prefix else _projection_beside(path, f"{flag} {path}")
    if hasattr(getattr(tower, "pooler", None), "dense"):
        tower.pooler = None  # type: ignore[assignment]
    needed = {prefix + name for name in tower.state_dict()}
    if prefix and isinstance(projection, nn.Linear):
        needed.add(f"{'visual' if part == 'vision' else 'text'}_projection.weight")
    missing = sorted(needed & set(report["missing_keys"]))
    if missing:
        shown = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
        raise ValueError(f"{flag} {path}: the weights lack {len(missing)} of the {len(needed)} tensors of its {part} model: {shown}; fetch it again")
    return tower, projection if isinstance(projection, nn.Linear) else None


def image_settings(path: str | Path, config: transformers.PretrainedConfig) -> ImageSettings:
    """What the folder says of its images; ImageNet's mean and std and the config's size (else 224) where it says nothing."""
    settings: dict[str, Any] = {}
    for name, key in (("processor_config.json", "image_processor"), ("preprocessor_config.json", None)):
        if (file := Path(path) / name).is_file():
            found = read_json(file)
            settings = (found.get(key) if key else found) or settings
    size = _square(settings.get("crop_size") if settings.get("do_center_crop", True) else None) or _square(settings.get("size"))
    plain = settings.get("do_normalize") is False
    return ImageSettings(
        mean=(0.0, 0.0, 0.0) if plain else tuple(settings.get("image_mean") or IMAGENET_MEAN),
        std=(1.0, 1.0, 1.0) if plain else tuple(settings.get("image_std") or IMAGENET_STD),
        size=size or _square(getattr(config, "image_size", None)) or 224,
        reversed_channels=bool(settings.get("do_flip_channel_order", False)),
    )


def projection_dim(path: str | Path) -> int:
    """Dimensions of the space that a two-tower model's folder projects into. Raises ValueError where it is no such model."""
    found = read_json(Path(path) / "config.json").get("projection_dim")
    if not isinstance(found, int):
        raise ValueError(f"{path}: config.json names no projection_dim; it is not a two-tower model (CLIP, Chinese-CLIP)")
    return found


def sentence_pooling(path: str | Path) -> str | None:
    """How a sentence-transformers folder pools its tokens, by that library's name ("mean", "cls", …); None where it does not say."""
    file = Path(path) / "1_Pooling" / "config.json"
    if not file.is_file():
        return None
    settings = read_json(file)
    if isinstance(settings.get("pooling_mode"), str):
        return settings["pooling_mode"]
    chosen = [key.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token") for key, on in settings.items() if on is True]
    return "+".join(name for name in chosen if name != "include_prompt") or None


def describe_tower(tower: transformers.PreTrainedModel) -> dict[str, Any]:
    """JSON from which `build_tower` makes the same architecture: class name and configuration, no weights, no paths."""
    config = json.loads(tower.config.to_json_string(use_diff=False))
    for key in ("_name_or_path", "transformers_version", "architectures", "id2label", "label2id"):
        config.pop(key, None)
    return {"architecture": type(tower).__name__, "config": config, "pooler": getattr(tower, "pooler", None) is not None}


def build_tower(description: dict[str, Any]) -> transformers.PreTrainedModel:
    """The tower that `describe_tower` described, float32, with fresh random weights."""
    architecture: Any = getattr(transformers, description["architecture"], None)
    if not (inspect.isclass(architecture) and issubclass(architecture, transformers.PreTrainedModel)):
        raise ValueError(f"transformers {transformers.__version__} has no model {description['architecture']!r}; install a version that has it")
    config_class: Any = architecture.config_class
    config = config_class.from_dict({**description["config"], "dtype": "float32"})
    with quiet_transformers():
        tower = architecture._from_config(config)
    if not description["pooler"] and hasattr(tower, "pooler"):
        tower.pooler = None
    return tower


def set_dropout(config: transformers.PretrainedConfig, rate: float) -> None:
    """Give `rate` to every dropout and drop-path rate of the configuration and of those inside it."""
    for name, value in list(vars(config).items()):
        if isinstance(value, transformers.PretrainedConfig):
            set_dropout(value, rate)
        elif "drop" in name and isinstance(value, float | int) and not isinstance(value, bool):
            setattr(config, name, float(rate))


def check_folder(path: str | Path, flag: str) -> None:
    """Raise ValueError, with what to do, where `path` (given by `flag`) is not a model folder with a config and weights."""
    path = Path(path)
    if not path.is_dir():
        raise ValueError(f"{flag} {path}: no such folder; fetch one first, e.g. {EXAMPLES[flag]} {path}")
    if not (path / "config.json").is_file():
        raise ValueError(f"{flag} {path}: no config.json; it must be a model folder in transformers' format, e.g. {EXAMPLES[flag]} FOLDER")
    if not any((path / name).is_file() for name in WEIGHT_FILES):
        raise ValueError(f"{flag} {path}: config.json is there but no weights ({' or '.join(WEIGHT_FILES[::2])}); fetch the folder again")
    kind = read_json(path / "config.json").get("model_type")
    if kind not in transformers.CONFIG_MAPPING:
        known = f"transformers {transformers.__version__} does not know; install a version that does, or name another folder"
        raise ValueError(f"{flag} {path}: config.json has the model_type {kind!r}, which {known}")


def _class_for(config: transformers.PretrainedConfig) -> Any:
    """AutoModel; where that does not know the configuration (Chinese-CLIP's text tower alone), the class of transformers that the folder names."""
    named: Any = getattr(transformers, (config.architectures or ["none"])[0], None)
    known = inspect.isclass(named) and issubclass(named, transformers.PreTrainedModel) and named.config_class is type(config)
    return named if known and type(config) not in transformers.MODEL_MAPPING else transformers.AutoModel


def _projection_beside(path: Path, where: str) -> nn.Linear | None:
    file = path / PROJECTION
    if not file.is_file():
        return None
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{where}: {PROJECTION} cannot be read: {error}; export it again, or remove it for a new projection") from error
    shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
    if list(shapes) != ["weight"] or len(shapes["weight"]) != 2:
        raise ValueError(f"{where}: {PROJECTION} holds {shapes}, wanted one tensor weight [D, C]; remove it for a new projection")
    dim, width = shapes["weight"]
    projection = nn.Linear(width, dim, bias=False)
    projection.load_state_dict(tensors)
    return projection


def _take_part(model: transformers.PreTrainedModel, part: str, where: str) -> tuple[transformers.PreTrainedModel, str]:
    inner = getattr(model, f"{part}_model", None)
    if isinstance(inner, transformers.PreTrainedModel):
        return inner, f"{part}_model."
    sees = model.main_input_name == "pixel_values"
    if sees != (part == "vision"):
        raise ValueError(f"{where}: {type(model).__name__} is no {part} model; name one that takes {'images' if part == 'vision' else 'words'}")
    if model.config.is_encoder_decoder:
        raise ValueError(f"{where}: {type(model).__name__} has an encoder and a decoder; name a folder with an encoder alone (BERT, MiniLM, ViT …)")
    return model, ""


def _square(size: Any) -> int | None:
    if isinstance(size, dict):
        size = size.get("height") or size.get("shortest_edge")
    elif isinstance(size, list | tuple):
        size = size[0]
    return int(size) if size else None


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without transformers' own reports and bars: what matters of them is raised here by name."""
    verbosity, bars = transformers.utils.logging.get_verbosity(), transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.utils.logging.set_verbosity(verbosity)
        if bars:
            transformers.utils.logging.enable_progress_bar()
