"""Sets the metadata of extracted entries. Everything here blocks: call it from a thread."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .tarstream.member import Member

MOST_ENTRIES = 1_000_000
_MODE = 0o755
_NO_ATTRIBUTES = (errno.EOPNOTSUPP, errno.EPERM, errno.ENOSYS)


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules of an extraction: the metadata it keeps, and its limits.

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
class MetadataSetter:
    """Gives entries their owners, modes, attributes and times."""

    rules: Rules
    _now_ns: int = field(default_factory=time.time_ns)
    _maker: tuple[int, int] = field(default_factory=lambda: (os.geteuid(), os.getegid()))

    def mode_of(self, member: Member) -> int:
        """Return the mode an entry shall have."""
        return member.mode if self.rules.set_id else member.mode & ~(stat.S_ISUID | stat.S_ISGID)

    def finish(self, fd: int, member: Member, mode: int) -> None:
        """Finish an open file or directory; the owner first, for that clears bits of the mode."""
        uid, gid = self.rules.owner(member)
        if self._differs(uid, gid):
            os.fchown(fd, uid, gid)
        for name, value in member.attributes.items():
            try:
                os.setxattr(fd, name, value)
            except OSError as exc:
                if exc.errno not in _NO_ATTRIBUTES:
                    raise
        os.fchmod(fd, mode)
        os.utime(fd, ns=(self._now_ns, member.modified_ns))

    def finish_symlink(self, directory: int, name: str, member: Member) -> None:
        """Finish a symbolic link in an open directory."""
        uid, gid = self.rules.owner(member)
        if self._differs(uid, gid):
            os.chown(name, uid, gid, dir_fd=directory, follow_symlinks=False)
        os.utime(name, ns=(self._now_ns, member.modified_ns), dir_fd=directory, follow_symlinks=False)

    def finish_unnamed(self, fd: int) -> None:
        """Finish a directory the archive has no entry of."""
        if self._differs(*self.rules.user):
            os.fchown(fd, *self.rules.user)
        os.fchmod(fd, _MODE)

    def restore_time(self, fd: int, modified_ns: int) -> None:
        """Give a directory back the time it had before something was made in it."""
        os.utime(fd, ns=(self._now_ns, modified_ns))

    def _differs(self, uid: int, gid: int) -> bool:
        # What is made in a set-group-id directory belongs to its group, and there may be such directories.
        return (uid, gid) != self._maker or self.rules.set_id
