"""Video frames within a time limit: decoding runs in a process of its own, which is ended when it hangs and replaced when it is gone.

Legend: T frames, H x W pixels.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.media.sampling import segment_points
from pipeline.media.source import Source, known_backend, source_name
from pipeline.media.wire import LENGTH, packed

_REPOSITORY = Path(__file__).resolve().parents[2]
_START_LIMIT_S = 120.0  # imports from a slow network disk; nothing of the video's


class Decoder:
    """Reads frames of videos with the time limit that decord needs: it hangs on some files.

    The process is started by the first `read` and kept for the next ones; it serves this object in this process alone, so that a
    copy in a forked or spawned worker starts its own. It is no `multiprocessing` process, because DataLoader workers may not have any.
    Not for several threads at once.

    Args:
        backend: "decord" (files that it would misread go to PyAV, see `pipeline.media.video`) or "pyav".
        timeout_s: seconds that one video may take.
    """

    def __init__(self, backend: str = "decord", timeout_s: float = 20.0) -> None:
        if timeout_s <= 0:
            raise ValueError(f"a time limit of {timeout_s} s for a video; it must be above 0")
        self.backend = known_backend(backend)
        self.timeout_s = timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def read(
        self,
        source: Source,
        count: int,
        rng: np.random.Generator | None = None,
        *,
        short_side: int | None = None,
        name: str | None = None,
    ) -> np.ndarray:
        """T = `count` frames, one out of each of T equal segments of the video, RGB uint8 [T, H, W, 3].

        Args:
            source: a path or a span of a tar.
            count: frames to read; a video with fewer repeats some.
            rng: draws one frame in each segment (T numbers are taken from it, whatever happens); None takes the segments' centres.
            short_side: frames whose shorter side is longer than this many pixels are scaled down to it; None: the stored size.
            name: what messages call the video; its path where there is none.

        Raises ValueError naming the video where it is damaged, takes longer than the limit, or makes the decoder crash.
        """
        points = segment_points(count, rng)
        name = name or source_name(source)
        if isinstance(source, bytes):
            raise ValueError(f"{name}: a decoder reads paths and spans; use read_video_frames for bytes in memory")
        request = {
            "source": [os.path.abspath(source[0]), int(source[1]), int(source[2])] if isinstance(source, tuple) else os.path.abspath(source),
            "points": points,
            "backend": self.backend,
            "short_side": short_side,
            "name": name,
            "timeout_s": self.timeout_s,
        }
        process = self._running()
        try:
            return self._ask(process, request)
        except TimeoutError:
            self._end()
            remedy = "backend pyav reads some files that decord hangs on" if self.backend == "decord" else "the file or its disk may be at fault"
            raise ValueError(f"{name}: the {self.backend} decoder gave no frames within {self.timeout_s:g} s and was ended; {remedy}") from None
        except (EOFError, BrokenPipeError):
            self._end()
            raise ValueError(f"{name}: the {self.backend} decoder crashed on it (exit code {process.returncode})") from None
        except ValueError:
            raise
        except BaseException:  # Ctrl-C: an answer that was not read to its end must not be taken for the next one's
            self._end()
            raise

    def close(self) -> None:
        """End the process, if there is one. Reading again starts another."""
        if self._owner == os.getpid():
            self._end()

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"backend": self.backend, "timeout_s": self.timeout_s, "_process": None, "_owner": 0}

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._owner == os.getpid() and self._process.poll() is None:
            return self._process
        if self._process is not None:
            self._forget()
        command = [sys.executable, "-m", "pipeline.media.decoder_process"]
        # NumPy would start a thread for each core in each of the many decoders of a node, none of which has work for them.
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, cwd=_REPOSITORY, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self._process, self._owner = process, os.getpid()
        try:
            _answer_header(process, time.monotonic() + _START_LIMIT_S)
        except (EOFError, TimeoutError):
            self._end()
            shown = f"cd {_REPOSITORY} && {' '.join(command)} < /dev/null"
            raise RuntimeError(f"the decoder process did not start (exit code {process.returncode}); see why with: {shown}") from None
        return process

    def _ask(self, process: subprocess.Popen[bytes], request: dict[str, Any]) -> np.ndarray:
        assert process.stdin is not None
        deadline = time.monotonic() + self.timeout_s
        process.stdin.write(packed(request))
        answer = _answer_header(process, deadline)
        if "error" in answer:
            raise ValueError(answer["error"])
        frames = np.empty(answer["shape"], np.uint8)
        _fill(process, frames.data.cast("B"), deadline)
        return frames

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._forget()

    def _forget(self) -> None:
        assert self._process is not None and self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process = None


def _answer_header(process: subprocess.Popen[bytes], deadline: float) -> dict[str, Any]:
    length = bytearray(LENGTH.size)
    _fill(process, memoryview(length), deadline)
    text = bytearray(LENGTH.unpack(length)[0])
    _fill(process, memoryview(text), deadline)
    return json.loads(text)


def _fill(process: subprocess.Popen[bytes], buffer: memoryview, deadline: float) -> None:
    """Fill `buffer` from the process's answers. Raises TimeoutError at the deadline (time.monotonic), EOFError where the process ended."""
    assert process.stdout is not None
    answers = process.stdout.fileno()
    waiting = select.poll()
    waiting.register(answers, select.POLLIN)
    filled = 0
    while filled < len(buffer):
        remaining_s = deadline - time.monotonic()
        if remaining_s <= 0 or not waiting.poll(max(1, remaining_s * 1000)):
            raise TimeoutError
        got = os.readv(answers, [buffer[filled:]])
        if not got:
            raise EOFError
        filled += got
