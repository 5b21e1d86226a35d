"""The WordPiece vocabulary trained at pack time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from launch.files import checksum
from pipeline.packing.vocabulary import train_vocabulary

TEXTS = ["Blue kettle", "blue Kettles for tea", "茶壶 blue", "kettle tea café"] * 3


def test_transformers_loads_the_folder_and_pads_with_zero(tmp_path: Path) -> None:
    entries = train_vocabulary(lambda: iter(TEXTS), 100, tmp_path / "tokenizer")

    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tokenizer", local_files_only=True)

    assert len(tokenizer) == entries <= 100
    assert [tokenizer.convert_tokens_to_ids(token) for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")] == [0, 1, 2, 3, 4]
    assert (tokenizer.pad_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.mask_token_id) == (0, 2, 3, 4)
    ids = tokenizer(["blue kettle", "tea"], padding=True)["input_ids"]
    assert ids[0][0] == ids[1][0] == 2 and ids[0][-1] == 3 and ids[1][-1] == 0


def test_words_are_lower_case_without_accents_and_chinese_characters_stand_alone(tmp_path: Path) -> None:
    train_vocabulary(lambda: iter(TEXTS), 100, tmp_path / "tokenizer")

    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tokenizer", local_files_only=True)

    assert tokenizer.tokenize("BLUE 茶壶 Café") == ["blue", "茶", "壶", "cafe"]
    assert tokenizer.tokenize("kettles") == ["kettles"] and "[UNK]" not in tokenizer.tokenize("teablue")
    assert tokenizer.tokenize("щ") == ["[UNK]"]


def test_three_processes_train_the_same_vocabulary(tmp_path: Path, test_data: Path) -> None:
    program = (
        "import sys, pathlib; from pipeline.packing.vocabulary import train_vocabulary; "
        "lines = open(sys.argv[1], encoding='utf-8').read().splitlines()[:1500]; "
        "train_vocabulary(lambda: iter(lines), 1200, pathlib.Path(sys.argv[2]))"
    )

    for number in range(3):
        subprocess.run([sys.executable, "-c", program, str(test_data / "data" / "real20m_queries.txt"), str(tmp_path / str(number))], check=True)

    assert len({checksum(tmp_path / str(number) / "tokenizer.json") for number in range(3)}) == 1


def test_rare_characters_leave_room_for_words(tmp_path: Path) -> None:
    rare = ["".join(chr(0x4E00 + number) for number in range(500))]

    train_vocabulary(lambda: iter(TEXTS * 2 + rare), 60, tmp_path / "tokenizer")

    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tokenizer", local_files_only=True)
    assert len(tokenizer) <= 60
    assert tokenizer.tokenize("blue kettle") == ["blue", "kettle"]
    assert tokenizer.tokenize(chr(0x4E00 + 499)) == ["[UNK]"]


def test_texts_without_a_character_give_no_vocabulary(tmp_path: Path) -> None:
    assert train_vocabulary(lambda: iter(["", "  "]), 100, tmp_path / "tokenizer") == 0
    assert not (tmp_path / "tokenizer").exists()


def test_a_size_that_holds_no_words_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--vocab_size 5: a vocabulary needs at least 10 entries, or 0 for none"):
        train_vocabulary(lambda: iter(TEXTS), 5, tmp_path / "tokenizer")
