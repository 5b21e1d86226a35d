"""The English variant: any CLIP model by its folder, both towers and its tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from pipeline import caption as caption_module
from pipeline import train as train_module
from pipeline.checkpoint import load_checkpoint
from pipeline.pack import pack
from tests.pipeline.little_corpus import SMALL, write_little_corpus


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of random weights over single characters."""
    folder = tmp_path_factory.mktemp("clip")
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer.from_pretrained(folder).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    text = {**sizes, "vocab_size": len(words), "max_position_embeddings": 24, "bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1}
    CLIPModel(CLIPConfig(text_config=text, vision_config={**sizes, "image_size": 32, "patch_size": 16}, projection_dim=32)).save_pretrained(folder)
    return folder


def test_a_clip_model_trains_and_writes_captions(clip: Path, tmp_path: Path) -> None:
    pack(write_little_corpus(tmp_path / "corpus"), tmp_path / "shards", workers=1, vocab_size=0)
    small = [word if word != "qcd:smoke" else "qcd:english" for word in SMALL]
    flags = ["--encoders.vision", str(clip), "--encoders.text", str(clip), "--system.title_length", "20", "--system.query_length", "10"]

    train_module.main(
        [*small, *flags, "--data", str(tmp_path / "shards"), "--out", str(tmp_path / "run"), "--trainer.max_steps", "30", "--optim.lr", "0.3"]
    )

    losses = [json.loads(line)["loss"] for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    text = load_checkpoint(tmp_path / "run").system.document.text
    assert text.pooling == "own" and tuple(text.projection.weight.shape) == (32, 16)  # CLIP's own projection fits and was taken
    caption_module.main(
        ["--checkpoint", str(tmp_path / "run"), "--shards", str(tmp_path / "shards"), "--out", str(tmp_path / "captions.jsonl"), "--workers", "0"]
    )
    found = [json.loads(line) for line in (tmp_path / "captions.jsonl").read_text().splitlines()]
    assert len(found) == 8 and all("<|" not in one["captions"][0]["text"] for one in found)
