"""A pickled list read as data, one element at a time. Nothing that a file asks for is imported, called or made.

A pickle is a program for a stack machine. `pipeline.sources.pickles.machine` is such a machine that knows what lists, dicts, tuples, numbers,
text and bytes need; this module adds what numpy arrays, numpy numbers and torch tensors are written as. A file that tries anything else
is refused with the name of what it tried. Bytes, arrays and tensors are not loaded: they are told by where they lie in the file
(`pipeline.sources.pickles.stored`). Protocols 0 to 5, as Python 3 writes them.

The file is gone through twice. First its references back are counted, so that of the thousands of things that a pickle puts aside
the second time keeps those alone that it will come back to, until it does so for the last time. Memory is that of the
elements that a pickle completes together (a thousand), however many there are.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.sources.pickles.machine import PERSISTENT_ID, DType, Machine, Name, Text, kind_of, lengths
from pipeline.sources.pickles.opcodes import ONLY_DATA, Reader, count_uses
from pipeline.sources.pickles.stored import NUMBERS, StoredArray, StoredBytes

STORAGE_HEAD = 4096
"""Bytes in which the head of a tensor's storage must end; torch writes some 250."""

_TORCH_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + b"\x80\x02M\xe9\x03."
"""What torch.save begins with in its old form, which is also that of a tensor's storage in a pickle: a magic number and version 1001."""

_NOT_STARTS = {
    b"PK\x03\x04": "a zip file, as torch.save writes it, and no pickle; write the list with pickle.dump",
    _TORCH_START: "written by torch.save in its old form; write the list with pickle.dump",
    b"\x1f\x8b": "compressed with gzip; unpack it first",
}


def elements(path: Path) -> Iterator[Any]:
    """The elements of the list that the file holds: dicts, lists, tuples, numbers, text, None; `StoredArray` for an array or a tensor,
    `StoredBytes` for bytes.

    Raises ValueError naming the file, the byte and what it tried, where it holds anything else or is no whole pickle.
    """
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            start = file.read(32)
            if not start:
                raise ValueError("an empty file; copy it again")
            for other, what in _NOT_STARTS.items():
                if start.startswith(other):
                    raise ValueError(what)
            file.seek(0)
            reader = Reader(file, size)
            uses = count_uses(reader)
            if reader.place != size:
                raise ValueError(f"its pickle ends at byte {reader.place} of {size}; keep one list in a file")
            file.seek(0)
            machine = Machine(Reader(file, size), _NAMES, uses=uses, streams=True)
            yield from machine.run()
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


class _Storage(NamedTuple):
    """The numbers that tensors are views of."""

    dtype: str
    data: StoredBytes


class _StorageName(NamedTuple):
    """What the head of a storage says of it."""

    dtype: str
    numbers: int


def _refused(what: str, arguments: tuple[Any, ...]) -> ValueError:
    return ValueError(f"it tried to make {what} of {', '.join(map(kind_of, arguments)) or 'nothing'}; {ONLY_DATA}")


def _encode(machine: Machine, arguments: tuple[Any, ...]) -> StoredBytes:
    """Bytes before protocol 3: text in which each byte is a character."""
    match arguments:
        case (Text() as text, "latin1" | "latin-1") if max(text, default="") < "\u0100":
            return StoredBytes(text.start, text.size, text.form, 0, len(text))
    raise _refused("bytes", arguments)


def _no_bytes(machine: Machine, arguments: tuple[Any, ...]) -> StoredBytes:
    """No bytes at all, before protocol 3."""
    if arguments:
        raise _refused("bytes", arguments)
    return StoredBytes(0, 0, "raw", 0, 0)


def _no_items(machine: Machine, arguments: tuple[Any, ...]) -> dict[Any, Any]:
    """An OrderedDict before its items are set; a tensor has one for its hooks."""
    if arguments:
        raise _refused("an OrderedDict", arguments)
    return {}


def _dtype(machine: Machine, arguments: tuple[Any, ...]) -> DType:
    match arguments:
        case (str(kind), *_) if kind in NUMBERS:
            return DType(str(kind))
        case (str(kind), *_):
            raise ValueError(f"it has an array of dtype {kind:.20}, not of plain numbers ({', '.join(NUMBERS)}); convert it with .astype('float32')")
    raise _refused("a dtype", arguments)


def _unfilled(machine: Machine, arguments: tuple[Any, ...]) -> StoredArray:
    """An array to be filled by the state that follows."""
    match arguments:
        case (Name(name="numpy.ndarray"), *_):
            return StoredArray()
    raise _refused("an array", arguments)


def _array(machine: Machine, arguments: tuple[Any, ...]) -> StoredArray:
    """An array of protocol 5."""
    match arguments:
        case (StoredBytes() as data, DType() as dtype, shape, "C" | "F" as order):
            return StoredArray().fill(dtype.order + dtype.kind, lengths(shape), str(order), data)
    raise _refused("an array", arguments)


def _number(machine: Machine, arguments: tuple[Any, ...]) -> Any:
    """A number that numpy has a type of its own for."""
    match arguments:
        case (DType() as dtype, StoredBytes() as data):
            return StoredArray().fill(dtype.order + dtype.kind, (), "C", data).read(machine.reader.file).item()
    raise _refused("a number", arguments)


def _storage_name(machine: Machine, persistent_id: Any) -> _StorageName:
    match persistent_id:
        case ("storage", Name(stands_for=str(dtype)), str(), str(), int(numbers), None):
            return _StorageName(dtype, numbers)
    raise ValueError("a persistent id that is none of a storage's")


def _storage(machine: Machine, arguments: tuple[Any, ...]) -> _Storage:
    """A tensor's storage, a file within the file: start, three pickles (the machine that wrote it, kind and key, all keys), count, numbers."""
    match arguments:
        case (StoredBytes() as data,):
            pass
        case _:
            raise _refused("a tensor", arguments)
    begin = data.part(0, min(data.length, STORAGE_HEAD)).read(machine.reader.file)
    head = Reader(io.BytesIO(begin), len(begin))
    try:
        if head.take(len(_TORCH_START)) != _TORCH_START:
            raise ValueError("it does not begin as torch.save does")
        count_uses(head)  # passes over a pickle: torch writes little-endian numbers on any machine
        storage = Machine(head, _STORAGE_NAMES).value()
        count_uses(head)
        count = int.from_bytes(head.take(8), "little")
        if not isinstance(storage, _StorageName) or storage.numbers != count:
            raise ValueError(f"it says {kind_of(storage)} of its {count} numbers")
        length = count * np.dtype(storage.dtype).itemsize
        if head.place + length != data.length:
            raise ValueError(f"{count} numbers of {storage.dtype} take {length} bytes, it has {data.length - head.place}")
    except ValueError as error:
        raise ValueError(f"it has a tensor whose storage cannot be read ({error}); save it as an array, tensor.float().numpy()") from error
    return _Storage(storage.dtype, data.part(head.place, length))


def _tensor(machine: Machine, arguments: tuple[Any, ...]) -> StoredArray:
    match arguments:
        case (_Storage() as storage, int(offset), shape, strides, *_) if offset >= 0:
            return StoredArray().view(storage.dtype, lengths(shape), lengths(strides), offset, storage.data)
    raise _refused("a tensor", arguments)


def _parameter(machine: Machine, arguments: tuple[Any, ...]) -> StoredArray:
    match arguments:
        case (StoredArray() as tensor, *_):
            return tensor
    raise _refused("a parameter", arguments)


_NAMES: dict[tuple[str, str], Any] = {
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _no_bytes,
    ("collections", "OrderedDict"): _no_items,
    ("numpy", "ndarray"): None,
    ("numpy", "dtype"): _dtype,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _unfilled for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _number for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _array for core in ("core", "_core")},
    ("torch.storage", "_load_from_bytes"): _storage,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
}
_STORAGE_NAMES: dict[tuple[str, str], Any] = {
    PERSISTENT_ID: _storage_name,
    ("torch", "FloatStorage"): "<f4",
    ("torch", "DoubleStorage"): "<f8",
    ("torch", "HalfStorage"): "<f2",
    ("torch", "LongStorage"): "<i8",
    ("torch", "IntStorage"): "<i4",
    ("torch", "ShortStorage"): "<i2",
    ("torch", "CharStorage"): "|i1",
    ("torch", "ByteStorage"): "|u1",
    ("torch", "BoolStorage"): "|b1",
}
