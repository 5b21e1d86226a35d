"""The stack machine that a pickle is a program for, as far as data needs it: lists, dicts, tuples, numbers, text, bytes, references back.

Names are looked up in a table that the caller gives; nothing is imported. Bytes are passed over and told by where they lie. Whatever else a
pickle tries is a ValueError that says so, and nothing is asked of the file that lies beyond its end.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pipeline.sources.pickles.opcodes import DAMAGED, LONGEST_NUMBER, LONGEST_TEXT, ONLY_DATA, OPCODES, Reader, decimal, not_data
from pipeline.sources.pickles.stored import StoredArray, StoredBytes


class Name:
    """A name that a pickle may use, and what it stands for: a function that is called in its place, or only an argument."""

    def __init__(self, name: str, stands_for: Any) -> None:
        self.name = name
        self.stands_for = stands_for


class Text(str):
    """Text that knows where it lies: before protocol 3, the bytes of an array are text."""

    __slots__ = ("form", "size", "start")
    start: int
    size: int
    form: str


class DType:
    """A numpy dtype that is being made: its kind, e.g. "f4", and then its byte order."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.order = "|"


class Machine:
    """One pickle, run.

    Args:
        reader: stands at the pickle's first byte.
        names: (module, name) -> what it stands for; every other name is refused. A function takes the machine and a tuple of arguments.
        uses: how often the pickle comes back to what it puts aside, by number (`count_uses`), counted down here: what is not come back to
            is not kept. None keeps all.
        streams: the pickle must be a list, whose elements are given by `run` and not kept.
    """

    def __init__(self, reader: Reader, names: Mapping[tuple[str, str], Any], *, uses: Counter[int] | None = None, streams: bool = False) -> None:
        self.reader = reader
        self.stack: list[Any] = []
        self._names, self._uses, self._streams = names, uses, streams
        self._below_marks: list[list[Any]] = []
        self._aside: dict[int, Any] = {}
        self._memoized, self._numbered = 0, False
        self._outermost: list[Any] | None = None

    def run(self) -> Iterator[Any]:
        """Run to the pickle's end; gives the elements of the outermost list as they are completed, where it streams.

        Raises ValueError naming the byte.
        """
        reader = self.reader
        try:
            while (code := reader.opcode()) != b".":
                if value := _VALUES.get(code):
                    pushed = value(self)  # before the stack is asked for: a tuple ends the stack that it is made of
                    self.stack.append(pushed)
                elif action := _ACTIONS.get(code):
                    action(self)
                else:
                    raise ValueError(not_data(code))
                if self._outermost:
                    yield from self._outermost
                    self._outermost.clear()
            if len(self.stack) != 1 or self._below_marks:
                raise ValueError(f"it ends with {len(self.stack)} things on its stack, not one; {DAMAGED}")
            if self._streams and self.stack[0] is not self._outermost:
                raise ValueError(f"it holds {kind_of(self.stack[0])}, not a list; write the list itself with pickle.dump")
        except IndexError as error:
            raise ValueError(f"byte {reader.opcode_at}: it takes from an empty stack; {DAMAGED}") from error
        except ValueError as error:
            raise ValueError(f"byte {reader.opcode_at}: {error}") from error

    def value(self) -> Any:
        """What the pickle holds, where it does not stream."""
        for _ in self.run():
            raise AssertionError("a streaming machine keeps nothing")
        return self.stack[0]

    def mark(self) -> None:
        """Begin a new stack above this one."""
        self._below_marks.append(self.stack)
        self.stack = []

    def marked(self) -> list[Any]:
        """What lies above the last mark, taken off."""
        items, self.stack = self.stack, self._below_marks.pop()
        return items

    def new_list(self, items: list[Any]) -> list[Any]:
        """A list of `items`. The first thing that a streaming pickle makes is the outermost list."""
        if self._streams and self._outermost is None and not self.stack and not self._below_marks:
            self._outermost = items
        return items

    def extend(self, items: list[Any]) -> None:
        """Append `items` to the list on top."""
        if not isinstance(self.stack[-1], list):
            raise ValueError(f"it appends to {kind_of(self.stack[-1])}; {DAMAGED}")
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        """Set `items`, key and value in turn, in the dict on top."""
        if not isinstance(self.stack[-1], dict):
            raise ValueError(f"it sets items of {kind_of(self.stack[-1])}; {DAMAGED}")
        self.stack[-1].update(_paired(items))

    def put(self, number: int) -> None:
        """Put what is on top aside under `number`."""
        self._numbered = True
        if self._uses is None or self._uses[number]:
            self._aside[number] = self.stack[-1]

    def memoize(self) -> None:
        """Put what is on top aside under the next number."""
        if self._numbered:
            raise ValueError(f"it numbers what it puts aside in two ways; {DAMAGED}")
        if self._uses is None or self._uses[self._memoized]:
            self._aside[self._memoized] = self.stack[-1]
        self._memoized += 1

    def get(self, number: int) -> Any:
        """What was put aside under `number`."""
        if number not in self._aside:
            raise ValueError(f"it comes back to number {number}, which it has not put aside; {DAMAGED}")
        value = self._aside[number]
        if value is self._outermost:
            raise ValueError("its list contains itself")
        if self._uses is not None:
            self._uses[number] -= 1
            if not self._uses[number]:
                del self._aside[number]
        return value

    def name(self, module: str, name: str) -> Name:
        """The name, where it is one of those that may be used."""
        if (module, name) not in self._names:
            raise ValueError(f"it tried to use {module}.{name}; {ONLY_DATA}")
        return Name(f"{module}.{name}", self._names[module, name])

    def name_on_stack(self) -> None:
        """Replace a module and a name on the stack with what they name."""
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError(f"it tried to use a name made of {kind_of(module)} and {kind_of(name)}; {ONLY_DATA}")
        self.stack.append(self.name(module, name))

    def call(self) -> None:
        """Replace a name and its arguments with what the function that it stands for makes of them."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Name) or not callable(function.stands_for) or type(arguments) is not tuple:
            raise ValueError(f"it tried to call {kind_of(function)} with {kind_of(arguments)}; {ONLY_DATA}")
        self.stack.append(function.stands_for(self, arguments))

    def set_state(self) -> None:
        """Fill the array, or finish the dtype, below the state on top."""
        state, target = self.stack.pop(), self.stack[-1]
        match target, state:
            case StoredArray(), (int(), shape, DType() as dtype, is_fortran, StoredBytes() as data):
                target.fill(dtype.order + dtype.kind, lengths(shape), "F" if is_fortran else "C", data)
            case DType(), (int(), "<" | ">" | "|" as order, None, None, None, *_):
                target.order = str(order)
            case _:
                raise ValueError(f"it tried to set the state of {kind_of(target)} to {kind_of(state)}; {ONLY_DATA}")

    def persistent(self) -> None:
        """Replace a persistent id with what the names' entry for such ids makes of it."""
        if PERSISTENT_ID not in self._names:
            raise ValueError(f"it tried to use a persistent id; {ONLY_DATA}")
        self.stack.append(self._names[PERSISTENT_ID](self, self.stack.pop()))

    def text(self, width: int) -> Text:
        """A text after its length, a number of `width` bytes."""
        length = int.from_bytes(self.reader.take(width), "little")
        start = self.reader.place
        if length > LONGEST_TEXT:
            raise ValueError(f"a text of {length} bytes; {LONGEST_TEXT} are read at most")
        return _located(self.reader.take(length).decode("utf-8", "surrogatepass"), start, length, "utf-8")

    def text_line(self) -> Text:
        """A text that is the rest of the line."""
        start = self.reader.place
        line = self.reader.line()
        return _located(line.decode("raw-unicode-escape"), start, len(line), "escaped")

    def stored(self, width: int) -> StoredBytes:
        """Where bytes lie, after their length, a number of `width` bytes."""
        length = int.from_bytes(self.reader.take(width), "little")
        start = self.reader.place
        self.reader.skip(length)
        return StoredBytes(start, length, "raw", 0, length)

    def whole_number(self, width: int) -> int:
        """A whole number after its length, a number of `width` bytes."""
        length = int.from_bytes(self.reader.take(width), "little")
        if length > LONGEST_NUMBER:
            raise ValueError(f"a whole number of {length} bytes; {LONGEST_NUMBER} are read at most")
        return int.from_bytes(self.reader.take(length), "little", signed=True)


PERSISTENT_ID = ("", "persistent id")
"""Where the table of names has the function for persistent ids, if they may be used."""


def kind_of(value: Any) -> str:
    """What a value is, for messages."""
    if isinstance(value, Name):
        return value.name
    kinds = {StoredArray: "an array", StoredBytes: "bytes", Text: "text", int: "a number", float: "a number", DType: "a dtype"}
    return kinds.get(type(value), "nothing" if value is None else f"a {type(value).__name__}")


def lengths(shape: Any) -> tuple[int, ...]:
    """`shape` where it is whole numbers from 0 on, as a shape or strides are. Raises ValueError otherwise."""
    if type(shape) is not tuple or not all(type(length) is int and 0 <= length < 1 << 62 for length in shape):
        raise ValueError(f"an array's shape or strides are {kind_of(shape)}, not whole numbers from 0 on; {DAMAGED}")
    return shape


def _int_line(machine: Machine) -> int | bool:
    line = machine.reader.line()
    return line == b"01" if line in (b"00", b"01") else decimal(line)


def _named_lines(machine: Machine) -> Name:
    module, name = machine.reader.line(), machine.reader.line()
    return machine.name(module.decode(), name.decode())


def _instance(machine: Machine) -> None:
    _named_lines(machine)
    raise ValueError(not_data(b"i"))


def _located(text: str, start: int, size: int, form: str) -> Text:
    located = Text(text)
    located.start, located.size, located.form = start, size, form
    return located


def _paired(items: list[Any]) -> dict[Any, Any]:
    keys = items[::2]
    if len(items) % 2 or not all(key is None or isinstance(key, (str, int, float)) for key in keys):
        raise ValueError(f"it has a dict whose keys are not all text and numbers; {ONLY_DATA}")
    return dict(zip(keys, items[1::2]))


def _by_code(named: dict[str, Callable[[Machine], Any]]) -> dict[bytes, Callable[[Machine], Any]]:
    return {code: named[name] for code, name in OPCODES.items() if name in named}


def _little(machine: Machine, width: int, signed: bool = False) -> int:
    return int.from_bytes(machine.reader.take(width), "little", signed=signed)


_VALUES = _by_code(
    {
        "NONE": lambda machine: None,
        "NEWTRUE": lambda machine: True,
        "NEWFALSE": lambda machine: False,
        "INT": _int_line,
        "LONG": lambda machine: decimal(machine.reader.line().rstrip(b"L")),
        "BININT": lambda machine: _little(machine, 4, signed=True),
        "BININT1": lambda machine: _little(machine, 1),
        "BININT2": lambda machine: _little(machine, 2),
        "LONG1": lambda machine: machine.whole_number(1),
        "LONG4": lambda machine: machine.whole_number(4),
        "FLOAT": lambda machine: float(machine.reader.line()),
        "BINFLOAT": lambda machine: struct.unpack(">d", machine.reader.take(8))[0],
        "UNICODE": Machine.text_line,
        "SHORT_BINUNICODE": lambda machine: machine.text(1),
        "BINUNICODE": lambda machine: machine.text(4),
        "BINUNICODE8": lambda machine: machine.text(8),
        "SHORT_BINBYTES": lambda machine: machine.stored(1),
        "BINBYTES": lambda machine: machine.stored(4),
        "BINBYTES8": lambda machine: machine.stored(8),
        "BYTEARRAY8": lambda machine: machine.stored(8),
        "EMPTY_LIST": lambda machine: machine.new_list([]),
        "LIST": lambda machine: machine.new_list(machine.marked()),
        "EMPTY_DICT": lambda machine: {},
        "DICT": lambda machine: _paired(machine.marked()),
        "EMPTY_TUPLE": lambda machine: (),
        "TUPLE": lambda machine: tuple(machine.marked()),
        "TUPLE1": lambda machine: (machine.stack.pop(),),
        "TUPLE2": lambda machine: (machine.stack.pop(), machine.stack.pop())[::-1],
        "TUPLE3": lambda machine: (machine.stack.pop(), machine.stack.pop(), machine.stack.pop())[::-1],
        "GET": lambda machine: machine.get(decimal(machine.reader.line())),
        "BINGET": lambda machine: machine.get(_little(machine, 1)),
        "LONG_BINGET": lambda machine: machine.get(_little(machine, 4)),
        "GLOBAL": _named_lines,
        "INST": _instance,
    }
)
"""Opcodes that push a value."""

_ACTIONS = _by_code(
    {
        "PROTO": lambda machine: machine.reader.take(1),
        "FRAME": lambda machine: machine.reader.take(8),
        "MARK": Machine.mark,
        "APPEND": lambda machine: machine.extend([machine.stack.pop()]),
        "APPENDS": lambda machine: machine.extend(machine.marked()),
        "SETITEM": lambda machine: machine.set_items([machine.stack.pop(), machine.stack.pop()][::-1]),
        "SETITEMS": lambda machine: machine.set_items(machine.marked()),
        "PUT": lambda machine: machine.put(decimal(machine.reader.line())),
        "BINPUT": lambda machine: machine.put(_little(machine, 1)),
        "LONG_BINPUT": lambda machine: machine.put(_little(machine, 4)),
        "MEMOIZE": Machine.memoize,
        "STACK_GLOBAL": Machine.name_on_stack,
        "REDUCE": Machine.call,
        "BUILD": Machine.set_state,
        "BINPERSID": Machine.persistent,
    }
)
"""Opcodes that do something else."""
