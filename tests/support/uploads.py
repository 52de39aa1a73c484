"""Resumable uploads as typed calls over any wire, and over REST."""

from __future__ import annotations

import hashlib
import json
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
        pieces = [content] if isinstance(content, bytes) else content
        start = WritePartRequest(start=WritePartRequest.Start(upload_id=ident, offset=offset, **options))
        return await self.send(part_requests(start, pieces))

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


async def part_requests(
    start: WritePartRequest, pieces: Iterable[bytes] | AsyncIterable[bytes]
) -> AsyncIterator[WritePartRequest]:
    """The messages of a WritePart."""
    yield start
    if isinstance(pieces, AsyncIterable):
        async for piece in pieces:
            yield WritePartRequest(chunk=piece)
    else:
        for piece in pieces:
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
