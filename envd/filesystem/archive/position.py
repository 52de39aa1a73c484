"""Where in the hidden tree entries are being made. Everything here blocks: for threads."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field

from envd.errors import Code, EnvdError

from .finishing import Finisher
from .member import Member
from .safety import Parts

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OWNERS = 0o700
_MOST_SEALED = 100_000

Inode = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Sealed:
    """A directory whose own mode would not let its owner in; it gets it when everything is in place."""

    parts: Parts
    mode: int


@dataclass(slots=True)
class _Level:
    """A directory on the way down.

    Attributes:
        name: in the one above; empty for the top.
        inode: device and number.
        member: the entry that says what it shall be like; None if there was none.
        modified_ns: what its time was, and is again when it is left; None for a new one.
    """

    name: str
    inode: Inode
    member: Member | None = None
    modified_ns: int | None = None


@dataclass(slots=True)
class Position:
    """A directory in the tree, held open, and how it was reached.

    It moves by descriptors and never through a link. Directories get what the archive says of them when they are left;
    whoever comes back later leaves them as they were. So nothing is remembered but the way.

    Attributes:
        top: the uppermost directory, open; stays the caller's.
        here: the one where it is, open.
        sealed: to be given their modes in the end, by inode.
    """

    top: int
    finisher: Finisher
    here: int = -1
    sealed: dict[Inode, Sealed] = field(default_factory=dict)
    _levels: list[_Level] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.here = os.dup(self.top)
        self._levels = [_Level("", _inode(self.here))]

    @property
    def parts(self) -> Parts:
        """The names on the way."""
        return tuple(level.name for level in self._levels[1:])

    def go(self, parts: Parts) -> None:
        """Go to a directory, making those that are missing.

        Raises:
            EnvdError: INVALID_ARGUMENT if something on the way is a file or link.
        """
        levels = self._levels
        common = 0
        while common < min(len(parts), len(levels) - 1) and levels[common + 1].name == parts[common]:
            common += 1
        while len(levels) - 1 > common:
            self._leave()
        for name in parts[common:]:
            self._enter(name)

    def describe(self, member: Member) -> None:
        """Note what the directory where it is shall be like."""
        self._levels[-1].member = member

    def complete(self) -> None:
        """Leave all directories, the top too."""
        self.go(())
        self._finish(self._levels[0])

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self.here)

    def _enter(self, name: str) -> None:
        made = True
        try:
            os.mkdir(name, _OWNERS, dir_fd=self.here)
        except FileExistsError:
            made = False
        try:
            below = os.open(name, _DIRECTORY, dir_fd=self.here)
        except OSError as exc:
            if exc.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            way = "/".join([*self.parts, name])
            raise EnvdError(
                Code.INVALID_ARGUMENT, f"an entry of the archive leads through {way}, which is a file or link in it"
            ) from exc
        self._move(below)
        st = os.fstat(below)
        self._levels.append(_Level(name, (st.st_dev, st.st_ino), None, None if made else st.st_mtime_ns))

    def _leave(self) -> None:
        self._finish(self._levels[-1])
        self._move(os.open("..", _DIRECTORY, dir_fd=self.here))
        self._levels.pop()
        if _inode(self.here) != self._levels[-1].inode:
            raise EnvdError(Code.ABORTED, "what was being extracted was moved by somebody else")

    def _finish(self, level: _Level) -> None:
        if level.member is not None:
            mode = self.finisher.mode_of(level.member)
            self._seal(level, mode)
            self.finisher.finish(self.here, level.member, mode | _OWNERS)
        elif level.modified_ns is not None:
            self.finisher.restore_time(self.here, level.modified_ns)
        else:
            self.finisher.finish_unnamed(self.here)

    def _seal(self, level: _Level, mode: int) -> None:
        if mode & _OWNERS == _OWNERS:
            self.sealed.pop(level.inode, None)
            return
        if len(self.sealed) >= _MOST_SEALED:
            raise EnvdError(
                Code.INVALID_ARGUMENT, f"more than {_MOST_SEALED} directories of the archive lock their owner out"
            )
        self.sealed[level.inode] = Sealed(self.parts, mode)

    def _move(self, there: int) -> None:
        left, self.here = self.here, there
        os.close(left)


def _inode(fd: int) -> Inode:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino
