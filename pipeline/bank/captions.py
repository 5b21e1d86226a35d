"""What an image-to-text model says of a clip's frames, a file of texts for each shard.

    BANK/captions/<split>/video-000000.jsonl    {"made_of": checksum}, then {"id", "captions": [text, ...]} a line, with a "reason" where frames
                                                cannot be read

Legend: B clips, S pixels a side.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn

from launch import distributed
from launch.files import whole_file
from launch.logs import progress
from models.encoders.model_folder import image_settings, quiet_transformers
from pipeline.bad_items import USUAL, BadItemCount, BadItems
from pipeline.bank.settings import BankSettings
from pipeline.embed import ShardDealer
from pipeline.featuring.preparation import FeaturePreparation
from pipeline.featuring.settings import NO_MODEL, FeatureSettings
from pipeline.precision import autocast
from pipeline.shards import ShardSet
from pipeline.shards.verification import verify
from pipeline.stream import EvaluationBatch, evaluation_batches
from pipeline.system import Batch


class Captioner(nn.Module):
    """Texts of pictures, greedy, by a model in transformers' folder format that writes without being asked (BLIP, GIT, a vision encoder with a
    decoder).

    Args:
        path: the folder. Nothing is downloaded and no code from it is run.
        length: tokens of a text at most.

    Raises:
        ValueError: no such folder, or no model of that kind in it.
    """

    def __init__(self, path: str, length: int) -> None:
        super().__init__()
        if not Path(path).is_dir():
            fetch = f"hf download Salesforce/blip-image-captioning-base --local-dir {path}"
            raise ValueError(f"--captions {path}: no such folder; fetch one first, e.g. {fetch}, or go without with --captions none")
        with quiet_transformers():
            try:
                model: Any = transformers.AutoModelForImageTextToText.from_pretrained(
                    path, local_files_only=True, trust_remote_code=False, dtype=torch.float32
                )
                self._tokenizer = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
            except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
                raise ValueError(f"--captions {path}: transformers finds no model there that writes texts of images: {error}") from error
        self.model = model
        config = model.config
        inner = getattr(config, "vision_config", None) or getattr(config, "encoder", None) or config
        self._images, self._length = image_settings(path, inner), length

    @property
    def image_size(self) -> int:
        """S."""
        return self._images.size

    @torch.inference_mode()
    def captions(self, frames: Tensor) -> list[str]:
        """A text for each of frames [B, 3, S, S] uint8, RGB; "" where the model says nothing."""
        mean, std = (torch.tensor(values, device=frames.device).view(1, 3, 1, 1) for values in (self._images.mean, self._images.std))
        pixels = (frames.float() / 255 - mean) / std
        written = self.model.generate(pixel_values=pixels, max_new_tokens=self._length, num_beams=1, do_sample=False)
        return [text.strip() for text in self._tokenizer.batch_decode(written, skip_special_tokens=True)]


def caption_frames(
    captioner: Captioner,
    shards: ShardSet,
    domain: str,
    out: Path,
    settings: BankSettings,
    made_of: str,
    *,
    device: torch.device,
    precision: str,
    batch_size: int,
    workers: int,
    bad_items: BadItems = USUAL,
) -> None:
    """Write the captions of all items of `domain` below `out`, a shard at a time; all ranks of a job call it together. What is there of the same
    `made_of` stays."""
    numbers = shards.of_domain(domain)
    files = {number: out / f"{shards.shards[number].name}.jsonl" for number in numbers}
    take = ShardDealer(f"{out.resolve()}:{made_of}", numbers, lambda number: _made_of(files[number]) == made_of)
    if bad_items.verify:
        verify(shards, numbers, made_of)
    bad = BadItemCount(bad_items, f"{out.resolve()}:{made_of}", len(shards), where=str(shards.folder), listed=str(out))
    seen = FeatureSettings(vision=settings.captions, text=NO_MODEL, frames=settings.frames)
    pieces = evaluation_batches(shards, take, FeaturePreparation(seen, captioner.image_size), batch_size=batch_size, workers=workers)
    with progress(total=shards.counts.get(domain, 0) // distributed.world_size(), what=f"captions {shards.split}", unit="item") as bar:
        for number, own in groupby(pieces, key=attrgetter("shard")):
            with whole_file(files[number]) as file:
                file.write(json.dumps({"made_of": made_of}) + "\n")
                for piece in own:
                    if piece.failures:
                        bad.add(len(piece.failures), piece.failures[0][1])
                    with autocast(precision, device):
                        for line in _lines(captioner, piece, device):
                            file.write(json.dumps(line, ensure_ascii=False) + "\n")
                    bar.update(piece.last - piece.first)
    distributed.barrier()


def _lines(captioner: Captioner, piece: EvaluationBatch, device: torch.device) -> Iterator[dict[str, Any]]:
    texts = _texts(captioner, {name: value.to(device) for name, value in (piece.batch or {}).items()}, len(piece.ids))
    yield from ({"id": id, "captions": own} for id, own in zip(piece.ids, texts, strict=True))
    yield from ({"id": id, "captions": [], "reason": reason} for id, reason in piece.failures)


def _texts(captioner: Captioner, batch: Batch, items: int) -> list[list[str]]:
    """The different captions of each item's frames, in the order of the frames."""
    if "frames" not in batch:
        return [[] for _ in range(items)]
    counts = batch["pictures"]
    taken = torch.arange(batch["frames"].shape[1], device=counts.device) < counts[:, None]
    written = captioner.captions(batch["frames"][taken])
    ends = np.cumsum(counts.tolist())
    return [list(dict.fromkeys(text for text in written[end - count : end] if text)) for end, count in zip(ends, counts.tolist())]


def read_captions(file: Path) -> dict[str, list[str]]:
    """id -> captions of one shard's file."""
    lines = (json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()[1:])
    return {line["id"]: line["captions"] for line in lines}


def _made_of(file: Path) -> str | None:
    if not file.is_file():
        return None
    with open(file, encoding="utf-8") as lines:
        return json.loads(next(lines))["made_of"]
