"""Several ranks, each with its slice of the documents: the files of one process, byte for byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.evaluate.dumps import write_dump
from tests.pipeline.commands_on_ranks import run_on_ranks

SEARCHES = {
    "plain": (),
    "one document a list": ("--top_k", "1"),
    "some labels": ("--only", "category=Fruit", "--queries_only", "category=Fruit"),
    "folded": ("--dedup", "0.98", "--block_rows", "7"),
    "torch": ("--engine", "torch", "--top_k", "40"),
    "an index that is built": ("--index", "IVF8,SQ8", "--recall", "0.8", "--only", "category=Bread"),
    "an index that is chosen": ("--index", "auto", "--memory", "1GB"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For R of 1, 2 and 4 ranks R/<search> holds its ranked.h5 and run.trec."""
    folder = tmp_path_factory.mktemp("ranks")
    draw = np.random.default_rng(0)
    goods, videos = draw.standard_normal((90, 16)).astype(np.float32), draw.standard_normal((23, 16)).astype(np.float32)
    goods[40:60] = goods[:20] * 1.3
    goods[60:63] = goods[5]  # equal scores, on two ranks and more
    ids = [f"g{row}" for row in range(90)], [f"v{row}" for row in range(23)]
    labels = {name: {"category": "Bread" if row % 3 else "Fruit"} for names in ids for row, name in enumerate(names)}
    dump = write_dump(folder / "dump", [("goods", goods, ids[0]), ("video", videos, ids[1])], labels=labels)
    for name, rows in (("queries", videos), ("goods", goods[:40]), ("broken", goods[:40].copy())):
        np.save(folder / f"{name}.npy", rows)
        (folder / f"{name}.ids.txt").write_text("".join(f"{row}\n" for row in range(len(rows))))
    np.load(folder / "broken.npy", mmap_mode="r+")[39, 2] = np.nan
    few = write_dump(folder / "few", [("goods", goods[:2], ids[0][:2]), ("video", videos, ids[1])])  # fewer documents than ranks
    # Text features become a dump, made by one rank alone.
    (folder / "videos.txt").write_text("".join(f"v{row}\t{','.join(map(str, own.tolist()))}\n" for row, own in enumerate(videos)))
    for ranks in (1, 2, 4):
        out = folder / str(ranks)
        base = ["evaluate.search", "--docs", str(dump), "--task", "video2goods", "--top_k", "10"]
        searches = [[*base, "--queries", str(dump), "--out", str(out / name), *flags] for name, flags in SEARCHES.items()]
        text = [*base, "--queries", str(folder / "videos.txt"), "--converted", str(out / "made"), "--out", str(out / "text")]
        searches.append(["evaluate.search", "--queries", str(few), "--docs", str(few), "--task", "video2goods", "--out", str(out / "few")])
        exchange = [["tests.evaluate.exchange_on_ranks", str(folder)]] if ranks > 1 else []
        run_on_ranks(ranks, *searches, text, *exchange)
    return folder


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("name", [*SEARCHES, "few", "text"])
def test_many_ranks_write_the_files_of_one_process(folder: Path, name: str, ranks: int) -> None:
    for file in ("ranked.h5", "run.trec"):
        assert (folder / str(ranks) / name / file).read_bytes() == (folder / "1" / name / file).read_bytes()
