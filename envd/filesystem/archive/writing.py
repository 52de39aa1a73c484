"""Turns single entries into pieces of an archive. Everything here blocks: call it from a thread."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator
from dataclasses import dataclass, field

from envd.errors import Code, EnvdError, from_os_error
from envd.host.names import NameCache

from .summary import ArchiveSummary, LeftOutReason
from .tarstream import header_writer, sparse
from .tarstream.member import Extent, Member, MemberKind

_PIECE_BYTES = 1024 * 1024
_SMALL_BYTES = 256 * 1024  # what is smaller is read before its size is told, so it cannot become shorter
_VANISHED = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)  # it is gone, or something else by now
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


@dataclass(frozen=True, slots=True)
class TarWriter:
    """Turns entries that others have found and opened into pieces, and keeps the inventory."""

    names: NameCache
    inventory: ArchiveSummary = field(default_factory=ArchiveSummary)

    def directory(self, fd: int, name: str) -> bytes:
        """Return the entry of a directory itself."""
        self.inventory.entries += 1
        return header_writer.head_of(_with_attributes(self._member(name, MemberKind.DIRECTORY, os.fstat(fd)), fd))

    def special(self, directory: int, base: str, name: str) -> bytes:
        """Return the entry of what is no directory and no regular file; nothing if it is no link either."""
        st = os.stat(base, dir_fd=directory, follow_symlinks=False)
        if not stat.S_ISLNK(st.st_mode):
            replaced = stat.S_ISDIR(st.st_mode) or stat.S_ISREG(st.st_mode)  # it was something else a moment ago
            self.inventory.leave_out(name, LeftOutReason.VANISHED if replaced else LeftOutReason.KIND)
            return b""
        link = os.readlink(base, dir_fd=directory)
        self.inventory.entries += 1
        return header_writer.head_of(self._member(name, MemberKind.SYMLINK, st, link=link))

    def missed(self, name: str, exc: OSError) -> None:
        """Note an entry that could not be opened.

        Raises:
            EnvdError: RESOURCE_EXHAUSTED if that is for want of descriptors or memory.
        """
        if exc.errno in _VANISHED:
            self.inventory.leave_out(name, LeftOutReason.VANISHED)
            return
        if exc.errno in _SHORTAGES:
            raise from_os_error(exc, doing=f"archive {name}") from exc
        self.inventory.leave_out(name, LeftOutReason.UNREADABLE, exc.errno)

    def file(self, fd: int, name: str) -> Generator[bytes, None, None]:
        """Yield the entry of an open file, with its content.

        Raises:
            EnvdError: ABORTED if it becomes shorter while it is read.
        """
        st = os.fstat(fd)
        if not stat.S_ISREG(st.st_mode):
            self.inventory.leave_out(name, LeftOutReason.VANISHED)
            return
        first = self.inventory.first_name(st, name)
        self.inventory.entries += 1
        if first is not None:
            yield header_writer.head_of(self._member(name, MemberKind.HARD_LINK, st, link=first))
            return
        extents = sparse.extents_of(fd, st) if st.st_size else None
        if extents is None and st.st_size <= _SMALL_BYTES:
            content = _read(fd, name, st.st_size)
            self.inventory.content_bytes += len(content)
            member = _with_attributes(self._member(name, MemberKind.FILE, st, len(content)), fd)
            yield b"".join([header_writer.head_of(member), content, header_writer.padding(len(content))])
            return
        member = _with_attributes(self._member(name, MemberKind.FILE, st, st.st_size), fd)._replace(extents=extents)
        yield header_writer.head_of(member)
        for offset, length in (Extent(0, st.st_size),) if extents is None else extents:
            yield from self._range(fd, name, offset, length)
        yield header_writer.padding(header_writer.stored_bytes(member))

    def _range(self, fd: int, name: str, offset: int, length: int) -> Generator[bytes, None, None]:
        end = offset + length
        while offset < end:
            try:
                data = os.pread(fd, min(end - offset, _PIECE_BYTES), offset)
            except OSError as exc:
                raise from_os_error(exc, doing=f"read {name}") from exc
            if not data:
                raise EnvdError(Code.ABORTED, f"{name} became shorter while it was archived: {end - offset} bytes miss")
            offset += len(data)
            self.inventory.content_bytes += len(data)
            yield data

    def _member(self, name: str, kind: MemberKind, st: os.stat_result, size: int = 0, link: str = "") -> Member:
        owner, group = self.names.owner(st.st_uid), self.names.group(st.st_gid)
        return Member(
            name,
            kind,
            stat.S_IMODE(st.st_mode),
            st.st_uid,
            st.st_gid,
            "" if owner.isdigit() else owner,
            "" if group.isdigit() else group,
            st.st_mtime_ns,
            size,
            link,
        )


def _read(fd: int, name: str, size: int) -> bytes:
    """Read a small file; it may have become shorter."""
    try:
        content = os.read(fd, size)
        while len(content) < size and (more := os.read(fd, size - len(content))):
            content += more
    except OSError as exc:
        raise from_os_error(exc, doing=f"read {name}") from exc
    return content


def _with_attributes(member: Member, fd: int) -> Member:
    """Return an entry with the extended attributes that callers can set."""
    try:
        names = os.listxattr(fd)
        if not names:
            return member
        attributes = {name: os.getxattr(fd, name) for name in sorted(names) if name.startswith("user.")}
    except OSError:  # none here, or gone between the two
        return member
    return member._replace(attributes=attributes)
