"""The process that decodes for a `Decoder`: `python -m pipeline.media.decoder_process`, requests on standard input, answers on standard output.

A request is {source, points, backend, short_side, name, timeout_s}; an answer is {shape} and the frames' bytes, or {error}; the
first answer, {ready: true}, comes when everything is imported. It ends when its standard input is closed.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from typing import Any, BinaryIO

from pipeline.media.sampling import positions_at
from pipeline.media.video import read_video_frames
from pipeline.media.wire import LENGTH, packed


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until there are no more."""
    answers.write(packed({"ready": True}))
    answers.flush()
    while length := requests.read(LENGTH.size):
        request = json.loads(requests.read(LENGTH.unpack(length)[0]))
        # Whoever asked ends a process that hangs. Should they be gone themselves, the alarm ends it, whatever it hangs in.
        signal.alarm(math.ceil(request["timeout_s"]) + 2)
        header, body = _answer(request)
        signal.alarm(0)
        answers.write(packed(header))
        answers.write(body)
        answers.flush()


def _answer(request: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    source = request["source"]
    try:
        frames = read_video_frames(
            source if isinstance(source, str) else tuple(source),
            lambda length: positions_at(length, request["points"]),
            backend=request["backend"],
            short_side=request["short_side"],
            name=request["name"],
        )
    except ValueError as error:
        return {"error": str(error)}, b""
    return {"shape": frames.shape}, frames.data


def main() -> None:
    """Serve on standard input and output; what libraries print goes to standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the one who asks ends this process
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        serve(sys.stdin.buffer, answers)
    except BrokenPipeError:
        os._exit(1)  # nobody waits for the answer any more; a usual exit would try to send its rest again


if __name__ == "__main__":
    main()
