from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from evaluate.approximate import build as builder
from evaluate.approximate.build import Wanted, build
from evaluate.approximate.choose import Candidate, Choice
from evaluate.approximate.folder import open_index
from evaluate.approximate.held_out import draw_rows
from evaluate.dump import Dump
from evaluate.joined import Joined
from launch.files import checksum
from tests.evaluate.approximate.corpus import CLIPS, GOODS, clips_of, exact_best, goods_of, share_found, vectors
from tests.evaluate.dumps import write_dump


@pytest.mark.parametrize("factory", ["IVF32,Flat", "IVF32,SQ8", "IVF16,PQ4np", "HNSW8", "Flat"])
def test_the_recall_on_the_card_is_that_of_queries_it_was_not_tuned_on(corpus, tmp_path, factory):
    card = build(goods_of(corpus), tmp_path / "index", Wanted(factory, top_k=20), clips_of(corpus), quiet=True)

    searching, again = open_index(tmp_path / "index", goods_of(corpus))
    clips = vectors(CLIPS, 1000)[1::2]
    _, rows = searching.best(clips, 20)
    assert again == card and card.reached
    assert card.recall == pytest.approx(share_found(exact_best(clips, vectors(GOODS, 0), 20), rows), abs=1e-9)
    assert (card.tuned_on, card.measured_on, card.number, card.dim, card.recall_at) == (100, 100, GOODS, 32, 20)
    assert (card.rerank_factor > 0) == (factory in ("IVF32,SQ8", "IVF16,PQ4np"))


def test_two_builds_with_one_seed_are_one_index(corpus, tmp_path):
    wanted = Wanted("IVF32,PQ2np", top_k=20, held_out=100, seed=3)

    one, other = (build(goods_of(corpus), tmp_path / name, wanted, quiet=True) for name in ("one", "other"))
    third = build(goods_of(corpus), tmp_path / "third", replace(wanted, seed=4), quiet=True)

    assert one.checksum == other.checksum == checksum(tmp_path / "other" / "index.faiss") != third.checksum
    assert (one.parameters, one.rerank_factor, one.recall) == (other.parameters, other.rerank_factor, other.recall)


def test_training_sees_no_document_that_asks(corpus, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(builder, "draw_rows", lambda *arguments: drawn.append(draw_rows(*arguments)) or drawn[-1])

    card = build(goods_of(corpus), tmp_path / "index", Wanted("IVF32,Flat", top_k=20, held_out=200), quiet=True)

    [sample] = drawn
    assert card.trained_on == len(sample) == GOODS - 200
    assert not set(sample.tolist()) & set(draw_rows(GOODS, 200, 0).tolist())
    assert card.queries.startswith("documents of its own")


def test_the_sample_takes_at_most_half_of_the_memory(corpus, tmp_path):
    card = build(goods_of(corpus), tmp_path / "index", Wanted("IVF8,Flat", memory="256kB", top_k=20), quiet=True)

    assert card.trained_on * 32 * 4 == 128_000


def test_the_next_kind_is_built_where_the_first_does_not_reach_the_recall(corpus, tmp_path, monkeypatch, capsys):
    tried = (Candidate("IVF-PQ", "IVF16,PQ1np", 1, 1.0, False), Candidate("Flat", "Flat", 1, 1.0, False))
    monkeypatch.setattr(builder, "choose", lambda *_: Choice(tried, "rules say so"))

    card = build(goods_of(corpus), tmp_path / "index", Wanted(recall=0.9, top_k=20), clips_of(corpus), quiet=True)

    assert (card.factory, card.recall, card.asked, card.why) == ("Flat", 1.0, "auto", "rules say so")
    assert "IVF16,PQ1np: recall@20 0." in (said := capsys.readouterr().out) and "0.9 was wanted; the next kind is tried" in said

    monkeypatch.setattr(builder, "choose", lambda *_: Choice(tried[:1], "rules say so"))
    with pytest.raises(ValueError, match=r"no index within 1 GB reached recall 0.9; IVF16,PQ1np reached 0\.\d+: give more --memory"):
        build(goods_of(corpus), tmp_path / "none", Wanted(recall=0.9, memory="1GB", top_k=20), clips_of(corpus), quiet=True)
    assert not (tmp_path / "none").exists()


def test_an_index_that_was_asked_for_by_name_is_kept_and_said_to_fall_short(corpus, tmp_path, capsys):
    card = build(goods_of(corpus), tmp_path / "index", Wanted("IVF16,PQ1np", recall=0.99, top_k=20, rerank=False), clips_of(corpus))

    assert not card.reached and "LESS THAN 0.99 wanted" in capsys.readouterr().out
    text = (tmp_path / "index" / "card.md").read_text()
    assert f"{card.recall:.4f} of the exact best 20 found (LESS THAN 0.99 wanted)" in text and "none: scores are the index's" in text
    assert json.loads((tmp_path / "index" / "card.json").read_text())["recall"] == card.recall


def test_an_index_is_chosen_for_the_memory(corpus, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("evaluate.approximate.choose.FEW_VECTORS", 100)

    card = build(goods_of(corpus), tmp_path / "index", Wanted(memory="130kB", top_k=20), clips_of(corpus))

    # 3000 x 32: SQ8 takes 3000 (32 + 8) + 64 (128 + 48) + 256 = 131,520 bytes, PQ4 90,144.
    assert card.factory == "OPQ4,IVF64,PQ4np" and card.reached and card.bytes < 130_000
    assert "3000 x 32, 130 kB, recall@20 0.95: OPQ4,IVF64,PQ4np, re-ranked from the dump (84.1 kB); HNSW needs" in capsys.readouterr().out


def test_what_cannot_be_built_is_one_line(corpus, tmp_path):
    goods = goods_of(corpus)
    for wanted, message in (
        (Wanted("IVF4096,Flat"), r"IVF4096,Flat: 4096 lists are trained on .* has 2700 beside the held-out ones; ask for IVF64, or --index auto"),
        (Wanted("IVFx,Flat"), r"--index IVFx,Flat: neither the folder of an index nor a factory string for width 32: FAISS says could not parse"),
        (Wanted("IVF8,PQ5np"), r"dimension of the vector \(d\) should be a multiple"),
        (Wanted("IDMap,Flat"), r"IDMap,Flat cannot be filled: FAISS says add does not make sense with IndexIDMap"),
        (Wanted(recall=1.5), r"--recall 1.5: the share"),
        (Wanted(memory="lots"), r"--memory lots: give a size"),
        (Wanted(top_k=GOODS + 1), r"--top_k 3001: .* holds 3000 documents"),
        (Wanted(memory="1kB"), r"1 kB is too little for an index of recall 0.95 of 3000 x 32"),
    ):
        with pytest.raises(ValueError, match=message):
            build(goods, tmp_path / "index", wanted, quiet=True)
    with pytest.raises(ValueError, match="holds no documents to index"):
        build(Joined([corpus], domain="text"), tmp_path / "index", Wanted(), quiet=True)
    assert not (tmp_path / "index").exists()


def test_vectors_too_few_for_codes_are_one_line(tmp_path):
    dump = Dump(write_dump(tmp_path / "dump", [("goods", vectors(100, 0), [f"g{row}" for row in range(100)])]))

    with pytest.raises(ValueError, match=r"90 of its vectors do not train PQ4np: FAISS says .*training points"):
        build(Joined([dump]), tmp_path / "index", Wanted("PQ4np", held_out=50, top_k=5), quiet=True)


def test_copies_do_not_keep_an_index_from_the_recall(tmp_path):
    rows = np.repeat(vectors(40, 0), 5, axis=0)
    dump = Dump(write_dump(tmp_path / "dump", [("goods", rows, [f"g{row}" for row in range(200)])]))

    card = build(Joined([dump]), tmp_path / "index", Wanted(recall=1.0, held_out=20, top_k=7), quiet=True)

    assert card.factory == "Flat" and card.recall == 1
    # Rounding may make two documents tie in one sum and not in another: it is no reason to refuse what is exact.
    assert replace(card, recall=0.9999).reached and not replace(card, recall=0.9999, factory="IVF8,Flat").reached
