"""Published weights through the import command: parity numbers, every kind of misfit, Chinese-CLIP in both its forms, the full size."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import BertTokenizer, ChineseCLIPConfig, ChineseCLIPModel

from launch.files import read_json
from pipeline.checkpoint import load_checkpoint
from pipeline.import_checkpoint import main
from pipeline.recipes.qcd.system import QCD
from tests.qcd_reference import Reference


@pytest.fixture(scope="module")
def reference(test_data: Path) -> Reference:
    return Reference(test_data)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"), 120)


def write_tokenizer(folder: Path, size: int) -> Path:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{number}" for number in range(size - 5))]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def released(reference: Reference, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint file as the release's program saves it."""
    path = tmp_path_factory.mktemp("released") / "checkpoint.pth.tar"
    torch.save({"epoch": 10, "global_step": 7, **reference.checkpoint(), "args": argparse.Namespace(lr=0.01)}, path)
    return path


@pytest.fixture(scope="module")
def imported(released: Path, tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> QCD:
    run = tmp_path_factory.mktemp("imported") / "run"
    main(["--from", "real20m", str(released), "--tokenizer", str(tokenizer), "--text_heads", "4", "--out", str(run)])
    system = load_checkpoint(run).system
    assert isinstance(system, QCD)
    return system


@torch.no_grad()
def vectors(system: QCD, reference: Reference, pixels: Tensor, frames: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Frame vectors, and title, integrated frames, fusion; pixels are the vectors' own, normalised already."""
    document, ids = system.document, reference["title_ids"]
    embedded = document.vision.projection(document.vision.tower(pixel_values=pixels).pooler_output)
    title = F.normalize(document.text(ids, torch.ones_like(ids)), dim=-1)
    vision = F.normalize(document.frame_integration(embedded.view(6, frames, -1)), dim=-1)
    return embedded, title, vision, document.fusion(title, vision)


@torch.no_grad()
def test_text_embeddings_are_the_releases_padding_and_all(imported: QCD, reference: Reference) -> None:
    ids, padded, queries = reference["title_ids"], reference["title_ids_padded"], reference["query_ids"]

    reference.assert_same(imported.document.text(ids, torch.ones_like(ids)), "title_emb")
    reference.assert_same(imported.document.text(padded, (padded != 0).long()), "title_emb_padded_unmasked")
    reference.assert_same(imported.document.text(queries, torch.ones_like(queries)), "query_emb")


def test_frame_image_and_fusion_embeddings_are_the_releases(imported: QCD, reference: Reference) -> None:
    clips = vectors(imported, reference, reference.normal("qcd.video", 30, 3, 32, 32), 5)
    goods = vectors(imported, reference, reference.normal("qcd.image", 6, 3, 32, 32), 1)

    for ours, name in zip(clips, ("frame_emb", "text_video", "vision_video", "fusion_video")):
        reference.assert_same(ours, name)
    for ours, name in zip((goods[0], *goods[2:]), ("image_emb", "vision_goods", "fusion_goods")):
        reference.assert_same(ours, name)


@torch.no_grad()
def test_generation_logits_and_every_loss_are_the_releases(imported: QCD, reference: Reference) -> None:
    _, title, vision, fusion = vectors(imported, reference, reference.normal("qcd.video", 30, 3, 32, 32), 5)
    ids = reference["query_ids"]
    query = imported.document.text(ids, torch.ones_like(ids))
    logits = imported.decoder(ids, vision)
    everyone = torch.ones(6, dtype=torch.bool)
    mask = torch.ones_like(ids).bool() | imported.settings.count_padding
    sums, counts = imported.reconstruction(logits, ids, mask)

    terms = imported.losses(
        {"query": query, "title": title, "vision": vision, "fusion": fusion, "generation": sums, "generated": counts},
        # All six share a query: the released loss takes them for negatives of each other all the same.
        {"query": torch.zeros(6).long(), "document_queries": torch.zeros(6, 2).long(), "has_words": everyone, "has_vision": everyone},
    )

    reference.assert_same(logits[..., :16], "gen_logits")
    for ours, name in (("fusion", "fusion"), ("title", "title"), ("vision", "vision"), ("distance", "norm"), ("generation", "generation")):
        reference.assert_same(terms[ours], f"loss_{name}")
    reference.assert_same(sum((term for name, term in terms.items() if name not in imported.watched), torch.zeros(())), "loss_total")
    assert imported.watched == {"image_text"} and terms["image_text"] > 0  # computed and not added


def test_what_is_left_out_is_listed_with_its_reason(released: Path, tokenizer: Path, tmp_path: Path) -> None:
    main(["--from", "real20m", str(released), "--tokenizer", str(tokenizer), "--text_heads", "4", "--out", str(tmp_path)])

    listed = read_json(tmp_path / "import.json")
    assert listed["left_out"]["module.clip_model.visual.conv1.weight"] == "a second vision tower, which no forward uses"
    assert listed["new"] == [] and listed["source"] == "checkpoint.pth.tar"


def refused(file: dict[str, Any], tokenizer: Path, tmp_path: Path, *flags: str) -> str:
    torch.save(file, tmp_path / "file.pth.tar")
    with pytest.raises(ValueError) as caught:
        main(
            ["--from", "real20m", str(tmp_path / "file.pth.tar"), "--tokenizer", str(tokenizer), "--text_heads", "4", "--out", str(tmp_path / "run")]
            + list(flags)
        )
    assert not (tmp_path / "run").exists()
    return str(caught.value)


def test_missing_unknown_and_misshapen_tensors_are_listed_together_and_nothing_is_written(reference, tokenizer, tmp_path) -> None:
    file = reference.checkpoint()
    file["state_dict"]["module.visual_model.ln_5.weight"] = torch.ones(64)
    file["doc_text_model"]["module.text_model.pooler.weight"] = torch.ones(64)
    del file["doc_fusion_model"]["module.attention_pooling.projection.bias"]
    file["text_generation_model"]["module.gpt2_model.transformer.ln_f.bias"] = torch.ones(3)

    message = refused(file, tokenizer, tmp_path)

    assert "missing: document.fusion.projection.bias;" in message
    assert "state_dict: visual_model.ln_5.weight" in message and "document.text.tower.pooler.weight" in message
    assert "misshapen: decoder.gpt2_model.transformer.ln_f.bias is [3], wanted [512]; nothing was imported" in message


def test_two_different_values_of_one_tensor_are_refused(reference, tokenizer, tmp_path) -> None:
    file = reference.checkpoint()
    file["doc_text_model"]["module.clip_model.text_projection"] = torch.zeros(64, 512)

    assert "two different values of text_projection" in refused(file, tokenizer, tmp_path)


def test_a_file_without_fusion_is_taken_where_new_parts_are_allowed(reference, tokenizer, tmp_path) -> None:
    file = {name: group for name, group in reference.checkpoint().items() if name in ("state_dict", "doc_text_model")}
    assert "missing: document.frame_integration" in refused(file, tokenizer, tmp_path)

    flags = ["--text_heads", "4", "--new", "fusion", "frame_integration"]
    main(["--from", "real20m", str(tmp_path / "file.pth.tar"), "--tokenizer", str(tokenizer), "--out", str(tmp_path / "taken"), *flags])

    system = load_checkpoint(tmp_path / "taken").system
    assert system.decoder is None and not system.document.fusion.projection.weight.any()
    assert read_json(tmp_path / "taken/import.json")["new"] == ["frame_integration", "fusion"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no torch file", "not read as a torch checkpoint without running code"),
        (None, "no such file"),
        ([1, 2], "holds a list"),
        ({"model": {}}, "no group state_dict and doc_text_model"),
    ],
)
def test_files_of_another_kind_are_refused_by_name(content: Any, message: str, tokenizer: Path, tmp_path: Path) -> None:
    path = tmp_path / "file.pth.tar"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)

    with pytest.raises(ValueError, match=message):
        main(["--from", "real20m", str(path), "--tokenizer", str(tokenizer), "--out", str(tmp_path / "run")])


def test_a_tokenizer_of_another_model_and_a_missing_one_are_refused(released: Path, tmp_path: Path) -> None:
    (tmp_path / "large").mkdir()
    flags = ["--from", "real20m", str(released), "--text_heads", "4", "--out", str(tmp_path / "run")]

    with pytest.raises(ValueError, match="has 130 words, the text tower 120"):
        main([*flags, "--tokenizer", str(write_tokenizer(tmp_path / "large", 130))])
    with pytest.raises(ValueError, match="holds no vocabulary"):
        main(flags)


def chinese_clip(folder: Path) -> ChineseCLIPModel:
    torch.manual_seed(0)
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 1, "intermediate_size": 128}
    words = {**sizes, "hidden_size": 64, "vocab_size": 120, "max_position_embeddings": 64}
    vision = {**sizes, "hidden_size": 64, "image_size": 32, "patch_size": 16, "hidden_act": "quick_gelu"}
    config = ChineseCLIPConfig(text_config=words, vision_config=vision, projection_dim=16)
    model = ChineseCLIPModel(config).eval()
    model.save_pretrained(folder)
    write_tokenizer(folder, 120)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711], "size": 32})
    )
    return model


def as_cn_clip(model: ChineseCLIPModel) -> dict[str, Any]:
    """The model's tensors as cn_clip names them, under DDP's prefix."""
    state = model.state_dict()
    names = {f"bert.{name.removeprefix('text_model.')}": value for name, value in state.items() if name.startswith("text_model.")}
    names = {name: value for name, value in names.items() if "pooler" not in name and "position_ids" not in name}
    names |= {"text_projection": state["text_projection.weight"].T, "logit_scale": state["logit_scale"]}
    names["visual.proj"] = state["visual_projection.weight"].T
    vision = {name.removeprefix("vision_model."): value for name, value in state.items() if name.startswith("vision_model.")}
    plain = {
        "embeddings.class_embedding": "class_embedding",
        "embeddings.position_embedding.weight": "positional_embedding",
        "embeddings.patch_embedding.weight": "conv1.weight",
        "pre_layrnorm": "ln_pre",
        "post_layernorm": "ln_post",
    }
    for name, value in vision.items():
        for ours, theirs in plain.items():
            if name.startswith(ours):
                names[f"visual.{theirs}{name.removeprefix(ours)}"] = value
    parts = {"self_attn.out_proj": "attn.out_proj", "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    for layer in range(2):
        for kind in ("weight", "bias"):
            start, block = f"encoder.layers.{layer}", f"visual.transformer.resblocks.{layer}"
            names[f"{block}.attn.in_proj_{kind}"] = torch.cat([vision[f"{start}.self_attn.{letter}_proj.{kind}"] for letter in "qkv"])
            names |= {f"{block}.{theirs}.{kind}": vision[f"{start}.{ours}.{kind}"] for ours, theirs in parts.items()}
    return {"epoch": 15, "step": 9, "name": "run", "state_dict": {f"module.{name}": value for name, value in names.items()}}


@torch.no_grad()
def test_chinese_clip_gives_its_own_numbers_from_its_folder_and_from_cn_clips_file(tmp_path: Path) -> None:
    model = chinese_clip(tmp_path / "folder")
    torch.save(as_cn_clip(model), tmp_path / "clip.pt")
    frames = torch.randint(256, (4, 1, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    ids = torch.tensor([[2, 9, 30, 3], [2, 7, 3, 0], [2, 8, 8, 3], [2, 3, 0, 0]])
    batch = {"frames": frames, "title_ids": ids, "title_mask": (ids != 0).long()} | {
        name: torch.ones(4, dtype=torch.bool) for name in ("has_vision", "has_words")
    }

    main(["--from", "chinese-clip", str(tmp_path / "folder"), "--out", str(tmp_path / "one")])
    main(["--from", "chinese-clip", str(tmp_path / "clip.pt"), "--tokenizer", str(tmp_path / "folder"), "--out", str(tmp_path / "two")])
    one, two = (load_checkpoint(tmp_path / name).system for name in ("one", "two"))

    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)))
    image = F.normalize(model.visual_projection(model.vision_model(pixel_values=(frames[:, 0] / 255 - mean) / std).pooler_output), dim=-1)
    hidden = model.text_model(input_ids=ids, attention_mask=batch["title_mask"]).last_hidden_state[:, 0]
    words = F.normalize(model.text_projection(hidden), dim=-1)
    for system in (one, two):
        torch.testing.assert_close(system.embed(batch, "goods"), F.normalize(image + words, dim=-1), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(system.embed(batch, "query"), words, rtol=1e-4, atol=1e-5)


def test_a_resnet_of_chinese_clip_is_refused_with_a_reason(tmp_path: Path) -> None:
    torch.save({"state_dict": {"module.visual.layer1.0.conv1.weight": torch.zeros(2, 2)}}, tmp_path / "rn50.pt")

    with pytest.raises(ValueError, match=r"conv1.weight, positional_embedding missing.*take a ViT"):
        main(["--from", "chinese-clip", str(tmp_path / "rn50.pt"), "--tokenizer", str(tmp_path), "--out", str(tmp_path / "run")])


def test_the_published_size_is_imported_and_embeds_a_batch(reference: Reference, tmp_path: Path) -> None:
    """ViT-B/16, RoBERTa-wwm-base of 12 layers, a GPT-2 of 4: the key list at full size, random weights."""
    torch.save(reference.full_size(), tmp_path / "checkpoint.pth.tar")
    (tmp_path / "words").mkdir()
    tokenizer = write_tokenizer(tmp_path / "words", 21128)

    main(["--from", "real20m", str(tmp_path / "checkpoint.pth.tar"), "--tokenizer", str(tokenizer), "--out", str(tmp_path / "run")])
    loaded = load_checkpoint(tmp_path / "run")
    rows = [
        {"domain": "video", "frames": frames, "words": words, "query": None, "queries": []}
        for frames, words in ((torch.zeros(5, 3, 224, 224, dtype=torch.uint8).numpy(), "w1 w2"), (None, "w3"))
    ]
    batch = loaded.system.preparation(training=False).collate(rows)
    with torch.inference_mode():
        found = loaded.system.embed(batch, "video")

    assert batch["title_ids"].shape == (2, 90)  # padding is attended, so it is always as long as in the release
    assert found.shape == (2, 512) and torch.allclose(found.norm(dim=1), torch.ones(2), atol=1e-5)
    assert len(loaded.system.document.vision.tower.encoder.layers) == len(loaded.system.document.text.tower.encoder.layer) == 12
    assert loaded.system.settings.frames == 5 and loaded.system.document.vision.image_size == 224
