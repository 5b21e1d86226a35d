from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from evaluate.dumps.array import ArrayVectors
from evaluate.ids import decode_ids

IDS = [f"商品{row}" if row % 4 == 0 else f"g {row}" for row in range(23)]
ROWS = np.random.default_rng(0).standard_normal((23, 5)).astype(np.float32)


def save(folder: Path, rows: np.ndarray = ROWS, ids: list[str] = IDS, listed: str = "goods.ids.txt") -> Path:
    """goods.npy with an id list of that name beside it."""
    np.save(folder / "goods.npy", rows)
    text = json.dumps(ids) if listed.endswith(".json") else "".join(f"{item}\n" for item in ids)
    (folder / listed).write_text(text, encoding="utf-8")
    return folder / "goods.npy"


@pytest.mark.parametrize("listed", ["goods.ids.txt", "goods.ids.json", "goods.txt", "goods.json", "ids.txt", "ids.json"])
def test_rows_and_ids_come_back_whatever_the_list_is_called(tmp_path, listed):
    array = ArrayVectors(save(tmp_path, listed=listed))

    assert (len(array), array.dim, array.dtype, array.checkpoint) == (23, 5, "float32", "unknown")
    assert decode_ids(array.ids()) == IDS and array.id_bytes == max(len(item.encode()) for item in IDS)
    assert decode_ids(array.ids_at(np.array([0, 5, 22]))) == [IDS[0], IDS[5], IDS[22]]
    assert array.label_keys() == []


@pytest.mark.parametrize("rows_per_block", [1, 7, 23, 100])
def test_blocks_are_float32_of_the_size_asked_for(tmp_path, rows_per_block):
    blocks = list(ArrayVectors(save(tmp_path, ROWS.astype(np.float16))).blocks(rows_per_block))

    assert [first for first, _ in blocks] == list(range(0, 23, rows_per_block))
    assert all(block.dtype == np.float32 for _, block in blocks)
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), ROWS.astype(np.float16).astype(np.float32))


def test_a_list_of_whole_numbers_and_a_last_line_without_an_end_are_read(tmp_path):
    np.save(tmp_path / "a.npy", ROWS[:3])
    (tmp_path / "numbers.json").write_text("[3000001, 3000002, 7]")
    (tmp_path / "lines.txt").write_bytes(b"a\r\nb\r\nc")

    assert decode_ids(ArrayVectors(tmp_path / "a.npy", tmp_path / "numbers.json").ids()) == ["3000001", "3000002", "7"]
    assert decode_ids(ArrayVectors(tmp_path / "a.npy", tmp_path / "lines.txt").ids()) == ["a", "b", "c"]


def test_a_mark_of_the_encoding_is_no_part_of_the_first_id(tmp_path):
    np.save(tmp_path / "a.npy", ROWS[:2])
    (tmp_path / "ids.txt").write_bytes(b"\xef\xbb\xbfa\nb\n")

    assert decode_ids(ArrayVectors(tmp_path / "a.npy").ids()) == ["a", "b"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (np.zeros((23, 5)), r"goods.npy: float64 of shape \[23, 5\]; wanted float16 or float32 \[N, D\]"),
        (np.zeros(23, np.float32), r"float32 of shape \[23\]"),
        (np.zeros((0, 5), np.float32), r"float32 of shape \[0, 5\]"),
        (np.asfortranarray(ROWS), "stored column by column"),
        (ROWS[:20], r"goods.npy has 20 rows, .*goods.ids.txt 23 ids"),
        (np.array([{}]), "not a whole .npy file"),
    ],
)
def test_an_array_that_cannot_be_searched_is_refused(tmp_path, rows, said):
    with pytest.raises(ValueError, match=said):
        ArrayVectors(save(tmp_path, rows))


def test_files_that_are_missing_cut_or_of_another_kind_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere.npy: no such file"):
        ArrayVectors(tmp_path / "nowhere.npy")
    np.save(tmp_path / "alone.npy", ROWS)
    with pytest.raises(ValueError, match=r"alone.npy: no list of ids beside it \(alone.ids.txt, alone.ids.json, alone.txt"):
        ArrayVectors(tmp_path / "alone.npy")
    with pytest.raises(ValueError, match=r"ids.lst: no such file"):
        ArrayVectors(tmp_path / "alone.npy", tmp_path / "ids.lst")
    path = save(tmp_path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"goods.npy: not a whole .npy file"):
        ArrayVectors(path)
    np.savez(tmp_path / "two.npz", a=ROWS)
    (tmp_path / "two.npz").rename(tmp_path / "two.npy")
    with pytest.raises(ValueError, match=r"two.npy: an archive of several arrays"):
        ArrayVectors(tmp_path / "two.npy")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("ids.txt", b"a\n\nb\n", "ids.txt: line 2 is ''"),
        ("ids.txt", b"a\nb\xff\n", "ids.txt: not UTF-8 text"),
        ("ids.json", b'["a", ""]', 'ids.json: id 1 of 2 is ""'),
        ("ids.json", b'["a", 2.5]', "ids.json: id 1 of 2 is 2.5"),
        ("ids.json", b'["a", null]', "ids.json: id 1 of 2 is null"),
        ("ids.json", b'{"a": 1}', "ids.json: holds dict, not a list"),
        ("ids.json", b"[", "ids.json: not UTF-8 JSON"),
    ],
)
def test_what_is_no_id_is_named_with_its_place(tmp_path, name, content, said):
    np.save(tmp_path / "a.npy", ROWS[:2])
    (tmp_path / name).write_bytes(content)

    with pytest.raises(ValueError, match=said):
        ArrayVectors(tmp_path / "a.npy")


def test_a_row_that_is_not_finite_is_named(tmp_path):
    rows = ROWS.copy()
    rows[20, 1] = np.nan

    with pytest.raises(ValueError, match=r"goods.npy: row 20 \('商品20'\) is not finite"):
        list(ArrayVectors(save(tmp_path, rows)).blocks(8))


PEAK = """
import sys
from pathlib import Path
from evaluate.dumps.array import ArrayVectors
total = 0.0
for _, block in ArrayVectors(sys.argv[1]).blocks(int(sys.argv[2])):
    total += float(block[:, 0].sum())
    del block
print(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")).split()[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc, which this system lacks")
def test_an_array_is_never_in_memory_whole(tmp_path):
    for rows in (5_000, 100_000):
        np.save(tmp_path / f"{rows}.npy", np.ones((rows, 256), np.float32))
        (tmp_path / f"{rows}.ids.txt").write_text("".join(f"{row}\n" for row in range(rows)))

    def peak_mb(rows: int, block: int) -> float:
        command = [sys.executable, "-c", PEAK, str(tmp_path / f"{rows}.npy"), str(block)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1024

    few, many, many_at_once = peak_mb(5_000, 2048), peak_mb(100_000, 2048), peak_mb(100_000, 100_000)

    assert many - few < 20, f"{few:.0f} MB for 5,000 rows, {many:.0f} MB for 100,000"
    assert many_at_once - many > 75, "100,000 rows of 1 KiB held at once must show, or this test measures nothing"
