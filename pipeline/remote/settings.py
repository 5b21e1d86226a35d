"""How files from elsewhere are had: where they are kept, how much room they may take, how often and how long it is tried.

Flags (--cache, --cache_size, --remote_tries, --remote_timeout_s) are written to the environment, which every process of a command sees; what no
flag is given for is taken from there:

    REELGOODS_CACHE              folder (default ~/.cache/reelgoods); ranks, workers and nodes may share it
    REELGOODS_CACHE_SIZE         most that shards in it may take, e.g. 50GB (the default)
    REELGOODS_REMOTE_TRIES       times that a file is tried (default 6)
    REELGOODS_REMOTE_WAIT_S      seconds before the second try (default 1); doubled before each further one, up to a minute
    REELGOODS_REMOTE_TIMEOUT_S   seconds without a byte after which a try has failed (default 60)

Settings and credentials of a store are those of its library: AWS_PROFILE, AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS, FSSPEC_S3_ANON=true.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.sizes import bytes_of

_PREFIX = "REELGOODS_"


@dataclass(frozen=True)
class RemoteSettings:
    """The settings, resolved.

    Raises ValueError where a number is none or too small.
    """

    cache: Path
    cache_bytes: int
    tries: int = 6
    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0
    timeout_s: float = 60.0
    seed: int = 0
    """of the jitter in waiting; beside it the rank and the address count, so that ranks do not come back together"""


def remote_settings() -> RemoteSettings:
    """What the environment says."""
    size = os.environ.get(f"{_PREFIX}CACHE_SIZE") or "50GB"
    room = bytes_of(size, "--cache_size")
    cache = Path(os.environ.get(f"{_PREFIX}CACHE") or Path.home() / ".cache/reelgoods")
    tries = int(_number("REMOTE_TRIES", 6, 1))
    return RemoteSettings(
        cache.absolute(), room, tries, first_wait_s=_number("REMOTE_WAIT_S", 1.0, 0), timeout_s=_number("REMOTE_TIMEOUT_S", 60.0, 0.001)
    )


def add_cache_arguments(parser: Any) -> None:
    """The flags of a command that reads shards; `use_cache` takes them up."""
    parser.add_argument(
        "--cache", help="folder for shards of s3://, gs://, https:// and pipe: addresses (default: REELGOODS_CACHE, ~/.cache/reelgoods)"
    )
    parser.add_argument("--cache_size", help="most that they may take there, e.g. 200GB; those used last stay (default: REELGOODS_CACHE_SIZE, 50GB)")
    parser.add_argument("--remote_tries", type=int, help="times that a file is tried, with longer and longer waits (default: 6)")
    parser.add_argument("--remote_timeout_s", type=float, help="seconds without a byte after which a try has failed (default: 60)")


def use_cache(arguments: Any) -> None:
    """Put the flags of `add_cache_arguments` into the environment, for this process and all that it starts. Raises ValueError where one is wrong."""
    for flag in ("cache", "cache_size", "remote_tries", "remote_timeout_s"):
        value = getattr(arguments, flag)
        if value is not None:
            os.environ[_PREFIX + flag.upper()] = str(value)
    remote_settings()


def _number(name: str, default: float, least: float) -> float:
    text = os.environ.get(_PREFIX + name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value < 1e6:
        raise ValueError(f"--{name.lower()} {text}: give a number, at least {least:g} (the environment's {_PREFIX}{name})")
    return value
