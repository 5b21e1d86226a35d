"""How the opcodes of a pickle lie in a file: their names, their arguments, and the pickle's references back."""

from __future__ import annotations

import pickletools
from collections import Counter
from typing import BinaryIO

LONGEST_TEXT = 1 << 28
"""Bytes. A longer text, or line of protocol 0, is refused."""

LONGEST_NUMBER = 64
"""Bytes of a whole number."""

_WINDOW = 1 << 16
"""Bytes that are read at once."""

ONLY_DATA = "a corpus may hold lists, dicts, tuples, numbers, text, arrays and tensors, nothing else; nothing was run"
CUT_SHORT = "the file ends within the pickle; it is cut short, copy it again"
DAMAGED = "the file is damaged, copy it again"

OPCODES = {info.code.encode("latin-1"): info.name for info in pickletools.opcodes}
_WIDTHS = {info.code.encode("latin-1"): info.arg.n if info.arg else 0 for info in pickletools.opcodes}
"""Opcode -> bytes of its argument; below 0: one line, or as many bytes as a number before them says."""
_PREFIXES = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}


def _codes(*names: str) -> frozenset[bytes]:
    return frozenset(code for code, name in OPCODES.items() if name in names)


_GETS, _TWO_LINES = _codes("GET", "BINGET", "LONG_BINGET"), _codes("GLOBAL", "INST")


class Reader:
    """A file from front to back, a window of it in memory, with its place at any time.

    Args:
        file: unbuffered, stands at its beginning.
        size: its bytes. Nothing is asked for that lies beyond, whatever lengths the file gives.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file = file
        self.opcode_at = 0
        self._size = size
        self._window, self._begin, self._at = b"", 0, 0

    @property
    def place(self) -> int:
        """Where the next byte lies in the file."""
        return self._begin + self._at

    def opcode(self) -> bytes:
        """The next opcode; `opcode_at` is then where it lies."""
        at = self._at
        self.opcode_at = self._begin + at
        code = self._window[at : at + 1]
        if code:
            self._at = at + 1
            return code
        return self.take(1)

    def take(self, length: int) -> bytes:
        """The next `length` bytes. Raises ValueError where the file ends before."""
        at = self._at
        taken = self._window[at : at + length]
        if len(taken) != length:
            self._widen(length)
            at, taken = 0, self._window[:length]
        self._at = at + length
        return taken

    def skip(self, length: int) -> None:
        """Pass over `length` bytes. Raises ValueError where the file ends before."""
        self._at += length
        if self._at > len(self._window):
            place = self.place
            if place > self._size:
                raise ValueError(CUT_SHORT)
            self.file.seek(place)
            self._window, self._begin, self._at = b"", place, 0

    def line(self) -> bytes:
        """The rest of the line, without its end."""
        while (end := self._window.find(b"\n", self._at)) < 0:
            held, left = len(self._window) - self._at, self._size - self.place
            if held > LONGEST_TEXT:
                raise ValueError(f"a line of more than {LONGEST_TEXT} bytes")
            if held >= left:
                raise ValueError(CUT_SHORT)
            self._widen(min(2 * held + 1, left))
        line = self._window[self._at : end]
        self._at = end + 1
        return line

    def _widen(self, length: int) -> None:
        """Let the window begin at this place and hold `length` bytes."""
        rest = self._window[self._at :]
        self._begin, self._at = self.place, 0
        if length > self._size - self._begin:
            raise ValueError(CUT_SHORT)
        self._window = rest + self.file.read(max(length - len(rest), _WINDOW))
        if len(self._window) < length:
            raise ValueError(CUT_SHORT)


def count_uses(reader: Reader) -> Counter[int]:
    """How often the pickle comes back to what it puts aside, by number. The reader is left at the pickle's end.

    Raises ValueError naming the byte where the pickle is cut short or no pickle.
    """
    uses: Counter[int] = Counter()
    try:
        while (code := reader.opcode()) != b".":
            width = _WIDTHS.get(code)
            if width is None:
                raise ValueError(not_data(code))
            if width == pickletools.UP_TO_NEWLINE:
                line = reader.line()
                if code in _GETS:
                    uses[decimal(line)] += 1
                elif code in _TWO_LINES:
                    reader.line()
            elif width < 0:
                reader.skip(int.from_bytes(reader.take(_PREFIXES[width]), "little"))
            elif code in _GETS:
                uses[int.from_bytes(reader.take(width), "little")] += 1
            elif width:
                reader.skip(width)
    except ValueError as error:
        raise ValueError(f"byte {reader.opcode_at}: {error}") from error
    return uses


def decimal(line: bytes) -> int:
    """The whole number that a line of protocol 0 spells."""
    if len(line) > 3 * LONGEST_NUMBER:
        raise ValueError(f"a whole number of {len(line)} digits; {3 * LONGEST_NUMBER} are read at most")
    return int(line)


def not_data(code: bytes) -> str:
    """Why there is nothing to do for an opcode."""
    if code not in OPCODES:
        return f"no pickle has {code!r} there; the file is damaged, or no pickle"
    if "STRING" in OPCODES[code]:
        return f"it has text as Python 2 writes it (opcode {OPCODES[code]}); write the list again with Python 3"
    return f"it tried opcode {OPCODES[code]}, which data does not need; {ONLY_DATA}"
