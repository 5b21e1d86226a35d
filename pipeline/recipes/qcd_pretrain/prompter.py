"""Frozen towers that say how much a clip looks like each entity: the soft targets of entity prompts.

Legend: B documents, T frames, S pixels a side, K entities of a level, D dimensions of the prompter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn.functional import normalize

from models.document_encoder import DocumentEncoder
from models.encoders import TextEncoder, VisionEncoder, load_text, load_vision
from models.encoders.model_folder import check_folder, projection_dim
from models.fusion.frame_integration import FrameIntegration
from pipeline.checkpoint import find_checkpoint, load_checkpoint
from pipeline.entities import Entities
from pipeline.recipes.qcd_pretrain.settings import PretrainSettings

PROMPTS_AT_ONCE = 256


class Prompter(nn.Module):
    """Soft scores of frames against the prompts of every level.

        scores_l = softmax_k( cos(frames, prompt_lk) / temperature ),   prompt_lk = text tower("LEVEL WORD ENTITY")

    Nothing here is trained, and all of it is in eval mode always. The prompts' vectors are computed once and kept as buffers, the text tower
    is not kept; a checkpoint holds the rest.

    Source: entity prompts of ALPRO (Li et al. 2022, section 3.3), in three levels by QCD's figure, where the frozen towers' similarities are
    the targets. Words in place of the figure's level tokens are ours: a new token would mean nothing to a frozen tower.

    Args:
        vision: encodes frames; all of it is frozen here.
        entities: the names of every level.
        prompts: [K, D] of each level, of length 1.
        temperature: divides cosines; unitless, > 0.
    """

    def __init__(
        self, vision: VisionEncoder, frame_integration: FrameIntegration, entities: Entities, prompts: list[Tensor], temperature: float
    ) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"--system.entity_temperature {temperature}: it divides similarities and must be above 0")
        self.vision, self.frame_integration = vision, frame_integration
        self.entities, self.temperature = entities, temperature
        for level, vectors in enumerate(prompts, start=1):
            self.register_buffer(f"prompts_{level}", vectors)
        self.requires_grad_(False)
        self.eval()

    @property
    def prompts(self) -> list[Tensor]:
        """The prompts' vectors [K, D] of every level."""
        return [getattr(self, f"prompts_{level}") for level in range(1, len(self.entities) + 1)]

    def train(self, mode: bool = True) -> Prompter:
        """Eval mode, whatever `mode` says."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, frames: Tensor) -> list[Tensor]:
        """frames uint8 [B, T or 1, 3, S, S] -> float32 [B, K] of every level, rows that sum to 1."""
        vectors = self.frame_integration(self.vision(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]))
        with torch.autocast(frames.device.type, enabled=False):
            vectors = normalize(vectors.float(), dim=-1)
            return [(vectors @ prompts.float().T / self.temperature).softmax(dim=1) for prompts in self.prompts]

    def describe(self) -> dict[str, Any]:
        """JSON from which `from_description` makes this prompter; its weights and prompts come from a checkpoint."""
        _, frames, dim = self.frame_integration.positional_embedding.shape
        heads = self.frame_integration.resblocks[0].attn.num_heads  # type: ignore[union-attr]
        return {"vision": self.vision.describe(), "frames": frames, "dim": dim, "heads": heads, "entities": self.entities}

    @classmethod
    def from_description(cls, description: dict[str, Any], temperature: float) -> Prompter:
        """The described prompter with random weights and empty prompts, to be loaded over."""
        dim, entities = description["dim"], description["entities"]
        integration = FrameIntegration(dim, description["frames"], heads=description["heads"])
        prompts = [torch.zeros(len(names), dim) for names in entities]
        return cls(VisionEncoder.from_description(description["vision"]), integration, entities, prompts, temperature)


def check_prompter(path: str) -> None:
    """Raise ValueError where --system.prompter names nothing that can score prompts."""
    if not Path(path).is_dir():
        raise ValueError(
            f"--system.prompter {path}: no such folder; give a run (train.sh --out), a checkpoint or a two-tower model's folder, or leave it out"
        )
    if _is_model(Path(path)):
        check_folder(path, "--system.prompter")
        projection_dim(path)
    else:
        find_checkpoint(path, "--system.prompter")


def load_prompter(settings: PretrainSettings, image_size: int, entities: Entities) -> Prompter:
    """The prompter that `settings.prompter` names: a run's best checkpoint, a checkpoint, or a two-tower model of transformers.

    Of a model, which knows no clips, a clip is the mean of its frames.

    Args:
        image_size: S of the batches; the prompter's must be the same.

    Raises:
        ValueError: no such folder, no towers in it, or towers for other frames.
    """
    path = Path(settings.prompter)
    check_prompter(settings.prompter)
    if _is_model(path):
        dim, tokenizer = projection_dim(path), path
        text, vision = load_text(path, dim=dim), load_vision(path, dim=dim, image_size=image_size)
        integration = FrameIntegration(dim, settings.frames, heads=1)
    else:
        loaded = load_checkpoint(path)
        document, tokenizer = getattr(loaded.system, "document", None), loaded.folder / "tokenizer"
        if not isinstance(document, DocumentEncoder):
            raise ValueError(
                f"--system.prompter {path}: a {loaded.recipe.name} has no towers for words and frames; give a run of qcd or qcd_pretrain"
            )
        text, vision, integration = document.text, document.vision, document.frame_integration
    for flag, own, wanted in (
        ("frames", integration.positional_embedding.shape[1], settings.frames),
        ("image_size", vision.image_size, image_size),
    ):
        if own != wanted:
            raise ValueError(f"--system.prompter {path} was made for {flag} {own}, but --system.{flag} is {wanted}; train one of the two anew")
    frozen = VisionEncoder.from_description({**vision.describe(), "frozen_layers": "all", "batch_norm": "frozen"})
    frozen.load_state_dict(vision.state_dict())
    prompts = [_encoded(text, tokenizer, [f"{word} {name}" for name in names]) for word, names in zip(settings.level_words, entities)]
    return Prompter(frozen, integration, entities, prompts, settings.entity_temperature)


def _is_model(path: Path) -> bool:
    return (path / "config.json").is_file()


@torch.no_grad()
def _encoded(text: TextEncoder, tokenizer_folder: Path, prompts: list[str]) -> Tensor:
    """[K, D] of length 1."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(tokenizer_folder, local_files_only=True, trust_remote_code=False)
    found = []
    for first in range(0, len(prompts), PROMPTS_AT_ONCE):
        piece = prompts[first : first + PROMPTS_AT_ONCE]
        encoded = tokenizer(piece, padding=True, truncation=True, max_length=text.max_tokens or 512, return_tensors="pt")
        found.append(normalize(text.eval()(encoded["input_ids"], encoded["attention_mask"]), dim=-1))
    return torch.cat(found)
