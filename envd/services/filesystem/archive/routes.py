"""REST routes that move whole directories."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import TypeVar

from envd.errors import Code, EnvdError
from envd.filesystem.archive.extraction import Extracted, Extraction, ExtractRequest
from envd.filesystem.archive.limit import ArchiveLimit
from envd.filesystem.archive.merging import Conflict
from envd.filesystem.archive.metadata import MOST_ENTRIES
from envd.filesystem.archive.pipeline import Pipeline, runs
from envd.filesystem.archive.stream import ArchiveRequest, ArchiveStream, open_stream
from envd.filesystem.archive.tarstream.compression import Format
from envd.filesystem.caller import Callers, check_path
from envd.filesystem.threads import Threads
from envd.filesystem.unpacking import Source, Unpacked
from envd.filesystem.writing.temporary import Temporaries
from envd.services.filesystem.rest.addresses import Address, address_from_query, values_from_query
from envd.services.filesystem.rest.answers import done, path_fields
from envd.services.filesystem.rest.disposition import attachment
from envd.services.filesystem.rest.multipart import Multipart, boundary_from
from envd.web import Reply, Request, Response, Route

from . import messages

T = TypeVar("T")

_FORMATS = {"tar": Format.TAR, "tar.gz": Format.GZIP, "tgz": Format.GZIP, "tar.zst": Format.ZSTD}
_TYPES = {Format.TAR: "application/x-tar", Format.GZIP: "application/gzip", Format.ZSTD: "application/zstd"}
_SUFFIXES = {Format.TAR: ".tar", Format.GZIP: ".tar.gz", Format.ZSTD: ".tar.zst"}
_OWNERSHIPS = {"caller": 0, "names": 1, "numbers": 2}
_CONFLICTS = {"overwrite": Conflict.OVERWRITE, "fail": Conflict.FAIL, "skip": Conflict.SKIP}
_FLAGS = {"": False, "false": False, "true": True}
_RAW = ("application/octet-stream", "application/x-gzip", "application/x-gtar", "application/x-zstd", *_TYPES.values())
_EXPECTED = "application/octet-stream or an archive's"
_PARAMETERS = ("format", "ownership", "set_id", "outside_links", "conflict", "max_entries", "max_content_bytes")
_MOST_DIGITS = 18
_PIECE_BYTES = 256 * 1024


def routes(callers: Callers, threads: Threads, temporaries: Temporaries, *, idle_s: float) -> list[Route]:
    """Return the routes; an archive ends if its client takes nothing for `idle_s`."""
    turns = ArchiveLimit()
    download, upload = _Archive(callers, threads, turns, idle_s), _Extract(callers, threads, temporaries, turns)
    return [
        Route("GET", "/files/archive", download.handle),
        Route("HEAD", "/files/archive", download.handle),
        Route("POST", "/files/extract", upload.handle),
    ]


class _Archive:
    """Serves GET and HEAD /files/archive."""

    def __init__(self, callers: Callers, threads: Threads, turns: ArchiveLimit, idle_s: float) -> None:
        self._callers = callers
        self._threads = threads
        self._turns = turns
        self._idle_s = idle_s

    async def handle(self, request: Request, reply: Reply) -> None:
        address = address_from_query(request.query)
        address.check(self._callers, "read", request.headers.get("x-access-token"))
        caller = await self._callers.load(address.username)
        path = await caller.path(address.path or "", self._threads, doing="error resolving path")
        values = values_from_query(request.query, ("format", "member", "exclude"))
        form = _choice(values["format"], "format", _FORMATS)
        wish = ArchiveRequest(path, caller.user, tuple(values["member"]), tuple(values["exclude"]), form)
        with self._turns.one():
            async with (
                self._threads.at(path).holding(partial(open_stream, wish), ArchiveStream.close) as held,
                aclosing(runs(held)) as content,
            ):
                first = await anext(content) if request.method == "GET" else b""
                name = (held.it.path.rpartition("/")[2] or "root") + _SUFFIXES[form]
                reply.begin(200, (("Content-Disposition", attachment(name)), ("Content-Type", _TYPES[form])))
                if first:
                    await self._send(first, content, reply)

    async def _send(self, run: bytes | None, content: AsyncIterator[bytes], reply: Reply) -> None:
        while run:
            try:
                async with asyncio.timeout(self._idle_s):
                    await reply.write(run)
            except TimeoutError as exc:
                raise EnvdError(
                    Code.DEADLINE_EXCEEDED, f"the client did not take a piece in {self._idle_s:g} s"
                ) from exc
            run = await anext(content, None)


class _Extract:
    """Serves POST /files/extract."""

    def __init__(self, callers: Callers, threads: Threads, temporaries: Temporaries, turns: ArchiveLimit) -> None:
        self._callers = callers
        self._threads = threads
        self._temporaries = temporaries
        self._turns = turns

    async def handle(self, request: Request, _: Reply) -> Response:
        return done(_fields(await self._extract(request)))

    async def _extract(self, request: Request) -> Extracted:
        address = address_from_query(request.query)
        token = request.headers.get("x-access-token")
        address.check(self._callers, "write", token)
        order = await self._order(address, request, signed=address.signature is not None and not token)
        await check_path(order.path, order.user, self._threads)
        body = await self._body(request)
        with self._turns.one():
            threads = self._threads.at(order.path)
            async with threads.holding(partial(Extraction, order, self._temporaries), Extraction.close) as held:
                intake = Pipeline(held)
                while data := await body.read(_PIECE_BYTES):
                    await intake.put(data)
                return await intake.finish()

    async def _order(self, address: Address, request: Request, *, signed: bool) -> ExtractRequest:
        if address.path is None:
            raise EnvdError(Code.INVALID_ARGUMENT, "path query parameter is required: the directory to extract to")
        values = values_from_query(request.query, _PARAMETERS)
        ownership = _choice(values["ownership"], "ownership", _OWNERSHIPS)
        set_id = _choice(values["set_id"], "set_id", _FLAGS)
        outside_links = _choice(values["outside_links"], "outside_links", _FLAGS)
        if signed and (ownership or set_id or outside_links):
            raise EnvdError(
                Code.PERMISSION_DENIED, "ownership, set_id and outside_links need the access token, not a signature"
            )
        caller = await self._callers.load(address.username)
        return ExtractRequest(
            caller.resolve(address.path, doing="error resolving path"),
            caller.user,
            messages.owner_of(ownership),
            _choice(values["format"], "format", _FORMATS) if values["format"] else None,
            set_id,
            outside_links,
            _choice(values["conflict"], "conflict", _CONFLICTS),
            min(_number(values["max_entries"], "max_entries") or MOST_ENTRIES, MOST_ENTRIES),
            _number(values["max_content_bytes"], "max_content_bytes") or None,
            helped=caller.helped,
        )

    async def _body(self, request: Request) -> Source:
        source: Source = request.body
        coding = request.headers.get("content-encoding", "").strip().lower()
        if coding in ("gzip", "x-gzip"):
            source = Unpacked(source, self._threads)
        elif coding not in ("", "identity"):
            raise EnvdError(
                Code.INVALID_ARGUMENT,
                f"unsupported Content-Encoding: {coding}, supported: [gzip]",
            )
        content_type = request.headers.get("content-type", "")
        kind = content_type.partition(";")[0].strip().lower()
        if kind in _RAW:
            return source
        if kind.startswith("multipart/"):
            return await _first_file(Multipart(source, boundary_from(content_type)))
        raise EnvdError(
            Code.INVALID_ARGUMENT,
            f"unsupported content type: {content_type}, expected multipart/form-data, {_EXPECTED}",
        )


class _Part:
    """The part a form is in as a source of its own, to the end of the form."""

    def __init__(self, form: Multipart) -> None:
        self._form = form

    async def read(self, _: int) -> bytes:
        data = await self._form.read()
        if not data:
            while await self._form.next_part() is not None:
                pass  # to its end: a form that is cut short is refused
        return bytes(data)


async def _first_file(form: Multipart) -> _Part:
    while (head := await form.next_part()) is not None:
        if head.field == "file":
            return _Part(form)
    raise EnvdError(Code.INVALID_ARGUMENT, "the form has no part 'file'")


def _choice(values: list[str], name: str, choices: dict[str, T]) -> T:
    if not values:
        return next(iter(choices.values()))
    if values[0].lower() not in choices:
        allowed = ", ".join(filter(None, choices))
        raise EnvdError(Code.INVALID_ARGUMENT, f"{name} is one of {allowed}, not '{values[0][:80]}'")
    return choices[values[0].lower()]


def _number(values: list[str], name: str) -> int:
    text = values[0] if values else "0"
    if not (text.isascii() and text.isdigit()) or len(text) > _MOST_DIGITS:
        raise EnvdError(Code.INVALID_ARGUMENT, f"{name} is a whole number, not '{text[:80]}'")
    return int(text)


def _fields(extracted: Extracted) -> dict[str, object]:
    path = path_fields(extracted.path)
    del path["name"]
    return {
        "archive_bytes": extracted.archive_bytes,
        "content_bytes": extracted.content_bytes,
        "created": extracted.created,
        "entries": extracted.entries,
        **path,
        "skipped": extracted.skipped,
    }
