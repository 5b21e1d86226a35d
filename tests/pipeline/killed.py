"""Work in a process of its own that gets SIGKILL in the middle of it.

A server that has imported everything forks these processes, so that none takes seconds to start, and none inherits threads.
"""

from __future__ import annotations

import functools
import importlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from typing import Any

PROCESSES = multiprocessing.get_context("forkserver")


def killed(at: str, call: int, work: Callable[..., None], *arguments: Any) -> None:
    """Run `work` in a process that is killed as it enters the function `at` ("module:name") for time number `call`, counted from 1."""
    PROCESSES.set_forkserver_preload(["pipeline.train", "pipeline.recipes.qcd.build", "pipeline.recipes.mqmc.build", __name__])
    process = PROCESSES.Process(target=_work, args=(at, call, work, arguments))
    process.start()
    process.join(120)
    time.sleep(1)  # the least that a process takes to start again: TensorBoard orders the files of a folder by their seconds
    assert process.exitcode == -signal.SIGKILL, f"not killed: {process.exitcode}"


def _work(at: str, call: int, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    multiprocessing.set_start_method("fork", force=True)  # what a command has, whose loader processes are its own children and end with it
    die_at(at, call)
    work(*arguments)


def die_at(at: str, call: int) -> None:
    """Have this process killed as it enters the function `at` for time number `call`."""
    module, _, name = at.partition(":")
    holder = functools.reduce(getattr, name.split(".")[:-1], importlib.import_module(module))
    function = getattr(holder, name.rpartition(".")[2])
    calls = iter(range(1, call))

    @functools.wraps(function)
    def counted(*args: Any, **kwargs: Any) -> Any:
        if next(calls, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    setattr(holder, name.rpartition(".")[2], counted)
