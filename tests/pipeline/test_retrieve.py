"""From a checkpoint to the report, and the baselines beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluate.ranked import Ranked
from launch.files import read_json
from pipeline import baselines, retrieve
from pipeline import train as train_module
from tests.pipeline.little_corpus import SMALL, write_little_corpus


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(corpus, run): twelve goods, some training."""
    folder = tmp_path_factory.mktemp("retrieve")
    corpus = write_little_corpus(folder / "corpus", products=12)
    train_module.main([*SMALL, "--data", str(corpus), "--out", str(folder / "run"), "--trainer.max_steps", "30", "--optim.lr", "0.003"])
    return corpus, folder / "run"


def evaluate(task: str, trained: tuple[Path, Path], out: Path, *flags: str) -> None:
    corpus, run = trained
    where = ("--checkpoint", str(run), "--data", str(corpus), "--out", str(out))
    retrieve.main(["--task", task, *where, "--workers", "0", *flags])


@pytest.mark.parametrize("task", ["video2goods", "goods2video"])
def test_a_checkpoint_and_a_corpus_become_metrics_lists_and_a_page(trained, tmp_path, task):
    evaluate(task, trained, tmp_path)

    metrics = read_json(tmp_path / "metrics.json")
    assert metrics["task"] == task and metrics["split"] == "test"
    assert (metrics["queries"], metrics["docs"], metrics["queries_without_relevant"]) == (12, 12, 0)
    assert {"recall@10", "hit@1", "hit@5", "hit@10", "median_rank"} <= metrics.keys() and "recall@20" not in metrics
    assert Ranked(tmp_path / "ranked.h5").queries == 12
    assert len((tmp_path / "run.trec").read_text().splitlines()) == 12 * 12
    page = (tmp_path / "report.html").read_text()
    assert "data:image/jpeg" in page and "item number 3" in page


def test_evaluating_again_embeds_nothing_again_and_gives_the_same_numbers(trained, tmp_path):
    evaluate("video2goods", trained, tmp_path)
    first = read_json(tmp_path / "metrics.json")
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "dumps").rglob("*-*.h5")}

    evaluate("video2goods", trained, tmp_path)

    assert read_json(tmp_path / "metrics.json") == first
    assert written and {path: path.stat().st_mtime_ns for path in written} == written


def test_an_item_that_cannot_be_read_is_listed_and_replaced_by_nothing(trained, tmp_path):
    _, run = trained
    evaluate("video2goods", trained, tmp_path, "--shown", "1")
    tar = next((tmp_path / "shards/test").glob("video-*.tar"))
    data = bytearray(tar.read_bytes())
    start = data.index(b"\xff\xd8\xff")
    data[start : start + 3] = b"bad"
    tar.write_bytes(data)

    where = ("--checkpoint", str(run), "--data", str(tmp_path / "shards"), "--out", str(tmp_path / "again"))
    retrieve.main(["--task", "goods2video", *where, "--workers", "0", "--shown", "0"])

    metrics = read_json(tmp_path / "again/metrics.json")
    assert metrics["docs_failed"] == 1 and metrics["docs"] == 11 and metrics["relevant_not_in_docs"] == 6
    assert "not a JPEG" in (tmp_path / "again/dumps/video/failed.jsonl").read_text()


def test_the_baselines_stand_beside_the_trained_numbers(trained, tmp_path, capsys):
    corpus, run = trained
    for task in ("video2goods", "goods2video"):
        evaluate(task, trained, tmp_path / task, "--shards", str(tmp_path / "shards"))

    baselines.main(
        [
            *("--checkpoint", str(run), "--data", str(corpus), "--out", str(tmp_path / "baselines"), "--shards", str(tmp_path / "shards")),
            *("--trained", str(tmp_path / "video2goods"), str(tmp_path / "goods2video"), "--probe"),
        ]
    )

    rows = read_json(tmp_path / "baselines/baselines.json")
    assert list(rows) == ["chance", "colour histogram", "untrained encoders", "linear probe", "trained"]
    assert rows["chance"]["video2goods"]["hit@1"] == pytest.approx(6 / 12)  # every document of its group counts
    assert rows["trained"]["video2goods"] == read_json(tmp_path / "video2goods/metrics.json")
    # The pictures differ in colour alone, so a colour search finds them.
    assert rows["colour histogram"]["video2goods"]["hit@1"] == 1
    assert "linear probe" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--split", "nightly"), "no nightly split; it has train, test"),
        (("--task", "video"), "give QUERYDOMAIN2DOCUMENTDOMAIN"),
        (("--checkpoint", "nowhere"), "nowhere: no such folder"),
        (("--source", "real20m"), "not laid out as --source real20m"),
        (("--task", "query2goods"), "no items of domain query"),
    ],
)
def test_a_mistake_is_named(trained, tmp_path, flags, message):
    with pytest.raises(ValueError, match=message):
        evaluate("video2goods", trained, tmp_path, *flags)
