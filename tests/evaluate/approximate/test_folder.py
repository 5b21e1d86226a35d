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
from evaluate.approximate.faiss_index import make, write_index
from evaluate.approximate.folder import open_index
from evaluate.dump import Dump
from tests.evaluate.approximate.corpus import goods_and_clips, goods_of
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


def test_a_file_that_is_cut_short_or_gone_is_refused(corpus, lists_index, tmp_path):
    folder = Path(shutil.copytree(lists_index, tmp_path / "index"))
    size = (folder / "index.faiss").stat().st_size
    with open(folder / "index.faiss", "r+b") as file:
        file.truncate(size - 100)

    with pytest.raises(ValueError, match=rf"index.faiss: {size - 100} bytes, its card says {size}; build the index again"):
        open_index(folder, goods_of(corpus))

    with open(folder / "index.faiss", "wb") as file:
        file.write(b"IxXX" + bytes(size - 4))
    with pytest.raises(ValueError, match=r"index.faiss: not a whole index: FAISS says Index type .* not recognized"):
        open_index(folder, goods_of(corpus))

    (folder / "card.json").unlink()
    with pytest.raises(ValueError, match=r"index: no card.json, so not an index"):
        open_index(folder, goods_of(corpus))


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
