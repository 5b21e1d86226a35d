"""What is relevant in a packed split: to held-out clips, by shared queries, and as a corpus' own files say."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from pipeline.pack import main, pack
from pipeline.packing.listing import Listing, write_listing
from pipeline.shards import ShardSet
from pipeline.sources import open_source
from tests.pipeline.corpora import real20m_files, write_catalog, write_files
from tests.pipeline.packed import SMALL_SHARDS, ids, rejected, write_crowd


def test_a_held_out_grocery_clip_finds_its_own_product_and_no_other(test_data: Path, tmp_path: Path) -> None:
    source = open_source(test_data / "data" / "grocery")

    write_listing(tmp_path / "l", source, "train", shard_samples=1000, holdout_videos=100, holdout_goods=60, stop_at_bad=True)

    with closing(Listing(tmp_path / "l")) as listing:
        train, val = ({entry.id for n in range(len(listing.shards(s))) for entry in listing.entries(s, n)} for s in ("train", "val"))
        pairs = list(listing.truth("val", "video2goods"))
    assert len(train) == 81 + 899 and len({id for id in val if id.startswith("2")} - train) == 100
    assert len(pairs) == 100 == len({clip_id for clip_id, _ in pairs})
    queries = {line.split("\t")[0]: line.rstrip("\n").split("\t")[1:] for line in (source.root / "train_file/train.txt").open()}
    own_names = {tuple(sides) for sides in queries.values() if "," not in sides[0]}
    assert all(any(good == goods and clip_id in clips.split(",") for goods, clips in own_names) for clip_id, good in pairs)


def test_held_out_clips_leave_train_and_goods_stay_in_both(tmp_path: Path) -> None:
    main(["--data", str(write_crowd(tmp_path / "crowd")), "--out", str(tmp_path / "out"), "--workers", "1", *SMALL_SHARDS])

    train, val = ShardSet(tmp_path / "out/train"), ShardSet(tmp_path / "out/val")
    held_out = set(ids(val, "video"))
    left_out = sum(id in {"v0", "v50", "v100", "v150", "v200"} for id, _, _ in rejected(val.folder))
    assert val.counts == {"goods": 210, "query": 20, "video": 12 - left_out} and set(train.counts) == {"goods", "video"}
    assert held_out.isdisjoint(ids(train, "video")) and sorted(ids(val, "goods")) == sorted(ids(train, "goods"))
    assert train.manifest["rejected"] + val.manifest["rejected"] == 5 and train.counts["video"] + val.counts["video"] == 205
    assert val.manifest["ground_truth"] == {
        **dict.fromkeys(("video2goods", "goods2video"), "most specific shared query"),
        **dict.fromkeys(("query2goods", "query2video"), "found by the query"),
    }


def test_relevant_to_a_held_out_clip_are_the_goods_of_its_most_specific_query(tmp_path: Path) -> None:
    words = {"g1": ["kettle", "blue"], "g2": ["kettle", "tea"], "g3": ["kettle"], "g4": ["other"]}
    words |= {"v1": ["kettle", "blue", "tea", "nothing sold"], "v2": ["kettle"]}
    records = [{"id": id, "domain": {"g": "goods", "v": "video"}[id[0]], "title": id, "queries": queries} for id, queries in words.items()]
    records += [{"id": f"w{n}", "domain": "video", "title": "no query that goods share", "queries": ["alone"]} for n in range(9)]
    corpus = write_catalog(tmp_path / "corpus", records)

    pack(corpus, tmp_path / "out", workers=1, vocab_size=0, holdout_videos=2, holdout_goods=1)

    val = ShardSet(tmp_path / "out" / "val")
    assert sorted(ids(val, "video")) == ["v1", "v2"] and sorted(ids(val, "goods")) == ["g1", "g2", "g3"]
    assert (val.folder / "ground_truth/video2goods.tsv").read_text() == "v1\tg1,g2\nv2\tg1,g2,g3\n"
    assert (val.folder / "ground_truth/goods2video.tsv").read_text() == "g1\tv1,v2\ng2\tv1,v2\ng3\tv2\n"
    assert [query.words for query in val.queries()] == ids(val, "query") == ["kettle", "blue", "tea", "nothing sold"]
    assert (val.folder / "ground_truth/query2video.tsv").read_text() == "kettle\tv1,v2\nblue\tv1\ntea\tv1\nnothing sold\tv1\n"
    assert (val.folder / "ground_truth/query2goods.tsv").read_text() == "kettle\tg1,g2,g3\nblue\tg1\ntea\tg2\n"


def test_more_clips_held_out_than_there_are_is_an_error_with_both_numbers(tmp_path: Path) -> None:
    records = [{"id": f"{n}", "domain": domain, "title": "x", "queries": ["q"]} for domain in ("goods", "video") for n in range(3)]
    corpus = write_catalog(tmp_path / "corpus", records)

    with pytest.raises(ValueError, match=r"--holdout_videos 3: the train split has 3 clips, .*at least one clip must stay"):
        pack(corpus, tmp_path / "out", workers=1, holdout_videos=3)


def test_a_corpus_with_a_val_split_of_its_own_holds_nothing_out(tmp_path: Path) -> None:
    for name in ("train", "val"):
        write_catalog(tmp_path / "corpus", [{"id": "a", "domain": "goods", "title": "x"}], name=f"{name}.jsonl")

    with pytest.raises(ValueError, match=r"--holdout_videos 5: .* has a split val of its own"):
        pack(tmp_path / "corpus", tmp_path / "out", holdout_videos=5)


def test_a_query_on_several_ground_truth_lines_has_the_ids_of_all(tmp_path: Path) -> None:
    files = {**real20m_files(), "test_file/eval_gt_video2goods.txt": "205_0\t101.jpg\n7_0\t8.jpg\n205_1\t102.jpg,101.jpg\n"}

    pack(write_files(tmp_path / "corpus", files), tmp_path / "out", workers=1, splits=["test"])

    assert (tmp_path / "out/test/ground_truth/video2goods.tsv").read_text() == "205\t101,102\n7\t8\n"


def test_relevance_by_shared_queries_where_a_catalog_has_no_ground_truth(tmp_path: Path) -> None:
    words = {"g1": ["kettle", "tea"], "g2": ["tea"], "g3": ["other"], "v1": ["tea", "kettle"], "v2": ["nobody"], "v3": ["other"]}
    records = [{"id": id, "domain": {"g": "goods", "v": "video"}[id[0]], "title": id, "queries": queries} for id, queries in words.items()]
    records[0]["role"], records[5]["role"] = "query", "document"
    corpus = write_catalog(tmp_path / "corpus", records, name="val.jsonl")

    pack(corpus, tmp_path / "out", workers=1)

    val = ShardSet(tmp_path / "out" / "val")
    assert {task: kind for task, kind in val.manifest["ground_truth"].items() if not task.startswith("query")} == {
        "video2goods": "shared queries",
        "goods2video": "shared queries",
    }
    assert (val.folder / "ground_truth/video2goods.tsv").read_text() == "v1\tg2\n"
    assert (val.folder / "ground_truth/goods2video.tsv").read_text() == "g1\tv1\ng2\tv1\ng3\tv3\n"


def test_rejected_items_are_not_relevant_where_relevance_is_derived(tmp_path: Path) -> None:
    records = [{"id": "g1", "domain": "goods", "images": ["gone.jpg"], "queries": ["q"]}]
    records += [{"id": id, "domain": domain, "title": "x", "queries": ["q"]} for id, domain in (("g2", "goods"), ("v1", "video"))]  # type: ignore[misc]

    pack(write_catalog(tmp_path / "corpus", records, name="val.jsonl"), tmp_path / "out", workers=1)

    truth = {task: (tmp_path / f"out/val/ground_truth/{task}.tsv").read_text() for task in ("video2goods", "goods2video")}
    assert truth == {"video2goods": "v1\tg2\n", "goods2video": "g2\tv1\n"}


def test_every_pair_of_domains_that_share_queries_has_relevance(tmp_path: Path) -> None:
    words = {"g1": ("goods", ["kettle"]), "v1": ("video", ["kettle", "tea"]), "s1": ("live", ["tea"]), "s2": ("live", ["kettle"])}
    records = [{"id": id, "domain": domain, "title": id, "queries": queries} for id, (domain, queries) in words.items()]
    files = {"ground_truth_live2goods.tsv": "s1\tg1\n"}

    pack(write_catalog(tmp_path / "corpus", records, files, name="test.jsonl"), tmp_path / "out", workers=1)

    test = ShardSet(tmp_path / "out/test")
    truth = {path.stem: path.read_text() for path in (test.folder / "ground_truth").iterdir()}
    assert truth == {
        "video2goods": "v1\tg1\n",
        "goods2video": "g1\tv1\n",
        "live2goods": "s1\tg1\n",
        "goods2live": "g1\ts2\n",
        "live2video": "s1\tv1\ns2\tv1\n",
        "video2live": "v1\ts1,s2\n",
        "query2goods": "kettle\tg1\n",
        "query2video": "kettle\tv1\ntea\tv1\n",
        "query2live": "kettle\ts2\ntea\ts1\n",
    }
    assert test.manifest["ground_truth"]["live2goods"] == "file" and test.manifest["ground_truth"]["goods2live"] == "shared queries"
    assert test.counts == {"goods": 1, "live": 2, "query": 2, "video": 1}
