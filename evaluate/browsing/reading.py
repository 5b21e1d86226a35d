"""The form of a request, bounded in bytes, in pixels and in time, its file laid down under a name of ours."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from evaluate.browsing.encoder import TooLate
from evaluate.browsing.sizes import TooManyPixels, check_size
from evaluate.browsing.uploads import HEAD_BYTES, Kind, kind_of

FORM_BYTES = 1 << 16
"""What a form may have besides its file."""


class Refusal(Exception):
    """A request that is not served: the status of the answer, why in a line, and whether some of its body is still unread."""

    def __init__(self, status: int, why: str, unread: bool = False) -> None:
        super().__init__(why)
        self.status, self.why, self.unread = status, why, unread


@dataclass(frozen=True)
class Limits:
    """What one request may have: bytes of an upload, and seconds for it to arrive and then again to be looked at."""

    upload_bytes: int
    time_s: float


@dataclass(frozen=True)
class Upload:
    """A file that was given: where it lies for now, what it is, and what its owner calls it."""

    path: Path
    kind: Kind
    name: str


class Given:
    """A request that was read: `fields`, which hold whatever becomes of the file, and the file."""

    def __init__(self, fields: Mapping[str, str], file: UploadFile | None, folder: Path, limits: Limits) -> None:
        self.fields = fields
        self._file, self._folder, self._limits = file, folder, limits

    def upload(self) -> Upload | None:
        """The file, laid down; None where none was chosen.

        Raises Refusal: 415 for a file of another kind, 413 for one of too many pixels, 422 where its header cannot be read, 504 not in time.
        """
        file = self._file
        if file is None or not (file.filename or file.size):
            return None
        name = os.path.basename((file.filename or "the upload").replace("\\", "/"))[-80:]
        try:
            kind = kind_of(file.file.read(HEAD_BYTES), name)
        except ValueError as error:
            raise Refusal(415, str(error)) from None
        file.file.seek(0)
        path = self._folder / f"upload{kind.suffix}"
        with open(path, "wb") as copy:
            shutil.copyfileobj(file.file, copy)
        try:
            check_size(path, kind, self._limits.time_s)
        except ValueError as error:
            status = 413 if isinstance(error, TooManyPixels) else 504 if isinstance(error, TooLate) else 422
            raise Refusal(status, f"{name}: {error}") from None
        return Upload(path, kind, name)


@asynccontextmanager
async def read_form(request: Request, limits: Limits) -> AsyncIterator[Given]:
    """What a request gives (in its address, or in a form in its body); its file is gone when the block ends.

    Raises Refusal: 408 where the body does not arrive in time, 413 where it is too large, 400 for no form.
    """
    if request.method == "GET":
        yield Given(request.query_params, None, Path(), limits)
        return
    with TemporaryDirectory(prefix="reelgoods-") as folder:
        try:
            async with asyncio.timeout(limits.time_s):
                form = await _bounded(request, limits).form(max_files=1, max_fields=8, max_part_size=FORM_BYTES)
        except TimeoutError:
            raise Refusal(408, f"the upload did not arrive within {limits.time_s:g} s (--time_limit)", unread=True) from None
        except HTTPException as error:
            raise Refusal(400, f"not the form of this page: {error.detail}", unread=True) from None
        try:
            file = form.get("file")
            fields = {name: value for name, value in form.items() if isinstance(value, str)}
            yield Given(fields, file if isinstance(file, UploadFile) else None, Path(folder), limits)
        finally:
            await form.close()


def _bounded(request: Request, limits: Limits) -> Request:
    """The same request, whose body may not exceed the limits."""
    most = limits.upload_bytes + FORM_BYTES
    too_large = Refusal(413, f"the upload is larger than {limits.upload_bytes / 1e6:g} MB (--upload_mb)", unread=True)
    if int(request.headers.get("content-length", "0") or 0) > most:
        raise too_large
    read = 0

    async def receive() -> Any:
        nonlocal read
        message = await request.receive()
        read += len(message.get("body", b""))
        if read > most:
            raise too_large
        return message

    return Request(request.scope, receive)
