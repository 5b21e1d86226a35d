"""From a checkpoint to the report, and the baselines beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluate import compare
from evaluate.ranked import Ranked
from launch.files import read_json, write_json
from pipeline import baselines, cards, retrieve
from pipeline import train as train_module
from tests.pipeline.corpora import picture, write_catalog
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


def test_a_search_by_typed_queries_goes_the_same_way_and_shows_their_words(trained, tmp_path):
    evaluate("query2goods", trained, tmp_path)

    metrics = read_json(tmp_path / "metrics.json")
    # Twelve goods: "item 0" to "item 11" find one each, "group 0" and "group 1" six each.
    assert (metrics["task"], metrics["queries"], metrics["docs"], metrics["queries_without_relevant"]) == ("query2goods", 14, 12, 0)
    ranked = Ranked(tmp_path / "ranked.h5")
    assert sorted(ranked.query_ids.tolist())[:2] == [b"group 0", b"group 1"]
    cards = read_json(tmp_path / "cards/cards.json")
    assert cards["query"]["item 3"] == {"title": "item 3", "words": {"title": "item 3"}, "images": []}
    page = (tmp_path / "report.html").read_text()
    assert '<p class="question">item 3</p>' in page and "no picture" not in page


def test_live_streams_are_searched_with_and_shown_by_their_frames(trained, tmp_path):
    _, run = trained
    files = {f"{n}.jpg": picture((60 * n, 250 - 60 * n, 90)) for n in range(4)}
    lines = [
        {"id": f"{domain}{n}", "domain": domain, "images": [f"{n}.jpg"] * frames, "title": f"kettle {n}", "queries": [f"kettle {n}"]}
        for n in range(4)
        for domain, frames in (("goods", 1), ("live", 3))
    ]
    corpus = write_catalog(tmp_path / "corpus", lines, files, name="test.jsonl")

    evaluate("live2goods", (corpus, run), tmp_path / "out")

    metrics = read_json(tmp_path / "out/metrics.json")
    assert (metrics["task"], metrics["queries"], metrics["docs"], metrics["queries_without_relevant"]) == ("live2goods", 4, 4, 0)
    cards = read_json(tmp_path / "out/cards/cards.json")
    assert {id: len(card["images"]) for id, card in cards["live"].items()} == {f"live{n}": 5 for n in range(4)}
    assert {id: len(card["images"]) for id, card in cards["goods"].items()} == {f"goods{n}": 1 for n in range(4)}


def test_a_task_without_ground_truth_names_those_that_have_it(trained, tmp_path):
    _, run = trained
    lines = [{"id": "g", "domain": "goods", "title": "a kettle", "queries": ["kettle"]}, {"id": "v", "domain": "video", "title": "a clip"}]
    corpus = write_catalog(tmp_path / "corpus", lines, name="test.jsonl")

    with pytest.raises(ValueError, match=r"test: no ground truth for query2video \(it has it for query2goods\); add it to the corpus"):
        evaluate("query2video", (corpus, run), tmp_path / "out")


def test_help_names_every_task(capsys):
    with pytest.raises(SystemExit):
        retrieve.main(["--help"])

    said = "".join(capsys.readouterr().out.split())
    assert "video2goods,video2live,goods2video,goods2live,live2goods,live2video,query2goods,query2video,query2live" in said


def test_evaluating_again_embeds_nothing_again_and_gives_the_same_numbers(trained, tmp_path):
    evaluate("video2goods", trained, tmp_path)
    first = read_json(tmp_path / "metrics.json")
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "dumps").rglob("*-*.h5")}

    evaluate("video2goods", trained, tmp_path)

    assert read_json(tmp_path / "metrics.json") == first
    assert written and {path: path.stat().st_mtime_ns for path in written} == written


def test_a_comparison_shows_the_queries_that_changed_with_their_frames(trained, tmp_path, capsys):
    corpus, run = trained
    train_module.main([*SMALL, "--data", str(corpus), "--out", str(tmp_path / "young"), "--trainer.max_steps", "1"])
    for name, own in (("a", tmp_path / "young"), ("b", run)):
        evaluate("video2goods", (corpus, own), tmp_path / name, "--shown", "0", "--shards", str(tmp_path / "shards"))
    sides = [str(tmp_path / "a"), str(tmp_path / "b")]
    compare.main(sides)
    folder, shards = tmp_path / "b/compare", str(tmp_path / "shards/test")

    cards.main(["--shards", shards, "--comparison", str(folder), "--out", str(tmp_path / "cards")])
    compare.main([*sides, "--cards", str(tmp_path / "cards")])

    said, drawn = read_json(folder / "compare.json"), read_json(tmp_path / "cards/cards.json")
    assert said["shown"]["queries"] and sorted(drawn["video"]) == sorted(said["shown"]["queries"])
    assert sorted(drawn["goods"]) == sorted(said["shown"]["docs"])
    page = (folder / "compare.html").read_text()
    assert page.count("data:image/jpeg") >= len(said["shown"]["queries"]) and "no picture" not in page
    said["shown"]["queries"].append("another's")
    write_json(folder / "compare.json", said)
    with pytest.raises(ValueError, match=r'no video item "another\'s" \(1 missing\); name the shards that were searched'):
        cards.main(["--shards", shards, "--comparison", str(folder), "--out", str(tmp_path / "other")])


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
    assert list(rows) == ["chance", "colour histogram", "untrained encoders", "features as they are", "linear probe", "trained"]
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
        (("--task", "live2goods"), r"no items of domain live \(it holds 12 goods, 14 query, 12 video\); use a corpus that has live and goods"),
    ],
)
def test_a_mistake_is_named(trained, tmp_path, flags, message):
    with pytest.raises(ValueError, match=message):
        evaluate("video2goods", trained, tmp_path, *flags)


def test_an_evaluation_may_ask_an_index(trained, tmp_path):
    evaluate("video2goods", trained, tmp_path / "exact")
    evaluate("video2goods", trained, tmp_path / "index", "--dumps", str(tmp_path / "exact" / "dumps"), "--index", "auto", "--recall", "0.9")

    exact, ranked = (Ranked(tmp_path / name / "ranked.h5") for name in ("exact", "index"))
    assert (exact.attributes.index, ranked.attributes.index, ranked.attributes.index_recall) == ("", "Flat", 1.0)
    assert ranked.lists(range(12), 12)[0].tolist() == exact.lists(range(12), 12)[0].tolist()
    with pytest.raises(ValueError, match="--recall 2: the share of the exact results"):
        evaluate("video2goods", trained, tmp_path / "none", "--index", "auto", "--recall", "2")
