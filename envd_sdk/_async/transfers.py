"""Methods that read and write the files of a sandbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, overload

from envd_sdk._async.calls import AsyncCalls
from envd_sdk._async.reading import AsyncFileStream, read_request
from envd_sdk._async.writing import AsyncWriting
from envd_sdk._concurrency.callbacks import AsyncHandler
from envd_sdk._concurrency.content import AsyncSource
from envd_sdk.entries import Content, WriteEntry, WriteInfo
from envd_sdk.exceptions import InvalidArgumentException
from envd_sdk.paths import SandboxPath, path_fields, shown
from envd_sdk.results import Username
from envd_sdk.uploads import Destination, WriteOptions, entry_of


class AsyncTransfers:
    """The part of a sandbox's files that moves content."""

    def __init__(self, calls: AsyncCalls) -> None:
        self._calls = calls

    @overload
    async def read(
        self,
        path: SandboxPath,
        format: Literal["text"] = "text",
        user: Username | None = None,
        request_timeout: float | None = None,
        *,
        offset: int = 0,
        length: int | None = None,
        on_progress: AsyncHandler[int] | None = None,
        gzip: bool = False,
    ) -> str: ...

    @overload
    async def read(
        self,
        path: SandboxPath,
        format: Literal["bytes"],
        user: Username | None = None,
        request_timeout: float | None = None,
        *,
        offset: int = 0,
        length: int | None = None,
        on_progress: AsyncHandler[int] | None = None,
        gzip: bool = False,
    ) -> bytearray: ...

    @overload
    async def read(
        self,
        path: SandboxPath,
        format: Literal["stream"],
        user: Username | None = None,
        request_timeout: float | None = None,
        *,
        offset: int = 0,
        length: int | None = None,
        on_progress: AsyncHandler[int] | None = None,
        gzip: bool = False,
    ) -> AsyncFileStream: ...

    async def read(
        self,
        path: SandboxPath,
        format: Literal["text", "bytes", "stream"] = "text",  # noqa: A002 - the published name
        user: Username | None = None,
        request_timeout: float | None = None,
        *,
        offset: int = 0,
        length: int | None = None,
        on_progress: AsyncHandler[int] | None = None,
        gzip: bool = False,  # noqa: ARG002 - of the published package; nothing to be gained here
    ) -> str | bytearray | AsyncFileStream:
        """Read a file, or a range of it.

        Args:
            path: of a regular file.
            format: "text" (UTF-8, with U+FFFD for what is not), "bytes", or "stream" to iterate over.
            offset: first byte.
            length: bytes at most; None for all.
            on_progress: called with the number of bytes that have come.

        Raises:
            FileNotFoundException: it is not there.
            InvalidArgumentException: it is a directory, or no regular file.
            ConflictException: it was changed while the connection was broken.
        """
        if offset < 0 or (length is not None and length < 0):
            raise InvalidArgumentException(f"read {shown(path)}: offset and length must not be negative")
        if format not in ("text", "bytes", "stream"):
            raise InvalidArgumentException(
                f'read {shown(path)}: format is {format!r}: give "text", "bytes" or "stream"'
            )
        idle_s = self._calls.timeout(request_timeout)
        stream = AsyncFileStream(self._calls, read_request(path, offset, length), user, idle_s, on_progress)
        await stream.open()
        if format == "stream":
            return stream
        content = bytearray()
        async with stream:
            while data := await stream.read():
                content += data
        return content if format == "bytes" else content.decode(errors="replace")

    @overload
    async def write(
        self,
        path: SandboxPath,
        data: AsyncSource,
        user: Username | None = None,
        request_timeout: float | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        options: WriteOptions | None = None,
        on_progress: AsyncHandler[int] | None = None,
        gzip: bool = False,
        use_octet_stream: bool = False,
    ) -> WriteInfo: ...

    @overload
    async def write(
        self,
        files: Sequence[WriteEntry | Mapping[str, Content]],
        user: Username | None = None,
        request_timeout: float | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        gzip: bool = False,
        use_octet_stream: bool = False,
    ) -> list[WriteInfo]: ...

    async def write(self, *args: Any, **named: Any) -> WriteInfo | list[WriteInfo]:
        """Write a file, and the directories above it; or, given a list, several files (preferred: `write_files`).

        Args:
            path: of the file.
            data: text (as UTF-8), bytes, an open file, or an iterable of text or bytes.
            metadata: the caller's own key-value pairs, stored with the file.
            options: mode, conditions and so on.
            on_progress: called with the number of bytes that were sent.
            gzip, use_octet_stream: of the published package; without effect.

        Raises:
            NotEnoughSpaceException: the disk is full.
            ConflictException: a condition does not hold.
        """
        if "files" in named or (args and isinstance(args[0], Sequence) and not isinstance(args[0], str | bytes)):
            return await self.write_files(*args, **named)
        return await self._write(*args, **named)

    async def write_files(
        self,
        files: Sequence[WriteEntry | Mapping[str, Content]],
        user: Username | None = None,
        request_timeout: float | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        gzip: bool = False,
        use_octet_stream: bool = False,
    ) -> list[WriteInfo]:
        """Write several files, one after the other; an entry is a WriteEntry or has keys `path` and `data`."""
        del gzip, use_octet_stream
        written = []
        for entry in files:
            write_entry = entry_of(entry)
            written.append(
                await self._write(write_entry.path, write_entry.data, user, request_timeout, metadata=metadata)
            )
        return written

    async def _write(
        self,
        path: SandboxPath,
        data: AsyncSource,
        user: Username | None = None,
        request_timeout: float | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        options: WriteOptions | None = None,
        on_progress: AsyncHandler[int] | None = None,
        gzip: bool = False,  # noqa: ARG002 - of the published package; nothing to be gained here
        use_octet_stream: bool = False,  # noqa: ARG002
    ) -> WriteInfo:
        destination = Destination(
            path_fields(path), (options or WriteOptions()).with_metadata(metadata), user, request_timeout
        )
        return await AsyncWriting(self._calls, destination, on_progress).write(data)
