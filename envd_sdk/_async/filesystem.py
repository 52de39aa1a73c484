"""Files of a sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Literal, overload

from envd_proto.filesystem import filesystem_pb2 as fs
from envd_sdk._async.calls import AsyncCalls
from envd_sdk._async.reading import AsyncFileStream, read_request
from envd_sdk._colour.callbacks import AsyncHandler, hand_over_async
from envd_sdk._colour.content import AsyncSource, back_to, pieces_async, place_of
from envd_sdk._wire.methods import COPY, LIST_DIR, MAKE_DIR, MOVE, REMOVE, STAT, WRITE
from envd_sdk.entries import Content, EntryInfo, WriteEntry, WriteInfo
from envd_sdk.exceptions import ConflictException, InvalidArgumentException, NotFoundException
from envd_sdk.messages import entry_from, write_info_from
from envd_sdk.results import Username
from envd_sdk.retrying import Repeat
from envd_sdk.uploads import WriteOptions, chunks_of


class AsyncFilesystem:
    """Files of a sandbox.

    Paths are absolute, `~`, `~/x`, or relative to the user's home. `user` is whose home that is and to whom what is
    made belongs; None is the sandbox's default user. `request_timeout` is in seconds: for an answer or, in a transfer,
    for as long as nothing moves; 0 means no limit, None what the sandbox was told.

    Transfers go on after a broken connection where they ended, and a file that is written takes its place when all of
    it has arrived: whatever fails before leaves the old one as it was.
    """

    def __init__(self, calls: AsyncCalls) -> None:
        self._calls = calls

    @overload
    async def read(
        self,
        path: str,
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
        path: str,
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
        path: str,
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
        path: str,
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
            raise InvalidArgumentException(f"read {path}: offset and length must not be negative")
        if format not in ("text", "bytes", "stream"):
            raise InvalidArgumentException(f'read {path}: format is {format!r}: give "text", "bytes" or "stream"')
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
        path: str,
        data: AsyncSource,
        user: Username | None = None,
        request_timeout: float | None = None,
        *,
        options: WriteOptions | None = None,
        metadata: Mapping[str, str] | None = None,
        on_progress: AsyncHandler[int] | None = None,
        gzip: bool = False,
        use_octet_stream: bool = False,
    ) -> WriteInfo: ...

    @overload
    async def write(
        self,
        path: Sequence[WriteEntry | Mapping[str, Content]],
        *,
        user: Username | None = None,
        request_timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        gzip: bool = False,
        use_octet_stream: bool = False,
    ) -> list[WriteInfo]: ...

    async def write(
        self,
        path: str | Sequence[WriteEntry | Mapping[str, Content]],
        data: AsyncSource = b"",
        user: Username | None = None,
        request_timeout: float | None = None,
        *,
        options: WriteOptions | None = None,
        metadata: Mapping[str, str] | None = None,
        on_progress: AsyncHandler[int] | None = None,
        gzip: bool = False,
        use_octet_stream: bool = False,
    ) -> WriteInfo | list[WriteInfo]:
        """Write a file, and the directories above it; or, given a list, several files (preferred: `write_files`).

        Args:
            path: of the file.
            data: text (as UTF-8), bytes, an open file, or an iterable of text or bytes.
            options: mode, conditions and so on.
            metadata: the caller's own key-value pairs, stored with the file.
            on_progress: called with the number of bytes that were sent.
            gzip, use_octet_stream: of the published package; without effect.

        Raises:
            NotEnoughSpaceException: the disk is full.
            ConflictException: a condition does not hold.
        """
        del gzip, use_octet_stream
        if not isinstance(path, str):
            return await self.write_files(path, user, request_timeout, metadata=metadata)
        options = options or WriteOptions(metadata=metadata)
        place = place_of(data)
        rewindable = isinstance(data, str | bytes | bytearray | memoryview) or place is not None

        async def messages() -> AsyncIterator[fs.WriteRequest]:
            if place is not None:
                back_to(data, place)
            sent = 0
            yield options.message(path)
            async for piece in pieces_async(data):
                for message in chunks_of(piece):
                    yield message
                    sent += len(message.chunk)
                    await hand_over_async(on_progress, sent)

        found = await self._calls.upload(
            WRITE,
            messages,
            doing=f"write {path}",
            repeat=options.repeat(rewindable=rewindable),
            user=user,
            request_timeout=request_timeout,
            about_files=True,
        )
        return write_info_from(found.entry)

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
            one = entry if isinstance(entry, WriteEntry) else WriteEntry(**entry)  # type: ignore[arg-type]
            written.append(await self.write(one.path, one.data, user, request_timeout, metadata=metadata))
        return written

    async def list(
        self,
        path: str,
        depth: int | None = 1,
        user: Username | None = None,
        request_timeout: float | None = None,
    ) -> list[EntryInfo]:
        """What is in a directory, each directory before what it contains.

        Args:
            depth: levels below it, 1 or more.
        """
        if depth is not None and depth < 1:
            raise InvalidArgumentException(f"list {path}: depth is {depth}: give 1 or more")
        request = fs.ListDirRequest(path=path, depth=depth or 1)
        found = await self._calls.unary(
            LIST_DIR, request, doing=f"list {path}", user=user, request_timeout=request_timeout, about_files=True
        )
        return [entry_from(entry) for entry in found.entries]

    async def exists(self, path: str, user: Username | None = None, request_timeout: float | None = None) -> bool:
        """Whether there is anything by that path; a link counts, wherever it leads."""
        try:
            await self.get_info(path, user, request_timeout)
        except NotFoundException:
            return False
        return True

    async def get_info(
        self, path: str, user: Username | None = None, request_timeout: float | None = None
    ) -> EntryInfo:
        """What is known of a file, directory or link.

        Raises:
            FileNotFoundException: it is not there.
        """
        request = fs.StatRequest(path=path)
        found = await self._calls.unary(
            STAT, request, doing=f"look at {path}", user=user, request_timeout=request_timeout, about_files=True
        )
        return entry_from(found.entry)

    async def remove(self, path: str, user: Username | None = None, request_timeout: float | None = None) -> None:
        """Remove a file, a link, or a directory with everything in it. What is not there is fine."""
        request = fs.RemoveRequest(path=path)
        await self._calls.unary(
            REMOVE, request, doing=f"remove {path}", user=user, request_timeout=request_timeout, about_files=True
        )

    async def rename(
        self,
        old_path: str,
        new_path: str,
        user: Username | None = None,
        request_timeout: float | None = None,
    ) -> EntryInfo:
        """Move a file or directory; an existing file is replaced, an existing directory is not."""
        request = fs.MoveRequest(source=old_path, destination=new_path)
        found = await self._calls.unary(
            MOVE,
            request,
            doing=f"move {old_path} to {new_path}",
            repeat=Repeat.UNSENT,
            user=user,
            request_timeout=request_timeout,
            about_files=True,
        )
        return entry_from(found.entry)

    async def make_dir(self, path: str, user: Username | None = None, request_timeout: float | None = None) -> bool:
        """Make a directory and those above it; False if it was there."""
        request = fs.MakeDirRequest(path=path)
        try:
            await self._calls.unary(
                MAKE_DIR, request, doing=f"make {path}", user=user, request_timeout=request_timeout, about_files=True
            )
        except ConflictException:
            return False
        return True

    async def copy(
        self,
        source: str,
        destination: str,
        user: Username | None = None,
        request_timeout: float | None = None,
        *,
        overwrite: bool = False,
    ) -> EntryInfo:
        """Copy a file, or a directory with everything in it, inside the sandbox.

        Raises:
            ConflictException: the destination is there, and it is not to be overwritten.
        """
        request = fs.CopyRequest(source=source, destination=destination, recursive=True, overwrite=overwrite)
        found = await self._calls.unary(
            COPY,
            request,
            doing=f"copy {source} to {destination}",
            repeat=Repeat.SAFE if overwrite else Repeat.UNSENT,
            user=user,
            request_timeout=request_timeout,
            about_files=True,
        )
        return entry_from(found.entry)
