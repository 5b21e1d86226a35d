"""The feature stage killed, gone on with, started again with other things, or in a folder of something else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from launch.files import read_json
from pipeline.featuring.folder import FeatureFolder
from pipeline.featuring.models import FeatureModels
from pipeline.pack import pack
from pipeline.shards import ShardSet
from tests.models.folders import save, vision_model
from tests.pipeline.little_features import SIDE
from tests.pipeline.made_features import Made, run
from tests.pipeline.packed import content


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("features"))


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in folder.glob("*.tar")}


def test_killed_and_started_again_it_goes_on_from_complete_shards_and_ends_with_the_same_bytes(made, tmp_path, monkeypatch):
    computed: list[int] = []
    compute = FeatureModels.features

    def counted(self: FeatureModels, batch: Any, items: int, domain: str) -> list[dict[str, np.ndarray]]:
        if len(computed) == 3:
            raise Killed
        computed.append(items)
        return compute(self, batch, items, domain)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(FeatureModels, "features", counted)
        run(made, tmp_path)

    with pytest.raises(ValueError, match="unfinished"):
        ShardSet(tmp_path / "train")
    before = stamps(tmp_path / "train")
    assert 0 < len(before) < len(ShardSet(made.shards / "train").shards)
    run(made, tmp_path)
    assert before.items() <= stamps(tmp_path / "train").items()
    assert content(tmp_path / "train") == content(made.out / "train")


def test_only_the_shard_that_lost_its_completion_is_made_again(made, tmp_path, monkeypatch):
    finish: Callable = FeatureFolder.finish
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(FeatureFolder, "finish", lambda *given: (_ for _ in ()).throw(Killed))
        run(made, tmp_path)
    before = stamps(tmp_path / "train")
    (tmp_path / "train/.pack/video-000001.json").unlink()
    made_again: list[int] = []

    def noted(self: FeatureFolder, number: int, pieces: Any) -> None:
        made_again.append(number)
        write(self, number, pieces)

    write = FeatureFolder.write
    monkeypatch.setattr(FeatureFolder, "write", noted)
    shards = run(made, tmp_path)

    after = stamps(tmp_path / "train")
    assert [shards.shards[number].name for number in made_again] == ["video-000001"] and FeatureFolder.finish is finish
    assert {name for name in after if after[name] != before[name]} == {"video-000001.tar"}
    assert content(tmp_path / "train") == content(made.out / "train")


def test_features_that_are_there_are_not_computed_again(made, tmp_path, monkeypatch, capsys):
    shutil.copytree(made.out / "train", tmp_path / "train")
    monkeypatch.setattr(FeatureModels, "features", None)

    run(made, tmp_path)

    assert "already made, 4 goods, 8 video" in capsys.readouterr().out


@pytest.mark.parametrize("begun", [True, False])
def test_other_settings_weights_or_shards_are_refused_with_what_differs(made, tmp_path, begun):
    shutil.copytree(made.out / "train", tmp_path / "train")
    if begun:  # what is there is then what the notes say, not the manifest
        inputs = read_json(tmp_path / "train/manifest.json")["inputs"]
        (tmp_path / "train/.pack").mkdir()
        (tmp_path / "train/.pack/inputs.json").write_text(json.dumps(inputs))
        (tmp_path / "train/manifest.json").unlink()
    weights = save(vision_model("vit"), tmp_path / "vit", size={"height": SIDE, "width": SIDE})

    with pytest.raises(ValueError, match=r"holds features made otherwise \(frames was 10, now 4; pool was mean, now none\); give another --out"):
        run(made, tmp_path, "--pool", "none", "--frames", "4")
    with pytest.raises(ValueError, match=r"vision_model was ResNetModel, now ViTModel; vision_weights was [0-9a-f]{12}…, now [0-9a-f]{12}…"):
        run(made, tmp_path, "--vision", str(weights))
    with pytest.raises(ValueError, match="precision was fp32, now bf16"):
        run(made, tmp_path, "--precision", "bf16")
    with pytest.raises(ValueError, match=r"of 5 input shards are others, the first goods-000000\.tar"):
        pack(made.corpus, tmp_path / "other", splits=["train"], workers=1, shard_samples=3, vocab_size=200, resize_short_side=8)
        run(made, tmp_path, data=tmp_path / "other")
    replaced = run(made, tmp_path, "--frames", "4", "--overwrite")
    assert replaced.manifest["features"][0]["settings"]["frames"] == 4


def test_a_folder_of_something_else_is_left_alone_even_where_overwriting_is_asked_for(made, tmp_path):
    shutil.copytree(made.shards, tmp_path / "shards")
    (tmp_path / "notes/train").mkdir(parents=True)
    (tmp_path / "notes/train/mine.txt").write_text("keep")
    before = content(tmp_path)

    with pytest.raises(ValueError, match="is the packed split that is read; give another --out"):
        run(made, tmp_path / "shards", "--overwrite", data=tmp_path / "shards")
    with pytest.raises(ValueError, match="not empty, and not features of this stage; give another --out"):
        run(made, tmp_path / "shards", "--overwrite")
    with pytest.raises(ValueError, match="not empty, and not features of this stage"):
        run(made, tmp_path / "notes", "--overwrite")
    with pytest.raises(ValueError, match="packed from other inputs"):
        pack(made.corpus, made.out, splits=["train"], workers=1)
    assert content(tmp_path) == before
