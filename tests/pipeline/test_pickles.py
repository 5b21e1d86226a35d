"""A pickled list read as data: what it gives, what it refuses, and that it holds little."""

from __future__ import annotations

import collections
import gzip
import io
import json
import os
import pickle
import pickletools
import random
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.sources.pickles.elements import elements
from pipeline.sources.pickles.stored import StoredArray, StoredBytes

PROTOCOLS = range(6)


def written(folder: Path, value: Any, protocol: int = 4) -> Path:
    """`value` as a pickle file."""
    return saved(folder, pickle.dumps(value, protocol))


def saved(folder: Path, data: bytes) -> Path:
    path = folder / "list.pkl"
    path.write_bytes(data)
    return path


def read(path: Path) -> list[Any]:
    """The elements with their arrays and bytes read."""

    def loaded(value: Any) -> Any:
        if isinstance(value, (StoredArray, StoredBytes)):
            return value.read(file)
        if isinstance(value, dict):
            return {key: loaded(one) for key, one in value.items()}
        return type(value)(map(loaded, value)) if isinstance(value, (list, tuple)) else value

    with open(path, "rb") as file:
        return [loaded(element) for element in elements(path)]


def refusal(path: Path) -> str:
    """What is said of a file that is refused, without its path, which comes first."""
    with pytest.raises(ValueError) as raised:
        read(path)
    message = str(raised.value)
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


class Calls:
    """Pickled as a call of `function` with `arguments`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


class Thing:
    """A class of somebody's own."""


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_values_come_back_in_every_protocol(tmp_path: Path, protocol: int) -> None:
    values = [0, 255, 256, -1, 1 << 31, -(1 << 70), 2.5, float("inf"), True, False, None, "", "häß 茶\n\\u00e9\x00\r\x1a", "x" * 300]
    nested = [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], [[1], [2]], {}, {"a": {"b": [1]}, 3: 4, None: 5}]

    assert read(written(tmp_path, [*values, *nested, *range(2500)], protocol)) == [*values, *nested, *range(2500)]
    assert read(written(tmp_path, [], protocol)) == []
    assert read(written(tmp_path, [b"", b"\x00\xff\n", b"y" * 300], protocol)) == [b"", b"\x00\xff\n", b"y" * 300]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_come_back_in_every_protocol(tmp_path: Path, protocol: int) -> None:
    kinds = [np.arange(-3, 4).astype(kind) for kind in ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "<f4", ">f4", "f8", ">i4")]
    grid = np.arange(24.0).reshape(2, 3, 4)
    shapes = [grid, np.asfortranarray(grid[0]), grid.T, grid[:, 1], np.array(4.5), np.zeros((0, 3), np.float32), np.zeros(5000)]

    found = read(written(tmp_path, [*kinds, *shapes], protocol))

    for array, expected in zip(found, [*kinds, *shapes], strict=True):
        assert array.dtype == expected.dtype and array.shape == expected.shape
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_tensors_come_back_in_every_protocol(tmp_path: Path, protocol: int) -> None:
    grid = torch.arange(24.0).reshape(4, 6)
    kinds = [torch.arange(3).to(kind) for kind in (torch.float64, torch.float16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)]
    views = [grid, grid.T, grid[1:, 2:4], grid[2], torch.tensor(7), torch.zeros(0), torch.nn.Parameter(torch.ones(2)), torch.ones(2).bool()]

    found = read(written(tmp_path, [*kinds, *views], protocol))

    for array, expected in zip(found, [*kinds, *views], strict=True):
        np.testing.assert_array_equal(array, expected.detach().numpy(), strict=True)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numpys_own_numbers_are_numbers(tmp_path: Path, protocol: int) -> None:
    found = read(written(tmp_path, [np.float32(2.5), np.int64(-3), np.bool_(True), np.uint8(7)], protocol))

    assert found == [2.5, -3, True, 7]
    assert [type(value) for value in found] == [float, int, bool, int]


def test_arrays_of_older_numpy_have_another_module_name(tmp_path: Path) -> None:
    value = [{"a": np.arange(3.0), "b": np.float32(1)}]
    data = pickle.dumps(value, 2).replace(b"numpy._core.", b"numpy.core.")

    (found,) = read(saved(tmp_path, data))

    assert b"numpy.core." in data
    assert found["a"].tolist() == [0, 1, 2] and found["b"] == 1


def test_what_is_shared_comes_back_wherever_it_is_shared(tmp_path: Path) -> None:
    shared = np.arange(3.0)
    value = [{"a": shared, "b": shared}, {"a": shared}, {"a": np.ones(1)}, {"a": shared}]

    found = read(written(tmp_path, value))

    assert [element["a"].tolist() for element in found] == [[0, 1, 2], [0, 1, 2], [1], [0, 1, 2]]
    assert found[0]["b"].tolist() == [0, 1, 2]


def test_an_array_is_told_by_where_it_lies_and_any_process_can_read_it_later(tmp_path: Path) -> None:
    path = written(tmp_path, [np.asfortranarray(np.arange(6.0).reshape(2, 3)), torch.arange(6.0).reshape(2, 3)[:, 1]], protocol=2)

    described = json.dumps([array.as_json() for array in elements(path)])

    with open(path, "rb") as file:
        array, tensor = (StoredArray.from_json(one).read(file) for one in json.loads(described))
    assert array.tolist() == [[0, 1, 2], [3, 4, 5]] and tensor.tolist() == [1, 4]


def test_a_row_of_a_tensor_is_read_without_the_rest_of_its_storage(tmp_path: Path) -> None:
    path = written(tmp_path, [torch.arange(100_000.0).reshape(100, 1000)[7]])

    (row,) = elements(path)

    assert row.data.size == 4000
    assert read(path)[0].tolist() == list(range(7000, 8000))


def test_an_ordered_dict_is_a_dict(tmp_path: Path) -> None:
    assert read(written(tmp_path, [collections.OrderedDict(a=1, b=2)])) == [{"a": 1, "b": 2}]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_pickle_that_would_run_a_program_is_refused_by_its_name_and_runs_nothing(tmp_path: Path, protocol: int) -> None:
    harm = tmp_path / "harm"
    path = written(tmp_path, [{"video": np.zeros(2)}, Calls(os.system, f"touch {harm}")], protocol)

    message = refusal(path)

    assert f"it tried to use {os.system.__module__}.system; a corpus may hold lists, dicts, tuples, numbers, text, arrays and tensors" in message
    at = int(message.removeprefix("byte ").partition(":")[0])
    assert path.read_bytes()[at : at + 1] == (b"\x93" if protocol >= 4 else b"c"), "the byte is that of the opcode that names it"
    assert not harm.exists()


def test_nothing_is_imported(tmp_path: Path) -> None:
    assert "this" not in sys.modules

    assert "it tried to use this.s" in refusal(saved(tmp_path, b"cthis\ns\n."))
    assert "it tried to use this.s" in refusal(saved(tmp_path, b"(ithis\ns\n."))

    assert "this" not in sys.modules


@pytest.mark.parametrize(
    ("value", "tried"),
    [
        (Calls(eval, "1"), "builtins.eval"),
        (Calls(getattr, 1, "real"), "builtins.getattr"),
        (Calls(print), "builtins.print"),
        (Thing(), "test_pickles.Thing"),
        ({1, 2}, "opcode EMPTY_SET"),
        (frozenset([1]), "opcode FROZENSET"),
        (1j, "builtins.complex"),
        (bytearray(b"ab"), "builtins.bytearray"),
        (Path("a"), "pathlib"),
        (torch.float32, "torch.float32"),
        (np.ma.ones(2), "numpy.ma"),
        (Calls(collections.OrderedDict, [("a", 1)]), "to make an OrderedDict of a list"),
        (Calls(np.dtype, 3), "to make a dtype of a number"),
    ],
)
def test_what_is_no_data_is_refused_by_name(tmp_path: Path, value: Any, tried: str) -> None:
    message = refusal(written(tmp_path, [value]))

    assert "it tried" in message and tried in message


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.array([None]), "it has an array of dtype O8, not of plain numbers"),
        (np.array(["a"]), "it has an array of dtype U1, not of plain numbers"),
        (np.array([1j]), "it has an array of dtype c16"),
        (np.zeros(2, [("a", "f4")]), "it has an array of dtype V4"),
        (torch.ones(2).bfloat16(), "tried to use torch.BFloat16Storage"),
        (torch.ones(1).expand(5), "a tensor of shape (5,) repeats its 1 stored numbers; save a copy of it (tensor.clone())"),
        ({(1, 2): 3}, "it has a dict whose keys are not all text and numbers"),
    ],
)
def test_arrays_that_are_not_plain_numbers_say_what_they_are(tmp_path: Path, value: Any, reason: str) -> None:
    assert reason in refusal(written(tmp_path, [value]))


def test_a_list_that_contains_itself_is_refused(tmp_path: Path) -> None:
    value: list[Any] = [1]
    value.append(value)

    assert "its list contains itself" in refusal(written(tmp_path, value))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "an empty file; copy it again"),
        (pickle.dumps({"a": 1}), "it holds a dict, not a list; write the list itself with pickle.dump"),
        (pickle.dumps(([1],)), "it holds a tuple, not a list"),
        (pickle.dumps(5), "it holds a number, not a list"),
        (pickle.dumps([1]) + pickle.dumps([2]), "its pickle ends at byte 17 of 34; keep one list in a file"),
        (gzip.compress(pickle.dumps([1]), mtime=0), "compressed with gzip; unpack it first"),
        (b"\x89HDF\r\n\x1a\n", "byte 1: no pickle has b'H' there; the file is damaged, or no pickle"),
        (b"]cos\nsystem\n.", "byte 1: it tried to use os.system"),
        (b"]P7\n.", "byte 1: it tried opcode PERSID"),
        (b"]K\x01Q.", "byte 3: it tried to use a persistent id"),
        (b"]\x82\x01.", "byte 1: it tried opcode EXT1"),
        (b"]\x97.", "byte 1: it tried opcode NEXT_BUFFER"),
        (b"]S'a'\n.", "byte 1: it has text as Python 2 writes it (opcode STRING); write the list again with Python 3"),
        (b"]U\x01a.", "byte 1: it has text as Python 2 writes it (opcode SHORT_BINSTRING)"),
        (b"]K\x01R.", "byte 3: it tried to call a list with a number"),
        (b"]K\x01b.", "byte 3: it tried to set the state of a list to a number"),
        (b"a.", "byte 0: it takes from an empty stack"),
        (b"].e.", "keep one list"),
        (b"]e.", "byte 1: it takes from an empty stack"),
        (b"](.", "byte 2: it ends with 0 things on its stack, not one"),
        (b"]h\x05.", "byte 1: it comes back to number 5, which it has not put aside"),
        (b"]K\x01q\x00K\x02\x94h\x00.", "byte 7: it numbers what it puts aside in two ways"),
        (b"K\x01K\x02s.", "byte 4: it takes from an empty stack"),
        (b"K\x01K\x02a.", "byte 4: it appends to a number"),
        (b"]I1x\n.", "byte 1: invalid literal"),
        (b"]\x8c\x01\xff.", "byte 1: 'utf-8' codec can't decode"),
    ],
)
def test_a_file_that_is_no_pickled_list_says_what_it_is(tmp_path: Path, data: bytes, reason: str) -> None:
    assert reason in refusal(saved(tmp_path, data))


@pytest.mark.parametrize(("zipped", "reason"), [(True, "a zip file, as torch.save writes it"), (False, "written by torch.save in its old form")])
def test_what_torch_save_wrote_is_told_from_a_pickle(tmp_path: Path, zipped: bool, reason: str) -> None:
    file = io.BytesIO()
    torch.save([{"video": torch.ones(3)}], file, _use_new_zipfile_serialization=zipped)

    message = refusal(saved(tmp_path, file.getvalue()))

    assert reason in message and "write the list with pickle.dump" in message


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_file_cut_short_anywhere_is_refused_before_anything_is_given(tmp_path: Path, protocol: int) -> None:
    whole = pickle.dumps([{"video": np.arange(3.0), "img": torch.ones(2), "n": 5, "words": "tea"}], protocol)

    for length in range(1, len(whole), 5):
        path = saved(tmp_path, whole[:length])
        with pytest.raises(ValueError, match="the file ends within the pickle; it is cut short, copy it again"):
            next(elements(path))


@pytest.mark.parametrize(
    "data",
    [
        b"]B\xff\xff\xff\xffabc",
        b"]\x8e" + b"\xff" * 8 + b"abc",
        b"]\x8e" + b"\x00" * 7 + b"\x40abc",
        b"]X\xff\xff\xff\xffabc",
        b"]\x8d" + b"\xff" * 7 + b"\x7fabc",
        b"]\x8b\xff\xff\xff\x7fabc",
        b"]\x96" + b"\xff" * 8 + b"abc",
        pickle.dumps([np.arange(3.0)]).replace(b"K\x03\x85", b"J\xff\xff\xff\x7f\x85"),
        pickle.dumps([torch.arange(3.0)]).replace(b"K\x03\x85", b"J\xff\xff\xff\x7f\x85"),
    ],
    ids=["bytes", "bytes8", "bytes8 of 4 EiB", "text", "text8", "long", "bytearray", "array", "tensor"],
)
def test_a_length_beyond_the_file_takes_no_memory(tmp_path: Path, data: bytes) -> None:
    path = saved(tmp_path, data)

    tracemalloc.start()
    try:
        refusal(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 1 << 20


def test_a_tensor_that_would_reach_beyond_its_numbers_is_refused(tmp_path: Path) -> None:
    whole = pickle.dumps([torch.arange(6.0).reshape(2, 3)])
    shape_and_strides = b"K\x02K\x03\x86\x94K\x03K\x01\x86"
    assert whole.count(shape_and_strides) == 1

    message = refusal(saved(tmp_path, whole.replace(shape_and_strides, b"K\x02K\x03\x86\x94K\x04K\x01\x86")))

    assert "a tensor of shape (2, 3), strides (4, 1) and offset 0 does not lie within its 6 numbers" in message


def test_a_tensors_storage_that_says_other_than_it_has_is_refused(tmp_path: Path) -> None:
    whole = pickle.dumps([torch.arange(6.0)])

    for before, after in ((b"K\x06Nt", b"K\x05Nt"), (b"FloatStorage", b"EvilsStorage"), (b"\x06" + b"\x00" * 7, b"\x05" + b"\x00" * 7)):
        assert whole.count(before) == 1
        assert "it has a tensor whose storage cannot be read" in refusal(saved(tmp_path, whole.replace(before, after)))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_damaged_bytes_never_end_in_anything_but_values_or_a_refusal(tmp_path: Path, protocol: int) -> None:
    chance = random.Random(protocol)
    whole = pickle.dumps([{"a": np.arange(3.0), "b": torch.ones(2, 2), "c": np.float32(1), "d": [1, 2.5, "x", (1, 2), 1 << 70]}] * 2, protocol)
    refused = 0

    for _ in range(200):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 1, 3))):
            at = chance.randrange(len(data))
            data[at : at + chance.randrange(3)] = bytes(chance.randrange(256) for _ in range(chance.randrange(3)))
        try:
            read(saved(tmp_path, bytes(data)))
        except ValueError as error:
            refused += str(error).startswith(str(tmp_path / "list.pkl"))

    assert refused > 100


def test_every_opcode_that_python_knows_is_read_or_refused_by_name(tmp_path: Path) -> None:
    arguments = {0: b"", pickletools.UP_TO_NEWLINE: b"1\n", -2: bytes(1), -3: bytes(4), -4: bytes(4), -5: bytes(8)}
    by_name = []
    for info in pickletools.opcodes:
        width = info.arg.n if info.arg else 0
        argument = arguments.get(width, bytes(max(width, 0))) * (2 if info.name in ("GLOBAL", "INST") else 1)
        try:
            read(saved(tmp_path, b"]K\x01" + info.code.encode("latin-1") + argument + b"."))
        except ValueError as error:
            if f"it tried opcode {info.name}," in str(error):
                by_name.append(info.name)

    pops = ["POP", "DUP", "POP_MARK"]
    objects = ["OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID"]
    buffers_and_sets = ["NEXT_BUFFER", "READONLY_BUFFER", "EMPTY_SET", "ADDITEMS", "FROZENSET"]
    assert sorted(by_name) == sorted([*pops, *objects, *buffers_and_sets])
