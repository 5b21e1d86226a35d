from __future__ import annotations

import json

import numpy as np
import pytest

from evaluate.approximate.card import read_card
from evaluate.build_index import main
from tests.evaluate.approximate.corpus import goods_and_clips
from tests.evaluate.dumps import write_dump


def test_an_index_is_built_and_added_to_by_the_command(tmp_path, capsys):
    for name, seed, goods in (("dump", 0, 1000), ("more", 5, 400)):
        goods_and_clips(tmp_path / name, seed, name, goods)
    dump, more, index = (str(tmp_path / name) for name in ("dump", "more", "index"))

    main(["--docs", dump, "--domain", "goods", "--out", index, "--index", "IVF8,Flat", "--top_k", "10", "--recall", "0.9"])

    assert "documents of its own" in read_card(index).queries
    said = capsys.readouterr().out
    assert "IVF8,Flat was asked for" in said and "recall@10 " in said and f"-> {index}" in said

    queries = ["--queries", dump, "--query_domain", "video", "--held_out", "150"]
    main(["--docs", dump, "--domain", "goods", "--out", index, "--add", more, *queries])

    card = json.loads((tmp_path / "index" / "card.json").read_text())
    assert (card["number"], card["recall_at"], card["wanted_recall"], card["tuned_on"]) == (1400, 10, 0.9, 75)
    assert [source["dump"] for source in card["sources"]] == [dump, more]
    assert card["queries"] == f"queries of {dump}"
    assert "1,400 of width 32, inner product" in (tmp_path / "index" / "card.md").read_text()
    assert f"- {more}: 400 rows" in (tmp_path / "index" / "card.md").read_text()


def test_what_the_command_cannot_do_is_one_line(tmp_path):
    goods_and_clips(tmp_path / "dump", goods=100, clips=10)
    (tmp_path / "unfinished").mkdir()
    dump = str(tmp_path / "dump")

    with pytest.raises(ValueError, match=r"unfinished: no manifest.json; the dump is unfinished"):
        main(["--docs", str(tmp_path / "unfinished"), "--out", str(tmp_path / "index")])
    with pytest.raises(ValueError, match="holds the domains goods, video; say which"):
        main(["--docs", dump, "--out", str(tmp_path / "index")])
    with pytest.raises(ValueError, match="--memory plenty: give a size such as 500MB"):
        main(["--docs", dump, "--domain", "goods", "--out", str(tmp_path / "index"), "--memory", "plenty"])
    with pytest.raises(ValueError, match=r"index: no card.json, so not an index"):
        main(["--docs", dump, "--domain", "goods", "--out", str(tmp_path / "index"), "--add", dump])


def test_queries_of_another_checkpoint_or_width_are_refused_before_any_work(tmp_path):
    dump = goods_and_clips(tmp_path / "dump", goods=100, clips=10).folder
    retrained = goods_and_clips(tmp_path / "retrained", goods=100, clips=10, checkpoint="decaf").folder
    wide = write_dump(tmp_path / "wide", [("video", np.ones((10, 9), np.float32), [f"v{row}" for row in range(10)])])
    given = ["--docs", str(dump), "--domain", "goods", "--query_domain", "video", "--out", str(tmp_path / "index"), "--index", "Flat", "--top_k", "5"]
    main(given)
    before = (tmp_path / "index" / "card.json").read_bytes()

    for flags in ([], ["--add", str(dump)]):
        with pytest.raises(ValueError, match=r"retrained was made by checkpoint decaf, .*dump by c0ffee; embed both with one checkpoint"):
            main([*given, "--queries", str(retrained), *flags])
        with pytest.raises(ValueError, match=r"wide has embeddings of width 9, .*dump.* of width 32; embed both with one recipe"):
            main([*given, "--queries", str(wide), *flags])
    assert (tmp_path / "index" / "card.json").read_bytes() == before


def test_documents_that_two_dumps_hold_are_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr("evaluate.approximate.build.hold_out", lambda *_: pytest.fail("the search has begun"))
    one, other = (str(goods_and_clips(tmp_path / name, seed, goods=100, clips=10).folder) for name, seed in (("one", 0), ("other", 5)))
    given = ["--domain", "goods", "--out", str(tmp_path / "index"), "--index", "Flat", "--docs", one]

    with pytest.raises(ValueError, match=r"one and .*other both hold the id 'g0'; an item has one vector"):
        main([*given, other])
    with pytest.raises(ValueError, match=r"one is given twice; give each dump once"):
        main([*given, one])


def test_of_a_job_the_first_process_builds(tmp_path, monkeypatch):
    dump = str(goods_and_clips(tmp_path / "dump", goods=100, clips=10).folder)
    given = ["--docs", dump, "--domain", "goods", "--out", str(tmp_path / "index"), "--index", "Flat", "--top_k", "5"]

    monkeypatch.setenv("RANK", "1")
    main(given)
    assert not (tmp_path / "index").exists()
    monkeypatch.setenv("RANK", "0")
    main(given)
    assert read_card(tmp_path / "index").number == 100
