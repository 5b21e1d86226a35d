from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from evaluate.approximate import folder as folders
from evaluate.approximate.build import Wanted, build
from evaluate.approximate.card import read_card
from evaluate.approximate.faiss_index import make, read_index, write_index
from evaluate.approximate.folder import open_index
from evaluate.dump import Dump
from evaluate.engines.faiss_loading import load_faiss
from tests.evaluate.approximate.corpus import GOODS, goods_and_clips, goods_of, vectors
from tests.evaluate.dumps import write_dump


def test_an_index_is_searched_beside_its_own_dump_alone(corpus, lists_index, tmp_path):
    other = goods_and_clips(tmp_path / "other", seed=1)
    elsewhere = Dump(shutil.copytree(corpus.folder, tmp_path / "elsewhere"))
    retrained = goods_and_clips(tmp_path / "retrained", checkpoint="decaf")
    wide = Dump(write_dump(tmp_path / "wide", [("goods", np.ones((2, 9), np.float32), ["a", "b"])]))

    assert open_index(lists_index, goods_of(elsewhere))[1].number == 3000
    with pytest.raises(ValueError, match=r"index was made from .*dump, which .*other is not \(goods-000000 differs\); build the index again"):
        open_index(lists_index, goods_of(other))
    with pytest.raises(ValueError, match=r"made from embeddings of checkpoint c0ffee, .*retrained is of decaf"):
        open_index(lists_index, goods_of(retrained))
    with pytest.raises(ValueError, match=r"has vectors of width 32, .*wide of width 9"):
        open_index(lists_index, goods_of(wide))
    with pytest.raises(ValueError, match=r"index does not hold .*other; add it"):
        open_index(lists_index, goods_of(corpus, other))


def test_a_file_that_is_cut_short_or_gone_is_refused(corpus, lists_index, tmp_path, monkeypatch):
    folder = Path(shutil.copytree(lists_index, tmp_path / "index"))
    size = (folder / "index.faiss").stat().st_size
    with open(folder / "index.faiss", "r+b") as file:
        file.truncate(size - 100)

    with pytest.raises(ValueError, match=rf"index.faiss: {size - 100} bytes, its card says {size}; build the index again"):
        open_index(folder, goods_of(corpus))

    with open(folder / "index.faiss", "wb") as file:
        file.write(b"IxXX" + bytes(size - 4))
    with pytest.raises(ValueError, match=r"index.faiss: its SHA-256 is not the one on its card, so it is damaged; build the index again"):
        open_index(folder, goods_of(corpus))
    monkeypatch.setattr(folders, "CHECKED_BYTES", size - 1)
    with pytest.raises(ValueError, match=r"index.faiss: not a whole index: FAISS says Index type .* not recognized"):
        open_index(folder, goods_of(corpus))

    (folder / "card.json").unlink()
    with pytest.raises(ValueError, match=r"index: no card.json, so not an index"):
        open_index(folder, goods_of(corpus))


def test_rows_that_are_not_there_are_refused_where_a_file_is_too_large_for_its_checksum(corpus, lists_index, tmp_path, monkeypatch):
    folder = Path(shutil.copytree(lists_index, tmp_path / "index"))
    monkeypatch.setattr(folders, "CHECKED_BYTES", 0)
    clean = (folder / "index.faiss").read_bytes()
    numbers = lists_rows(folder / "index.faiss", 3)
    stored = numbers.tobytes()
    place = clean.index(stored)

    (folder / "index.faiss").write_bytes(clean[:place] + np.full_like(numbers, 2**40).tobytes() + clean[place + len(stored) :])
    with pytest.raises(ValueError, match=rf"index \(IVF32,SQ8\) finds row {2**40} of 3000, so it is damaged; build the index again"):
        open_index(folder, goods_of(corpus))[0].best(vectors(GOODS, 0)[numbers], 20)

    write_index(make("Flat", 32, 0), folder / "other")
    (folder / "index.faiss").write_bytes((folder / "other").read_bytes().ljust(len(clean), b"\0"))
    with pytest.raises(ValueError, match=r"index.faiss: 0 vectors of width 32, its card says 3000 of 32; it is damaged"):
        open_index(folder, goods_of(corpus))


def lists_rows(path: Path, number: int) -> np.ndarray:
    """int64: the rows in the list `number`."""
    faiss = load_faiss()
    index = read_index(path, mapped=False)
    lists = faiss.extract_index_ivf(index).invlists
    return faiss.rev_swig_ptr(lists.get_ids(number), lists.list_size(number)).copy()


def test_a_card_of_another_form_is_refused(lists_index, tmp_path):
    folder = Path(shutil.copytree(lists_index, tmp_path / "index"))
    text = (folder / "card.json").read_text()

    (folder / "card.json").write_text(text.replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(ValueError, match="format version 2, this program reads 1; build the index again"):
        read_card(folder)
    (folder / "card.json").write_text(text.replace('"seed"', '"speed"'))
    with pytest.raises(ValueError, match=r"card.json: lacks seed"):
        read_card(folder)


def test_an_index_is_written_whole_or_not_at_all(corpus, tmp_path, monkeypatch):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(folders, "write_card", stop)
    with pytest.raises(KeyboardInterrupt):
        build(goods_of(corpus), tmp_path / "index", Wanted("IVF8,Flat", top_k=5, held_out=20), quiet=True)

    assert list(tmp_path.iterdir()) == []


def test_what_killed_builds_have_left_is_removed_and_nothing_else(corpus, tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    kept = [".index.1.tmp", f".other.{gone.pid}.tmp", f".index.{gone.pid}.tmp.old", f".index.{gone.pid}.former", f"xindex.{gone.pid}.tmp"]
    for name in (f".index.{gone.pid}.tmp", *kept):
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.faiss").write_text("half")

    build(goods_of(corpus), tmp_path / "index", Wanted("Flat", top_k=5, held_out=20), quiet=True)

    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, "index"])


def test_a_place_that_cannot_be_written_or_holds_something_else_is_told_before_the_work(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("evaluate.approximate.build.hold_out", lambda *_: pytest.fail("the search has begun"))
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("mine, too")

    for out, message in (
        ("/proc/x", r"--out /proc/x: cannot be written"),
        (tmp_path / "file" / "index", r"--out .*file/index: cannot be written \((Not a directory|File exists)\)"),
        (tmp_path / "file", r"--out .*file: is there and is no index"),
        (tmp_path / "folder", r"--out .*folder: is there and is no index, which would replace it; give a folder of its own"),
    ):
        with pytest.raises(ValueError, match=message):
            build(goods_of(corpus), out, Wanted("Flat", top_k=5), quiet=True)
    assert (tmp_path / "file").read_text() == "mine" and (tmp_path / "folder" / "notes.txt").exists()


MEMORY = """
import sys
from pathlib import Path
from evaluate.approximate.faiss_index import make, read_index

def anonymous_kb():
    return int(next(line for line in open("/proc/self/status") if line.startswith("RssAnon")).split()[1])

make("Flat", 4, 0)  # loads FAISS
before = anonymous_kb()
index = read_index(Path(sys.argv[1]), mapped=sys.argv[2] == "mapped")
print(anonymous_kb() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc, which this system lacks")
@pytest.mark.parametrize("factory", ["IVF16,Flat", "HNSW4"])
def test_an_index_is_mapped_and_not_read_into_memory(tmp_path, factory):
    rows = np.random.default_rng(0).random((8000, 512), np.float32)
    index = make(factory, 512, 0)
    index.train(rows[:1000])
    index.add(rows)
    write_index(index, tmp_path / "index")

    def held_mb(how: str) -> float:
        command = [sys.executable, "-c", MEMORY, str(tmp_path / "index"), how]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1024

    assert held_mb("whole") > 15
    assert held_mb("mapped") < 5
