"""The current directory of an extraction in its hidden tree. Everything here blocks: call it from a thread."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from envd.errors import Code, EnvdError
from envd.filesystem.walking import READ, Descent, Inode, MovedError

from .metadata import MetadataSetter
from .safety import Parts
from .tarstream.member import Member

_OWNERS = 0o700
_MOST_SEALED = 100_000


@dataclass(frozen=True, slots=True)
class Sealed:
    """A directory whose own mode would not let its owner in; it gets it when everything is in place."""

    parts: Parts
    mode: int


@dataclass(slots=True)
class _PositionLevel:
    """A directory between the top and the current one.

    Attributes:
        member: the entry that says what it shall be like; None if there was none.
        modified_ns: what its time was, and is again when it is left; None for a new one.
    """

    member: Member | None = None
    modified_ns: int | None = None


class Position:
    """A directory in the tree, held open, and how it was reached.

    It moves by descriptors and never through a link. Directories get what the archive says of them when they are left;
    whoever comes back later leaves them as they were. So nothing is remembered but the way.

    Args:
        top: the uppermost directory, open; stays the caller's.

    Attributes:
        parts: the names on the way to where it is.
        sealed: to be given their modes in the end, by inode.
    """

    def __init__(self, top: int, finisher: MetadataSetter) -> None:
        self.parts: Parts = ()
        self.sealed: dict[Inode, Sealed] = {}
        self._finisher = finisher
        self._descent = Descent(top, above=READ)
        self._levels = [_PositionLevel()]

    @property
    def here(self) -> int:
        """The directory where it is, open."""
        return self._descent.here

    def go(self, parts: Parts) -> None:
        """Go to a directory, making those that are missing.

        Raises:
            EnvdError: INVALID_ARGUMENT if something on the way is a file or link.
        """
        common = common_parts(self.parts, parts)
        while len(self.parts) > common:
            self._leave()
        for name in parts[common:]:
            self._enter(name, parts)
        self.parts = parts

    def describe(self, member: Member) -> None:
        """Note what the directory where it is shall be like."""
        self._levels[-1].member = member

    def complete(self) -> None:
        """Leave all directories, the top too."""
        self.go(())
        self._finish(self._levels[0])

    def close(self) -> None:
        """Let go of the directory."""
        self._descent.close()

    def _enter(self, name: str, parts: Parts) -> None:
        created = True
        try:
            os.mkdir(name, _OWNERS, dir_fd=self.here)
        except FileExistsError:
            created = False
        try:
            st = self._descent.enter(name)
        except OSError as exc:
            if exc.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            path = "/".join(parts[: len(self._levels)])
            raise EnvdError(
                Code.INVALID_ARGUMENT, f"an entry of the archive leads through {path}, which is a file or link in it"
            ) from exc
        self._levels.append(_PositionLevel(None, None if created else st.st_mtime_ns))
        self.parts = parts[: len(self._levels) - 1]

    def _leave(self) -> None:
        self._finish(self._levels.pop())
        self.parts = self.parts[:-1]
        try:
            self._descent.leave()
        except MovedError as exc:
            raise EnvdError(Code.ABORTED, "what was being extracted was moved by somebody else") from exc

    def _finish(self, level: _PositionLevel) -> None:
        if level.member is not None:
            mode = self._finisher.mode_of(level.member)
            self._seal(mode)
            self._finisher.finish(self.here, level.member, mode | _OWNERS)
        elif level.modified_ns is not None:
            self._finisher.restore_time(self.here, level.modified_ns)
        else:
            self._finisher.finish_unnamed(self.here)

    def _seal(self, mode: int) -> None:
        inode = self._descent.inode
        if mode & _OWNERS == _OWNERS:
            self.sealed.pop(inode, None)
            return
        if len(self.sealed) >= _MOST_SEALED:
            raise EnvdError(
                Code.INVALID_ARGUMENT, f"more than {_MOST_SEALED} directories of the archive lock their owner out"
            )
        self.sealed[inode] = Sealed(self.parts, mode)


def common_parts(left: Parts, right: Parts) -> int:
    """Return how many parts are the same at the beginning; mostly one way is the beginning of the other."""
    most = min(len(left), len(right))
    if left[:most] == right[:most]:
        return most
    return next(index for index in range(most) if left[index] != right[index])
