"""Archives as tests make, send and compare them."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

from envd_proto.filesystem.archive_pb2 import ArchiveRequest, ArchiveResponse, ExtractRequest, ExtractResponse
from tests.support.wires import Incoming, Wire, basic

SERVICE = "filesystem.Filesystem"


@dataclass(slots=True)
class Archived:
    """What an Archive said."""

    messages: list[ArchiveResponse] = field(default_factory=list)

    @property
    def kinds(self) -> list[str]:
        return [str(message.WhichOneof("event")) for message in self.messages]

    @property
    def start(self) -> ArchiveResponse.StartEvent:
        return self.messages[0].start

    @property
    def chunks(self) -> list[ArchiveResponse.Chunk]:
        return [message.chunk for message in self.messages if message.HasField("chunk")]

    @property
    def data(self) -> bytes:
        return b"".join(chunk.data for chunk in self.chunks)

    @property
    def end(self) -> ArchiveResponse.EndEvent:
        assert self.messages[-1].HasField("end"), self.kinds
        return self.messages[-1].end

    @property
    def names(self) -> list[str]:
        return sorted(names_of(self.data))


class Archives:
    """Archive and Extract over any wire; options are fields of the requests."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    def as_user(self, name: str) -> Archives:
        return Archives(self.wire.with_headers(basic(name)))

    def archiving(self, path: object, **options: object) -> AbstractAsyncContextManager[Incoming[ArchiveResponse]]:
        """The stream of an Archive, to take apart message by message."""
        request = ArchiveRequest(path=str(path), **options)  # type: ignore[arg-type]
        return self.wire.server_stream(f"{SERVICE}/Archive", request, ArchiveResponse)

    async def archive(self, path: object, **options: object) -> Archived:
        archived = Archived()
        async with self.archiving(path, **options) as messages:
            async for message in messages:
                archived.messages.append(message)
        return archived

    async def extract(
        self, path: object, data: bytes | Iterable[bytes] | AsyncIterable[bytes], **options: object
    ) -> ExtractResponse:
        """Extract an archive, whole or from pieces."""
        if isinstance(data, bytes):
            pieces = [data[at : at + 1_000_000] for at in range(0, len(data), 1_000_000)]
            requests = [request async for request in extract_requests(pieces, path=str(path), **options)]
            return await self.send(requests)
        return await self.send(extract_requests(data, path=str(path), **options))

    async def send(self, requests: Iterable[ExtractRequest] | AsyncIterable[ExtractRequest]) -> ExtractResponse:
        return await self.wire.client_stream(f"{SERVICE}/Extract", requests, ExtractResponse)


async def extract_requests(
    pieces: Iterable[bytes] | AsyncIterable[bytes], **options: object
) -> AsyncIterator[ExtractRequest]:
    """The messages of an Extract."""
    yield ExtractRequest(options=ExtractRequest.Options(**options))  # type: ignore[arg-type]
    if isinstance(pieces, AsyncIterable):
        async for piece in pieces:
            yield ExtractRequest(chunk=piece)
    else:
        for piece in pieces:
            yield ExtractRequest(chunk=piece)


def names_of(data: bytes) -> list[str]:
    """The names in an archive, directories without a slash."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return tar.getnames()


def entry(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "", **more: object) -> bytes:
    """One entry of an archive, as an attacker or an old program may write it; no end."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(content), link
    for key, value in more.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.PAX_FORMAT) + content + bytes(-len(content) % 512)


def tar(*entries: bytes) -> bytes:
    """A whole archive of entries."""
    return b"".join(entries) + bytes(1024)


def picture(top: Path, *, times: bool = True, owners: bool = True) -> dict[str, tuple[object, ...]]:
    """Everything there is about a tree, to be compared; links that are one file show the first name of it."""
    found: dict[str, tuple[object, ...]] = {}
    first: dict[int, str] = {}
    for path in sorted([top, *top.rglob("*")]):
        st = path.lstat()
        name = str(path.relative_to(top))
        what: object = None
        if stat.S_ISLNK(st.st_mode):
            what = os.readlink(path)
        elif stat.S_ISREG(st.st_mode):
            what = hashlib.sha256(path.read_bytes()).hexdigest(), first.setdefault(st.st_ino, name)
        pairs = sorted((key, os.getxattr(path, key)) for key in attributes_of(path)) if what is not None else []
        found[name] = (
            oct(st.st_mode),
            what,
            st.st_mtime_ns if times else None,
            (st.st_uid, st.st_gid) if owners else None,
            pairs,
        )
    return found


def attributes_of(path: Path) -> list[str]:
    if path.is_symlink():
        return []
    return [key for key in os.listxattr(path) if key.startswith("user.")]


def rich_tree(top: Path) -> Path:
    """A directory with one of everything that an archive keeps."""
    (top / "deep/er/still").mkdir(parents=True)
    (top / "empty").mkdir()
    (top / "file").write_bytes(b"some content")
    (top / "nothing").touch()
    (top / "deep/script").write_text("#!/bin/sh\n")
    (top / "deep/script").chmod(0o750)
    (top / "deep/er/still/large").write_bytes(os.urandom(700_001))
    (top / ("long" * 40)).mkdir()
    (top / ("long" * 40) / ("name" * 50)).write_bytes(b"x")
    (top / "naïve ☃").write_bytes(b"unicode")
    (top / "link").symlink_to("deep/script")
    (top / "deep/up").symlink_to("../file")
    (top / "longlink").symlink_to("deep/" * 40 + "er")
    os.link(top / "file", top / "deep/hard")
    with (top / "sparse").open("wb") as file:
        file.write(b"begin")
        file.seek(5_000_000)
        file.write(b"middle")
        file.truncate(9_000_001)
    set_attributes(top / "file", {"user.e2b.origin": b"here", "user.a=b%c": bytes(range(256))})
    set_attributes(top / "empty", {"user.e2b.kind": b"directory"})
    for number, path in enumerate(sorted(top.rglob("*"))):
        os.utime(path, ns=(0, 1_600_000_000_000_000_000 + number * 1_000_000_001), follow_symlinks=False)
    (top / "empty").chmod(0o1777)
    os.utime(top, ns=(0, 1_500_000_000_123_456_789))
    return top


def set_attributes(path: Path, attributes: dict[str, bytes]) -> None:
    """Set extended attributes where there are some."""
    for name, value in attributes.items():
        try:
            os.setxattr(path, name, value)
        except OSError:
            return


async def in_pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    """Content piece by piece."""
    for at in range(0, len(data), size):
        yield data[at : at + size]
