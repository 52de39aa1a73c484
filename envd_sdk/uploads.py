"""How an upload is put into messages, and what may be sent twice. No network in here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from envd_proto.filesystem import filesystem_pb2 as fs
from envd_sdk.exceptions import InvalidArgumentException
from envd_sdk.retrying import Repeat

# Bytes of one message.
CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True)
class WriteOptions:
    """How a file is written.

    Attributes:
        mode: permission bits; None is 0644 for a new file, and an existing one keeps its own.
        append: add to the end instead of replacing.
        if_match: only if the file has this etag; "*" for any file.
        if_absent: only if nothing is there.
        metadata: the caller's own key-value pairs, which replace those there are.
        sync: wait until it is on the disk.
        sha256: the content must have this digest, 32 bytes.
    """

    mode: int | None = None
    append: bool = False
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

    def message(self, path: str) -> fs.WriteRequest:
        return fs.WriteRequest(
            options=fs.WriteRequest.Options(
                path=path,
                mode=self.mode,
                append=self.append,
                if_match=self.if_match,
                if_absent=True if self.if_absent else None,
                metadata=self.metadata or {},
                sync=self.sync,
                sha256=self.sha256,
            )
        )

    def repeat(self, *, rewindable: bool) -> Repeat:
        """Whether the same again changes nothing: not if it appends, has a condition, or its content is gone."""
        once = self.append or self.if_absent or self.if_match not in (None, "*") or not rewindable
        return Repeat.UNSENT if once else Repeat.SAFE


def chunks_of(piece: str | bytes | memoryview) -> Iterator[fs.WriteRequest]:
    """A piece of content in messages that are not too large."""
    content = memoryview(piece.encode() if isinstance(piece, str) else piece).cast("B")
    for at in range(0, len(content), CHUNK_BYTES):
        yield fs.WriteRequest(chunk=bytes(content[at : at + CHUNK_BYTES]))
