"""Messages of an upload, and the rules for sending one twice. No network in here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from envd_proto.filesystem import filesystem_pb2 as fs
from envd_proto.filesystem import uploads_pb2 as uploads
from envd_sdk.entries import Content, WriteEntry
from envd_sdk.exceptions import InvalidArgumentException
from envd_sdk.paths import PathFields
from envd_sdk.retrying import Repeat

# Bytes of one message: 256 KiB take a fifth longer.
CHUNK_BYTES = 512 * 1024
# What is no larger goes in a call with one message; what is no larger than the next, in one call. It is kept until the
# call has its answer, whatever it comes from, so it can be sent again.
SMALL_BYTES = 64 * 1024
WHOLE_BYTES = 16 * 1024 * 1024
# Parts of what is larger. The second is what is kept of an iterable at most, beside a piece.
LEAST_PART_BYTES = 8 * 1024 * 1024
LARGEST_PART_BYTES = 32 * 1024 * 1024
PART_S = 1.0


@dataclass(frozen=True)
class WriteOptions:
    """Options of writing a file.

    Attributes:
        mode: permission bits; None is 0644 for a new file, and an existing one keeps its own.
        append: add to the end instead of replacing.
        atomic: None replaces the file at once where that is possible; False overwrites it in place, for those who have
            it open or mounted; True refuses where it cannot be replaced at once.
        if_match: only if the file has this etag; "*" for any file.
        if_absent: only if nothing is there.
        metadata: the caller's own key-value pairs, which replace those there are.
        sync: wait until it is on the disk.
        sha256: the content must have this digest, 32 bytes.
    """

    mode: int | None = None
    append: bool = False
    atomic: bool | None = None
    if_match: str | None = None
    if_absent: bool = False
    metadata: Mapping[str, str] | None = None
    sync: bool = False
    sha256: bytes | None = None

    def with_metadata(self, metadata: Mapping[str, str] | None) -> WriteOptions:
        """The same with metadata that was given beside them.

        Raises:
            InvalidArgumentException: they have some already.
        """
        if metadata is None:
            return self
        if self.metadata is not None:
            raise InvalidArgumentException("write: metadata is given twice, also in options")
        return replace(self, metadata=metadata)

    def message(self, where: PathFields) -> fs.WriteRequest:
        return fs.WriteRequest(
            options=fs.WriteRequest.Options(
                **where,
                mode=self.mode,
                append=self.append,
                atomic=self.atomic,
                if_match=self.if_match,
                if_absent=True if self.if_absent else None,
                metadata=self.metadata or {},
                sync=self.sync,
                sha256=self.sha256,
            )
        )

    @property
    def repeat(self) -> Repeat:
        """Whether the same again changes nothing: not if it appends or has a condition."""
        once = self.append or self.if_absent or self.if_match not in (None, "*")
        return Repeat.UNSENT if once else Repeat.SAFE


@dataclass(frozen=True)
class Destination:
    """A file to be written, and as whom."""

    where: PathFields
    options: WriteOptions
    user: str | None
    request_timeout: float | None

    @property
    def doing(self) -> str:
        return f"write {self.where['path']}"

    def creation(self, key: str) -> uploads.CreateUploadRequest:
        """Begin it as an upload in parts; with the same key a second time, that is the same one."""
        options = self.options
        return uploads.CreateUploadRequest(
            **self.where,
            sha256=options.sha256,
            idempotency_key=key,
            mode=options.mode,
            atomic=options.atomic,
            if_match=options.if_match,
            if_absent=True if options.if_absent else None,
            metadata=options.metadata or {},
            sync=options.sync,
        )


def entry_of(entry: WriteEntry | Mapping[str, Content]) -> WriteEntry:
    """One of several files to write.

    Raises:
        InvalidArgumentException: it is not one.
    """
    if isinstance(entry, WriteEntry):
        return entry
    if not isinstance(entry, Mapping) or set(entry) != {"path", "data"}:
        raise InvalidArgumentException(
            f"write files: {entry!r:.80} is no WriteEntry, and has not the keys path and data"
        )
    return WriteEntry(**entry)  # type: ignore[arg-type]


def chunk_message(data: bytes | memoryview) -> bytes:
    """A message that carries a piece of content: WriteRequest or WritePartRequest, whose field 2 it is in both.

    Made by hand, because the library copies content once more than that.
    """
    size = len(data)
    length = bytearray()
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return b"".join((b"\x12", length, data))


def cut(content: str | bytes | bytearray | memoryview) -> Iterator[memoryview]:
    """A content in pieces that are not too large for a message.

    Raises:
        InvalidArgumentException: it is neither text nor bytes.
    """
    if not isinstance(content, str | bytes | bytearray | memoryview):
        raise InvalidArgumentException(f"a piece of content is {type(content).__name__}: give text or bytes")
    data = memoryview(content.encode() if isinstance(content, str) else content).cast("B")
    for at in range(0, len(data), CHUNK_BYTES):
        yield data[at : at + CHUNK_BYTES]


def next_part_bytes(size: int, took_s: float) -> int:
    """How large the next part is, after one that took so long: what a broken connection costs is about a second."""
    if took_s < PART_S:
        return min(2 * size, LARGEST_PART_BYTES)
    return max(size // 2, LEAST_PART_BYTES) if took_s > 2 * PART_S else size
