"""Making an archive of what is on the disk, piece by piece while it is sent. Everything here blocks: for threads."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

from envd.errors import Code, EnvdError, from_os_error
from envd.filesystem.temporary import TEMPORARY
from envd.host.names import Names

from . import headers, sparse
from .inventory import Inventory, Reason
from .member import Extent, Kind, Member
from .patterns import Excluded

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LEVELS = 512  # each holds two descriptors
_PIECE_BYTES = 1024 * 1024
_SMALL_BYTES = 256 * 1024  # what is smaller is read before its size is told, so it cannot become shorter
# A thread that only computes keeps the event loop from running for 5 ms at a time; so it sleeps in between.
_SLICE = 128
_BREATH_S = 50e-6


@dataclass(slots=True)
class _Level:
    """A directory on the way down.

    Attributes:
        fd: open, ours.
        prefix: begins the names of what is in it: empty, or with a slash at the end.
        scan: what is still to come.
    """

    fd: int
    prefix: str
    scan: Iterator[os.DirEntry[str]]

    def close(self) -> None:
        self.scan.close()  # type: ignore[attr-defined]  # of an os.scandir
        os.close(self.fd)


@dataclass(slots=True)
class Packing:
    """One archive while it is made.

    Attributes:
        root: the directory, open; or the one that the single file is in.
        alone: the name of that file; empty for a directory.
        members: parts of the directory to archive; empty for all of it.
    """

    root: int
    alone: str
    members: tuple[str, ...]
    excluded: Excluded
    names: Names
    inventory: Inventory = field(default_factory=Inventory)
    _levels: list[_Level] = field(default_factory=list)

    def check_members(self) -> None:
        """Check that all members are there, and no link leads to them.

        Raises:
            EnvdError: NOT_FOUND, or another code.
        """
        for member in self.members:
            try:
                fd, base = self._reach(member)
                try:
                    os.stat(base, dir_fd=fd, follow_symlinks=False)
                finally:
                    os.close(fd)
            except OSError as exc:
                raise from_os_error(exc, doing=f"archive {member}") from exc

    def _reach(self, member: str) -> tuple[int, str]:
        """Open the directory a member is in; return it and the member's name there."""
        *above, base = member.split("/")
        fd = os.dup(self.root)
        for name in above:
            try:
                below = os.open(name, _DIRECTORY, dir_fd=fd)
            finally:
                os.close(fd)
            fd = below
        return fd, base

    def pieces(self) -> Generator[bytes, None, None]:
        """Yield the archive. Pieces are at most 1 MiB and headers long, and may be small.

        Raises:
            EnvdError: ABORTED if a file becomes shorter while it is read; another code if what was asked for cannot be
                read at all.
        """
        if self.alone:
            yield from self._file_or_other(self.root, self.alone, self.alone, regular=True)
        elif self.members:
            for member in self.members:
                yield from self._chosen(member)
        else:
            yield from self._directory(os.dup(self.root), "")
        yield headers.END

    def close(self) -> None:
        """Let go of everything."""
        for level in self._levels:
            level.close()
        os.close(self.root)

    def _chosen(self, member: str) -> Generator[bytes, None, None]:
        """Yield one of the members asked for; the directories above it are no part of the archive."""
        try:
            fd, base = self._reach(member)
        except OSError as exc:
            self._missed(member, exc)
            return
        try:
            try:
                mode = os.stat(base, dir_fd=fd, follow_symlinks=False).st_mode
                directory = os.open(base, _DIRECTORY, dir_fd=fd) if stat.S_ISDIR(mode) else None
            except OSError as exc:
                self._missed(member, exc)
                return
            if directory is not None:
                yield from self._directory(directory, member)
            else:
                yield from self._file_or_other(fd, base, member, regular=stat.S_ISREG(mode))
        finally:
            os.close(fd)

    def _directory(self, fd: int, name: str) -> Generator[bytes, None, None]:
        """Yield a directory with all that is below it; takes the descriptor over."""
        yield self._enter(fd, name)
        bottom, count = len(self._levels) - 1, 0
        while len(self._levels) > bottom:
            level = self._levels[-1]
            found = self._next(level)
            if found is None:
                self._levels.pop().close()
                continue
            name = level.prefix + found.name
            if self.excluded.matches(name, found.name) or TEMPORARY.fullmatch(found.name):
                continue
            if found.is_dir(follow_symlinks=False):
                yield self._descend(level, found.name, name)
            else:
                regular = found.is_file(follow_symlinks=False)
                yield from self._file_or_other(level.fd, found.name, name, regular=regular)
            count += 1
            if count % _SLICE == 0:
                time.sleep(_BREATH_S)

    def _next(self, level: _Level) -> os.DirEntry[str] | None:
        try:
            return next(level.scan, None)
        except OSError as exc:
            self.inventory.leave_out(level.prefix.rstrip("/") or ".", Reason.UNREADABLE, exc.errno)
            return None

    def _descend(self, level: _Level, base: str, name: str) -> bytes:
        if len(self._levels) >= _MOST_LEVELS:
            raise EnvdError(Code.FAILED_PRECONDITION, f"{name} is more than {_MOST_LEVELS} directories deep")
        try:
            return self._enter(os.open(base, _DIRECTORY, dir_fd=level.fd), name)
        except OSError as exc:
            self._missed(name, exc)
        return b""

    def _enter(self, fd: int, name: str) -> bytes:
        try:
            st = os.fstat(fd)
            scan = os.scandir(fd)
        except OSError:
            os.close(fd)
            raise
        self._levels.append(_Level(fd, f"{name}/" if name else "", scan))
        self.inventory.entries += 1
        member = self._member(name or ".", Kind.DIRECTORY, st)
        return headers.head_of(_with_attributes(member, fd))

    def _file_or_other(self, directory: int, base: str, name: str, *, regular: bool) -> Generator[bytes, None, None]:
        """Yield what is no directory."""
        try:
            if not regular:
                yield self._special(directory, base, name)
                return
            fd = os.open(base, _READ, dir_fd=directory)
        except OSError as exc:
            self._missed(name, exc)
            return
        try:
            yield from self._file(fd, name)
        finally:
            os.close(fd)

    def _special(self, directory: int, base: str, name: str) -> bytes:
        st = os.stat(base, dir_fd=directory, follow_symlinks=False)
        if not stat.S_ISLNK(st.st_mode):
            gone = stat.S_ISDIR(st.st_mode) or stat.S_ISREG(st.st_mode)  # it was something else a moment ago
            self.inventory.leave_out(name, Reason.VANISHED if gone else Reason.KIND)
            return b""
        link = os.readlink(base, dir_fd=directory)
        self.inventory.entries += 1
        return headers.head_of(self._member(name, Kind.SYMLINK, st, link=link))

    def _file(self, fd: int, name: str) -> Generator[bytes, None, None]:
        st = os.fstat(fd)
        if not stat.S_ISREG(st.st_mode):
            self.inventory.leave_out(name, Reason.VANISHED)
            return
        first = self.inventory.first_name(st, name)
        self.inventory.entries += 1
        if first is not None:
            yield headers.head_of(self._member(name, Kind.HARD_LINK, st, link=first))
            return
        extents = sparse.extents_of(fd, st) if st.st_size else None
        if extents is None and st.st_size <= _SMALL_BYTES:
            content = _read(fd, name, st.st_size)
            self.inventory.content_bytes += len(content)
            member = _with_attributes(self._member(name, Kind.FILE, st, len(content)), fd)
            yield b"".join([headers.head_of(member), content, headers.padding(len(content))])
            return
        member = _with_attributes(self._member(name, Kind.FILE, st, st.st_size), fd)._replace(extents=extents)
        yield headers.head_of(member)
        for offset, length in (Extent(0, st.st_size),) if extents is None else extents:
            yield from self._range(fd, name, offset, length)
        yield headers.padding(headers.stored_bytes(member))

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

    def _member(self, name: str, kind: Kind, st: os.stat_result, size: int = 0, link: str = "") -> Member:
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

    def _missed(self, name: str, exc: OSError) -> None:
        if isinstance(exc, FileNotFoundError | NotADirectoryError):
            self.inventory.leave_out(name, Reason.VANISHED)
            return
        if exc.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise from_os_error(exc, doing=f"archive {name}") from exc
        self.inventory.leave_out(name, Reason.UNREADABLE, exc.errno)


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
        found = {name: os.getxattr(fd, name) for name in sorted(names) if name.startswith("user.")}
    except OSError:  # none here, or gone between the two
        return member
    return member._replace(attributes=found)
