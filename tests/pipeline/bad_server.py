"""A web server of a folder that misbehaves as a test asks for, over real sockets."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FLOOD = 1 << 24


class BadServer:
    """Serves `folder`. `faults[path]` lists what is done with the next requests of a path, one after the other; then all is well.

    drop: half of the bytes, then the connection is gone. cut: half of the bytes, and a length that says that this is all. boast: a length beyond the
    bytes. flood: sixteen megabytes and no length. busy, gone, refused: status 503, 404, 403. silent: no answer until the server stops.
    swap: as many other bytes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.faults: dict[str, list[str]] = {}
        self.requests: Counter[str] = Counter()
        self.order: list[str] = []
        self.sent = 0
        self.stopping = threading.Event()
        self.address = ""

    def fault(self, path: str) -> str:
        """Note the request, and say what is to be done with it."""
        self.requests[path] += 1
        self.order.append(path)
        waiting = self.faults.get(path)
        return waiting.pop(0) if waiting else ""


@contextmanager
def serving(folder: Path) -> Iterator[BadServer]:
    """A running server; its `address` has no slash at the end."""
    state = BadServer(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.lstrip("/")
            fault = state.fault(path)
            if fault == "silent":
                state.stopping.wait()
            file = folder / path
            status = {"busy": 503, "gone": 404, "refused": 403}.get(fault, 200 if file.is_file() else 404)
            if status != 200:
                self.send_error(status)
                return
            data = file.read_bytes()
            if fault == "swap":
                data = bytes(255 - byte for byte in data)
            length = {"cut": len(data) // 2, "boast": 2 * len(data)}.get(fault, len(data))
            self.send_response(200)
            if fault == "flood":
                self.close_connection = True
            else:
                self.send_header("Content-Length", str(length))
            self.end_headers()
            try:
                if fault == "flood":
                    for _ in range(FLOOD >> 16):
                        state.sent += self.wfile.write(bytes(1 << 16))
                else:
                    state.sent += self.wfile.write(data[: len(data) // 2] if fault in ("drop", "cut") else data)
            except ConnectionError:
                self.close_connection = True
            if fault in ("drop", "boast"):
                self.close_connection = True
                self.connection.close()

        def log_message(self, format: str, *values: object) -> None:
            """Nothing: tests look at the counts."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()
