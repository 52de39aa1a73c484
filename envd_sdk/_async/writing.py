"""Writes content to a file: with one message, in one call, or in parts that are each acknowledged."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator

from envd_proto.filesystem import filesystem_pb2 as fs
from envd_sdk._async.calls import AsyncCalls
from envd_sdk._async.parts import AsyncPartedUpload
from envd_sdk._concurrency.callbacks import AsyncHandler, hand_over_async
from envd_sdk._concurrency.content import AsyncPieces, AsyncSource
from envd_sdk._wire.methods import WRITE, WRITE_FILE
from envd_sdk.entries import WriteInfo
from envd_sdk.exceptions import SandboxException
from envd_sdk.messages import write_info_from
from envd_sdk.uploads import SMALL_BYTES, WHOLE_BYTES, Destination, chunk_message


class AsyncWriting:
    """Writes one file."""

    def __init__(self, calls: AsyncCalls, destination: Destination, on_progress: AsyncHandler[int] | None) -> None:
        self._calls = calls
        self._destination = destination
        self._on_progress = on_progress

    async def write(self, content: AsyncSource) -> WriteInfo:
        """Write it; a daemon that does not know the best way is asked for the next one.

        Raises:
            SandboxException: it could not be written.
        """
        pieces = AsyncPieces(content)
        in_memory = isinstance(content, str | bytes | bytearray | memoryview)
        append = self._destination.options.append
        entry = None
        # What is appended goes as it comes: it may come slowly.
        if (in_memory or not append) and await pieces.fit(SMALL_BYTES):
            entry = await self._with_one_message(pieces.buffer.whole())
        elif not append and not await pieces.fit(WHOLE_BYTES):
            entry = await AsyncPartedUpload(self._calls, self._destination, self._on_progress).send(pieces)
        return entry or await self._in_one_call(pieces, most=math.inf if in_memory else WHOLE_BYTES)

    async def _with_one_message(self, content: bytes) -> WriteInfo | None:
        """None from a daemon that has no such RPC."""
        if WRITE_FILE.path in self._calls.unknown:
            return None
        options = self._destination.options.message(self._destination.where).options
        request = fs.WriteFileRequest(options=options, content=content)
        try:
            response = await self._calls.unary(
                WRITE_FILE,
                request,
                doing=self._destination.doing,
                repeat=self._destination.options.repeat,
                user=self._destination.user,
                request_timeout=self._destination.request_timeout,
                about_files=True,
            )
        except SandboxException as error:
            if error.code != "unimplemented":
                raise
            self._calls.unknown.add(WRITE_FILE.path)
            return None
        await hand_over_async(self._on_progress, len(content))
        return write_info_from(response.entry)

    async def _in_one_call(self, pieces: AsyncPieces, *, most: float) -> WriteInfo:
        """Keep at most so many bytes that were sent."""

        async def messages() -> AsyncIterator[fs.WriteRequest | bytes]:
            yield self._destination.options.message(self._destination.where)
            index = sent = 0
            while (piece := await pieces.at(index)) is not None:
                yield chunk_message(piece)
                index, sent = index + 1, sent + len(piece)
                if pieces.buffer.size > most:
                    pieces.forget(index)
                await hand_over_async(self._on_progress, sent)

        response = await self._calls.upload(
            WRITE,
            messages,
            doing=self._destination.doing,
            repeat=self._destination.options.repeat,
            user=self._destination.user,
            request_timeout=self._destination.request_timeout,
            about_files=True,
        )
        return write_info_from(response.entry)
