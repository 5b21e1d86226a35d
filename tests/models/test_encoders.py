"""Vision and text encoders over every kind of model folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models.encoders import Encoder, TextEncoder, VisionEncoder, load_text, load_vision
from models.fusion.frame_integration import FrameIntegration
from models.query_decoder import QueryDecoder
from tests.models.folders import random_frames, save, text_model, vision_model

VISION = ["vit", "dinov2", "mobilenet_v2", "resnet", "convnextv2", "swin", "chinese_clip", "clip"]
TEXT = ["bert", "masked_bert", "roberta", "chinese_clip", "clip"]
IDS = torch.tensor([[48, 5, 6, 7, 49], [48, 9, 49, 1, 1]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])


def output_of(encoder: Encoder) -> Tensor:
    return encoder(random_frames(2)) if isinstance(encoder, VisionEncoder) else encoder(IDS, MASK)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for kind in VISION:
        save(vision_model(kind), root / "vision" / kind)
    for kind in TEXT:
        save(text_model(kind), root / "text" / kind)
    return root


def load(folders: Path, name: str, **options: object) -> Encoder:
    if name.startswith("vision/"):
        return load_vision(folders / name, dim=12, image_size=32, **options)  # type: ignore[arg-type]
    return load_text(folders / name, dim=12, **options)  # type: ignore[arg-type]


ALL = [f"vision/{kind}" for kind in VISION] + [f"text/{kind}" for kind in TEXT]


@pytest.mark.parametrize("name", ALL)
def test_every_trainable_parameter_takes_part_and_the_description_rebuilds_the_encoder(folders: Path, name: str) -> None:
    encoder = load(folders, name)

    output = output_of(encoder)
    output.square().sum().backward()

    assert output.shape == (2, 12) and output.dtype == torch.float32
    assert [key for key, parameter in encoder.named_parameters() if parameter.requires_grad and parameter.grad is None] == []
    description = json.loads(json.dumps(encoder.describe()))
    assert str(folders) not in json.dumps(description)
    again = type(encoder).from_description(description)  # type: ignore[attr-defined]
    again.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(output_of(again.eval()), output_of(encoder.eval()), rtol=0, atol=0)
    assert again.describe() == encoder.describe()


@pytest.mark.parametrize("name", ["vision/vit", "vision/mobilenet_v2", "vision/convnextv2", "text/bert", "text/clip"])
def test_frozen_blocks_and_what_comes_before_them_get_no_gradient_and_the_rest_does(folders: Path, name: str) -> None:
    encoder = load(folders, name, frozen_layers=1)
    blocks = {"vit": "layers", "mobilenet_v2": "layer", "convnextv2": "encoder.stages", "bert": "encoder.layer", "clip": "encoder.layers"}
    block = f"tower.{blocks[name.split('/')[1]]}"

    output_of(encoder).square().sum().backward()

    frozen = {key for key, parameter in encoder.named_parameters() if not parameter.requires_grad}
    assert any("embed" in key or "stem" in key for key in frozen) and any(key.startswith(f"{block}.0.") for key in frozen)
    assert not any(key.startswith((f"{block}.1.", "projection")) for key in frozen)
    assert all((parameter.grad is None) == (key in frozen) for key, parameter in encoder.named_parameters())


@pytest.mark.parametrize("name", ALL)
def test_a_wholly_frozen_tower_trains_the_projection_alone_and_keeps_no_graph(folders: Path, name: str) -> None:
    encoder = load(folders, name, frozen_layers="all")

    features = encoder.features(random_frames(2)) if isinstance(encoder, VisionEncoder) else encoder.features(IDS, MASK)  # type: ignore[operator]

    assert not features.requires_grad
    assert [key for key, parameter in encoder.named_parameters() if parameter.requires_grad] == ["projection.weight"]


def test_dropout_is_off_in_the_frozen_part_and_on_after_it(folders: Path) -> None:
    encoder = load(folders, "text/bert", frozen_layers=1, dropout=0.5)
    assert isinstance(encoder, TextEncoder)
    layers = encoder.tower.encoder.layer

    encoder.train()

    assert not any(module.training for module in layers[0].modules()) and all(module.training for module in layers[1].modules())
    assert {module.p for module in encoder.tower.modules() if isinstance(module, nn.Dropout)} == {0.5}
    assert not torch.equal(output_of(encoder), output_of(encoder))
    everything = load(folders, "text/bert", frozen_layers=2, dropout=0.5)
    assert torch.equal(output_of(everything), output_of(everything))


def test_more_frozen_layers_than_there_are_is_refused(folders: Path) -> None:
    with pytest.raises(ValueError, match="frozen_layers 3: ViTModel has 2 blocks"):
        load(folders, "vision/vit", frozen_layers=3)


@pytest.mark.parametrize("name", ["vision/clip", "vision/chinese_clip", "text/clip", "text/chinese_clip"])
def test_a_two_tower_model_gives_its_tower_and_its_projection_where_that_fits(folders: Path, name: str) -> None:
    side, kind = name.split("/")
    model = (vision_model if side == "vision" else text_model)(kind).eval()
    encoder = load(folders, name).eval()
    other = (load_vision if side == "vision" else load_text)(folders / name, dim=7)

    with torch.no_grad():
        if isinstance(encoder, VisionEncoder):
            mean, std = (torch.tensor(values).view(3, 1, 1) for values in (encoder.image_mean, encoder.image_std))
            expected = model.get_image_features((random_frames(2) / 255 - mean) / std).pooler_output
        else:
            expected = model.get_text_features(IDS, attention_mask=MASK).pooler_output

        torch.testing.assert_close(output_of(encoder), expected)
    assert output_of(other).shape == (2, 7)


def test_a_vit_gives_its_first_token_and_not_the_classifiers_pooler(folders: Path) -> None:
    model = vision_model("vit").eval()
    encoder = load(folders, "vision/vit").eval()
    assert isinstance(encoder, VisionEncoder)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    with torch.no_grad():
        expected = model.vit((random_frames(2) / 255 - mean) / std).last_hidden_state[:, 0]

        torch.testing.assert_close(encoder.features(random_frames(2)), expected, rtol=1e-4, atol=1e-5)


def test_pixel_statistics_and_size_are_the_folders_unless_given(tmp_path: Path) -> None:
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
    plain = save(vision_model("convnextv2"), tmp_path / "plain")
    cropped = save(vision_model("convnextv2"), tmp_path / "cropped", image_mean=mean, image_std=std, size={"shortest_edge": 48}, crop_size=40)
    processor = save(vision_model("convnextv2"), tmp_path / "processor")
    (processor / "processor_config.json").write_text(json.dumps({"image_processor": {"image_mean": mean, "image_std": std, "size": {"height": 36}}}))

    found = {folder.name: load_vision(folder, dim=4) for folder in (plain, cropped, processor)}
    given = load_vision(cropped, dim=4, image_size=64, image_mean=(0.0, 0.0, 0.0), image_std=(1.0, 1.0, 1.0))

    assert (found["plain"].image_mean, found["plain"].image_size) == ((0.485, 0.456, 0.406), 224)
    assert (found["cropped"].image_mean, found["cropped"].image_std, found["cropped"].image_size) == (tuple(mean), tuple(std), 40)
    assert (found["processor"].image_mean, found["processor"].image_size) == (tuple(mean), 36)
    assert (given.image_mean, given.image_std, given.image_size) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 64)


def test_a_blue_first_model_sees_reversed_channels_and_an_unnormalised_one_plain_values(tmp_path: Path) -> None:
    straight = load_vision(save(vision_model("convnextv2"), tmp_path / "rgb", do_normalize=False, image_mean=[9, 9, 9]), dim=4, image_size=32)
    reversed_ = load_vision(save(vision_model("convnextv2"), tmp_path / "bgr", do_normalize=False, do_flip_channel_order=True), dim=4, image_size=32)
    frames = random_frames(2)

    with torch.no_grad():
        expected = vision_model("convnextv2")(frames / 255).pooler_output

        torch.testing.assert_close(straight.features(frames), expected)
        torch.testing.assert_close(reversed_.features(frames.flip(1)), expected)


@pytest.mark.parametrize("kind", ["vit", "chinese_clip", "dinov2"])
def test_another_image_size_interpolates_the_position_table(folders: Path, kind: str) -> None:
    encoder = load_vision(folders / "vision" / kind, dim=12, image_size=64)

    output = encoder(random_frames(2, 64))
    output.sum().backward()

    assert output.isfinite().all() and encoder.image_size == 64


def test_channels_last_gives_the_same_numbers(folders: Path) -> None:
    encoder = load(folders, "vision/mobilenet_v2").eval()
    assert isinstance(encoder, VisionEncoder)

    before = output_of(encoder)
    after = output_of(encoder.use_channels_last())

    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-6)
    assert encoder.tower.conv_1x1.convolution.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", ["vision/vit", "text/bert"])
def test_checkpointed_gradients_are_the_same_gradients(folders: Path, name: str) -> None:
    plain, checkpointed = load(folders, name, frozen_layers=1, dropout=0.0), load(folders, name, frozen_layers=1, dropout=0.0)
    checkpointed.load_state_dict(plain.state_dict())

    supported = checkpointed.checkpoint_gradients()
    for encoder in (plain, checkpointed):
        output_of(encoder).square().sum().backward()

    assert supported and not load(folders, "vision/mobilenet_v2").checkpoint_gradients()
    gradients = [[parameter.grad for parameter in encoder.parameters() if parameter.requires_grad] for encoder in (plain, checkpointed)]
    torch.testing.assert_close(gradients[1], gradients[0])


def test_first_and_mean_pooling_are_those_worked_by_hand_and_a_text_without_tokens_stays_finite(folders: Path) -> None:
    bert = text_model("bert").eval()
    first, mean = (load_text(folders / "text" / "bert", dim=12, pooling=pooling).eval() for pooling in ("first", "mean"))
    empty = torch.cat([MASK[:1], torch.zeros_like(MASK[:1])])

    with torch.no_grad():
        hidden = bert(IDS, attention_mask=MASK).last_hidden_state
        by_hand = torch.stack([hidden[0].mean(0), hidden[1, :3].mean(0)])

        torch.testing.assert_close(first.features(IDS, MASK), hidden[:, 0])
        torch.testing.assert_close(mean.features(IDS, MASK), by_hand)
    for encoder in (first, mean):
        output = encoder(IDS, empty)
        output.sum().backward()
        assert output.isfinite().all() and all(parameter.grad.isfinite().all() for parameter in encoder.parameters() if parameter.grad is not None)


def test_texts_longer_than_the_position_table_are_named(folders: Path) -> None:
    ids = torch.full((1, 19), 5)

    assert load(folders, "text/bert")(ids, torch.ones_like(ids)).shape == (1, 12)
    with pytest.raises(ValueError, match="texts of 19 tokens, but RobertaModel has positions for 18"):
        load(folders, "text/roberta")(ids, torch.ones_like(ids))


@pytest.mark.parametrize("kind", ["chinese_clip", "clip", "vit", "dinov2"])
def test_vision_attention_is_torchs_fused_one(kind: str, tmp_path: Path) -> None:
    encoder = load_vision(save(vision_model(kind), tmp_path), dim=12)

    assert encoder.tower.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("kind", ["chinese_clip", "clip", "bert", "roberta"])
def test_text_attention_is_torchs_fused_one(kind: str, tmp_path: Path) -> None:
    encoder = load_text(save(text_model(kind), tmp_path), dim=12)

    assert encoder.tower.config._attn_implementation == "sdpa"


def test_decoder_and_frame_attention_are_torchs_fused_one(monkeypatch: pytest.MonkeyPatch) -> None:
    fused, calls = torch.nn.functional.scaled_dot_product_attention, []

    def counted(*arguments, **options):
        calls.append(arguments[0].shape)
        return fused(*arguments, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)

    QueryDecoder(9, condition_dim=16, width=16, layers=2, heads=2, max_tokens=4)(torch.zeros(1, 3, dtype=torch.long), torch.zeros(1, 16))
    assert len(calls) == 4  # two layers, among tokens and to the condition
    FrameIntegration(16, frames=3, heads=2)(torch.zeros(2, 3, 16))
    assert len(calls) == 5
