from __future__ import annotations

import json

import pytest

from evaluate.approximate.card import read_card
from evaluate.build_index import main
from tests.evaluate.approximate.corpus import goods_and_clips


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
