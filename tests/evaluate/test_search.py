from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from evaluate.dump import Dump
from evaluate.dumps.array import ArrayVectors
from evaluate.embeddings import finish_dump, write_dump_shard
from evaluate.engines import exact, faiss_flat
from evaluate.ids import decode_ids
from evaluate.ranked import Ranked
from evaluate.search import main, search
from tests.evaluate.dumps import attributes, write_dump
from tests.evaluate.slices import Rows


def lists_of(ranked: Ranked) -> dict[str, list[str]]:
    """Query id -> document ids, best first."""
    documents = decode_ids(ranked.doc_ids)
    return {
        query: [documents[row] for row in own]
        for query, own in zip(decode_ids(ranked.query_ids), ranked.lists(range(ranked.queries), ranked.depth)[0])
    }


def random_rows(rows: int, dim: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)


def test_one_dump_of_both_domains_is_searched_both_ways(tmp_path):
    goods, videos = random_rows(30), random_rows(11, seed=1)
    ids = [f"goods {row}" for row in range(30)], [f"videos {row}" for row in range(11)]
    dump = Dump(write_dump(tmp_path / "dump", [("goods", goods, ids[0]), ("video", videos, ids[1])]))

    there = Ranked(search(dump, dump, tmp_path / "there", "video2goods", 5))
    back = Ranked(search(dump, dump, tmp_path / "back", "goods2video", 1000))

    scores = videos @ goods.T
    assert lists_of(there) == {ids[1][row]: [ids[0][other] for other in np.argsort(-own)[:5]] for row, own in enumerate(scores)}
    assert lists_of(back) == {ids[0][row]: [ids[1][other] for other in np.argsort(-own)] for row, own in enumerate(scores.T)}
    assert (there.attributes.docs, there.depth, back.attributes.docs, back.depth) == (30, 5, 11, 11)
    np.testing.assert_allclose(there.lists([3], 1)[1], [[scores[3].max()]], rtol=1e-6)


def test_roles_say_who_searches_and_who_is_searched(tmp_path):
    rows = random_rows(6)
    sides = [("goods.query", rows[:2], ["q1", "q2"]), ("goods.document", rows[2:5], ["d1", "d2", "d3"]), ("goods", rows[5:], ["both"])]
    dump = Dump(write_dump(tmp_path / "dump", sides))

    found = lists_of(Ranked(search(dump, dump, tmp_path, "goods2goods")))

    assert list(found) == ["q1", "q2", "both"]
    assert {frozenset(own) for own in found.values()} == {frozenset({"d1", "d2", "d3", "both"})}


@pytest.mark.parametrize("block_rows", [7, 64])
def test_files_do_not_depend_on_the_size_of_the_blocks(tmp_path, block_rows):
    draw = np.random.default_rng(2)
    goods, videos = (draw.integers(-2, 3, (rows, 6)).astype(np.float32) for rows in (90, 20))
    dump = Dump(write_dump(tmp_path / "dump", [("goods", goods, [f"g{n}" for n in range(90)]), ("video", videos, [f"v{n}" for n in range(20)])]))

    search(dump, dump, tmp_path / "whole", "video2goods", 10)
    search(dump, dump, tmp_path / "blocks", "video2goods", 10, block_rows=block_rows)

    for name in ("ranked.h5", "run.trec"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "blocks" / name).read_bytes()


def test_items_that_could_not_be_embedded_are_counted_by_side(tmp_path):
    for domain, lost in (("goods", 3), ("video", 1)):
        failed = [{"id": f"lost {number}", "reason": "no frames"} for number in range(lost)]
        write_dump_shard(tmp_path / f"{domain}-000000.h5", random_rows(4, 4), [f"{domain} {n}" for n in range(4)], attributes(domain), failed)
    finish_dump(tmp_path, ["goods-000000", "video-000000"])

    about = Ranked(search(Dump(tmp_path), Dump(tmp_path), tmp_path / "out", "video2goods")).attributes

    assert (about.queries_failed, about.docs_failed) == (1, 3)


def test_what_can_never_be_written_and_documents_given_twice_are_told_before_the_search(tmp_path, monkeypatch):
    monkeypatch.setattr("evaluate.search.Exact", lambda *_: pytest.fail("the search has begun"))
    one, other = (Dump(write_dump(tmp_path / name, [("goods", random_rows(2), ["a", "b"])])) for name in ("one", "other"))
    (tmp_path / "file").write_text("mine")

    for out in ("/proc/x", tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(ValueError, match=rf"--out {out}: cannot be written \(.+\); give a folder"):
            search(one, one, out, "goods2goods")
    with pytest.raises(ValueError, match=r"one is given twice; give each dump once"):
        search(one, [one, one], tmp_path / "out", "goods2goods", 1)
    with pytest.raises(ValueError, match=r"one and .*other both hold the id 'a'"):
        search(one, [one, other], tmp_path / "out", "goods2goods", 1)


def test_dumps_that_do_not_belong_together_are_refused(tmp_path):
    videos = Dump(write_dump(tmp_path / "videos", [("video", random_rows(2), ["a", "b"])]))
    other = Dump(write_dump(tmp_path / "other", [("goods", random_rows(2), ["a", "b"])], checkpoint="decaf"))
    wide = Dump(write_dump(tmp_path / "wide", [("goods", random_rows(2, 9), ["a", "b"])]))

    with pytest.raises(ValueError, match=r"videos was made by checkpoint c0ffee, .*other by decaf"):
        search(videos, other, tmp_path, "video2goods")
    with pytest.raises(ValueError, match=r"videos has embeddings of width 8, .*wide of width 9"):
        search(videos, wide, tmp_path, "video2goods")
    with pytest.raises(ValueError, match=r"videos holds no goods documents, which video2goods needs; its domains are video"):
        search(videos, videos, tmp_path, "video2goods")
    with pytest.raises(ValueError, match="--task retrieval: give QUERYDOMAIN2DOCUMENTDOMAIN"):
        search(videos, videos, tmp_path, "retrieval")


def test_two_documents_of_one_id_are_refused(tmp_path):
    dump = Dump(write_dump(tmp_path, [("goods", random_rows(3), ["a", "b", "a"]), ("video", random_rows(1), ["v"])], shard_rows=2))

    with pytest.raises(ValueError, match="two documents have the id 'a'"):
        search(dump, dump, tmp_path / "out", "video2goods")


def test_the_command_says_that_a_list_is_capped(tmp_path, capsys):
    write_dump(tmp_path / "dump", [("goods", random_rows(3), list("abc")), ("video", random_rows(1), ["v"])])
    dump = str(tmp_path / "dump")

    main(["--queries", dump, "--docs", dump, "--task", "video2goods", "--out", str(tmp_path / "out"), "--no_trec"])

    assert "3 documents are fewer than --top_k 1000, so every list holds all 3" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["ranked.h5"]


def test_a_wrong_folder_is_one_line_and_exit_code_2(tmp_path):
    command = [sys.executable, "-m", "evaluate.search", "--queries", str(tmp_path), "--docs", str(tmp_path), "--task", "video2goods", "--out", "out"]

    ended = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])

    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert line.startswith(f"error: {tmp_path}: no manifest.json; the dump is unfinished, run embed again")


def goods_and_videos(folder: Path, **changes: object) -> Dump:
    """Thirty goods - bread, fruit and fruit again, odd ones of a brand - and four videos, of which one is of bread."""
    labels = {f"g{row}": {"category": ["Food", "Fruit" if row % 3 else "Bread"], **({"brand": "Nami"} if row % 2 else {})} for row in range(30)}
    labels |= {f"v{row}": {"category": ["Food", "Bread" if row == 1 else "Fruit"]} for row in range(4)}
    sides = [("goods", random_rows(30), [f"g{row}" for row in range(30)]), ("video", random_rows(4, seed=1), [f"v{row}" for row in range(4)])]
    return Dump(write_dump(folder, sides, labels=labels, **changes))


def test_a_search_among_some_labels_is_a_search_of_a_corpus_of_those(tmp_path):
    dump = goods_and_videos(tmp_path / "dump")

    ranked = Ranked(search(dump, dump, tmp_path / "out", "video2goods", 5, only=["category=Fruit", "brand=Nami"], queries_only=["category=Food"]))

    chosen = [row for row in range(30) if row % 3 and row % 2]
    scores = random_rows(4, seed=1) @ random_rows(30)[chosen].T
    assert lists_of(ranked) == {f"v{row}": [f"g{chosen[other]}" for other in np.argsort(-own)[:5]] for row, own in enumerate(scores)}
    assert [decode_ids(ids) for ids in ranked.searched_ids()] == [[f"g{row}" for row in chosen]]
    assert (ranked.attributes.docs, ranked.attributes.only, ranked.attributes.queries_only) == (10, "category=Fruit brand=Nami", "category=Food")
    assert list(lists_of(Ranked(search(dump, dump, tmp_path / "out", "video2goods", queries_only=["category=Bread"])))) == ["v1"]
    with pytest.raises(ValueError, match="none of 30 items passes the filter category=Tea"):
        search(dump, dump, tmp_path / "out", "video2goods", only=["category=Tea"])


def test_the_category_of_both_sides_is_kept_and_other_labels_on_request(tmp_path):
    dump = goods_and_videos(tmp_path / "dump")

    plain = Ranked(search(dump, dump, tmp_path / "plain", "video2goods"))
    asked = Ranked(search(dump, dump, tmp_path / "asked", "video2goods", labels=["brand"]))

    assert (plain.label_keys(), asked.label_keys()) == (["category"], ["brand"])
    values = plain.label_values("category")
    assert [values[code] for code in plain.query_label("category")] == [f'["Food", "{"Bread" if row == 1 else "Fruit"}"]' for row in range(4)]
    assert np.concatenate(list(asked.searched_label("brand"))).tolist() == [0 if row % 2 else -1 for row in range(30)]
    assert asked.query_label("brand").tolist() == [-1] * 4
    with pytest.raises(ValueError, match=r"--labels colour: neither .* nor .* has it; known: brand, category"):
        search(dump, dump, tmp_path / "out", "video2goods", labels=["colour"])


def test_near_identical_documents_are_folded_into_the_best_ranked(tmp_path):
    goods = np.concatenate([random_rows(20), random_rows(20) * 1.5]).astype(np.float32)
    sides = [("goods", goods, [f"g{row}" for row in range(40)]), ("video", random_rows(3, seed=1), ["v0", "v1", "v2"])]
    dump = Dump(write_dump(tmp_path / "dump", sides))

    ranked = Ranked(search(dump, dump, tmp_path / "out", "video2goods", 12, dedup=0.98))

    for query, (name, own) in enumerate(lists_of(ranked).items()):
        scores = random_rows(3, seed=1)[query] @ goods.T
        walked: list[int] = []
        folded = {}
        for row in np.argsort(-scores):
            twin = next((other for other in walked if other % 20 == row % 20), None)
            if len(walked) == 12:
                break
            if twin is None:
                walked.append(row)
            else:
                folded[f"g{row}"] = walked.index(twin)
        assert own == [f"g{row}" for row in walked], name
        gone = ranked.folded(query)
        assert dict(zip(decode_ids(ranked.doc_ids[gone.doc]), gone.place.tolist())) == folded
    assert ranked.attributes.dedup == 0.98 and ranked.depth == 12
    assert len((tmp_path / "out" / "run.trec").read_text().splitlines()) == 36


def test_lists_that_folding_left_short_are_padded(tmp_path):
    goods = np.repeat(np.eye(2, 8), 3, axis=0).astype(np.float32)
    dump = Dump(write_dump(tmp_path / "dump", [("goods", goods, [f"g{row}" for row in range(6)]), ("video", random_rows(1), ["v"])]))

    ranked = Ranked(search(dump, dump, tmp_path / "out", "video2goods", dedup=0.9))

    ranks, _ = ranked.lists([0], 6)
    assert (ranks >= 0).sum() == 2 and len(ranked.folded(0).doc) == 4 and len(ranked.doc_ids) == 6
    assert len((tmp_path / "out" / "run.trec").read_text().splitlines()) == 2


def write_sources(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The same thirty goods and eleven videos as goods.npy with ids, and videos.txt; returns both."""
    goods, videos = random_rows(30), random_rows(11, seed=1)
    np.save(folder / "goods.npy", goods)
    (folder / "goods.ids.txt").write_text("".join(f"g{row}\n" for row in range(30)))
    lines = (f"v{row}\t{','.join(repr(float(value)) for value in own)}\n" for row, own in enumerate(videos))
    (folder / "videos.txt").write_text("".join(lines))
    return goods, videos


def test_arrays_and_text_features_are_searched_as_a_dump_is(tmp_path, capsys):
    goods, videos = write_sources(tmp_path)
    ids = [f"g{row}" for row in range(30)], [f"v{row}" for row in range(11)]
    dump = Dump(write_dump(tmp_path / "dump", [("goods", goods, ids[0]), ("video", videos, ids[1])], checkpoint="unknown"))
    search(dump, dump, tmp_path / "a", "video2goods", 7)

    flags = {"--queries": tmp_path / "videos.txt", "--docs": tmp_path / "goods.npy", "--task": "video2goods", "--out": tmp_path / "b"}
    main([str(text) for pair in flags.items() for text in pair] + ["--top_k", "7", "--block_rows", "4"])

    for name in ("ranked.h5", "run.trec"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert "which checkpoint made" in capsys.readouterr().out


def test_an_array_may_be_searched_beside_a_dump_of_a_known_checkpoint(tmp_path, capsys):
    goods, videos = write_sources(tmp_path)
    dump = Dump(write_dump(tmp_path / "dump", [("video", videos, [f"v{row}" for row in range(11)])]))

    ranked = Ranked(search(dump, ArrayVectors(tmp_path / "goods.npy"), tmp_path / "out", "video2goods"))

    assert ranked.attributes.checkpoint == "c0ffee"
    assert f"which checkpoint made {tmp_path / 'goods.npy'} is not known" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"dump has embeddings of width 8, .*narrow.npy of width 5"):
        np.save(tmp_path / "narrow.npy", goods[:, :5])
        search(dump, ArrayVectors(tmp_path / "narrow.npy", tmp_path / "goods.ids.txt"), tmp_path / "out", "video2goods")
    with pytest.raises(ValueError, match=r"goods.npy: the filter category=Fruit needs the label category; it holds no labels"):
        search(dump, ArrayVectors(tmp_path / "goods.npy"), tmp_path / "out", "video2goods", only=["category=Fruit"])


PEAK = """
import sys
from pathlib import Path
from evaluate.dump import Dump
from evaluate.dumps.array import ArrayVectors
from evaluate.search import search
dump = Dump(sys.argv[1])
search(dump, dump, sys.argv[2], "video2goods", 50, block_rows=int(sys.argv[3]), engine=sys.argv[4])
print(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")).split()[1])
"""


@pytest.fixture(scope="module")
def dumps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Below it a dump of 10,000 documents, and one of ten times as many."""
    folder = tmp_path_factory.mktemp("memory")
    draw = np.random.default_rng(0)
    for rows in (10_000, 100_000):
        goods, videos = draw.random((rows, 256), np.float32), draw.random((20, 256), np.float32)
        ids = [str(10**6 + row) for row in range(rows)]
        write_dump(folder / str(rows), [("goods", goods, ids), ("video", videos, ids[:20])], shard_rows=5_000)
    return folder


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc, which this system lacks")
@pytest.mark.parametrize("engine", ["faiss", "torch"])
def test_memory_does_not_grow_with_the_documents(dumps, tmp_path, engine):
    def peak_mb(rows: int, block_rows: int) -> float:
        command = [sys.executable, "-c", PEAK, str(dumps / str(rows)), str(tmp_path / "out"), str(block_rows), engine]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]) / 1024

    few, many = peak_mb(10_000, 4096), peak_mb(100_000, 4096)

    assert many - few < 25, f"{few:.0f} MB for 10,000 documents, {many:.0f} MB for 100,000"
    if engine == "faiss":
        assert peak_mb(100_000, 100_000) - many > 75, "100,000 documents of 1 KiB held at once must show, or this test measures nothing"


def test_the_engine_does_not_show_in_the_files(tmp_path, capsys):
    sides = [("goods", random_rows(300), [f"g{row}" for row in range(300)]), ("video", random_rows(7, seed=1), [f"v{row}" for row in range(7)])]
    dump = str(write_dump(tmp_path / "dump", sides, shard_rows=40))

    for engine in ("faiss", "torch"):
        main(["--queries", dump, "--docs", dump, "--task", "video2goods", "--out", str(tmp_path / engine), "--engine", engine, "--device", "cpu"])

    for name in ("ranked.h5", "run.trec"):
        assert (tmp_path / "faiss" / name).read_bytes() == (tmp_path / "torch" / name).read_bytes()
    assert "engine: torch on cpu (as asked for)" in capsys.readouterr().out


def test_the_bar_moves_within_a_block_and_ends_at_all_documents(monkeypatch):
    monkeypatch.setattr(faiss_flat, "QUERIES_AT_ONCE", 10)
    seen = []

    class Bar:
        n = 0

        def update(self, more: int) -> None:
            self.n += more
            seen.append(self.n)

    @contextmanager
    def shown(total: int, **_: object) -> Iterator[Bar]:
        assert total == 100
        yield Bar()

    monkeypatch.setattr(exact, "progress", shown)
    vectors = random_rows(100, 4)

    exact.Exact(Rows(vectors), engine="faiss", device="cpu", block_rows=60)(vectors[:20], 5)

    assert seen == [30, 60, 60, 80, 100, 100]


def test_the_block_budget_counts_the_block_that_is_read_meanwhile(monkeypatch):
    monkeypatch.setattr(exact, "BLOCK_BYTES", (4 + 4 + 2) * 4 * 10)  # width 4: two blocks of 10 rows in float32, and one in half precision
    read = []

    class Watched(Rows):
        def blocks(self, rows_per_block=65536, first=0, last=None):
            read.append(rows_per_block)
            return super().blocks(rows_per_block, first, last)

    exact.Exact(Watched(random_rows(40, 4)), quiet=True)(random_rows(2, 4), 3)

    assert read == [10]
