"""The filesystem service as typed calls over any wire."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from envd_proto.filesystem.filesystem_pb2 import (
    CopyRequest,
    CopyResponse,
    EntryInfo,
    ListDirRequest,
    ListDirResponse,
    ListEntriesRequest,
    ListEntriesResponse,
    MakeDirRequest,
    MakeDirResponse,
    MakeSymlinkRequest,
    MakeSymlinkResponse,
    MoveRequest,
    MoveResponse,
    ReadRequest,
    ReadResponse,
    RemoveRequest,
    RemoveResponse,
    SetAttributesRequest,
    SetAttributesResponse,
    StatRequest,
    StatResponse,
    WriteFileRequest,
    WriteRequest,
    WriteResponse,
)
from tests.support.wires import Incoming, Wire, basic

SERVICE = "filesystem.Filesystem"


@dataclass(slots=True)
class Content:
    """What a Read said."""

    messages: list[ReadResponse] = field(default_factory=list)

    @property
    def kinds(self) -> list[str]:
        return [str(message.WhichOneof("event")) for message in self.messages]

    @property
    def start(self) -> ReadResponse.StartEvent:
        return self.messages[0].start

    @property
    def chunks(self) -> list[ReadResponse.Chunk]:
        return [message.chunk for message in self.messages if message.HasField("chunk")]

    @property
    def data(self) -> bytes:
        return b"".join(chunk.data for chunk in self.chunks)

    @property
    def end(self) -> ReadResponse.EndEvent:
        assert self.messages[-1].HasField("end"), self.kinds
        return self.messages[-1].end


class Files:
    """Calls of filesystem.Filesystem; options are fields of the requests."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    def as_user(self, name: str) -> Files:
        return Files(self.wire.with_headers(basic(name)))

    async def stat(self, path: object) -> EntryInfo:
        return (await self.wire.unary(f"{SERVICE}/Stat", StatRequest(path=str(path)), StatResponse)).entry

    async def make_dir(self, path: object) -> EntryInfo:
        return (await self.wire.unary(f"{SERVICE}/MakeDir", MakeDirRequest(path=str(path)), MakeDirResponse)).entry

    async def move(self, source: object, destination: object) -> EntryInfo:
        request = MoveRequest(source=str(source), destination=str(destination))
        return (await self.wire.unary(f"{SERVICE}/Move", request, MoveResponse)).entry

    async def list_dir(self, path: object, depth: int = 0) -> list[EntryInfo]:
        request = ListDirRequest(path=str(path), depth=depth)
        return list((await self.wire.unary(f"{SERVICE}/ListDir", request, ListDirResponse)).entries)

    async def remove(self, path: object) -> None:
        await self.wire.unary(f"{SERVICE}/Remove", RemoveRequest(path=str(path)), RemoveResponse)

    async def copy(self, source: object, destination: object, **options: bool) -> CopyResponse:
        request = CopyRequest(source=str(source), destination=str(destination), **options)
        return await self.wire.unary(f"{SERVICE}/Copy", request, CopyResponse)

    async def set_attributes(self, path: object, **what: object) -> EntryInfo:
        request = SetAttributesRequest(path=str(path), **what)  # type: ignore[arg-type]
        return (await self.wire.unary(f"{SERVICE}/SetAttributes", request, SetAttributesResponse)).entry

    async def make_symlink(self, path: object, target: str, *, overwrite: bool = False) -> EntryInfo:
        request = MakeSymlinkRequest(path=str(path), target=target, overwrite=overwrite)
        return (await self.wire.unary(f"{SERVICE}/MakeSymlink", request, MakeSymlinkResponse)).entry

    def reading(self, path: object, **options: object) -> AbstractAsyncContextManager[Incoming[ReadResponse]]:
        """The stream of a Read, to take apart message by message."""
        request = ReadRequest(path=str(path), **options)  # type: ignore[arg-type]
        return self.wire.server_stream(f"{SERVICE}/Read", request, ReadResponse)

    async def read(self, path: object, **options: object) -> Content:
        content = Content()
        async with self.reading(path, **options) as messages:
            async for message in messages:
                content.messages.append(message)
        return content

    async def write(
        self, path: object, content: Iterable[bytes] | AsyncIterable[bytes] | bytes = b"", **options: object
    ) -> WriteResponse:
        """Write content, whole or from pieces."""
        if isinstance(content, bytes):
            return await self.send([request async for request in write_requests([content], path=str(path), **options)])
        return await self.send(write_requests(content, path=str(path), **options))

    async def send(self, requests: Iterable[WriteRequest] | AsyncIterable[WriteRequest]) -> WriteResponse:
        return await self.wire.client_stream(f"{SERVICE}/Write", requests, WriteResponse)

    def listing(self, path: object, **options: object) -> AbstractAsyncContextManager[Incoming[ListEntriesResponse]]:
        """The stream of a ListEntries."""
        request = ListEntriesRequest(path=str(path), **options)  # type: ignore[arg-type]
        return self.wire.server_stream(f"{SERVICE}/ListEntries", request, ListEntriesResponse)

    async def list_entries(self, path: object, **options: object) -> list[ListEntriesResponse]:
        async with self.listing(path, **options) as messages:
            return [message async for message in messages]


class WholeFiles(Files):
    """The same, but what is written goes in one message."""

    async def write(
        self, path: object, content: Iterable[bytes] | AsyncIterable[bytes] | bytes = b"", **options: object
    ) -> WriteResponse:
        assert not isinstance(content, AsyncIterable)
        whole = content if isinstance(content, bytes) else b"".join(content)
        told = WriteRequest.Options(path=str(path), **options)  # type: ignore[arg-type]
        request = WriteFileRequest(options=told, content=whole)
        return await self.wire.unary(f"{SERVICE}/WriteFile", request, WriteResponse)


async def write_requests(
    pieces: Iterable[bytes] | AsyncIterable[bytes], **options: object
) -> AsyncIterator[WriteRequest]:
    """The messages of a Write."""
    yield WriteRequest(options=WriteRequest.Options(**options))  # type: ignore[arg-type]
    if isinstance(pieces, AsyncIterable):
        async for piece in pieces:
            yield WriteRequest(chunk=piece)
    else:
        for piece in pieces:
            yield WriteRequest(chunk=piece)
