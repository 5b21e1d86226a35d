"""Concepts of captions, counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.concepts.counts import count_concepts, read_concepts

TEXTS = [
    "Two dogs on a red bus",
    "A dog's ball and two balls",
    "the bus stops; a dog sits",
    "A red berry among berries by the glass",
    "There is a picture of the front",
]


def test_the_commonest_words_that_say_something_become_concepts_with_their_plurals() -> None:
    found = count_concepts(lambda: TEXTS)

    counts = dict(zip((forms[0] for forms in found.forms), found.captions.tolist()))
    assert list(counts)[:4] == ["dog", "bus", "red", "two"] and counts["dog"] == 3
    assert ("dog", "dogs") in found.forms and ("ball", "balls") in found.forms and ("berry", "berries") in found.forms
    assert counts["ball"] == counts["berry"] == 1  # two forms in one caption are one caption
    assert ("bus",) in found.forms and ("stops",) in found.forms and ("glass",) in found.forms
    assert not {"picture", "front", "there", "a", "on"} & set(counts)


def test_a_caption_holds_the_concepts_whose_forms_are_in_it_and_pairs_are_counted() -> None:
    found = count_concepts(lambda: TEXTS).first(3)

    assert len(found) == 3 and found.of("RED dogs, red dogs!") == [0, 2] and found.of("a ball") == []
    assert found.together.tolist() == [[0, 2, 1], [2, 0, 1], [1, 1, 0]]


def test_concepts_come_back_from_their_file_and_a_damaged_line_is_named(tmp_path: Path) -> None:
    found = count_concepts(lambda: TEXTS, most=6)
    found.save(tmp_path)

    again = read_concepts(tmp_path)

    assert len(again) == 6 and again.forms == found.forms
    assert again.captions.tolist() == found.captions.tolist() and again.together.tolist() == found.together.tolist()
    (tmp_path / "concepts.tsv").write_text("dog,dogs\t3\t1:2\nbus\tmany\t\n")
    with pytest.raises(ValueError, match=r"concepts.tsv: line 2 is not `forms TAB captions TAB place:number ...`: 'bus"):
        read_concepts(tmp_path)
    with pytest.raises(ValueError, match=r"concepts.tsv: missing; concepts are counted where captions"):
        read_concepts(tmp_path / "elsewhere")
