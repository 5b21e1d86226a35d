"""The process that looks at what a person gives: it decodes and embeds, and is ended when it hangs and replaced when it is gone.

It knows the model and the corpus, which this room does not; which program it is, is the command's to say (`evaluate/browse.py` names
`pipeline.browsing.worker`). The two exchange JSON, a line each way:

    -> (nothing)                                                          <- {"recipe", "checkpoint", "refuses": {"media", "words"}, "corpus"}
    -> {"do": "embed", "file": PATH|null, "words": "...", "among": DOMAIN} <- {"vector": [...], "images": [data URI ...]}
    -> {"do": "cards", "items": [[SHARD, ID], ...], "frames": N}           <- {"cards": [{"title", "words", "images"} ...]}
                                                                         or <- {"error": "...", "late": true|false}

`refuses` says in a line why the system takes no pictures and clips, or no words; empty where it does. An error about the file calls it "it".
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
CALLED_IT = re.compile(r"it(?: [a-z0-9]+)?: ")
"""How an error about the file begins, where it does not go on as a sentence; whoever shows it puts the file's own name there."""


class TooLate(ValueError):
    """No answer within the time limit."""


class Encoder:
    """Asks the process, one question at a time; safe for several threads.

    Args:
        command: starts the process.
        start_limit_s: seconds that it may take to load the model; who asks first waits for it.
    """

    def __init__(self, command: Sequence[str], start_limit_s: float = 600.0) -> None:
        self._command, self._start_limit_s = list(command), start_limit_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_ready = False
        self._closed = False
        self._rest = bytearray()
        self._about: Mapping[str, Any] = {}
        self._start()

    @property
    def about(self) -> Mapping[str, Any]:
        """What it says about itself. Raises ValueError with the process's own words where it cannot start."""
        if not self._about:
            with self._lock:
                self._ready()
        return self._about

    def ask(self, request: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
        """The answer to `request` within `limit_s` seconds, in which those it waits for others are not counted, nor a start after a failure.

        Raises:
            TooLate: there was none; the process is replaced, unless it said so itself. Or others kept it busy for as long.
            ValueError: what the process found wrong with the request, or that it died of it; then it is replaced, too.
        """
        if not self._lock.acquire(timeout=limit_s):
            raise TooLate(f"the encoder was busy with other searches for {limit_s:g} s; try again")
        try:
            if self._process is None or (self._is_ready and self._process.poll() is not None):  # it went while nobody asked
                self._replace()
            self._ready()
            assert self._process is not None and self._process.stdin is not None
            self._process.stdin.write(json.dumps({**request, "limit_s": limit_s}).encode() + b"\n")
            answer = self._line(limit_s)
        except TimeoutError:
            self._replace()
            raise TooLate(f"it could not be looked at within {limit_s:g} s (--time_limit); a smaller picture or a shorter clip may do") from None
        except (EOFError, BrokenPipeError):
            code = self._replace()
            raise ValueError(f"the decoder died of it (exit code {code}); the file is damaged, or made to do that") from None
        finally:
            self._lock.release()
        if "error" in answer:
            raise (TooLate if answer.get("late") else ValueError)(answer["error"])
        return answer

    def close(self) -> None:
        """End the process."""
        self._closed = True
        self._end()

    def _ready(self) -> None:
        """Wait until the process has loaded and said what it is."""
        if self._is_ready:
            return
        try:
            about = self._line(self._start_limit_s)
        except (TimeoutError, EOFError):
            code = self._end()
            raise ValueError(f"the encoder did not start (exit code {code}); see why with: {' '.join(self._command)} < /dev/null") from None
        if "error" in about:
            raise ValueError(about["error"])
        self._about, self._is_ready = about, True

    def _start(self) -> None:
        paths = [str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        # A session of its own: Ctrl-C does not reach it, and ending it ends what it started.
        self._process = subprocess.Popen(
            self._command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, start_new_session=True
        )
        self._is_ready = False
        self._rest.clear()

    def _replace(self) -> int | None:
        """End the process and start another, which loads while nobody waits for it; the exit code of the first."""
        code = self._end()
        if not self._closed:
            self._start()
        return code

    def _end(self) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        try:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        return code

    def _line(self, limit_s: float) -> dict[str, Any]:
        """The next line. Raises TimeoutError, and EOFError where the process ended."""
        if self._process is None or self._process.stdout is None:
            raise EOFError
        answers, deadline = self._process.stdout.fileno(), time.monotonic() + limit_s
        waiting = select.poll()
        waiting.register(answers, select.POLLIN)
        while b"\n" not in self._rest:
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0 or not waiting.poll(max(1, remaining_s * 1000)):
                raise TimeoutError
            got = os.read(answers, 1 << 16)
            if not got:
                self._process.wait(timeout=10)
                raise EOFError
            self._rest += got
        line, _, rest = self._rest.partition(b"\n")
        self._rest = rest
        return json.loads(line)
