"""The cache that processes share: bounded, whole files only, and nothing goes that anybody has open."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.remote import cache as cache_module
from pipeline.remote import mirror
from pipeline.remote.ahead import Ahead
from pipeline.remote.cache import Cache, Wanted
from pipeline.remote.retries import NotFetched
from pipeline.remote.settings import RemoteSettings

SIZE = 1000
THREE = 3 * SIZE + 500
"""Room for three files."""


def content(number: int) -> bytes:
    return bytes([number]) * SIZE


def wanted(root: Path, number: int, fetch: Callable[[Path], None] | None = None) -> Wanted:
    """File `number`, whose fetching is noted as a line of `fetched`."""

    def write(path: Path) -> None:
        with open(root / "fetched", "a") as noted:
            noted.write(f"{number}\n")
        path.write_bytes(content(number))

    return Wanted(root / "set/train" / f"{number}.tar", SIZE, hashlib.sha256(content(number)).hexdigest(), fetch or write)


def there(root: Path) -> set[int]:
    return {int(path.stem) for path in root.glob("set/train/*.tar")}


def fetched(root: Path) -> list[int]:
    return [int(line) for line in (root / "fetched").read_text().split()]


def read(cache: Cache, file: Wanted) -> bytes:
    held = cache.hold(file)
    try:
        return os.pread(held.file, 2 * SIZE, 0)
    finally:
        held.close()


def test_what_was_used_longest_ago_goes_and_what_is_open_stays(tmp_path: Path) -> None:
    cache = Cache(tmp_path, THREE)
    opened = cache.hold(wanted(tmp_path, 0))

    for number in (1, 2, 1, 3):  # 3 needs room: 0 is oldest but open, then comes 2
        assert read(cache, wanted(tmp_path, number)) == content(number)

    assert there(tmp_path) == {0, 1, 3} and cache.used() == 3 * SIZE
    opened.close()
    read(cache, wanted(tmp_path, 4))
    assert there(tmp_path) == {1, 3, 4}
    assert read(cache, wanted(tmp_path, 2)) == content(2)  # it comes again
    assert fetched(tmp_path) == [0, 1, 2, 3, 4, 2]
    assert {path.name for path in (tmp_path / "set/train/.held").iterdir()} == {f"{number}.tar.lock" for number in there(tmp_path)}


def test_a_file_larger_than_the_cache_and_a_cache_full_of_open_files_are_errors_with_both_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "ROOM_WAIT_S", 0.2)
    with pytest.raises(NotFetched, match=r"0.tar: its 1 kB are more than the whole cache, 999 B; give a larger --cache_size"):
        Cache(tmp_path, SIZE - 1).hold(wanted(tmp_path, 0))

    cache = Cache(tmp_path, THREE)
    opened = [cache.hold(wanted(tmp_path, number)) for number in range(3)]

    with pytest.raises(NotFetched, match=r"3.tar: no room for its 1 kB for 0.2 s; the cache .* of 3.5 kB is full of files that are open"):
        cache.hold(wanted(tmp_path, 3))
    assert not cache.bring(wanted(tmp_path, 3), wait=False)
    assert there(tmp_path) == {0, 1, 2}
    for held in opened:
        held.close()


def test_what_was_fetched_ahead_outlives_what_was_used_up_after_its_arrival(tmp_path: Path) -> None:
    cache, asked = Cache(tmp_path, THREE), Ahead(Cache(tmp_path, THREE))
    asked.ask([wanted(tmp_path, 0)])
    deadline = time.monotonic() + 20
    while there(tmp_path) != {0} and time.monotonic() < deadline:
        time.sleep(0.01)

    for number in (1, 2, 3, 4):
        read(cache, wanted(tmp_path, number))

    assert there(tmp_path) == {0, 3, 4}
    assert read(cache, wanted(tmp_path, 0)) == content(0)
    read(cache, wanted(tmp_path, 5))
    read(cache, wanted(tmp_path, 6))
    read(cache, wanted(tmp_path, 7))
    assert there(tmp_path) == {5, 6, 7}  # once used, it goes like any other


def test_small_files_that_come_in_meanwhile_do_not_disturb_the_count(tmp_path: Path, forks: Callable[..., multiprocessing.Process]) -> None:
    cache = Cache(tmp_path, THREE)
    read(cache, wanted(tmp_path, 0))
    bringing = forks(bring_small_files, tmp_path)
    while not (tmp_path / "begun").exists():
        time.sleep(0.01)

    assert {cache.used() for _ in range(2000)} == {SIZE}

    assert bringing.is_alive()


def bring_small_files(root: Path) -> None:
    mirror.transfer = lambda source, path, most, timeout_s: path.write_bytes(b"small")  # type: ignore[assignment]
    while True:
        mirror.fetched("pipe:", RemoteSettings(root, THREE))
        (root / "begun").touch()


def test_a_fetch_that_fails_leaves_nothing_and_takes_no_room(tmp_path: Path) -> None:
    cache = Cache(tmp_path, THREE)

    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise NotFetched("the store is gone")

    with pytest.raises(NotFetched, match="the store is gone"):
        cache.hold(wanted(tmp_path, 0, fail))

    assert cache.used() == 0
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [".lock"]


@pytest.fixture
def forks() -> Iterator[Callable[..., multiprocessing.Process]]:
    """Starts processes that share this one's memory so far, and ends them with the test."""
    started: list[multiprocessing.Process] = []
    context = multiprocessing.get_context("fork")

    def start(target: Callable[..., None], *values: object) -> multiprocessing.Process:
        process = context.Process(target=target, args=values)
        process.start()
        started.append(process)  # type: ignore[arg-type]
        return process  # type: ignore[return-value]

    yield start
    for process in started:
        process.kill()
        process.join()


def read_at_random(root: Path, seed: int, times: int) -> None:
    """Exit code 0 where every file that was opened had its own content, read by descriptor and by path, and the cache kept to its size."""
    cache, draw = Cache(root, THREE), random.Random(seed)
    for _ in range(times):
        number = draw.randrange(8)
        held = cache.hold(wanted(root, number))
        path = root / "set/train" / f"{number}.tar"
        right = os.pread(held.file, 2 * SIZE, 0) == content(number) == path.read_bytes()
        if not right or cache.used() > THREE:
            os._exit(1)
        held.close()
    os._exit(0)


def test_processes_that_share_a_cache_read_right_files_and_keep_to_its_size(tmp_path: Path, forks: Callable[..., multiprocessing.Process]) -> None:
    # The cache holds three of the eight files, so that each process removes what others have just read.
    processes = [forks(read_at_random, tmp_path, seed, 60) for seed in range(2)]

    for process in processes:
        process.join(60)

    assert [process.exitcode for process in processes] == [0, 0]
    assert set(fetched(tmp_path)) == set(range(8)) and len(fetched(tmp_path)) > 20
    assert not list(tmp_path.rglob("*.part"))
    assert len(there(tmp_path)) * SIZE == Cache(tmp_path, THREE).used() == 3 * SIZE


def stay_in_the_middle(root: Path, number: int) -> None:
    def write_half(path: Path) -> None:
        path.write_bytes(content(number)[: SIZE // 2])
        (root / "half").touch()
        time.sleep(60)

    Cache(root, THREE).hold(wanted(root, number, write_half))


def test_a_process_killed_while_it_fetches_leaves_nothing_that_counts(tmp_path: Path, forks: Callable[..., multiprocessing.Process]) -> None:
    process = forks(stay_in_the_middle, tmp_path, 0)
    while not (tmp_path / "half").exists():
        time.sleep(0.01)
    cache = Cache(tmp_path, THREE)
    assert cache.used() == SIZE  # reserved while it is on its way
    assert not cache.bring(wanted(tmp_path, 0), wait=False)  # and left to the one that fetches it
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()

    assert read(cache, wanted(tmp_path, 0)) == content(0)
    assert cache.used() == SIZE and not list(tmp_path.rglob("*.part"))


def test_several_that_want_one_file_fetch_it_once(tmp_path: Path, forks: Callable[..., multiprocessing.Process]) -> None:
    processes = [forks(wait_and_read, tmp_path) for _ in range(3)]

    for process in processes:
        process.join(60)

    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert fetched(tmp_path) == [5]


def wait_and_read(root: Path) -> None:
    def write(path: Path) -> None:
        time.sleep(0.3)
        wanted(root, 5).fetch(path)

    held = Cache(root, THREE).hold(wanted(root, 5, write))
    os._exit(0 if os.pread(held.file, SIZE, 0) == content(5) else 1)
