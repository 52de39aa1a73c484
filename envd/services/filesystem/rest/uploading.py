"""Serves POST of files, raw or as forms."""

from __future__ import annotations

import os.path
import re
from collections.abc import Mapping
from typing import Self

from envd.errors import Code, EnvdError
from envd.filesystem import metadata
from envd.filesystem.caller import Caller, Callers
from envd.filesystem.entries import ConditionError
from envd.filesystem.threads import Threads
from envd.filesystem.unpacking import Source, Unpacked
from envd.filesystem.writing.file_writer import FileWriter, StoreOptions
from envd.filesystem.writing.target import WriteOptions
from envd.filesystem.writing.temporary import Temporaries
from envd.web import Reply, Request, Response

from .addresses import Address, address_from_query
from .answers import done, path_fields, refused
from .multipart import Multipart, boundary_from

_PIECE_BYTES = 1024 * 1024
_HELD_BYTES = 64 * 1024  # what is smaller is written with others in one turn of a thread
_TOGETHER = 256  # files of one request that take their places together
_METADATA = "x-metadata-"
_ETAG = re.compile(r'"([^",]+)"')
_DIGEST = re.compile("[0-9a-f]{64}")
_SAME_PATH = (
    "you cannot upload multiple files to the same path '{}' in one upload request, only the first specified file was "
    "uploaded"
)


class UploadHandler:
    """Serves POST of files."""

    def __init__(self, callers: Callers, threads: Threads, temporaries: Temporaries) -> None:
        self._callers = callers
        self._threads = threads
        self._temporaries = temporaries

    async def handle(self, request: Request, _: Reply) -> Response:
        """Answer one request."""
        try:
            return done(await self._store(request))
        except ConditionError as exc:
            return refused(412, exc.message)

    async def _store(self, request: Request) -> list[dict[str, object]]:
        headers = request.headers
        address = address_from_query(request.query)
        address.check(self._callers, "write", headers.get("x-access-token"))
        source = self._source(request)
        caller = await self._callers.load(address.username)
        wanted = _wanted(request, caller)
        content_type = headers.get("content-type", "")
        kind = content_type.partition(";")[0].strip().lower()
        if kind == "application/octet-stream":
            return [await self._store_raw(source, address, caller, wanted)]
        if kind.startswith("multipart/"):
            form = Multipart(source, boundary_from(content_type))
            async with _Batch(wanted, self._threads, self._temporaries) as batch:
                return await self._store_parts(form, batch, address, caller)
        raise EnvdError(
            Code.INVALID_ARGUMENT,
            f"unsupported content type: {content_type}, expected multipart/form-data or application/octet-stream",
        )

    def _source(self, request: Request) -> Source:
        coding = request.headers.get("content-encoding", "identity").strip().lower()
        if coding in ("", "identity"):
            return request.body
        if coding in ("gzip", "x-gzip"):
            return Unpacked(request.body, self._threads)
        raise EnvdError(
            Code.INVALID_ARGUMENT,
            f"error decompressing request body: unsupported Content-Encoding: {coding}, supported: [gzip]",
        )

    async def _store_raw(
        self, source: Source, address: Address, caller: Caller, wanted: StoreOptions
    ) -> dict[str, object]:
        if address.path is None:
            raise EnvdError(Code.INVALID_ARGUMENT, "path query parameter is required for raw body upload")
        path = await caller.path(address.path, self._threads, doing="error resolving path")
        incoming = FileWriter(path, wanted, self._temporaries)
        data = await source.read(_PIECE_BYTES)
        threads = self._threads.at(incoming.path)
        try:
            if len(data) == wanted.length and not isinstance(source, Unpacked):
                await threads.settle(incoming.store, data)  # small ones pay for one thread
            else:
                await threads.settle(incoming.open, data)
                while data := await source.read(_PIECE_BYTES):
                    await threads.settle(incoming.write, data)
                incoming.complete()
                await threads.settle(incoming.commit)
        finally:
            if incoming.pending or not threads.at_rest:
                await threads.finish(incoming.abandon)
        return _written(incoming, wanted)

    async def _store_parts(
        self, form: Multipart, batch: _Batch, address: Address, caller: Caller
    ) -> list[dict[str, object]]:
        while (head := await form.next_part()) is not None:
            if head.field != "file":
                continue
            name = head.filename if address.path is None else address.path
            if name is None:
                raise EnvdError(
                    Code.INVALID_ARGUMENT,
                    "error getting multipart custom part file name: filename not found in Content-Disposition header",
                )
            await batch.add(await caller.path(name, self._threads, doing="error resolving path"), form)
        await batch.place()
        return batch.written


class _Batch:
    """The files of one multipart request. They take their places together, when all are here.

    So a request that fails leaves everything as it was. Above 256 files those that are complete are placed, for each
    waiting one holds descriptors; a failure then says how many were.
    """

    def __init__(self, wanted: StoreOptions, threads: Threads, temporaries: Temporaries) -> None:
        self._threads = threads.at()
        self._temporaries = temporaries
        self.written: list[dict[str, object]] = []
        self._wanted = wanted
        self._waiting: list[FileWriter] = []
        self._paths: dict[str, str] = {}
        self._held_bytes = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._waiting:
            await self._threads.finish(self._abandon)

    async def add(self, path: str, form: Multipart) -> None:
        """Take the part that comes next.

        Raises:
            EnvdError: INVALID_ARGUMENT if there was one for the same path; those before it are placed then.
        """
        same = _normal(path)
        if same in self._paths:
            await self.place()
            others = [known for normal, known in self._paths.items() if normal != same]
            also = f", also the following files were uploaded: {', '.join(others)}" if others else ""
            raise EnvdError(Code.INVALID_ARGUMENT, _SAME_PATH.format(path) + also)
        if self._paths and self._wanted.sha256 is not None:
            raise EnvdError(Code.INVALID_ARGUMENT, "X-Envd-Sha256 announces one content, and there are several files")
        if self._paths and self._wanted.intent.if_match is not None:
            raise EnvdError(Code.INVALID_ARGUMENT, "If-Match names one content, and there are several files")
        self._paths[same] = path
        self._threads.add(path)
        incoming = FileWriter(path, self._wanted, self._temporaries)
        self._waiting.append(incoming)
        await self._take(incoming, form)
        if len(self._waiting) >= _TOGETHER:
            await self.place()

    async def _take(self, incoming: FileWriter, form: Multipart) -> None:
        first = await form.read()
        data = await form.read()
        if not data and len(first) <= _HELD_BYTES:
            incoming.hold(bytes(first))
            self._held_bytes += len(first)
            if self._held_bytes > _PIECE_BYTES:
                await self._threads.settle(self._settle)
            return
        await self._threads.settle(incoming.open, first)
        while data:
            await self._threads.settle(incoming.write, data)
            data = await form.read()
        incoming.complete()

    async def place(self) -> None:
        """Put all that wait in their places."""
        await self._threads.settle(self._place)

    def _place(self) -> None:
        self._settle()
        waiting, self._waiting = self._waiting, []
        _commit(waiting)
        self.written += [_written(incoming, self._wanted) for incoming in waiting]

    def _settle(self) -> None:
        self._held_bytes = 0
        for incoming in self._waiting:
            incoming.settle()

    def _abandon(self) -> None:
        for incoming in self._waiting:
            incoming.abandon()


def _normal(path: str) -> str:
    return os.path.normpath(path)


def _commit(waiting: list[FileWriter]) -> None:
    for count, incoming in enumerate(waiting):
        try:
            incoming.commit()
        except EnvdError as exc:
            for rest in waiting[count:]:
                rest.abandon()
            exc.message += f"; files of this request that were written: {count}" if count else ""
            raise


def _wanted(request: Request, caller: Caller) -> StoreOptions:
    headers = request.headers
    pairs = {name[len(_METADATA) :]: text for name, text in headers.items() if name.startswith(_METADATA)}
    pairs.pop("", None)
    metadata.check(pairs)
    sync = _flag(headers.get("x-envd-sync"), "X-Envd-Sync")
    atomic = headers.get("x-envd-atomic")
    digest = headers.get("x-envd-sha256", "").strip().lower()
    announced = digest if _DIGEST.fullmatch(digest) else None
    if_match, if_absent = _condition(headers)
    return StoreOptions(
        WriteOptions(
            caller.user,
            atomic=None if atomic is None else _flag(atomic, "X-Envd-Atomic"),
            if_match=if_match,
            if_absent=if_absent,
            metadata=pairs,
            sync=sync,
            helped=caller.helped,
        ),
        length=request.body.length,
        hashed=announced is not None or _flag(digest or None, "X-Envd-Sha256"),
        sha256=announced,
    )


def _condition(headers: Mapping[str, str]) -> tuple[str | None, bool]:
    """Return the etag the file must have, `*` for any, and whether there must be none. Source: RFC 9110, 13.1."""
    match, none_match = headers.get("if-match"), headers.get("if-none-match")
    if none_match is not None and none_match.strip() != "*":
        raise EnvdError(Code.INVALID_ARGUMENT, "If-None-Match of an upload can only be *: that nothing is there")
    if match is not None and match.strip() != "*":
        tag = _ETAG.fullmatch(match.strip())
        if tag is None:
            raise EnvdError(Code.INVALID_ARGUMENT, "If-Match of an upload is one ETag, in its quotes, or *")
        match = tag[1]
    return match and match.strip(), none_match is not None


def _flag(text: str | None, name: str) -> bool:
    if text is None or text.lower() == "false":
        return False
    if text.lower() == "true":
        return True
    expected = "true, false, or 64 hexadecimal digits" if name == "X-Envd-Sha256" else "true or false"
    raise EnvdError(Code.INVALID_ARGUMENT, f"{name} is {expected}, not '{text[:80]}'")


def _written(incoming: FileWriter, wanted: StoreOptions) -> dict[str, object]:
    fields: dict[str, object] = {}
    if wanted.intent.metadata:
        fields["metadata"] = dict(sorted(wanted.intent.metadata.items()))
    fields |= path_fields(incoming.path)
    if incoming.sha256 is not None:
        fields["sha256"] = incoming.sha256
    if wanted.intent.sync:
        fields["synced"] = True
    return {**fields, "type": "file"}
