"""The memory bank: which clips may be neighbours of which, whatever the corpus is, and what they are looked up by."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from transformers import BertConfig, BlipConfig, BlipForConditionalGeneration, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig

from evaluate.dump import Dump
from evaluate.embeddings import finish_dump
from pipeline.bank.captions import Captioner, read_captions
from pipeline.bank.lists import NEIGHBOUR, NeighbourLists
from pipeline.bank.search import nearest
from pipeline.bank.settings import BankSettings
from pipeline.neighbours import main
from pipeline.pack import pack
from pipeline.shards import Sample, ShardSet
from tests.models.folders import WORDS
from tests.pipeline.corpora import picture, write_catalog
from tests.pipeline.little_features import samples, write_models
from tests.pipeline.little_pairs import npy

TOKENS = {"vocab_size": 200, "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}


def test_the_nearest_are_those_of_a_plain_loop_and_never_oneself() -> None:
    rng = np.random.default_rng(0)
    bank = rng.standard_normal((40, 5)).astype(np.float32)
    bank[7] = bank[3]  # the same vector under another id may be found
    ids = np.array([f"c{n}" for n in range(38)] + ["c1", "c2"]).astype("S")

    scores, rows = nearest(bank[:10], ids[:10], bank, ids, 4)

    for query in range(10):
        order = sorted((n for n in range(40) if ids[n] != ids[query]), key=lambda n: (-float(bank[query] @ bank[n]), n))
        assert rows[query].tolist() == order[:4]
        assert scores[query] == pytest.approx(bank[order[:4]] @ bank[query], rel=1e-5)
    few_scores, few = nearest(bank[:1], ids[:1], bank[:3], ids[:3], 5)
    assert sorted(few[0].tolist()) == [-1, 1, 2] and few[0, 2] == -1 and few_scores[0, 2] == -np.inf


def corpus(root: Path, splits: dict[str, int], same: tuple[str, ...] = ()) -> Path:
    """Clips of random features, so many a split; the clips called `same` are in train and in test, with one vector."""
    rng = np.random.default_rng(1)
    records: list[dict[str, Any]] = []
    files: dict[str, str | bytes] = {}
    places = [(f"{split}{n}", split) for split, count in splits.items() for n in range(count)] + [(id, ["train", "test"]) for id in same]
    for number, (id, split) in enumerate(places):
        files[f"{id}.npy"] = npy(rng.standard_normal(4).astype(np.float32))
        records.append({"id": id, "domain": "video", "split": split, "features": {"words": f"{id}.npy"}, "labels": {"popularity": number}})
    return write_catalog(root, records, files)


def packed(folder: Path, splits: dict[str, int], same: tuple[str, ...] = ()) -> Path:
    pack(corpus(folder / "corpus", splits, same), folder / "shards", workers=1, shard_samples=7, vocab_size=0)
    return folder / "shards"


def find(shards: Path, *flags: str) -> None:
    main(["--data", str(shards), "--text", "none", "--features", "[words]", "--workers", "0", *flags])


def found(shards: Path, split: str) -> dict[str, list[tuple[str, float]]]:
    """(split and id of each neighbour, its label) of every clip of a split."""
    lists = NeighbourLists(shards / split)

    def named(one: np.void) -> tuple[str, float]:
        return f"{lists.searched[one['split']]}/{lists.sample(one).id}", float(one["label"])

    return {id: [named(one) for one in lists.of(sample)] for id, sample in samples(ShardSet(shards / split), "video").items()}


SIZES = {"train": 12, "val": 5, "test": 6}


@pytest.mark.parametrize(
    ("bank", "allowed"),
    [
        ("train", {"train": {"train"}, "val": {"train"}, "test": {"train"}}),
        ("train_val", {"train": {"train"}, "val": {"train"}, "test": {"train", "val"}}),
        ("released", {"train": {"train", "val"}, "val": {"train", "val"}, "test": {"train", "val"}}),
    ],
)
def test_no_clip_finds_itself_or_a_label_that_its_bank_does_not_allow(bank: str, allowed: dict, tmp_path: Path, capsys) -> None:
    shards = packed(tmp_path, SIZES, same=("twice",))

    find(shards, "--bank", bank, "--kept", "30")

    for split, from_splits in allowed.items():
        lists = found(shards, split)
        everything = {f"{other}/{id}" for other in from_splits for id in samples(ShardSet(shards / other), "video")}
        for id, near in lists.items():
            assert {name for name, _ in near} == {name for name in everything if name.partition("/")[2] != id}  # all of them, as 30 are kept
            assert all(sample.record["labels"]["popularity"] == label for (name, label) in near for sample in [of(shards, name)])
    assert ("validation clips" in capsys.readouterr().out) == (bank == "released")
    with pytest.raises(ValueError, match=r"holds neighbours found otherwise \(bank"):
        find(shards, "--bank", "train" if bank != "train" else "released", "--kept", "30")


def of(shards: Path, name: str) -> Sample:
    split, _, id = name.partition("/")
    return samples(ShardSet(shards / split), "video")[id]


def test_lists_come_best_first_with_cosines_and_stay_when_found_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shards = packed(tmp_path, SIZES)
    find(shards, "--kept", "3")
    lists = NeighbourLists(shards / "test")
    vectors = {id: np.load(tmp_path / f"corpus/{id}.npy") for id in samples(ShardSet(shards / "train"), "video")}
    for id, sample in samples(ShardSet(shards / "test"), "video").items():
        own = np.load(tmp_path / f"corpus/{id}.npy")
        cosines = {other: own @ vector / np.linalg.norm(own) / np.linalg.norm(vector) for other, vector in vectors.items()}
        best = sorted(cosines, key=cosines.get, reverse=True)[:3]
        assert [lists.sample(one).id for one in lists.of(sample)] == best
        assert lists.of(sample)["similarity"] == pytest.approx([cosines[other] for other in best], abs=1e-6)
    before = (shards / "train/neighbours.npy").stat().st_mtime_ns

    find(shards, "--kept", "3")

    assert (shards / "train/neighbours.npy").stat().st_mtime_ns == before and "already there" in capsys.readouterr().out
    find(shards, "--kept", "4", "--overwrite")
    assert NeighbourLists(shards / "train").kept == 4 and Dump(shards / "bank/vectors/train").dim == 4


def test_lists_of_other_shards_and_a_list_that_was_tampered_with_are_refused(tmp_path: Path) -> None:
    shards = packed(tmp_path, SIZES)
    with pytest.raises(ValueError, match=r"no neighbours beside the features; find them with python -m pipeline.neighbours"):
        NeighbourLists(shards / "train")
    find(shards, "--kept", "2")
    sample = ShardSet(shards / "train").shard(0).sample(0)
    rows = np.load(shards / "train/neighbours.npy")
    rows[0, 0] = (0, 0, 0, 1.0, 0.0)
    np.save(shards / "train/neighbours.npy", rows)
    with pytest.raises(ValueError, match=r"is a neighbour of itself; find the neighbours again"):
        NeighbourLists(shards / "train").of(sample)

    other = packed(tmp_path / "other", {"train": 9, "val": 5, "test": 6})
    shutil.rmtree(shards / "train")
    shutil.copytree(other / "train", shards / "train")
    with pytest.raises(ValueError, match=r"is not the split that the neighbours were found for"):
        NeighbourLists(shards / "test")
    assert rows.dtype == NEIGHBOUR


def test_what_cannot_be_a_bank_is_refused(tmp_path: Path) -> None:
    records = [{"id": f"c{n}", "domain": "video", "features": {"words": "a.npy"}, "labels": {"popularity": n} if n else {}} for n in range(3)]
    pack(write_catalog(tmp_path / "corpus", records, {"a.npy": npy([1.0, 2.0])}), tmp_path / "shards", workers=1, vocab_size=0)

    with pytest.raises(ValueError, match=r"1 of 3 video items have no popularity and cannot be neighbours, the first is 'c0'"):
        find(tmp_path / "shards")
    with pytest.raises(ValueError, match=r"no video item has vision.npy"):
        main(["--data", str(tmp_path / "shards"), "--text", "none", "--features", "[vision]", "--workers", "0"])
    with pytest.raises(ValueError, match=r"train is looked up in split val, which has no video items here"):
        find(tmp_path / "shards", "--bank", "released")
    for settings in ({"text": "none"}, {"features": ("words",)}, {"prompt": "what"}, {"words": ("name",)}, {"kept": 0}):
        with pytest.raises(ValueError, match=r"--"):
            BankSettings(**settings)


def test_dumps_of_any_checkpoint_can_be_looked_up_by(tmp_path: Path) -> None:
    shards = packed(tmp_path, SIZES)
    find(shards, "--kept", "3")
    expected = {split: np.load(shards / split / "neighbours.npy") for split in SIZES}
    shutil.move(shards / "bank/vectors", tmp_path / "dumps")
    # The dumps of the features are as good as any; each split has a name of its own there, as a checkpoint has one for all.
    with pytest.raises(ValueError, match=r"made by 3 checkpoints; embed all splits with one"):
        main(["--data", str(shards), "--text", "none", "--dumps", str(tmp_path / "dumps")])
    for split in SIZES:
        rewritten(tmp_path / "dumps" / split, "one")

    main(["--data", str(shards), "--text", "none", "--dumps", str(tmp_path / "dumps"), "--kept", "3", "--overwrite"])

    assert all(np.load(shards / split / "neighbours.npy").tobytes() == rows.tobytes() for split, rows in expected.items())
    assert not (shards / "bank/vectors").exists() and json.loads((shards / "train/neighbours.json").read_text())["made_of"]["dumps"] == "one"


def rewritten(folder: Path, checkpoint: str) -> None:
    """Give all files of a dump another checkpoint."""
    for file in folder.glob("video-*.h5"):
        with h5py.File(file, "a") as opened:
            opened.attrs["checkpoint"] = checkpoint
    finish_dump(folder, sorted(file.stem for file in folder.glob("video-*.h5")))


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips with titles and frames, packed below shards/, and a text model and two captioners in models/."""
    folder = tmp_path_factory.mktemp("captions")
    records = [
        {"id": f"{split}{n}", "domain": "video", "split": split, "title": f"a clip of kind {n % 3}", "images": ["a.jpg", "b.jpg"]}
        for split in ("train", "test")
        for n in range(4)
    ]
    records = [record | {"labels": {"popularity": place}} for place, record in enumerate(records)]
    records[1] = {key: value for key, value in records[1].items() if key != "title"} | {"caption": "someone says so"}
    root = write_catalog(folder / "corpus", records, {"a.jpg": picture((250, 20, 20)), "b.jpg": picture((20, 20, 250))})
    pack(root, folder / "features/shards", workers=1, vocab_size=200)
    tokenizer = folder / "features/shards/train/tokenizer"
    write_models(folder / "models", tokenizer)
    torch.manual_seed(0)
    vision = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "image_size": 32, "patch_size": 16}
    words = {**TOKENS, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "encoder_hidden_size": 16}
    blip = BlipConfig(text_config={**words, "sep_token_id": 3}, vision_config=vision, projection_dim=16)
    decoder = BertConfig(**{**WORDS, "vocab_size": 200}, is_decoder=True, add_cross_attention=True)
    pair = VisionEncoderDecoderConfig.from_encoder_decoder_configs(ViTConfig(**vision), decoder, decoder_start_token_id=2, **TOKENS)
    for name, model in (("blip", BlipForConditionalGeneration(blip)), ("pair", VisionEncoderDecoderModel(pair))):
        model.save_pretrained(folder / "models" / name)
        shutil.copytree(tokenizer, folder / "models" / name, dirs_exist_ok=True)
        (folder / "models" / name / "preprocessor_config.json").write_text(json.dumps({"size": {"height": 32, "width": 32}}))
    for split in ("train", "test"):
        shutil.copytree(folder / "features/shards" / split, folder / "features" / split)
    return folder


@pytest.mark.parametrize("captioner", ["blip", "pair"])
def test_captions_of_frames_are_looked_up_with_the_title(media: Path, captioner: str) -> None:
    features, models = media / "features", media / "models"
    flags = ["--data", str(features), "--text", str(models / "text"), "--text_length", "16", "--workers", "0", "--kept", "3", "--overwrite"]

    main([*flags, "--captions", str(models / captioner), "--frames", "2", "--caption_length", "6"])

    captions = read_captions(features / "bank/captions/train/video-000000.jsonl")
    assert set(captions) == {f"train{n}" for n in range(4)} and all(1 <= len(own) <= 2 for own in captions.values())
    pixels = torch.full((1, 3, 32, 32), 128, dtype=torch.uint8)
    assert all(isinstance(text, str) for text in Captioner(str(models / captioner), 6).captions(pixels))
    assert NeighbourLists(features / "train").without == 0  # the clip without a title has captions
    with_captions = Dump(features / "bank/vectors/train")
    first = np.concatenate([block for _, block in with_captions.blocks()])
    assert np.linalg.norm(first, axis=1) == pytest.approx(np.ones(4), rel=1e-5)

    main(flags)  # titles alone

    again = np.concatenate([block for _, block in Dump(features / "bank/vectors/train").blocks()])
    assert again.shape[0] == 3 and NeighbourLists(features / "train").without == 1
    assert found(features, "train")["train1"] == []
    assert "train1" not in {name.partition("/")[2] for near in found(features, "test").values() for name, _ in near}
    main([*flags, "--words", "[title,caption]"])  # a column of captions that the corpus has
    assert NeighbourLists(features / "train").without == 0


def test_a_captioner_that_is_not_there_is_named(media: Path) -> None:
    with pytest.raises(ValueError, match=r"--captions nowhere: no such folder; fetch one first, e.g. hf download"):
        Captioner("nowhere", 5)
    with pytest.raises(ValueError, match=r"transformers finds no model there that writes texts of images"):
        Captioner(str(media / "models/text"), 5)
