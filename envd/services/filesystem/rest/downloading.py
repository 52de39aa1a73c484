"""Serves GET and HEAD of a file: ranges, codings and headers."""

from __future__ import annotations

import asyncio
import secrets

from envd.errors import Code, EnvdError, from_os_error
from envd.filesystem.access import as_user
from envd.filesystem.caller import Caller, Callers
from envd.filesystem.threads import Threads
from envd.web import Headers, Reply, Request, Response

from .addresses import address_from_query
from .answers import refused, refused_in_text
from .conditions import NAMES, Verdict, Version, judge, range_holds
from .content_type import content_type
from .dates import http_date
from .disposition import inline
from .negotiation import best_coding, identity_accepted
from .outgoing import Outgoing, Slices, gzip_of
from .ranges import MalformedRangeError, NoOverlapError, Span, spans_from_range

_VARY = ("Vary", "Accept-Encoding")
_NO_CODING = "error parsing Accept-Encoding: no acceptable encoding found, supported: [gzip]"
_NO_IDENTITY = "identity encoding not acceptable for Range or conditional request"


class Download:
    """Serves GET and HEAD of files.

    Args:
        callers: find and check who asks.
        threads: where files are read.
        idle_s: how long a client may take nothing.
    """

    def __init__(self, callers: Callers, threads: Threads, idle_s: float) -> None:
        self._idle_s = idle_s
        self._callers = callers
        self._threads = threads

    async def handle(self, request: Request, reply: Reply) -> Response | None:
        """Answer one request."""
        address = address_from_query(request.query)
        address.check(self._callers, "read", request.headers.get("x-access-token"))
        caller = await self._callers.load(address.username)
        requested = address.path or ""
        path = await caller.path(requested, self._threads, doing=f"error expanding and resolving path '{requested}'")
        threads, outgoing = self._threads.at(path), Outgoing(path)
        try:
            await threads.settle(as_user(caller.user, outgoing.open))
            return await _FileResponse(request, reply, outgoing, threads, self._idle_s, caller).send()
        finally:
            if not (outgoing.closed and threads.at_rest):
                await threads.finish(outgoing.close)


class _FileResponse:
    """The response to one request about an open file."""

    def __init__(
        self, request: Request, reply: Reply, outgoing: Outgoing, threads: Threads, idle_s: float, caller: Caller
    ) -> None:
        self._user = caller.user
        self._threads = threads
        self._idle_s = idle_s
        self._request = request
        self._reply = reply
        self._outgoing = outgoing
        self._ignores_range = request.method == "HEAD" or outgoing.size is None  # no ranges of it
        self._name = outgoing.path.rstrip("/").rpartition("/")[2] or "/"

    async def send(self) -> Response | None:
        headers = self._request.headers
        accepted = headers.get("accept-encoding", "")
        if any(name in headers for name in NAMES):
            if not identity_accepted(accepted):
                return refused(406, _NO_IDENTITY, (_VARY,))
            return await self._send_conditionally()
        coding = best_coding(accepted)
        if coding is None:
            return refused(406, _NO_CODING, (_VARY,))
        if coding == "gzip" and not (self._request.method == "HEAD" and identity_accepted(accepted)):
            return await self._send_gzip()
        return await self._send_whole()

    async def _send_conditionally(self) -> Response | None:
        version = Version(self._outgoing.etag, self._outgoing.modified_s)
        verdict = judge(self._request.headers, version)
        if verdict is not Verdict.PROCEED:
            return Response(verdict.value, (*self._validators(), _VARY))
        size = self._outgoing.size
        range_header = self._request.headers.get("range")
        if (
            range_header is None
            or size is None
            or self._ignores_range
            or not range_holds(self._request.headers, version)
        ):
            return await self._send_whole()
        try:
            spans = spans_from_range(range_header, size)
        except MalformedRangeError:
            return refused_in_text(416, "invalid range", (_VARY,))
        except NoOverlapError:
            unsatisfied = ("Content-Range", f"bytes */{size}")
            return refused_in_text(416, "invalid range: failed to overlap", (unsatisfied, _VARY))
        if len(spans) > 1:
            await self._send_several(spans, size)
            return None
        return await self._send_one(spans[0], size) if spans else await self._send_whole()

    async def _send_whole(self) -> Response | None:
        outgoing = self._outgoing
        headers = (*self._headers(), ("Content-Type", self._type()))
        if outgoing.small:
            return Response(200, headers, outgoing.content)
        self._reply.begin(200, headers, outgoing.size)
        if self._request.method == "HEAD":
            return None
        if outgoing.size is None:
            await self._send_slices(gzip=False)
        else:
            await self._send_file(Span(0, outgoing.size))
        return None

    async def _send_one(self, span: Span, size: int) -> Response | None:
        headers = (*self._headers(), ("Content-Type", self._type()), ("Content-Range", span.of(size)))
        if self._outgoing.small:
            return Response(206, headers, self._outgoing.content[span.start : span.start + span.length])
        self._reply.begin(206, headers, span.length)
        await self._send_file(span)
        return None

    async def _send_several(self, spans: tuple[Span, ...], size: int) -> None:
        boundary = secrets.token_hex(15)
        kind = self._type()
        heads = [
            f"--{boundary}\r\nContent-Range: {span.of(size)}\r\nContent-Type: {kind}\r\n\r\n".encode() for span in spans
        ]
        heads[1:] = [b"\r\n" + head for head in heads[1:]]
        end = f"\r\n--{boundary}--\r\n".encode()
        length = sum(map(len, heads)) + sum(span.length for span in spans) + len(end)
        headers = (*self._headers(), ("Content-Type", f"multipart/byteranges; boundary={boundary}"))
        self._reply.begin(206, headers, length)
        for head, span in zip(heads, spans, strict=True):
            await self._write(head)
            if self._outgoing.small:
                await self._write(self._outgoing.content[span.start : span.start + span.length])
            else:
                await self._send_file(span)
        await self._write(end)

    async def _send_gzip(self) -> Response | None:
        headers: Headers = (
            ("Content-Disposition", inline(self._name)),
            ("Content-Encoding", "gzip"),
            ("Content-Type", content_type(self._name, None)),
            _VARY,
        )
        if self._outgoing.small:
            return Response(200, headers, await self._threads.settle(gzip_of, self._outgoing.content))
        self._reply.begin(200, headers)
        if self._request.method != "HEAD":
            await self._send_slices(gzip=True)
        return None

    async def _send_slices(self, *, gzip: bool) -> None:
        slices = Slices(self._outgoing, gzip=gzip)
        while not slices.ended:
            piece = await self._threads.settle(as_user(self._user, slices.next))
            if piece:
                await self._write(piece)

    async def _write(self, data: bytes) -> None:
        try:
            async with asyncio.timeout(self._idle_s):
                await self._reply.write(data)
        except TimeoutError as exc:
            raise EnvdError(Code.DEADLINE_EXCEEDED, f"the client did not take a piece in {self._idle_s:g} s") from exc

    async def _send_file(self, span: Span) -> None:
        try:
            await self._reply.send_file(self._outgoing.fd, span.start, span.length, self._threads.settle)
        except OSError as exc:
            raise from_os_error(exc, doing=f"error reading file '{self._outgoing.path}'") from exc

    def _headers(self) -> Headers:
        ranges = () if self._outgoing.size is None else (("Accept-Ranges", "bytes"),)
        return (*ranges, ("Content-Disposition", inline(self._name)), *self._validators(), _VARY)

    def _validators(self) -> Headers:
        if not self._outgoing.etag:
            return ()
        modified = http_date(self._outgoing.modified_s or 0)
        tag = ("ETag", self._outgoing.etag)
        return (tag,) if modified is None else (tag, ("Last-Modified", modified))

    def _type(self) -> str:
        return content_type(self._name, self._outgoing.content)
