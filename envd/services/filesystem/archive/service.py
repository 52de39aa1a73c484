"""The part of the Filesystem service that moves whole directories."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial

from envd.chunk_encoder import ChunkEncoder, EncodedChunks
from envd.errors import Code, EnvdError
from envd.filesystem.archive.extraction import Extraction
from envd.filesystem.archive.limit import ArchiveLimit
from envd.filesystem.archive.pipeline import Pipeline, runs
from envd.filesystem.archive.stream import ArchiveStream, open_stream
from envd.filesystem.caller import Callers
from envd.filesystem.threads import Threads
from envd.filesystem.writing.temporary import Temporaries
from envd.rpc import Call, Reply
from envd.services.filesystem.messages import first_of, path_of
from envd_proto.filesystem import archive_pb2 as pb

from . import messages

_CHUNK_BYTES = 256 * 1024
_LARGEST_CHUNK_BYTES = 1024 * 1024
_CHUNKS_AT_ONCE = 64
_CONTENT = ChunkEncoder(pb.ArchiveResponse.DESCRIPTOR, "chunk", "data")


class ArchiveService:
    """Serves Archive and Extract of filesystem.Filesystem."""

    def __init__(self, callers: Callers, threads: Threads, temporaries: Temporaries) -> None:
        self._callers = callers
        self._threads = threads
        self._temporaries = temporaries
        self._turns = ArchiveLimit()

    async def archive(self, request: pb.ArchiveRequest, call: Call) -> AsyncIterator[Reply]:
        """Send a directory."""
        caller = self._callers.of(call.username)
        wish = messages.wish_from(request, await path_of(request, caller, self._threads), caller)
        opening = partial(open_stream, wish, caller.names)
        chunk = min(request.chunk_size or _CHUNK_BYTES, _LARGEST_CHUNK_BYTES)
        with self._turns.one():
            async with self._threads.at(wish.path).holding(opening, ArchiveStream.close) as held:
                yield messages.start_of(held.it)
                offset = 0
                async with aclosing(runs(held)) as content:
                    async for run in content:
                        for begin in range(0, len(run), chunk * _CHUNKS_AT_ONCE):
                            part = run[begin : begin + chunk * _CHUNKS_AT_ONCE]
                            yield EncodedChunks(_CONTENT, offset, part, chunk, offset + len(part))
                            offset += len(part)
                yield messages.end_of(held.it)

    async def extract(self, requests: AsyncIterator[pb.ExtractRequest], call: Call) -> pb.ExtractResponse:
        """Take a directory."""
        caller = self._callers.of(call.username)
        options = (await first_of(requests, "options")).options
        order = messages.order_from(options, await path_of(options, caller, self._threads), caller)
        with self._turns.one():
            threads = self._threads.at(order.path)
            async with threads.holding(partial(Extraction, order, self._temporaries), Extraction.close) as held:
                intake = Pipeline(held)
                async for request in requests:
                    if request.WhichOneof("message") != "chunk":
                        raise EnvdError(Code.INVALID_ARGUMENT, "after the options there can only be chunks")
                    await intake.put(request.chunk)
                return messages.response_from(await intake.finish())
