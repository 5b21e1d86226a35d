"""The doctor on shards, checkpoints and dumps: every finding, made by damaging what was well; the screen and exit code of the command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from evaluate.embeddings import finish_dump, write_dump_shard
from launch.files import read_json, write_json
from pipeline import doctor, train
from pipeline.checkup import cards as cards_module
from pipeline.checkup.checkpoint import check_checkpoint
from pipeline.checkup.dump import check_dumps
from pipeline.checkup.shard_set import check_shards
from pipeline.checkup.sheet import MOST_SHOWN, Sheet
from pipeline.pack import pack
from tests.evaluate.dumps import attributes, write_dump
from tests.pipeline.little_corpus import SMALL, write_little_corpus
from tests.pipeline.sheets import only, problems

# ---- shards


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with packed `shards`, a `run` of one step on them, and a `dump`; nothing is wrong with them."""
    folder = tmp_path_factory.mktemp("whole")
    pack(write_little_corpus(folder / "corpus", products=4), folder / "shards", workers=1, shard_samples=3, vocab_size=200)
    flags = ("--trainer.max_steps", "2", "--trainer.checkpoint_every", "1", "--stream.batch_size", "4", "--trainer.ema_decay", "0.5")
    train.main([*SMALL, "--data", str(folder / "shards"), "--out", str(folder / "run"), *flags])
    rows = np.eye(10, 4, dtype=np.float32) + 1
    write_dump(folder / "dump", [("goods", rows, [f"g{row}" for row in range(10)])])
    return folder


@pytest.fixture
def shards(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole / "shards", tmp_path / "shards"))


def change(path: Path, where: int = -700) -> None:
    """Turn one byte of a file; its size stays."""
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    path.write_bytes(data)


def cut(path: Path, kept: int) -> None:
    path.write_bytes(path.read_bytes()[:kept])


def edit(path: Path, **values: object) -> None:
    write_json(path, read_json(path) | values)


def test_shards_that_are_whole_have_no_problem(shards: Path) -> None:
    sheets = check_shards(shards)

    assert [sheet.title for sheet in sheets] == [f"shards {shards}/test", f"shards {shards}/train"]
    assert dict(sheets[1].rows)["holds"].startswith("4 goods, 12 video, ")
    assert problems(sheets) == problems(check_shards(shards / "test", quick=True)) == []


def unfinished(train: Path) -> None:
    (train / "manifest.json").unlink()
    (train / ".pack").mkdir()


DAMAGE_TO_SHARDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "unfinished": (
        lambda train: ((train / "manifest.json").unlink(), (train / ".pack").mkdir()),
        "train: no manifest.json; the folder is unfinished",
    ),
    "other format": (lambda train: edit(train / "manifest.json", format_version=7), "manifest.json: format version 7, this program reads 1; pack"),
    "manifest cut": (lambda train: cut(train / "manifest.json", 40), "manifest.json: not UTF-8 JSON"),
    "shard missing": (lambda train: (train / "video-000001.tar").unlink(), "video-000001.tar: missing, though the manifest lists it; pack it again"),
    "tar cut": (lambda train: cut(train / "video-000001.tar", 1000), "video-000001.tar: 1000 bytes, the manifest says "),
    "index missing": (lambda train: (train / "video-000001.index.npz").unlink(), "video-000001.index.npz: missing, though the manifest lists"),
    "index cut": (lambda train: cut(train / "video-000001.index.npz", 100), "video-000001.index.npz: BadZipFile: File is not a zip file; pack"),
    "index of another": (
        lambda train: shutil.copy(train / "goods-000001.index.npz", train / "video-000000.index.npz"),
        "video-000000.index.npz: 2 samples, the manifest says 3; the folder mixes two pack runs, pack it again",
    ),
    "no tokenizer": (lambda train: shutil.rmtree(train / "tokenizer"), "train/tokenizer: missing, though the manifest says that it has "),
    "rejected": (lambda train: edit(train / "manifest.json", rejected=3), "train: 3 items rejected, listed in rejected.jsonl with the reason; mend"),
    "failed": (lambda train: edit(train / "manifest.json", failed=2), "train: 2 items failed, listed in failed.jsonl with the reason; mend"),
}


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("damage", DAMAGE_TO_SHARDS)
def test_what_is_wrong_with_a_shard_set_is_one_line(damage: str, quick: bool, shards: Path) -> None:
    do, says = DAMAGE_TO_SHARDS[damage]

    do(shards / "train")

    problem = only(check_shards(shards, quick))
    assert says in problem
    assert str(shards) in problem


def test_a_shard_exchanged_for_one_of_the_same_size_is_seen_by_its_checksum_alone(shards: Path) -> None:
    change(shards / "train/goods-000000.tar")

    assert "train/goods-000000.tar: another checksum than in manifest.json; it was changed or exchanged" in only(check_shards(shards))
    assert problems(check_shards(shards, quick=True)) == []


def test_a_ground_truth_that_the_manifest_lists_and_nobody_finds_is_a_problem(shards: Path) -> None:
    (shards / "test/ground_truth/video2goods.tsv").unlink()

    assert "ground_truth/video2goods.tsv: missing, though the manifest lists it" in only(check_shards(shards))


def test_a_folder_of_something_else_is_no_shard_set(whole: Path, tmp_path: Path) -> None:
    assert "run: not a packed shard set" in only(check_shards(whole / "run"))
    shutil.copytree(whole / "shards", tmp_path / "a/shards")
    assert f"{tmp_path}: not a packed shard set" in only(check_shards(tmp_path))  # two folders above the splits
    assert "dump/manifest.json: not the manifest of a packed split; pack it again" in only(check_shards(whole / "dump"))
    assert "not a packed shard set" in only(check_shards(tmp_path / "nothing"))


# ---- checkpoint


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole / "run", tmp_path / "run"))


def test_a_checkpoint_that_loads_has_no_problem(run: Path) -> None:
    sheet = check_checkpoint(run)

    [(name, text)] = sheet.rows
    assert name == "step-00000002"
    assert text.startswith("qcd:smoke, step 2, ")
    assert sheet.problems == check_checkpoint(run / "checkpoints/step-00000001").problems == []


DAMAGE_TO_A_CHECKPOINT: dict[str, tuple[Callable[[Path], object], str]] = {
    "weights changed": (lambda step: change(step / "weights.pt"), "weights.pt is not the file that was written (checksum differs); restore it"),
    "weights missing": (lambda step: (step / "weights.pt").unlink(), "weights.pt'; restore it, or use another checkpoint"),
    "average changed": (lambda step: change(step / "ema.pt"), "ema.pt is not the file that was written (checksum differs)"),
    "other format": (lambda step: edit(step / "state.json", format_version=1), "step-00000002: checkpoint format is not "),
    "state cut": (lambda step: cut(step / "state.json", 9), "state.json: not UTF-8 JSON"),
    "unknown recipe": (lambda step: edit(step / "recipe.json", name="abc"), "there is no recipe 'abc'; choose among "),
    "no architecture": (lambda step: (step / "system.json").unlink(), "system.json'; restore it, or use another checkpoint"),
    "training cut": (lambda step: cut(step / "training.pt", 5000), "training.pt: "),
    "not whole": (lambda step: (step / "state.json").unlink(), "latest names step-00000002, which is not a whole checkpoint; remove"),
}


@pytest.mark.parametrize("damage", DAMAGE_TO_A_CHECKPOINT)
def test_what_is_wrong_with_a_checkpoint_is_one_line(damage: str, run: Path) -> None:
    do, says = DAMAGE_TO_A_CHECKPOINT[damage]

    do(run / "checkpoints/step-00000002")

    problem = only(check_checkpoint(run))
    assert says in problem
    assert str(run) in problem


def test_a_position_that_is_damaged_names_the_way_back(run: Path) -> None:
    cut(run / "checkpoints/step-00000002/training.pt", 5000)

    assert only(check_checkpoint(run)).endswith(
        "a run cannot go on from it: remove this checkpoint, and it goes on from the newest whole one before it"
    )


def test_the_best_checkpoint_of_a_run_is_looked_at_beside_the_latest(run: Path) -> None:
    (run / "checkpoints/best").write_text("step-00000001\n")
    change(run / "checkpoints/step-00000001/weights.pt")

    sheet = check_checkpoint(run)

    assert [name for name, _ in sheet.rows] == ["step-00000002"]
    assert "step-00000001/weights.pt is not the file that was written" in only(sheet)


def test_weights_alone_are_no_problem_and_it_is_said_what_they_are_not_for(run: Path) -> None:
    (run / "checkpoints/step-00000002/training.pt").unlink()

    sheet = check_checkpoint(run)

    assert "a run starts from it with --init, and does not go on from it" in sheet.rows[-1][1]
    assert sheet.problems == []


def test_a_folder_without_a_checkpoint_is_a_problem(whole: Path, tmp_path: Path) -> None:
    assert "has the training written one yet?" in only(check_checkpoint(whole / "shards"))
    assert "no such folder" in only(check_checkpoint(tmp_path / "nothing"))


# ---- dump


@pytest.fixture
def dump(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole / "dump", tmp_path / "dump"))


def test_a_dump_that_is_whole_has_no_problem(dump: Path) -> None:
    [sheet], [quick] = check_dumps([dump]), check_dumps([dump], quick=True)

    assert dict(sheet.rows)["holds"] == "10 rows of goods, width 4, float32, recipe not known"
    assert sheet.problems == quick.problems == []


def of_another_checkpoint(dump: Path) -> None:
    write_dump(dump.with_name("other"), [("goods", np.ones((7, 4), np.float32), [f"g{row}" for row in range(7)])], checkpoint="badcafe")
    shutil.copy(dump.with_name("other") / "goods-000000.h5", dump)


DAMAGE_TO_A_DUMP: dict[str, tuple[Callable[[Path], object], str]] = {
    "unfinished": (lambda dump: (dump / "manifest.json").unlink(), "dump: no manifest.json; the dump is unfinished, run embed again"),
    "other format": (lambda dump: edit(dump / "manifest.json", format_version=9), "manifest.json: format version 9, this program reads 1; embed"),
    "shard missing": (lambda dump: (dump / "goods-000001.h5").unlink(), "goods-000001.h5: "),
    "shard cut": (lambda dump: cut(dump / "goods-000001.h5", 300), "goods-000001.h5: "),
}


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("damage", DAMAGE_TO_A_DUMP)
def test_what_is_wrong_with_a_dump_is_said_with_its_file(damage: str, quick: bool, dump: Path) -> None:
    do, says = DAMAGE_TO_A_DUMP[damage]

    do(dump)

    found = problems(check_dumps([dump], quick))
    assert found
    assert all(says in problem and str(dump) in problem and "; " in problem for problem in found)


def test_a_shard_of_another_checkpoint_among_the_others_is_a_problem_quick_or_not(dump: Path) -> None:
    of_another_checkpoint(dump)

    for quick in (True, False):
        found = problems(check_dumps([dump], quick))
        assert any("goods-000000.h5: checkpoint badcafe" in problem and problem.endswith("embed again") for problem in found)


def test_a_dump_of_another_checkpoint_than_the_first_is_a_problem(dump: Path, tmp_path: Path) -> None:
    other = write_dump(tmp_path / "clips", [("video", np.ones((2, 4), np.float32), ["a", "b"])], checkpoint="badcafe")

    problem = only(check_dumps([dump, other, dump]))

    assert problem == f"{other}: made by checkpoint badcafe, {dump} by c0ffee; they cannot be searched together: embed both with one checkpoint"


def test_a_row_that_was_changed_is_seen_by_the_checksum_alone(dump: Path) -> None:
    path = dump / "goods-000000.h5"
    change(path, path.read_bytes().index(np.float32(2).tobytes() + np.float32(1).tobytes()))  # the last bit of a number

    assert "its bytes have changed since the dump was finished" in only(check_dumps([dump]))
    assert problems(check_dumps([dump], quick=True)) == []


def test_items_that_failed_are_a_problem(tmp_path: Path) -> None:
    failed = [{"id": "g9", "reason": "goods-000000.tar: sample 9 ('g9') lacks jpg"}]
    write_dump_shard(tmp_path / "goods-000000.h5", np.ones((1, 4), np.float32), ["g0"], attributes(), failed)
    finish_dump(tmp_path, ["goods-000000"])

    for quick in (True, False):
        problem = only(check_dumps([tmp_path], quick))
        assert problem.startswith(f"{tmp_path}: 1 items failed and are not searched, listed in failed.jsonl with the reason; mend them")


# ---- the command


@pytest.fixture
def healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with room and no cards, whatever the one that tests run on has."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(total=100 << 30, used=0, free=100 << 30))
    monkeypatch.setattr(cards_module, "nvidia_smi", str)


def test_the_screen_of_something_well_ends_with_exit_code_0(whole: Path, healthy: None, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--shards", str(whole / "shards"), "--checkpoint", str(whole / "run"), "--dump", str(whole / "dump"), "--path", str(whole / "new")]

    doctor.main(flags)

    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "all is well"
    assert len(lines) < 40  # a screen
    assert [line for line in lines if line.startswith("  !")] == []


def test_anything_wrong_is_exit_code_1_with_a_line_for_each(shards: Path, dump: Path, healthy: None, capsys: pytest.CaptureFixture[str]) -> None:
    (dump / "manifest.json").unlink()
    change(shards / "train/goods-000000.tar")

    with pytest.raises(SystemExit) as left:
        doctor.main(["--shards", str(shards), "--dump", str(dump)])

    lines = capsys.readouterr().out.splitlines()
    assert left.value.code == 1
    assert lines[-1] == "2 problems, the lines with !"
    assert len([line for line in lines if line.startswith("  !")]) == 2

    with pytest.raises(SystemExit):
        doctor.main(["--shards", str(shards), "--dump", str(dump), "--quick"])
    assert capsys.readouterr().out.splitlines()[-1] == "1 problem, the lines with !"


def test_a_wrong_flag_is_an_error_of_use() -> None:
    with pytest.raises(ValueError, match="unrecognized arguments: --shard"):
        doctor.main(["--shard", "x"])


def test_of_many_problems_the_first_are_shown_and_the_rest_counted() -> None:
    sheet = Sheet("shards", problems=[f"shard {number}" for number in range(MOST_SHOWN + 5)])

    assert sheet.lines()[1] == "  ! shard 0"
    assert sheet.lines()[-1] == "  ! and 5 more"
    assert len(sheet.lines()) == MOST_SHOWN + 2


def test_problems_of_a_library_are_told_with_their_kind_and_ours_as_they_are(tmp_path: Path) -> None:
    sheet = Sheet("a")

    with sheet.noting("x.tar", "pack it again"):
        raise KeyError("ids")
    with sheet.noting("x.tar", "pack it again"):
        raise ValueError("x.tar: cut short; restore it")
    with sheet.noting("x.tar", "pack it again"):
        json.loads("{")

    assert sheet.problems[:2] == ["x.tar: KeyError: 'ids'; pack it again", "x.tar: cut short; restore it"]
    assert sheet.problems[2].startswith("x.tar: Expecting ")
    assert sheet.problems[2].endswith("; pack it again")
