"""Taking an archive apart into a directory of this machine, without trusting whoever made it. Blocking.

The rules are those of the daemon's own Extract: names stay below the directory and contain no `..`, symbolic links lead
nowhere else, hard links name earlier entries, and nothing is made or replaced through a link that is there already.
Directories are held open and entered by name, one after the other, so nobody can put a link in their way meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

from envd_sdk.exceptions import ConflictException, SandboxException
from envd_sdk.tar import Kind, Member, members, shown

Parts = tuple[bytes, ...]

_PIECE = 1024 * 1024
_MOST_NAME_BYTES = 4096
# Nothing here is set-id, sticky, or writable by others because a sandbox says so.
_KEPT_MODE = 0o755
_OWNERS = 0o700
# Not every system has all of them; where there is none, nothing can be opened relative to a directory either.
_DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


def untar(archive: IO[bytes], directory: str) -> None:
    """Take an archive apart into a directory, which is made if it is not there, and merged with what is there.

    The whole archive is looked at first: one with an entry that is refused changes nothing. Then files take their
    places one by one, each whole.

    Raises:
        SandboxException: an entry would lie, or lead, outside of it, or is neither file, directory nor link.
        ConflictException: a file would replace a directory, or a directory something else.
        OSError: something cannot be written.
    """
    if os.open not in os.supports_dir_fd:
        raise SandboxException("receive a directory: this system cannot open files relative to a directory")
    linked = {member.link for member in _checked(archive) if member.kind is Kind.HARD_LINK}
    created = _make_top(directory)
    top = os.open(directory, _DIRECTORY & ~getattr(os, "O_NOFOLLOW", 0))
    try:
        _check_conflicts(archive, top, {_parts(link) for link in linked})
        _Extraction(archive, top, created=created).run()
    finally:
        os.close(top)


def _make_top(directory: str) -> bool:
    """Make the directory; return False if it was there."""
    if os.path.isdir(directory):
        return False
    os.makedirs(directory)
    return True


def _checked(archive: IO[bytes]) -> Iterator[Member]:
    """The entries, each of which may be extracted as far as it alone can say."""
    for member in members(archive):
        parts = _parts(member.name)
        if not parts and member.kind is not Kind.DIRECTORY:
            raise SandboxException("the archive has an entry without a name")
        if member.kind is Kind.SYMLINK:
            _check_symlink(member, parts)
        if member.kind is Kind.HARD_LINK and not _parts(member.link):
            raise SandboxException(f"the archive has {shown(member.name)}, a hard link to a directory")
        yield member


def _parts(name: bytes) -> Parts:
    parts = tuple(part for part in name.split(b"/") if part not in (b"", b"."))
    if name.startswith(b"/") or b".." in parts or b"\0" in name or len(name) > _MOST_NAME_BYTES:
        raise SandboxException(f"the archive has a name that is absolute, leads upwards or is too long: {shown(name)}")
    return parts


def _check_symlink(member: Member, parts: Parts) -> None:
    """Check that a link stays within the directory, whatever other links of the archive it leads through.

    So `..` may only stand at its beginning, where the directories are known to be none of the archive's links.
    """
    steps = [step for step in member.link.split(b"/") if step not in (b"", b".")]
    up = 0
    while up < len(steps) and steps[up] == b"..":
        up += 1
    odd = not member.link or b"\0" in member.link or len(member.link) >= _MOST_NAME_BYTES
    if odd or member.link.startswith(b"/") or up >= len(parts) or b".." in steps[up:]:
        raise SandboxException(
            f"the archive has {shown(member.name)}, a link that leads, or may lead, outside: {shown(member.link)}"
        )


def _check_conflicts(archive: IO[bytes], top: int, linked: set[Parts]) -> None:
    """Check that every entry can take its place, and that hard links name earlier files; changes nothing."""
    files: set[Parts] = set()
    with contextlib.closing(_Way(top)) as way:
        for member in members(archive):
            parts = _parts(member.name)
            if member.kind is Kind.DIRECTORY:
                way.look(parts)
                continue
            if member.kind is Kind.HARD_LINK and _parts(member.link) not in files:
                raise SandboxException(f"the archive has {shown(member.name)}, a hard link to no earlier entry")
            if parts in linked:
                files.add(parts)
            if way.look(parts[:-1]):
                with contextlib.suppress(FileNotFoundError):
                    state = os.stat(parts[-1], dir_fd=way.here, follow_symlinks=False)
                    if stat.S_ISDIR(state.st_mode):
                        raise ConflictException(f"{shown(member.name)} is a directory here, and none in the archive")


@dataclass(frozen=True, slots=True)
class _Level:
    """A directory on the way down.

    Attributes:
        name: in the one above.
        inode: device and number, to know it again on the way up.
        made: it was not there before.
    """

    name: bytes
    inode: tuple[int, int]
    made: bool


@dataclass(slots=True)
class _Way:
    """A directory below the top, held open, and how it was reached: never through a link.

    Attributes:
        top: the uppermost directory, open; stays the caller's.
        here: the one where it is, open.
        described: what the archive says of directories on the way that were made.
    """

    top: int
    here: int = -1
    described: dict[Parts, Member] = field(default_factory=dict)
    _levels: list[_Level] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.here = os.dup(self.top)
        self._levels = [_Level(b"", _inode(self.here), made=False)]

    def look(self, parts: Parts) -> bool:
        """Go to a directory as far as it is there; return whether it is."""
        for name in self._go_up(parts):
            try:
                self._enter(name, made=False)
            except FileNotFoundError:
                return False
        return True

    def make(self, parts: Parts) -> None:
        """Go to a directory, making those that are missing."""
        for name in self._go_up(parts):
            made = True
            try:
                os.mkdir(name, _OWNERS, dir_fd=self.here)
            except FileExistsError:
                made = False
            self._enter(name, made=made)

    def describe(self, member: Member) -> None:
        """Note what the directory where it is shall be like, if it is new."""
        if self._levels[-1].made:
            self.described[tuple(level.name for level in self._levels[1:])] = member

    def close(self) -> None:
        os.close(self.here)

    def _go_up(self, parts: Parts) -> Parts:
        """Leave directories until what is left of the way only leads down; return that."""
        common = 0
        names = [level.name for level in self._levels[1:]]
        while common < min(len(parts), len(names)) and names[common] == parts[common]:
            common += 1
        while len(self._levels) - 1 > common:
            self._leave()
        return parts[common:]

    def _enter(self, name: bytes, *, made: bool) -> None:
        try:
            below = os.open(name, _DIRECTORY, dir_fd=self.here)
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            text = f"{shown(name)} is a link or file here, and a directory in the archive"
            raise ConflictException(text) from error
        self._move(below)
        self._levels.append(_Level(name, _inode(below), made=made))

    def _leave(self) -> None:
        self._finish()
        self._levels.pop()
        self._move(os.open("..", _DIRECTORY, dir_fd=self.here))
        if _inode(self.here) != self._levels[-1].inode:
            raise SandboxException("what was being received was moved by somebody else")

    def _finish(self) -> None:
        member = self.described.pop(tuple(level.name for level in self._levels[1:]), None)
        if member is not None:
            os.chmod(self.here, member.mode & _KEPT_MODE | _OWNERS)
            os.utime(self.here, ns=(time.time_ns(), member.modified_ns))

    def _move(self, fd: int) -> None:
        former, self.here = self.here, fd
        os.close(former)


class _Extraction:
    """Makes the entries of an archive that was checked."""

    def __init__(self, archive: IO[bytes], top: int, *, created: bool) -> None:
        self._archive = archive
        self._top = top
        self._created = created
        self._way = _Way(top)

    def run(self) -> None:
        """Make all of them."""
        top: Member | None = None
        with contextlib.closing(self._way):
            for member in members(self._archive):
                parts = _parts(member.name)
                if member.kind is Kind.DIRECTORY:
                    self._way.make(parts)
                    self._way.describe(member)
                    top = member if not parts else top
                else:
                    self._way.make(parts[:-1])
                    self._put(member, parts[-1])
            self._way.make(())
        if self._created and top is not None:
            os.chmod(self._top, top.mode & _KEPT_MODE | _OWNERS)
            os.utime(self._top, ns=(time.time_ns(), top.modified_ns))

    def _put(self, member: Member, name: bytes) -> None:
        """Make an entry by a hidden name, which then takes its place: so nothing is ever written through a link."""
        here, hidden = self._way.here, b".envd-%s.tmp" % secrets.token_hex(8).encode()
        try:
            if member.kind is Kind.FILE:
                self._file(member, here, hidden)
            elif member.kind is Kind.SYMLINK:
                os.symlink(member.link, hidden, dir_fd=here)
                os.utime(hidden, ns=(time.time_ns(), member.modified_ns), dir_fd=here, follow_symlinks=False)
            else:
                self._link(member, here, hidden)
            os.rename(hidden, name, src_dir_fd=here, dst_dir_fd=here)
        finally:
            # Also after a rename: that of two names of one file leaves both.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(hidden, dir_fd=here)

    def _file(self, member: Member, here: int, hidden: bytes) -> None:
        fd = os.open(hidden, _NEW, 0o600, dir_fd=here)
        try:
            stored_at = member.offset
            for offset, length in member.extents:
                self._copy(fd, stored_at, offset, length)
                stored_at += length
            os.ftruncate(fd, member.size)
            os.fchmod(fd, member.mode & _KEPT_MODE | 0o600)
            os.utime(fd, ns=(time.time_ns(), member.modified_ns))
        finally:
            os.close(fd)

    def _copy(self, fd: int, stored_at: int, offset: int, length: int) -> None:
        while length:
            self._archive.seek(stored_at)
            data = self._archive.read(min(length, _PIECE))
            if not data:
                raise SandboxException("the archive is damaged: it is cut short")
            view = memoryview(data)
            os.lseek(fd, offset, os.SEEK_SET)
            while view:
                view = view[os.write(fd, view) :]
            stored_at, offset, length = stored_at + len(data), offset + len(data), length - len(data)

    def _link(self, member: Member, here: int, hidden: bytes) -> None:
        parts = _parts(member.link)
        with contextlib.closing(_Way(self._top)) as way:
            way.make(parts[:-1])
            os.link(parts[-1], hidden, src_dir_fd=way.here, dst_dir_fd=here, follow_symlinks=False)


def _inode(fd: int) -> tuple[int, int]:
    state = os.fstat(fd)
    return state.st_dev, state.st_ino
