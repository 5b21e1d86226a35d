"""The page served to tests, and requests to it over real HTTP."""

from __future__ import annotations

import http.client
import re
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from evaluate.browsing.encoder import Encoder
from evaluate.browsing.finder import Finder
from evaluate.browsing.names import Names
from evaluate.dump import Dump
from tests.evaluate.dumps import write_dump
from tests.pipeline.corpora import clip, picture

pytest.importorskip("starlette", reason="the extra `browse` is not installed")

BOUNDARY = "a-boundary"


def _in_fours(content: bytes) -> bytes:
    return content + bytes(-len(content) % 4)


JPEG, PNG, MP4 = (_in_fours(content) for content in (picture(), picture(form="PNG"), clip()))
"""Whole files, their lengths divided by 4: the stub of an encoder goes by what stands behind them."""


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    text: str


@contextmanager
def serving(finder: Finder, upload_bytes: int = 100_000, time_s: float = 30.0, names: Names | None = None) -> Iterator[int]:
    """The port at which the page of `finder` is served."""
    import uvicorn

    from evaluate.browsing.app import browse_app
    from evaluate.browsing.reading import Limits

    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(browse_app(finder, Limits(upload_bytes, time_s), names or Names()), log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = server.force_exit = True
        thread.join()
        listening.close()


def stub_finder(folder: Path, *flags: str, limit_s: float = 30.0) -> Finder:
    """Goods g0 ... g9 and videos v0 ... v3: g0 to g3 and the videos are the four unit vectors, the other goods lie between."""
    unit = np.eye(4, dtype=np.float32)
    goods = np.concatenate([unit, (unit + np.roll(unit, 1, axis=1)) / 2, (unit[:2] + 0.5) / 2]).astype(np.float32)
    sides = [("goods", goods, [f"g{row}" for row in range(10)]), ("video", unit, [f"v{row}" for row in range(4)])]
    dump = write_dump(folder / "dump", sides, shard_rows=6)
    encoder, uploads = (Encoder([sys.executable, "-m", "tests.evaluate.stub_encoder", *flags], 60) for _ in range(2))
    try:
        return Finder(encoder, uploads, [Dump(dump)], limit_s)
    except BaseException:
        encoder.close()
        uploads.close()
        raise


def get(port: int, address: str, headers: Mapping[str, str] | None = None) -> Answer:
    return _asked(port, "GET", address, None, headers or {})


def post(
    port: int,
    fields: Mapping[str, str],
    file: tuple[str, bytes] | None = None,
    headers: Mapping[str, str] | None = None,
    file_first: bool = False,
) -> Answer:
    """The page's form, sent as a browser does."""
    parts = [f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode() for name, value in fields.items()]
    if file is not None:
        name, content = file
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: image/jpeg\r\n\r\n'
        parts.insert(0 if file_first else len(parts), head.encode() + content + b"\r\n")
    body = b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
    return _asked(port, "POST", "/search", body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", **(headers or {})})


def found(answer: Answer) -> list[str]:
    """The ids of the results, best first."""
    assert answer.status == 200, error(answer)
    return re.findall(r'data-doc-id="(.*?)" data-rank', answer.text)


def error(answer: Answer) -> str:
    return re.search(r'role="alert">(.*?)</p>', answer.text).group(1)  # type: ignore[union-attr]


def _asked(port: int, method: str, address: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, address, body, dict(headers))
        answer = connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode())
    finally:
        connection.close()
