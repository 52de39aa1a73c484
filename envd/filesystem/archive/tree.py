"""Where an archive's entries are made: a hidden directory that nobody else uses. It blocks: for threads."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from envd.errors import Code, EnvdError, from_os_error

from .member import Kind, Member
from .safety import Parts, check_symlink, check_text, parts_of

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
MOST_ENTRIES = 1_000_000
_MODE = 0o755
_MOST_SEALED = 100_000
_NO_ATTRIBUTES = (errno.EOPNOTSUPP, errno.EPERM, errno.ENOSYS)
_SLICE = 128
_BREATH_S = 50e-6


@dataclass(frozen=True, slots=True)
class Rules:
    """What is kept of the archive's entries.

    Attributes:
        owner: says to whom an entry belongs: user and group.
        user: to whom directories belong that the archive does not name.
        set_id: keep set-user-id and set-group-id bits.
        outside_links: take symbolic links that lead outside.
        most_entries: more are refused.
        most_bytes: of content; more are refused. None: there is no limit.
    """

    owner: Callable[[Member], tuple[int, int]]
    user: tuple[int, int]
    set_id: bool = False
    outside_links: bool = False
    most_entries: int = MOST_ENTRIES
    most_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Sealed:
    """A directory whose own mode would not let its owner in; it gets it when everything is in place."""

    parts: Parts
    inode: tuple[int, int]
    mode: int


@dataclass(slots=True)
class _Level:
    """A directory on the way down to where entries are made.

    Attributes:
        name: in the one above; empty for the top.
        inode: device and number.
        member: the entry that says what it shall be like; None if there was none.
        modified_ns: what its time was, and is again when it is left; None for a new one.
    """

    name: str
    inode: tuple[int, int]
    member: Member | None = None
    modified_ns: int | None = None


@dataclass(slots=True)
class _File:
    fd: int
    member: Member


@dataclass(slots=True)
class Tree:
    """Makes entries below a directory. Implements reader.Sink.

    Every step goes by descriptors and never through a link, so nothing is made elsewhere. It holds two descriptors, and
    remembers the directories on the way to where it is, whatever the size of the archive.

    Attributes:
        top: the directory, open; stays the caller's.
        entries: made so far.
        content_bytes: written so far.
        sealed: to be given their modes in the end.
    """

    top: int
    rules: Rules
    entries: int = 0
    content_bytes: int = 0
    sealed: list[Sealed] = field(default_factory=list)
    _here: int = -1
    _levels: list[_Level] = field(default_factory=list)
    _file: _File | None = None
    _now_ns: int = field(default_factory=time.time_ns)
    _maker: tuple[int, int] = field(default_factory=lambda: (os.geteuid(), os.getegid()))

    def __post_init__(self) -> None:
        self._here = os.dup(self.top)
        self._levels = [_Level("", _inode(self._here))]

    def begin(self, member: Member) -> None:
        """Begin an entry.

        Raises:
            EnvdError: INVALID_ARGUMENT if it is refused, or cannot be made.
        """
        self.entries += 1
        if self.entries > self.rules.most_entries:
            raise EnvdError(Code.INVALID_ARGUMENT, f"the archive has more than {self.rules.most_entries} entries")
        if self.entries % _SLICE == 0:
            time.sleep(_BREATH_S)
        parts = parts_of(member.name)
        if not parts and member.kind is not Kind.DIRECTORY:
            raise EnvdError(Code.INVALID_ARGUMENT, f"an entry of the archive has no name: '{member.name}'")
        try:
            self._make(member, parts)
        except OSError as exc:
            raise _failed(member, exc) from exc

    def _make(self, member: Member, parts: Parts) -> None:
        if member.kind is Kind.DIRECTORY:
            self._go(parts)
            self._levels[-1].member = member
            return
        *above, name = parts
        self._go(tuple(above))
        if member.kind is Kind.FILE:
            self._file = _File(self._new(lambda: os.open(name, _NEW, 0o600, dir_fd=self._here), name, member), member)
        elif member.kind is Kind.SYMLINK:
            check_text(member)
            if not self.rules.outside_links:
                check_symlink(member, parts)
            self._new(lambda: os.symlink(member.link, name, dir_fd=self._here), name, member)
            self._finish_symlink(name, member)
        else:
            self._link(name, member)

    def write(self, data: bytes | memoryview, offset: int) -> None:
        """Write content of the file that was begun.

        Raises:
            EnvdError: RESOURCE_EXHAUSTED if there is no room, INVALID_ARGUMENT if it is more than is allowed.
        """
        assert self._file is not None
        self.content_bytes += len(data)
        most = self.rules.most_bytes
        if most is not None and self.content_bytes > most:
            raise EnvdError(Code.INVALID_ARGUMENT, f"the files of the archive have more than {most} bytes of content")
        try:
            while done := os.pwrite(self._file.fd, data, offset):
                if done == len(data):
                    return
                data, offset = data[done:], offset + done
        except OSError as exc:
            raise _failed(self._file.member, exc) from exc

    def finish(self) -> None:
        """End the entry."""
        if self._file is None:
            return
        file, self._file = self._file, None
        try:
            if file.member.extents is not None:
                os.ftruncate(file.fd, file.member.size)
            self._dress(file.fd, file.member, self._mode_of(file.member))
        except OSError as exc:
            raise _failed(file.member, exc) from exc
        finally:
            os.close(file.fd)

    def complete(self) -> None:
        """Give all directories what the archive says of them.

        Raises:
            EnvdError: it could not be done.
        """
        try:
            self._go(())
            self._leave_one()
        except OSError as exc:
            raise from_os_error(exc, doing="extract") from exc

    def close(self) -> None:
        """Let go of everything."""
        if self._file is not None:
            os.close(self._file.fd)
        os.close(self._here)

    def _new(self, make: Callable[[], int | None], name: str, member: Member) -> int:
        """Make an entry; one of this archive by the same name goes, unless it is a directory."""
        try:
            return make() or 0
        except FileExistsError:
            there = os.stat(name, dir_fd=self._here, follow_symlinks=False)
            if stat.S_ISDIR(there.st_mode):
                raise EnvdError(
                    Code.INVALID_ARGUMENT, f"{member.name} is in the archive twice, as a directory and as none"
                ) from None
            os.unlink(name, dir_fd=self._here)
            return make() or 0

    def _link(self, name: str, member: Member) -> None:
        """Make a hard link to an earlier entry."""
        *above, base = parts_of(member.link) or ("",)
        here = self._here
        fd = os.dup(self.top)
        try:
            for step in above:
                below = os.open(step, _DIRECTORY, dir_fd=fd)
                os.close(fd)
                fd = below
            found = os.stat(base, dir_fd=fd, follow_symlinks=False)
            if tuple(above) == tuple(level.name for level in self._levels[1:]) and base == name:
                return  # to itself: as if it were there once
            if stat.S_ISDIR(found.st_mode):
                raise EnvdError(Code.INVALID_ARGUMENT, f"{member.name} in the archive is a hard link to a directory")
            self._new(lambda: os.link(base, name, src_dir_fd=fd, dst_dir_fd=here, follow_symlinks=False), name, member)
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise EnvdError(
                Code.INVALID_ARGUMENT, f"{member.name} in the archive is a hard link to no earlier entry: {member.link}"
            ) from exc
        finally:
            os.close(fd)

    def _finish_symlink(self, name: str, member: Member) -> None:
        uid, gid = self.rules.owner(member)
        if (uid, gid) != self._maker or self.rules.set_id:
            os.chown(name, uid, gid, dir_fd=self._here, follow_symlinks=False)
        os.utime(name, ns=(self._now_ns, member.modified_ns), dir_fd=self._here, follow_symlinks=False)

    def _mode_of(self, member: Member) -> int:
        return member.mode if self.rules.set_id else member.mode & ~(stat.S_ISUID | stat.S_ISGID)

    def _dress(self, fd: int, member: Member, mode: int) -> None:
        """Set all there is to an open file or directory beside its content; the owner first, for that clears bits."""
        uid, gid = self.rules.owner(member)
        if (uid, gid) != self._maker or self.rules.set_id:  # what is made in a set-group-id directory is its group's
            os.fchown(fd, uid, gid)
        for name, value in member.attributes.items():
            try:
                os.setxattr(fd, name, value)
            except OSError as exc:
                if exc.errno not in _NO_ATTRIBUTES:
                    raise
        os.fchmod(fd, mode)
        os.utime(fd, ns=(self._now_ns, member.modified_ns))

    def _go(self, parts: Parts) -> None:
        """Go to a directory, making those that are missing."""
        levels = self._levels
        common = 0
        while common < min(len(parts), len(levels) - 1) and levels[common + 1].name == parts[common]:
            common += 1
        while len(levels) - 1 > common:
            self._leave_one()
            self._move(os.open("..", _DIRECTORY, dir_fd=self._here))
            levels.pop()
            if _inode(self._here) != levels[-1].inode:
                raise EnvdError(Code.ABORTED, "what was being extracted was moved by somebody else")
        for name in parts[common:]:
            self._enter(name)

    def _enter(self, name: str) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=self._here)
            made = True
        except FileExistsError:
            made = False
        try:
            below = os.open(name, _DIRECTORY, dir_fd=self._here)
        except OSError as exc:
            if exc.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            way = "/".join([*(level.name for level in self._levels[1:]), name])
            raise EnvdError(
                Code.INVALID_ARGUMENT, f"an entry of the archive leads through {way}, which is a file or link in it"
            ) from exc
        self._move(below)
        st = os.fstat(below)
        self._levels.append(_Level(name, (st.st_dev, st.st_ino), None, None if made else st.st_mtime_ns))

    def _move(self, there: int) -> None:
        left, self._here = self._here, there
        os.close(left)

    def _leave_one(self) -> None:
        """Give the directory where we are what it shall have."""
        level = self._levels[-1]
        if level.member is not None:
            mode = self._mode_of(level.member)
            if mode & 0o700 != 0o700:
                self._seal(level, mode)
            self._dress(self._here, level.member, mode | 0o700)
        elif level.modified_ns is not None:
            os.utime(self._here, ns=(self._now_ns, level.modified_ns))
        else:
            if self.rules.user != self._maker:
                os.fchown(self._here, *self.rules.user)
            os.fchmod(self._here, _MODE)

    def _seal(self, level: _Level, mode: int) -> None:
        if len(self.sealed) >= _MOST_SEALED:
            raise EnvdError(
                Code.INVALID_ARGUMENT, f"more than {_MOST_SEALED} directories of the archive lock their owner out"
            )
        parts = tuple(one.name for one in self._levels[1:])
        self.sealed.append(Sealed(parts, level.inode, mode))


def _inode(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


def _failed(member: Member, exc: OSError) -> EnvdError:
    return from_os_error(exc, doing=f"extract {member.name}")
