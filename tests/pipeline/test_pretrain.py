"""The pre-training system: its terms against slow twins, its prompter, and which parameters each of them reaches."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, logsigmoid, normalize
from transformers import AutoTokenizer, ChineseCLIPConfig, ChineseCLIPModel

from pipeline.checkpoint import CheckpointFolder, State, load_checkpoint
from pipeline.order import order_of
from pipeline.pack import pack
from pipeline.recipe import Recipe
from pipeline.recipes.qcd_pretrain.build import check
from pipeline.recipes.qcd_pretrain.prompter import load_prompter
from pipeline.recipes.qcd_pretrain.system import QCDPretrain
from pipeline.recipes.qcd_pretrain.wrong_pairs import wrong_partners
from pipeline.shards import ShardSet
from pipeline.stream import Slice, training_batches
from pipeline.system import Batch
from tests.models.folders import PIXELS, TRANSFORMER, WORDS
from tests.pipeline.little_pretraining import new_system, recipe, write_categorised_corpus
from tests.pipeline.test_step import apart, gradients_of_a_step


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    folder = tmp_path_factory.mktemp("pretrain")
    pack(write_categorised_corpus(folder / "corpus"), folder / "shards", workers=1, vocab_size=200)
    return ShardSet(folder / "shards/train")


@pytest.fixture(scope="module")
def prompter(shards: ShardSet, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint of towers with random weights: a prompter with something to say."""
    folder, contrast = tmp_path_factory.mktemp("prompter"), recipe(1, matching_weight=0.0, masking_weight=0.0)
    return write(new_system(contrast, shards), contrast, folder)


def write(system: QCDPretrain, chosen: Recipe, folder: Path) -> str:
    CheckpointFolder(folder).write(system, chosen, State(), None, keep=1, is_best=False)
    return str(folder)


def batch_of(system: QCDPretrain, chosen: Recipe, shards: ShardSet) -> Batch:
    preparation, order = system.preparation(training=True), order_of(shards, chosen.stream, 0)
    return next(training_batches(shards, order, preparation, seed=0, part=Slice(0, 1), epochs=range(1), workers=0, prefetch=2))


def system_and_batch(shards: ShardSet, **settings: Any) -> tuple[QCDPretrain, Batch]:
    chosen = recipe(1, **settings)
    system = new_system(chosen, shards)
    return system, batch_of(system, chosen, shards)


def test_a_wrong_partner_is_drawn_in_proportion_to_its_similarity() -> None:
    similarity = torch.tensor([[math.log(3), 0.0, math.log(2), 9.0]]).expand(4, -1) / 2
    allowed = torch.tensor([[True, True, True, False]]).expand(4, -1)
    draw = torch.tensor([0.49, 0.51, 0.67, 1 - 2**-53], dtype=torch.float64)  # shares 3/6, 1/6, 2/6

    places, found = wrong_partners(similarity, allowed, draw, temperature=0.5)

    assert places.tolist() == [0, 1, 2, 2]
    assert found.all()


def test_a_row_that_is_allowed_nobody_finds_nobody() -> None:
    allowed = torch.tensor([[False, False], [False, True]])

    places, found = wrong_partners(torch.zeros(2, 2), allowed, torch.tensor([0.5, 0.0], dtype=torch.float64), temperature=0.1)

    assert found.tolist() == [False, True] and places[1] == 1
    assert 0 <= places[0] < 2


def test_level_weights_go_from_coarse_to_fine_in_a_line(shards: ShardSet, prompter: str) -> None:
    system, batch = system_and_batch(shards, prompter=prompter, level_weights_first=(1.0, 1.0, 0.0), level_weights_last=(0.2, 1.0, 0.5))
    rows = system.encode(batch)

    losses = []
    for progress in (0.0, 0.25, 1.0):
        system.before_step(progress)
        losses.append([system.losses(rows, batch)[f"entities_{level}"].item() for level in (1, 2, 3)])

    start, quarter, end = losses
    assert quarter[0] == pytest.approx(0.8 * start[0]) and end[0] == pytest.approx(0.2 * start[0])
    assert start[1] == pytest.approx(quarter[1]) and start[1] == pytest.approx(end[1]) and start[1] > 1
    assert start[2] == 0 and quarter[2] == pytest.approx(0.25 * end[2]) and end[2] > 0


def test_prompts_are_a_levels_word_and_an_entitys_name_and_scores_their_softmax(shards: ShardSet, prompter: str) -> None:
    system, batch = system_and_batch(shards, prompter=prompter, entity_temperature=0.2)
    towers = load_checkpoint(prompter).system.document
    words = AutoTokenizer.from_pretrained(shards.tokenizer())(
        ["shelf shelf 0", "shelf shelf 1", "shelf shelf 2", "shelf shelf 3"], return_tensors="pt"
    )
    with torch.no_grad():
        expected = normalize(towers.text(words["input_ids"], words["attention_mask"]), dim=-1)  # type: ignore[operator, union-attr]
        seen = towers.visions(batch["frames"], batch["has_vision"])  # type: ignore[operator, union-attr]

    assert system.prompter is not None and system.prompter.entities[1] == [f"shelf {number}" for number in range(4)]
    scores = system.prompter(batch["frames"])

    torch.testing.assert_close(system.prompter.prompts[1], expected)
    torch.testing.assert_close(scores[1], (seen @ expected.T / 0.2).softmax(dim=1))
    assert [one.shape for one in scores] == [(12, 2), (12, 4), (12, 8)]


def test_a_two_tower_folder_of_transformers_is_a_prompter_too(shards: ShardSet, tmp_path: Path) -> None:
    torch.manual_seed(0)
    words = {**WORDS, "vocab_size": 300}
    model = ChineseCLIPModel(ChineseCLIPConfig(text_config=words, vision_config={**TRANSFORMER, **PIXELS}, projection_dim=12)).eval()
    model.save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(shards.tokenizer())
    tokenizer.save_pretrained(tmp_path)
    chosen = recipe(1, prompter=str(tmp_path))
    check(chosen)

    found = load_prompter(chosen.system, 32, [["item"], ["item number", "look"], ["a"]])

    encoded = tokenizer(["shelf item number", "shelf look"], padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = normalize(model.get_text_features(**encoded).pooler_output, dim=-1)
    torch.testing.assert_close(found.prompts[1], expected)
    frames = torch.randint(256, (3, 2, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        single = normalize(found.vision(frames.flatten(0, 1)).unflatten(0, (3, 2)).mean(dim=1), dim=-1)
    torch.testing.assert_close(found(frames)[1], (single @ expected.T / 0.05).softmax(dim=1), rtol=1e-3, atol=1e-4)


def test_contrast_is_infonce_both_ways_over_documents_with_words_and_frames(shards: ShardSet) -> None:
    system, batch = system_and_batch(shards, matching_weight=0.0, masking_weight=0.0)
    rows = system.encode(batch)

    found = system.losses(rows, batch)

    has_both = (batch["has_words"] & batch["has_vision"]).tolist()
    queries, documents = batch["query"].tolist(), batch["document_queries"].tolist()
    losses, masked = [], 0
    for own in (number for number in range(12) if has_both[number]):
        others = [number for number in range(12) if has_both[number] and (number == own or queries[own] not in documents[number])]
        masked += sum(has_both) - len(others)
        for left, right in ((rows["title"], rows["vision"]), (rows["vision"], rows["title"])):
            logits = torch.stack([left[own] @ right[other] for other in others]) / 0.05
            losses.append(cross_entropy(logits[None], torch.tensor([others.index(own)])))
    assert list(found) == ["vtc"]
    assert 0 < sum(has_both) < 12 and masked > 0  # both masks have something to do
    torch.testing.assert_close(found["vtc"], torch.stack(losses).mean())


def test_matching_is_told_of_right_pairs_and_of_two_wrong_ones_for_each(shards: ShardSet) -> None:
    system, batch = system_and_batch(shards, masking_weight=0.0)
    rows = system.encode(batch)

    found = system.losses(rows, batch)["vtm"]

    assert system.cross is not None and system.matching is not None
    tokens = system.document.tokens(batch["frames"], batch["has_vision"], batch["title_ids"], batch["title_mask"], batch["has_words"])
    places, words = system.cross.places(tokens.vision, tokens.places), system.cross.words(tokens.title, tokens.words)

    def logit(text: int, image: int) -> torch.Tensor:
        length = int(batch["title_mask"][text].sum())
        pair = system.cross(words[None, text, : 1 + length], batch["title_mask"][None, text, :length], places[None, image])  # type: ignore[misc]
        return system.matching(pair[0, 0])[0]  # type: ignore[misc]

    def partner(own: int, similarity: torch.Tensor, draw: float) -> int | None:
        fit = [n for n in range(12) if n != own and has_both[n] and batch["query"][own] not in batch["document_queries"][n]]
        if not fit:
            return None
        shares = (similarity[own, fit].double() / 0.05).softmax(dim=0).tolist()
        return next(n for n, reached in zip(fit, np.cumsum(shares)) if reached > draw)

    has_both = (batch["has_words"] & batch["has_vision"]).tolist()
    losses = []
    for own in (number for number in range(12) if has_both[number]):
        losses.append(-logsigmoid(logit(own, own)))
        frames_of = partner(own, rows["title"] @ rows["vision"].T, batch["draws"][own, 0].item())
        words_of = partner(own, rows["vision"] @ rows["title"].T, batch["draws"][own, 1].item())
        losses += [-logsigmoid(-logit(own, frames_of))] if frames_of is not None else []
        losses += [-logsigmoid(-logit(words_of, own))] if words_of is not None else []
    assert len(losses) > 2 * sum(has_both)
    torch.testing.assert_close(found, torch.stack(losses).mean())


def test_masked_words_are_asked_of_what_the_fusion_encoder_makes_of_the_rest_and_of_the_frames(shards: ShardSet) -> None:
    system, batch = system_and_batch(shards, matching_weight=0.0, masked_share=0.6)

    found = system(batch)["mlm"]

    assert system.cross is not None and system.words is not None
    tokens = system.document.tokens(batch["frames"], batch["has_vision"], batch["hidden_ids"], batch["title_mask"], batch["has_words"])
    words, places = system.cross.words(tokens.title, tokens.words), system.cross.places(tokens.vision, tokens.places)
    seen = system.cross(words, batch["title_mask"], places)[:, 1:]
    losses = []
    for text, place in batch["asked"].nonzero().tolist():
        logits = system.words(seen[text, place], system.document.text.word_embeddings())
        losses.append(cross_entropy(logits, batch["title_ids"][text, place]))
    assert len(losses) >= 7 and batch["asked"].sum() == len(losses)
    torch.testing.assert_close(found, torch.stack(losses).mean())
    hidden = batch["hidden_ids"] != batch["title_ids"]
    assert (hidden & ~batch["asked"]).sum() == 0 and hidden.sum() > 0


def test_entities_are_predicted_from_what_the_title_becomes_towards_the_prompters_scores(shards: ShardSet, prompter: str) -> None:
    system, batch = system_and_batch(shards, masking_weight=0.0, matching_weight=0.0, prompter=prompter, entity_temperature=0.02)

    found = system(batch)

    assert system.cross is not None and system.prompter is not None
    tokens = system.document.tokens(batch["frames"], batch["has_vision"], batch["title_ids"], batch["title_mask"], batch["has_words"])
    words, places = system.cross.words(tokens.title, tokens.words), system.cross.places(tokens.vision, tokens.places)
    first = system.cross(words, batch["title_mask"], places)[:, 0]
    both = batch["has_words"] & batch["has_vision"]
    for level, weight in ((1, 1.0), (2, 1.0), (3, 0.25)):
        targets = system.prompter(batch["frames"])[level - 1][both]
        expected = cross_entropy(system.entities[level - 1](first)[both], targets)
        torch.testing.assert_close(found[f"entities_{level}"], weight * expected)
    assert list(found) == ["vtc", "entities_1", "entities_2", "entities_3"]


def test_every_trained_parameter_gets_a_gradient_and_prompter_and_gate_get_none(shards: ShardSet, prompter: str) -> None:
    system, batch = system_and_batch(shards, prompter=prompter)

    sum(system.train()(batch).values()).backward()

    trained = {name for name, parameter in system.named_parameters() if parameter.requires_grad}
    reached = {name for name, parameter in system.named_parameters() if parameter.grad is not None}
    assert reached == trained
    named = [id(parameter) for part in system.parts().values() for parameter in part.parameters() if parameter.requires_grad]
    assert sorted(named) == sorted(id(parameter) for parameter in system.parameters() if parameter.requires_grad)
    frozen = {name.partition(".")[0] for name, _ in system.named_parameters()} - {name.partition(".")[0] for name in trained}
    assert frozen == {"prompter"}
    assert not any(name.startswith("document.fusion.") for name in trained)
    assert not any(module.training for module in system.prompter.modules())  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("term", "parts"),
    [("vtc", set()), ("vtm", {"cross", "matching"}), ("mlm", {"cross", "words"}), ("entities_2", {"cross", "entities"})],
)
def test_each_term_reaches_the_towers_and_the_parts_that_it_is_for(shards: ShardSet, prompter: str, term: str, parts: set[str]) -> None:
    system, batch = system_and_batch(shards, prompter=prompter)

    system.train()(batch)[term].backward()

    reached = {name for name, part in system.parts().items() if any(p.grad is not None and p.grad.abs().max() > 0 for p in part.parameters())}
    assert reached == {"text", "vision", "frame_integration"} | parts


def test_a_batch_without_a_single_whole_document_still_reaches_every_parameter(shards: ShardSet, prompter: str) -> None:
    system, batch = system_and_batch(shards, prompter=prompter)
    batch["has_words"] = torch.zeros(12, dtype=torch.bool)

    terms = system.train()(batch)
    sum(terms.values()).backward()

    assert all(value.item() == 0 for value in terms.values())
    assert all((parameter.grad is not None) == parameter.requires_grad for parameter in system.parameters())
    assert all(parameter.grad.isfinite().all() for parameter in system.parameters() if parameter.grad is not None)


@pytest.mark.parametrize("piece_size", [1, 5])
def test_pieces_of_any_size_give_the_gradients_of_the_whole_batch(shards: ShardSet, prompter: str, piece_size: int) -> None:
    whole = gradients_of_a_step(*system_and_batch(shards, prompter=prompter), piece_size=0)

    pieces = gradients_of_a_step(*system_and_batch(shards, prompter=prompter), piece_size=piece_size)

    assert whole.keys() == pieces.keys() and len(whole) > 30
    assert max(apart(pieces, whole).values()) < 1e-5


def test_a_checkpoint_needs_neither_the_prompters_folder_nor_the_entities(shards: ShardSet, prompter: str, tmp_path: Path) -> None:
    moved = Path(prompter).rename(tmp_path / "prompter")
    chosen = recipe(1, prompter=str(moved))
    system = new_system(chosen, shards).eval()
    folder = write(system, chosen, tmp_path / "run")
    batch = batch_of(system, chosen, shards)
    moved.rename(prompter)

    again = load_checkpoint(folder)

    assert isinstance(again.system, QCDPretrain) and again.recipe == chosen
    assert again.system.prompter is not None and again.system.prompter.entities[0] == ["department 0", "department 1"]
    expected, found = system(batch), again.system(batch)
    assert expected.keys() == found.keys() and len(found) == 6
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_half_words_and_half_frames_are_searched(shards: ShardSet) -> None:
    system, batch = system_and_batch(shards)
    system.eval()
    document = system.document(batch["frames"], batch["has_vision"], batch["title_ids"], batch["title_mask"], batch["has_words"])

    found = system.embed(batch, "goods")

    torch.testing.assert_close(found, normalize(document.title + document.vision, dim=-1))
    queries = {"title_ids": batch["query_ids"], "title_mask": batch["query_mask"]}
    torch.testing.assert_close(system.embed(queries, "query"), normalize(system.document.text(batch["query_ids"], batch["query_mask"]), dim=-1))


def test_what_is_searched_can_be_exported(shards: ShardSet) -> None:
    system, batch = system_and_batch(shards)
    system.eval()

    graph = system.exports().graphs["document"]

    inputs = [batch[name] for name in ("frames", "has_vision", "title_ids", "title_mask", "has_words")]
    torch.testing.assert_close(graph.module(*inputs), system.embed(batch, "goods"))


def test_what_is_drawn_of_a_document_does_not_depend_on_its_batch(shards: ShardSet) -> None:
    system, whole = system_and_batch(shards)
    chosen = recipe(1)
    preparation, order = system.preparation(training=True), order_of(shards, chosen.stream, 0)
    parts = [
        next(training_batches(shards, order, preparation, seed=0, part=Slice(rank, 3), epochs=range(1), workers=0, prefetch=2)) for rank in range(3)
    ]

    for name in ("draws", "asked", "hidden_ids"):
        for number, row in enumerate(row for part in parts for row in part[name]):
            assert torch.equal(row, whole[name][number, : len(row)]), name
    assert len({tuple(row) for row in whole["draws"].tolist()}) == 12
    evaluated = system.preparation(training=False)
    first = evaluated.sample(shards.shard(0).sample(0), None, None)
    assert not {"draws", "asked", "hidden_ids"} & evaluated.collate([first]).keys()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompter": "nowhere"}, r"--system.prompter nowhere: no such folder; give a run"),
        ({"level_weights_last": (1.0, 0.5)}, r"level_weights_last has 2 numbers, but --system.level_words names 3 levels"),
        ({"frames": 3}, r"was made for frames 2, but --system.frames is 3"),
        ({"image_size": 48}, r"was made for image_size 32, but --system.image_size is 48"),
        ({"level_words": ("a", "b", "c", "d")}, r"of 8 goods none has a category at level 4 of 4"),
        ({"entity_temperature": 0.0}, r"--system.entity_temperature 0.0: it divides similarities"),
        ({"masked_share": 2.0}, r"--system.masked_share 2.0: a share between 0 and 1"),
    ],
)
def test_a_mistake_is_named(shards: ShardSet, prompter: str, settings: dict[str, Any], message: str) -> None:
    chosen = recipe(1, **{"prompter": prompter, **settings})

    with pytest.raises(ValueError, match=message):
        if "prompter" in settings or "level_weights_last" in settings:
            check(chosen)
        else:
            new_system(chosen, shards)
