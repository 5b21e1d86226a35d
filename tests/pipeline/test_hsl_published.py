"""The release's weights through the import command: parity numbers from vectors to losses, and every kind of misfit."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch

from launch.files import read_json
from models.region_scores import Aggregation
from pipeline.checkpoint import load_checkpoint
from pipeline.import_checkpoint import main
from pipeline.recipes.hsl.system import HSL, VECTORS
from tests.hsl_reference import HSLReference
from tests.parity_vectors import ATOL, RTOL

NAMES = ["<pad>", "<start>", "<end>", "<unk>", *(f"word{number}" for number in range(46))]


@pytest.fixture(scope="module")
def reference(test_data: Path) -> HSLReference:
    return HSLReference(test_data)


def imported(model: Any, folder: Path, *flags: str) -> Path:
    """The run folder that a checkpoint file of the release's form becomes."""
    (folder / "words.txt").write_text("\n".join(NAMES))
    torch.save(model, folder / "model_best.pth.tar")
    main(["--from", "hsl", str(folder / "model_best.pth.tar"), "--words", str(folder / "words.txt"), "--out", str(folder / "run"), *flags])
    return folder / "run"


@pytest.fixture(scope="module")
def run(reference: HSLReference, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = {"epoch": 7, "model": reference.checkpoint(), "opt": Namespace(use_dup=True), "Eiters": 3}
    return imported(file, tmp_path_factory.mktemp("hsl"))


def system_of(run: Path, aggregation: Aggregation) -> HSL:
    """The run's system with another aggregation; weights do not depend on it."""
    found = load_checkpoint(run)
    assert isinstance(found.system, HSL)
    other = HSL(found.recipe.system.__class__(**{**vars(found.recipe.system), "aggregation": aggregation}), found.system.vocabulary, 24, 32)
    other.load_state_dict(found.system.state_dict())
    return other.eval()


@torch.no_grad()
def test_the_vectors_of_images_and_queries_are_the_releases(run: Path, reference: HSLReference) -> None:
    system, batch = system_of(run, "max"), reference.batch()

    goods, queries = system.compared(batch, "goods"), system.compared(batch, "query")

    for name in VECTORS:
        reference.assert_same(queries[name], f"text_{name}")
    for name in ("image_top", "image_low"):
        reference.assert_same(goods[name], name)
    for name in ("object_top", "object_low"):
        present = batch["region_mask"]
        torch.testing.assert_close(goods[name][present], reference[name][present], rtol=RTOL, atol=ATOL)


@torch.no_grad()
@pytest.mark.parametrize("aggregation", ["mean", "max"])
def test_scores_and_losses_are_the_releases(run: Path, reference: HSLReference, aggregation: Aggregation) -> None:
    system, batch = system_of(run, aggregation), reference.batch()

    scores = system.score(system.compared(batch, "query"), system.compared(batch, "goods"))
    terms = system(batch)

    reference.assert_same(scores, f"score_{aggregation}")
    assert sorted(terms) == sorted(VECTORS)
    reference.assert_same(sum(terms.values(), torch.zeros(())), f"loss_{aggregation}")


@torch.no_grad()
def test_with_the_mean_the_score_is_one_product_of_embeddings(run: Path, reference: HSLReference) -> None:
    system, batch = system_of(run, "mean"), reference.batch()

    products = system.embed(batch, "query") @ system.embed(batch, "goods").T

    assert products.shape == (4, 4) and system.embed(batch, "goods").shape == (4, system.embedding_dim) == (4, 160)
    reference.assert_same(products, "score_mean")


def test_sizes_are_read_off_the_file_and_what_is_left_out_has_its_reason(run: Path) -> None:
    loaded, listed = load_checkpoint(run), read_json(run / "import.json")

    s = loaded.recipe.system
    assert (s.width, s.dim, s.feedforward, s.image_layers, s.text_layers, s.word_dim, s.heads) == (32, 40, 2048, 3, 2, 32, 4)
    assert isinstance(loaded.system, HSL) and loaded.system.vocabulary.words == tuple(NAMES)
    assert set(listed["left_out"].values()) == {"templates of layers, which no forward uses"} and len(listed["left_out"]) == 24


def test_a_list_alone_under_any_prefix_and_a_layer_between_words_and_text_are_taken(reference: HSLReference, tmp_path: Path) -> None:
    image, text, words = reference.checkpoint()
    words = {"embed.weight": torch.randn(50, 12), "fc.weight": torch.randn(32, 12), "fc.bias": torch.randn(32)}

    run = imported([{f"module.{name}": value for name, value in image.items()}, text, words], tmp_path)

    own = load_checkpoint(run).system.state_dict()
    assert torch.equal(own["text.words.weight"], words["embed.weight"]) and torch.equal(own["text.project.weight"], words["fc.weight"])
    assert torch.equal(own["image.project.weight"], image["in_fc.weight"])


def refused(model: Any, folder: Path, *flags: str) -> str:
    with pytest.raises(ValueError) as caught:
        imported(model, folder, *flags)
    assert not (folder / "run").exists()
    return str(caught.value)


def test_missing_unknown_and_misshapen_tensors_are_listed_together_and_nothing_is_written(reference: HSLReference, tmp_path: Path) -> None:
    image, text, words = reference.checkpoint()
    del image["fc2.bias"]
    text["fc5.weight"], image["attflat_img.linear_merge.weight"] = torch.ones(2), torch.ones(3)

    message = refused([image, text, words], tmp_path)

    assert "missing: image.image_top.bias;" in message and "unknown: txt_enc: fc5.weight;" in message
    assert "misshapen: image.pooling.merge.weight is [3], wanted [40, 32]; nothing was imported" in message


def test_files_of_another_kind_and_another_vocabulary_are_refused(reference: HSLReference, tmp_path: Path) -> None:
    image, text, words = reference.checkpoint()

    assert "no list of the state dicts of img_enc, txt_enc, word_embed; a checkpoint of HSL has one, this file holds epoch" in refused(
        {"epoch": 3}, tmp_path
    )
    assert "a list of 2" in refused([image, text], tmp_path)
    message = refused([text, text, words], tmp_path)
    assert message.endswith("no img_enc: in_fc.weight and no img_enc: out_fc.weight; a checkpoint of HSL has them")
    words["embed.weight"] = words["embed.weight"][:40]
    assert "words.txt: 50 words, the embedding of" in refused([image, text, words], tmp_path)
    with pytest.raises(ValueError, match="its words are numbers; give --words FILE"):
        main(["--from", "hsl", str(tmp_path / "model_best.pth.tar"), "--out", str(tmp_path / "run")])
