"""The page over HTTP: GET / and GET or POST /search, its style and its script; nothing else, and no file by a name that a client gives.

What a browser is told with every answer: run and load nothing but what is ours (Content-Security-Policy), keep nothing, show it in no frame.
Requests for another host's name are refused (`names`), and so are forms that another site sends: browsers say which site that is, in one
header where the connection is a safe one, and in another (Origin) always.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from evaluate.browsing.encoder import CALLED_IT, TooLate
from evaluate.browsing.finder import Finder, Found
from evaluate.browsing.names import Names, name_of
from evaluate.browsing.reading import Given, Limits, Refusal, Upload, read_form
from evaluate.browsing.uploads import ACCEPTED
from evaluate.pages.template import FOLDER, page_template

SHOWN = (10, 20, 50, 100)
WORDS_MOST = 2000
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # "no-referrer" would hide from us, too, whence a form comes
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
FILES = {"page.css": "text/css", "browse.css": "text/css", "browse.js": "text/javascript"}
LINGER_S = 5.0


def browse_app(finder: Finder, limits: Limits, names: Names) -> Starlette:
    """The application, which answers requests that are made to one of `names`."""
    pages = _Pages(finder, limits)
    routes = [Route("/", pages.search, methods=["GET"]), Route("/search", pages.search, methods=["GET", "POST"])]
    routes += [Route(f"/{name}", _file(name, kind), methods=["GET"]) for name, kind in FILES.items()]
    return Starlette(
        routes=routes,
        middleware=[Middleware(_AskedByName, names=names)],
        exception_handlers={404: pages.not_here, 405: pages.not_here},
    )


def _file(name: str, kind: str) -> Any:
    text = (FOLDER / name).read_text(encoding="utf-8")

    async def answer(request: Request) -> Response:
        return Response(text, media_type=kind, headers=HEADERS)

    return answer


class _AskedByName:
    """Passes on what is asked of one of `names`."""

    def __init__(self, app: ASGIApp, names: Names) -> None:
        self._app, self._names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        host = HTTPConnection(scope).headers.get("host", "")
        if host in self._names:
            return await self._app(scope, receive, send)
        name = name_of(host)
        remedy = f"; to have it answer to {name[:100]}, start it with --names {name[:100]}" if name else ""
        line = f"Host {host[:100]!r} is not served: this page answers to {self._names}{remedy}\n"
        await PlainTextResponse(line, 400, headers=HEADERS)(scope, receive, send)


class _Pages:
    """Answers requests with the page: with what was found, or with why nothing was."""

    def __init__(self, finder: Finder, limits: Limits) -> None:
        self._finder, self._limits = finder, limits
        self._template = page_template("browse.html.j2")

    async def search(self, request: Request) -> Response:
        """The page for / and /search."""
        fields: Mapping[str, str] = {}
        try:
            if request.method == "POST":
                _check_sender(request)
            async with read_form(request, self._limits) as given:
                fields = given.fields
                return await run_in_threadpool(self._answer, given)
        except Refusal as refusal:
            page = self._page(fields, error=refusal.why)
            if refusal.unread:
                return _Unread(page, refusal.status, headers={**HEADERS, "Connection": "close"})
            return HTMLResponse(page, refusal.status, headers=HEADERS)

    async def not_here(self, request: Request, error: Exception) -> Response:
        """The page for every other address."""
        status = getattr(error, "status_code", 404)
        return HTMLResponse(self._page({}, error="there is no such page here"), status, headers=HEADERS)

    def _answer(self, given: Given) -> Response:
        upload = given.upload()
        try:
            return HTMLResponse(self._page(given.fields, self._found(given.fields, upload)), headers=HEADERS)
        except ValueError as error:
            said = str(error)
            if upload is not None:
                said = f"{upload.name}: {said[begun.end() :] if (begun := CALLED_IT.match(said)) else said}"
            raise Refusal(504 if isinstance(error, TooLate) else 422, said) from None

    def _found(self, fields: Mapping[str, str], upload: Upload | None) -> Found | None:
        among, words, item = self._among(fields), fields.get("words", "").strip(), fields.get("id", "").strip()
        domain, k = fields.get("of") or among, _number(fields)
        if len(words) > WORDS_MOST:
            raise Refusal(413, f"{len(words):,} characters of words; at most {WORDS_MOST:,}")
        if upload is not None:
            return self._finder.by_upload(upload.path, upload.kind, words, among, k)
        if item:
            found = self._finder.by_item(domain, item, among, k) if domain in self._finder.collections else None
            if found is None:
                raise Refusal(404, f"no item {item!r} of {domain} is in the dump")
            return found
        return self._finder.by_words(words, among, k) if words else None

    def _among(self, fields: Mapping[str, str]) -> str:
        known = self._finder.collections
        among = fields.get("among") or next(iter(known))
        if among not in known:
            raise Refusal(400, f"no dump holds {among!r}; there is {' and '.join(known)}")
        return among

    def _page(self, fields: Mapping[str, str], found: Found | None = None, error: str = "") -> str:
        known = self._finder.collections
        among = fields.get("among") if fields.get("among") in known else next(iter(known))
        assert among is not None
        return self._template.render(
            about=self._finder.about,
            collections=[(domain, len(own)) for domain, own in known.items()],
            among=among,
            words=fields.get("words", "").strip()[:WORDS_MOST],
            id=fields.get("id", "").strip()[:WORDS_MOST],
            shown=_number(fields, strict=False),
            choices=SHOWN,
            found=found,
            error=error,
            beginnings=[] if found or error else self._finder.beginnings(among),
            accepted=ACCEPTED,
            upload_mb=self._limits.upload_bytes / 1e6,
            upload_bytes=self._limits.upload_bytes,
        )


def _check_sender(request: Request) -> None:
    """Raises Refusal where a form is another site's. What is no browser names none."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Refusal(403, "this form came from another site", unread=True)
    origin, host = request.headers.get("origin"), request.headers.get("host", "")
    if origin is not None and origin.partition("://")[2].lower() != host.lower():
        raise Refusal(403, f"this form came from another site ({origin[:100]}); here is {host[:100]}", unread=True)


def _number(fields: Mapping[str, str], strict: bool = True) -> int:
    """How many results are wanted. Raises Refusal where that is no number from 1 on up to the most."""
    text = fields.get("k", "")
    if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= SHOWN[-1]:
        return int(text)
    if text and strict:
        raise Refusal(400, f"k = {text[:20]}: a number of results from 1 to {SHOWN[-1]}")
    return 20


class _Unread(HTMLResponse):
    """An answer to a request that was not read to its end: it is sent at once, then some of the rest is read and thrown away, since a browser
    that is still sending when the connection is closed shows its own error instead of ours."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        deadline = time.monotonic() + LINGER_S
        try:
            async with asyncio.timeout(LINGER_S):
                while time.monotonic() < deadline:
                    message = await receive()
                    if message["type"] == "http.disconnect" or not message.get("more_body", False):
                        break
        except TimeoutError:
            pass
        await send({"type": "http.response.body", "body": b"", "more_body": False})
