"""Where a file is to be written, and how."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from envd.errors import Code, EnvdError
from envd.filesystem.access import (
    check_landing,
    is_mount_point,
    mount_of,
    open_below,
    open_parent,
    path_of,
    resolve_by_steps,
)
from envd.filesystem.entries import ConditionError, check_match
from envd.host.users import User

# Conditions are checked and content is put in place under one of these, by place: who checks, still holds it when it
# acts. Several because a file system that hangs must not stop all others.
_TURNS = tuple(threading.Lock() for _ in range(256))


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How a file is to be written.

    Attributes:
        owner: to whom the file, and the directories made for it, belong afterwards.
        mode: None: 0666 less the umask for a new file, an existing one keeps its own.
        parents: make missing directories above it.
        append: add to an existing file, in place; what arrived stays, whatever happens.
        atomic: put the whole content in place at once. None: where that is possible. False: an existing file is
            overwritten, in place, once the whole content is there.
        if_match: only if the file is there with this etag; `*` for any.
        if_absent: only if nothing is there.
        metadata: the caller's pairs, instead of those that are there; None keeps them.
        sync: have content and name on the disk.
        helped: where the user may not write and only root has a say, the daemon's own rights help.
        user: as whom the kernel sees the write; None: as the owner.
    """

    owner: User
    mode: int | None = None
    parents: bool = True
    append: bool = False
    atomic: bool | None = None
    if_match: str | None = None
    if_absent: bool = False
    metadata: Mapping[str, str] | None = None
    sync: bool = False
    helped: bool = False
    user: User | None = None

    @property
    def actor(self) -> User:
        """As whom the kernel sees the write."""
        return self.user or self.owner


class Target:
    """A name in a directory that is held open.

    Args:
        path: as the client wrote it, for messages.
        directory: a descriptor, closed with the place.
        name: in it.
    """

    def __init__(self, path: str, directory: int, name: str) -> None:
        self.path = path
        self.directory = directory
        self.name = name
        found = os.fstat(directory)
        self.turn = _TURNS[hash((found.st_dev, found.st_ino, self.name)) % len(_TURNS)]

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self.directory)

    @property
    def real(self) -> str:
        """The path with all links resolved; the client's where it is longer than the kernel says."""
        with contextlib.suppress(OSError):
            return os.path.join(path_of(self.directory), self.name)
        return self.path

    def stat(self) -> os.stat_result | None:
        """Return what is there, None if that is nothing.

        Raises:
            EnvdError: INVALID_ARGUMENT if it cannot be written to.
        """
        try:
            st = os.stat(self.name, dir_fd=self.directory, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if stat.S_ISDIR(st.st_mode):
            raise EnvdError(Code.INVALID_ARGUMENT, f"path is a directory: {self.path}")
        if stat.S_ISLNK(st.st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), self.path)
        if stat.S_ISFIFO(st.st_mode) or stat.S_ISSOCK(st.st_mode):
            raise EnvdError(Code.INVALID_ARGUMENT, f"path is a fifo or socket, which has no content: {self.path}")
        return st

    def check(self, st: os.stat_result | None, intent: WriteOptions) -> None:
        """Check the conditions of a write.

        Raises:
            ConditionError: they do not hold.
        """
        if_match = intent.if_match
        if intent.if_absent and st is not None:
            raise ConditionError(f"if_absent: there is something at {self.path}")
        if if_match is None:
            return
        if st is None:
            raise ConditionError(f"if_match: there is nothing at {self.path}")
        check_match(self.path, st, if_match)

    def check_writable(self) -> None:
        """Check that the file could be opened for writing, though it will be replaced.

        Raises:
            OSError: it could not.
        """
        # access(2) asks for the real user in some C libraries, who is not the one that this thread may be acting as.
        if os.geteuid() != os.getuid() or not os.access(self.name, os.W_OK, dir_fd=self.directory, effective_ids=True):
            os.close(os.open(self.name, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW, dir_fd=self.directory))

    def why_in_place(self, st: os.stat_result) -> str:
        """Return why the file can only be written in place; empty if another can take its place."""
        if st.st_nlink > 1:
            return f"has {st.st_nlink} hard links"
        return "is a mount point" if is_mount_point(self.directory, self.name) else ""

    def open_extended(self) -> contextlib.AbstractContextManager[str | int]:
        """Return the file in a form that its extended attributes can be read by."""
        return _for_attributes(self.directory, self.name)

    def file_system(self) -> str:
        """Return the type of the file system that the file is on, as mount(8) calls it; empty if nothing says so."""
        with contextlib.suppress(OSError, ValueError):
            fd = os.open(self.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.directory)
            try:
                mount = mount_of(fd).split()[-1]
            finally:
                os.close(fd)
            with open("/proc/self/mountinfo", errors="surrogateescape") as lines:
                return next((line.partition(" - ")[2].split()[0] for line in lines if line.split()[0] == mount), "")
        return ""

    def sync(self) -> None:
        """Have the directory on the disk."""
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.directory)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def find_place(path: str) -> Target:
    """Find the place that a client's path names; links are followed, also one that leads to nothing yet. Blocks.

    Raises:
        OSError: there is no such directory; EACCES for what is the daemon's own.
        EnvdError: INVALID_ARGUMENT if the path ends in a directory itself.
    """
    directory, name = open_parent(path)
    try:
        st = os.stat(name, dir_fd=directory, follow_symlinks=False)
        is_link = stat.S_ISLNK(st.st_mode)
        if not is_link and st.st_dev != os.fstat(directory).st_dev:
            os.close(open_below(directory, name, os.O_PATH))  # refuses what is mounted there and the daemon's own
    except FileNotFoundError:
        is_link = False
    except OSError:
        os.close(directory)
        raise
    if not is_link:
        return Target(path, directory, name)
    os.close(directory)
    with contextlib.closing(resolve_by_steps(path, follow=True)) as landing:
        check_landing(landing)
        if landing.name == ".":
            raise EnvdError(Code.INVALID_ARGUMENT, f"path is a directory: {path}")
        return Target(path, os.dup(landing.directory), landing.name)


@contextlib.contextmanager
def _for_attributes(directory: int, name: str) -> Iterator[str | int]:
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        if os.path.exists("/proc/self/fd"):
            yield f"/proc/self/fd/{fd}"
        else:
            readable = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            try:
                yield readable
            finally:
                os.close(readable)
    finally:
        os.close(fd)
