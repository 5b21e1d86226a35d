"""Trying again: with longer and longer waits, each of a random length, and a clear word after the last try."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

from launch.seeds import generator
from pipeline.remote.settings import RemoteSettings


class Interrupted(Exception):
    """One try failed in a way that another may not: a connection dropped, a server busy, bytes that are not those expected."""


class NotFetched(OSError):
    """A file could not be had: no fault of any item in it."""


class NotThere(NotFetched):
    """The file is not there, or not for us: another try would tell the same."""


def waits(name: str, settings: RemoteSettings) -> Iterator[float]:
    """Seconds to wait after each failed try but the last.

        wait_k = u_k * min(longest, first * 2^k),  k = 0, 1, ...,   u_k uniform in [1/2, 1)

    Jitter keeps a thousand ranks whose server stumbled from coming back in one moment; u_k follows from (seed, rank, name). Ours.
    """
    uniform = generator(settings.seed, "waits", os.environ.get("RANK", "0"), name)
    for number in range(settings.tries - 1):
        yield float(uniform.uniform(0.5, 1.0)) * min(settings.longest_wait_s, settings.first_wait_s * 2.0**number)


def persistently(name: str, attempt: Callable[[], None], settings: RemoteSettings, sleep: Callable[[float], None] = time.sleep) -> None:
    """Call `attempt` until it ends well.

    Args:
        name: what is fetched, for the message.
        attempt: raises Interrupted where another try may help.

    Raises:
        NotFetched: after the last try; names tries, seconds and the last reason.
    """
    begun, pause = time.monotonic(), waits(name, settings)
    for number in range(1, settings.tries + 1):
        try:
            return attempt()
        except Interrupted as error:
            if number == settings.tries:
                raise NotFetched(
                    f"{name}: could not be fetched, {number} tries in {time.monotonic() - begun:.0f} s; the last: {error}. See whether this machine "
                    "can read it at all; --remote_tries and --remote_timeout_s allow for a slow or busy store"
                ) from error
            sleep(next(pause))
