"""Resumable uploads as typed calls over any wire, and over REST."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from typing import Any

from envd_proto.filesystem.uploads_pb2 import (
    AbortUploadRequest,
    AbortUploadResponse,
    CommitUploadRequest,
    CommitUploadResponse,
    CreateUploadRequest,
    CreateUploadResponse,
    GetUploadRequest,
    GetUploadResponse,
    ListUploadsRequest,
    ListUploadsResponse,
    WritePartRequest,
    WritePartResponse,
)
from tests.support.http1 import Response, exchange
from tests.support.wires import Wire, basic

SERVICE = "filesystem.Filesystem"


class Uploads:
    """Calls of filesystem.Filesystem; options are fields of the requests."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    def as_user(self, name: str) -> Uploads:
        return Uploads(self.wire.with_headers(basic(name)))

    async def create(self, path: object, **options: Any) -> CreateUploadResponse:
        request = CreateUploadRequest(path=str(path), **options)
        return await self.wire.unary(f"{SERVICE}/CreateUpload", request, CreateUploadResponse)

    async def new(self, path: object, **options: Any) -> str:
        """Begin an upload; return its id."""
        return (await self.create(path, **options)).upload.id

    async def part(
        self, ident: str, offset: int, content: bytes | Iterable[bytes] | AsyncIterable[bytes], **options: Any
    ) -> WritePartResponse:
        start = WritePartRequest(start=WritePartRequest.Start(upload_id=ident, offset=offset, **options))
        if isinstance(content, AsyncIterable):
            return await self.send(part_requests(start, content))
        pieces = [content] if isinstance(content, bytes) else content
        # A list can be sent again: see tests.support.grpc.answered.
        return await self.send([start, *(WritePartRequest(chunk=piece) for piece in pieces)])

    async def send(self, requests: Iterable[WritePartRequest] | AsyncIterable[WritePartRequest]) -> WritePartResponse:
        return await self.wire.client_stream(f"{SERVICE}/WritePart", requests, WritePartResponse)

    async def get(self, ident: str, **options: Any) -> GetUploadResponse:
        request = GetUploadRequest(upload_id=ident, **options)
        return await self.wire.unary(f"{SERVICE}/GetUpload", request, GetUploadResponse)

    async def ranges(self, ident: str) -> list[tuple[int, int]]:
        """What was received, as (begin, end)."""
        return [(one.offset, one.offset + one.length) for one in (await self.get(ident)).received]

    async def list(self, **options: Any) -> ListUploadsResponse:
        return await self.wire.unary(f"{SERVICE}/ListUploads", ListUploadsRequest(**options), ListUploadsResponse)

    async def commit(self, ident: str, **options: Any) -> CommitUploadResponse:
        request = CommitUploadRequest(upload_id=ident, **options)
        return await self.wire.unary(f"{SERVICE}/CommitUpload", request, CommitUploadResponse)

    async def abort(self, ident: str) -> None:
        request = AbortUploadRequest(upload_id=ident)
        await self.wire.unary(f"{SERVICE}/AbortUpload", request, AbortUploadResponse)


async def part_requests(start: WritePartRequest, pieces: AsyncIterable[bytes]) -> AsyncIterator[WritePartRequest]:
    """The messages of a WritePart, sent as its content comes."""
    yield start
    async for piece in pieces:
        yield WritePartRequest(chunk=piece)


def checksums(content: bytes) -> dict[str, Any]:
    """The options of a part that announce its content."""
    return {"sha256": hashlib.sha256(content).digest(), "crc32": zlib.crc32(content), "length": len(content)}


async def rest(
    port: int, method: str, path: str, body: object = None, *, headers: Mapping[str, str] | None = None
) -> Response:
    """A request below /files/uploads; a body that is no bytes goes as JSON."""
    raw = body if isinstance(body, bytes | None) else json.dumps(body, default=str).encode()
    return await exchange(port, method, f"/files/uploads{path}", headers=headers, body=raw)


def fields(response: Response, status: int = 200) -> dict[str, Any]:
    """What a good answer says."""
    assert response.status == status, (response.status, response.body)
    found: dict[str, Any] = json.loads(response.body)
    return found


# A client that goes on, whatever happens to its connections and the server.

_CUT_OFF = (EOFError, OSError)


async def persist(port: int, method: str, path: str, body: object = None) -> Response:
    """A request made again for as long as the server is killed under it."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await rest(port, method, path, body)
            except _CUT_OFF:
                await asyncio.sleep(0.005)


async def missing(port: int, ident: str, size: int, part_bytes: int) -> list[tuple[int, int]]:
    """What the server has not received, in parts (begin, end)."""
    offset, at, parts = 0, 0, []
    while True:
        told = fields(await persist(port, "GET", f"/{ident}?offset={offset}"))
        for begin, length in [*((one["offset"], one["length"]) for one in told["received"])]:
            parts += _cut(at, begin, part_bytes)
            at = begin + length
        if "next_offset" not in told:
            return parts + _cut(at, size, part_bytes)
        offset = told["next_offset"]


def _cut(begin: int, end: int, size: int) -> list[tuple[int, int]]:
    return [(at, min(at + size, end)) for at in range(begin, end, size)]


async def upload(port: int, path: object, content: memoryview, *, part_bytes: int, at_once: int = 4) -> int:
    """Upload in parts, several at once, asking after each loss what is missing; return how often parts were sent.

    Raises AssertionError if something that was acknowledged is missing later.
    """
    wish = {"path": str(path), "size": len(content), "idempotency_key": secrets.token_hex(8)}
    ident = json.loads((await persist(port, "POST", "", wish)).body)["id"]
    acknowledged: set[tuple[int, int]] = set()
    sent = 0

    async def worker(parts: list[tuple[int, int]]) -> None:
        nonlocal sent
        while parts:
            begin, end = parts.pop()
            sent += 1
            try:
                digest = {"X-Envd-Sha256": hashlib.sha256(content[begin:end]).hexdigest()}
                answer = await rest(port, "PUT", f"/{ident}?offset={begin}", bytes(content[begin:end]), headers=digest)
            except _CUT_OFF:
                return
            if answer.status != 409:  # a part whose connection was lost, and that the server still has, gives way
                assert fields(answer)["length"] == end - begin
                acknowledged.add((begin, end))

    while parts := await missing(port, ident, len(content), part_bytes):
        for begin, end in acknowledged:
            assert not any(begin < other_end and other < end for other, other_end in parts), (
                "an acknowledged part is lost"
            )
        await asyncio.gather(*(worker(parts) for _ in range(at_once)))
    fields(await persist(port, "POST", f"/{ident}/commit", {"sha256": hashlib.sha256(content).hexdigest()}))
    return sent
