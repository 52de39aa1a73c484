# Made by scripts/unasync from envd_sdk/_async/reading.py; change that one.
"""The content of a file over as many connections as it takes."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Self

from envd_proto.filesystem import filesystem_pb2 as fs
from envd_sdk._concurrency.callbacks import Handler, hand_over
from envd_sdk._sync.calls import Calls
from envd_sdk._wire.blocking import Incoming
from envd_sdk._wire.failure import WireError
from envd_sdk._wire.methods import READ
from envd_sdk.entries import EntryInfo
from envd_sdk.messages import entry_from
from envd_sdk.paths import SandboxPath, path_fields

# Bytes of one message at most.
_CHUNK_BYTES = 256 * 1024


class FileStream:
    """The bytes of a file as they come. Iterate it, once; leaving early or `close` ends the transfer.

    A connection that breaks is taken up again where it ended, if the file is still the same.

    Attributes:
        entry: the file as it was when it was opened.
        size: bytes that are to come.
    """

    def __init__(
        self,
        calls: Calls,
        request: fs.ReadRequest,
        user: str | None,
        idle_s: float | None,
        on_progress: Handler[int] | None = None,
    ) -> None:
        self.entry: EntryInfo
        self.size = 0
        self._calls = calls
        self._request = request
        self._user = user
        self._idle_s = idle_s
        self._on_progress = on_progress
        self._doing = f"read {request.path}"
        self._attempts = calls.attempts()
        self._incoming: Incoming[fs.ReadResponse] | None = None
        self._begin = request.offset
        self._offset = request.offset
        self._ended = False

    def open(self) -> Self:
        """Open the file.

        Raises:
            SandboxException: it is not there, or cannot be read.
        """
        while self._incoming is None:
            self._try_to_open()
        return self

    def read(self) -> bytes:
        """Some more bytes; none at the end.

        Raises:
            ConflictException: the file has changed since it was opened.
        """
        while not self._ended:
            data = self._some()
            if data:
                hand_over(self._on_progress, self._offset - self._begin)
                return data
        return b""

    def close(self) -> None:
        self._ended = True
        if self._incoming is not None:
            self._incoming.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __next__(self) -> bytes:
        if data := self.read():
            return data
        self.close()
        raise StopIteration

    def __iter__(self) -> Iterator[bytes]:
        try:
            while data := self.read():
                yield data
        finally:
            self.close()

    def _try_to_open(self) -> None:
        try:
            incoming = self._calls.wire.stream(READ, self._request, self._calls.metadata(self._user))
            message = incoming.read(self._idle_s)
            if message is None or not message.HasField("start"):
                raise WireError("unavailable", "the stream was cut off")
        except WireError as error:
            return self._pause(error)
        self._incoming = incoming
        if not hasattr(self, "entry"):
            self.entry, self.size = entry_from(message.start.entry), message.start.length
        return None

    def _some(self) -> bytes:
        if self._incoming is None:
            self._ask_for_the_rest()
            self._try_to_open()
            return b""
        try:
            message = self._incoming.read(self._idle_s)
            if message is None:
                raise WireError("unavailable", "the stream was cut off")
        except WireError as error:
            self._incoming = None
            self._pause(error)
            return b""
        self._attempts.succeeded()
        self._ended = message.HasField("end")
        data = message.chunk.data
        self._offset += len(data)
        return data

    def _ask_for_the_rest(self) -> None:
        request = fs.ReadRequest()
        request.CopyFrom(self._request)
        request.offset, request.if_match = self._offset, self.entry.etag
        if self._request.HasField("length"):
            request.length = self._request.length - (self._offset - self._request.offset)
        self._request = request

    def _pause(self, error: WireError) -> None:
        self._calls.pause(self._attempts, error, doing=self._doing, about_files=True)


def read_request(path: SandboxPath, offset: int, length: int | None) -> fs.ReadRequest:
    return fs.ReadRequest(**path_fields(path), offset=offset, length=length, chunk_size=_CHUNK_BYTES)
