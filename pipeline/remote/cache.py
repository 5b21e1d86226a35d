"""A bounded folder of files from elsewhere that ranks, workers and nodes share: what is open stays, what was used longest ago goes.

    CACHE/<set>/<split>/video-000000.tar                whole or not there
    CACHE/<set>/<split>/.held/video-000000.tar.lock     its lock, its record (bytes, checksum that was verified), and as its time the last use
    CACHE/.lock                                         held for a moment while room is made

Locks are flock's, which a process cannot leave behind: shared by those that have the file open, exclusive for the one that fetches or removes it.
So no file goes that anybody reads, one process fetches what several wait for, and a killed one leaves nothing that counts. On a network file
system flock has to reach other nodes (NFS 4 does; Lustre with the mount option flock); else each node needs a folder of its own.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from launch.sizes import in_words
from pipeline.remote.retries import NotFetched

HELD = ".held"
POLL_S = 0.1
ROOM_WAIT_S = 600.0
"""Seconds to wait for others to close files before a full cache is an error."""
AHEAD_S = 3600.0
"""What was fetched before it is needed counts as used so many seconds later, until it is used: else it would go before what was just used up."""
_TIMES = 50
"""Times that a file may be removed between its arrival and its opening."""


class Held(NamedTuple):
    """A file of the cache that stays until both descriptors are closed: of its lock, and of the file itself."""

    lock: int
    file: int

    def close(self) -> None:
        """Let go of the file."""
        os.close(self.file)
        os.close(self.lock)


@dataclass(frozen=True)
class Wanted:
    """A file to have: where it belongs, its bytes and SHA-256, and what writes it to a path it is given and verifies it."""

    path: Path
    bytes: int
    checksum: str
    fetch: Callable[[Path], None]

    @property
    def lock(self) -> Path:
        """Its lock file."""
        return self.path.parent / HELD / f"{self.path.name}.lock"

    @property
    def part(self) -> Path:
        """Where it is written to before it is whole."""
        return self.path.with_name(f".{self.path.name}.part")


class Cache:
    """The folder `root` with files of `most` bytes together."""

    def __init__(self, root: Path, most: int) -> None:
        self.root, self.most = root, most

    def hold(self, wanted: Wanted) -> Held:
        """The file, opened, fetched first where it is not there; it is not removed before it is closed.

        Raises:
            NotFetched: it cannot be had, it is larger than the cache, it is open in another version, or what is open fills the cache.
        """
        for _ in range(_TIMES):
            lock = _lock(wanted.lock, fcntl.LOCK_SH, wait=True)
            assert lock is not None
            if _is_whole(lock, wanted):
                _set_used(lock, 0.0)
                return Held(lock, os.open(wanted.path, os.O_RDONLY | os.O_CLOEXEC))
            os.close(lock)
            self.bring(wanted)
        raise NotFetched(f"{wanted.path}: was removed {_TIMES} times before it could be opened; {self._too_small()}")

    def bring(self, wanted: Wanted, wait: bool = True) -> bool:
        """Have the file in the folder; False where `wait` is not wanted and another process is at it or there is no room at once.

        Raises as `hold` does.
        """
        if wanted.bytes > self.most:
            raise NotFetched(
                f"{wanted.path}: its {in_words(wanted.bytes)} are more than the whole cache, {in_words(self.most)}; give a larger --cache_size"
            )
        while (lock := _lock(wanted.lock, fcntl.LOCK_EX, wait=False)) is None:
            if not wait:
                return False
            _require_same(wanted)
            time.sleep(POLL_S)
        kept = False
        try:
            kept = _is_whole(lock, wanted)
            if kept:
                return True
            _write_record(lock, 0, "")
            wanted.path.unlink(missing_ok=True)
            if not self._reserve(lock, wanted, wait):
                return False
            wanted.fetch(wanted.part)
            os.replace(wanted.part, wanted.path)
            _write_record(lock, wanted.bytes, wanted.checksum)
            kept = True
            return True
        finally:
            if kept and not wait:
                _set_used(lock, AHEAD_S)
            if not kept:
                wanted.part.unlink(missing_ok=True)
                wanted.lock.unlink(missing_ok=True)
            os.close(lock)

    def _reserve(self, lock: int, wanted: Wanted, wait: bool) -> bool:
        """Note the file's bytes in its record once there is room beside all others, which are removed from the one used longest ago on."""
        until = time.monotonic() + ROOM_WAIT_S
        while True:
            room = _lock(self.root / ".lock", fcntl.LOCK_EX, wait=True)
            assert room is not None
            try:
                if self._make_room(wanted):
                    _write_record(lock, wanted.bytes, "")
                    return True
            finally:
                os.close(room)
            if not wait:
                return False
            if time.monotonic() > until:
                raise NotFetched(f"{wanted.path}: no room for its {in_words(wanted.bytes)} for {ROOM_WAIT_S:g} s; {self._too_small()}")
            time.sleep(POLL_S)

    def _make_room(self, wanted: Wanted) -> bool:
        others = sorted((record for record in self._records() if record.lock != wanted.lock), key=lambda record: record.used)
        room = self.most - wanted.bytes - sum(record.bytes for record in others)
        for record in others:
            if room >= 0:
                break
            if _remove(record.lock):
                room += record.bytes
        return room >= 0

    def _records(self) -> list[_Record]:
        found = []
        for lock in self.root.glob(f"[!.]*/*/{HELD}/*.lock"):  # not what is coming in: it goes while we look
            try:
                record = _read_record(lock)
                found.append(_Record(lock, record[0], lock.stat().st_mtime_ns))
            except FileNotFoundError:
                continue  # removed meanwhile
        return found

    def used(self) -> int:
        """Bytes of all files that are there or on their way."""
        room = _lock(self.root / ".lock", fcntl.LOCK_EX, wait=True)
        assert room is not None
        try:
            return sum(record.bytes for record in self._records())
        finally:
            os.close(room)

    def _too_small(self) -> str:
        return (
            f"the cache {self.root} of {in_words(self.most)} is full of files that are open or on their way: give a larger --cache_size, "
            "smaller shards, or fewer processes that share it"
        )


class _Record(NamedTuple):
    lock: Path
    bytes: int
    used: int


def _lock(path: Path, mode: int, wait: bool) -> int | None:
    """A descriptor of the lock file with a lock of `mode` on it; None where others have it and `wait` is not wanted."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            continue
        try:
            fcntl.flock(descriptor, mode | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(descriptor)
            return None
        try:
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)  # it was removed while we waited: its successor is what counts


def _set_used(lock: int, seconds_ahead: float) -> None:
    now = time.time_ns() + int(seconds_ahead * 1e9)  # the kernel's own "now" moves in steps of milliseconds
    os.utime(lock, ns=(now, now))


def _remove(lock: Path) -> bool:
    """Remove a file that nobody has open, with its lock; False where somebody has."""
    descriptor = _lock(lock, fcntl.LOCK_EX, wait=False)
    if descriptor is None:
        return False
    path = lock.parent.parent / lock.name.removesuffix(".lock")
    path.unlink(missing_ok=True)
    path.with_name(f".{path.name}.part").unlink(missing_ok=True)
    lock.unlink(missing_ok=True)
    os.close(descriptor)
    return True


def _is_whole(lock: int, wanted: Wanted) -> bool:
    record = _parsed(os.pread(lock, 4096, 0))
    try:
        return record == (wanted.bytes, wanted.checksum) and wanted.path.stat().st_size == wanted.bytes
    except FileNotFoundError:
        return False


def _require_same(wanted: Wanted) -> None:
    """Raise NotFetched where the file is there with another checksum and open: it cannot be replaced, and waiting may not help."""
    try:
        checksum = _read_record(wanted.lock)[1]
    except FileNotFoundError:
        return
    if checksum not in ("", wanted.checksum):
        raise NotFetched(
            f"{wanted.path}: is open in a version with another checksum (the set was packed again meanwhile); end what reads it, or "
            "give another --cache"
        )


def _read_record(lock: Path) -> tuple[int, str]:
    return _parsed(lock.read_bytes())


def _parsed(data: bytes) -> tuple[int, str]:
    try:
        record = json.loads(data)
        return int(record["bytes"]), str(record["checksum"])
    except (ValueError, KeyError, TypeError):
        return 0, ""  # not written yet, or cut off with the machine's power: the file counts as not there


def _write_record(lock: int, size: int, checksum: str) -> None:
    # Always of one length and in one call: whoever adds up sizes reads it without a lock.
    os.pwrite(lock, json.dumps({"bytes": size, "checksum": checksum}).encode().ljust(128), 0)
