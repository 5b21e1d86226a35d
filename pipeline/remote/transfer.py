"""One try at one file: its bytes, through fsspec or from a command, into a file of this machine."""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import fsspec
from fsspec.callbacks import Callback

from pipeline.remote.address import PIPE
from pipeline.remote.retries import Interrupted, NotFetched, NotThere

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
"""Scheme -> the extra of this project that brings its library."""
CREDENTIALS = "the store's own settings hold credentials (AWS_PROFILE, GOOGLE_APPLICATION_CREDENTIALS, FSSPEC_S3_ANON=true …)"
NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "DefaultCredentialsError")
"""What the libraries of s3 and gs raise where nobody has told them who asks."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


class TooLong(Interrupted):
    """More bytes came than the file has."""


def transfer(source: str, target: Path, most: int | None, timeout_s: float) -> None:
    """Write what is at `source` (an address, or "pipe:" and a command) to `target`.

    Args:
        most: bytes at most, None where that is not known; a server that sends without end does not fill the disk.
        timeout_s: seconds without a byte after which the try has failed.

    Raises:
        Interrupted: another try may help.
        NotThere: it would not.
        NotFetched: there is no room left on the disk, or nobody has told the store's library who asks.
        ValueError: an address of a kind that nothing here can read.
    """
    try:
        if source.startswith(PIPE):
            _print(source.removeprefix(PIPE), target, most, timeout_s)
        else:
            _get(source, target, most, timeout_s)
    except OSError as error:
        if error.errno in _FULL:
            raise NotFetched(f"{target.parent}: no room on the disk for {source} ({error}); lower --cache_size or give another --cache") from error
        raise


def _get(source: str, target: Path, most: int | None, timeout_s: float) -> None:
    scheme = source.partition("://")[0]
    try:
        system = fsspec.filesystem(scheme, **_timeouts(scheme, timeout_s))
    except ImportError as error:
        extra = EXTRAS.get(scheme)
        remedy = f"pip install 'reelgoods[{extra}]', or the library that it names" if extra else "install the library that it names"
        raise ValueError(f"{source}: {scheme}:// cannot be read here ({error}); {remedy}") from error
    except ValueError as error:
        raise ValueError(f"{source}: no such kind of address ({error})") from error
    try:
        system.get_file(source, str(target), callback=_Bound(most))
    except FileNotFoundError as error:
        raise NotThere(f"{source}: not there") from error
    except PermissionError as error:
        raise NotThere(f"{source}: access refused ({error}); {CREDENTIALS}") from error
    except Interrupted:
        raise
    except Exception as error:  # each store's library has exceptions of its own; all of them mean that this try failed
        if isinstance(error, OSError) and error.errno in _FULL:
            raise
        status = getattr(error, "status", None)
        reason = f"{type(error).__name__}: {' '.join(str(error).split()) or 'no answer'}"
        if type(error).__name__ in NO_CREDENTIALS:
            raise NotFetched(f"{source}: no credentials ({reason}); {CREDENTIALS}") from error
        if isinstance(status, int) and 400 <= status < 500 and status not in (408, 425, 429):
            raise NotThere(f"{source}: refused ({reason})") from error
        raise Interrupted(reason) from error


def _timeouts(scheme: str, timeout_s: float) -> dict[str, Any]:
    if scheme in ("s3", "s3a"):
        return {"config_kwargs": {"connect_timeout": timeout_s, "read_timeout": timeout_s}}
    if scheme not in ("http", "https", "gs", "gcs"):
        return {}
    import aiohttp  # here: takes a moment, and only these addresses need it

    silence = aiohttp.ClientTimeout(total=None, sock_connect=timeout_s, sock_read=timeout_s)
    return {"client_kwargs": {"timeout": silence}} if scheme in ("http", "https") else {"requests_timeout": silence}


class _Bound(Callback):
    """Stops a transfer that brings more than it should."""

    def __init__(self, most: int | None) -> None:
        super().__init__()
        self._most = most

    def relative_update(self, inc: int = 1) -> None:
        super().relative_update(inc)
        if self._most is not None and self.value > self._most:
            raise TooLong(f"more than its {self._most} bytes arrived")


def _print(command: str, target: Path, most: int | None, timeout_s: float) -> None:
    """What `command` prints, run by the shell in a process group of its own; ended with all that it started where it stops printing."""
    with open(target, "wb") as file, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, shell=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, start_new_session=True)
        assert process.stdout is not None
        try:
            with process.stdout as pipe:
                while True:
                    if not select.select([pipe], [], [], timeout_s)[0]:
                        raise Interrupted(f"the command printed nothing for {timeout_s:g} s")
                    if not (part := os.read(pipe.fileno(), 1 << 20)):
                        break
                    file.write(part)
                    if most is not None and file.tell() > most:
                        raise TooLong(f"more than its {most} bytes were printed")
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise Interrupted(f"the command did not end for {timeout_s:g} s after its last byte") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if process.returncode:
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip().splitlines()
            raise Interrupted(f"exit code {process.returncode}{': ' + said[-1] if said else ''}")
