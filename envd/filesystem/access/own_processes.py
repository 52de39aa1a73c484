"""The daemon's own entries in /proc: nobody reaches its memory, descriptors or environment as files."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack
from dataclasses import dataclass

from .mounts import mount_of, root_of_mount
from .resolving import PROC, is_proc_root
from .system_calls import file_system_type

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_STATUS_BYTES = 16384
_WORDS = ("Name", "Tgid", "PPid")
_NAME = "envd"
# What is the same for every process of the namespace, and what /proc/net and /proc/mounts are links to.
_SHARED = ("net", "mounts")
_MEMORY = "kcore"  # all memory of the machine; proc(5)


def refuse_own(directory: int, name: str = ".") -> None:
    """Refuse an entry of a procfs that belongs to the keeper, the server or a process that searches. Blocks.

    Whichever procfs it is: of ours or of another process namespace, mounted anywhere. Other file systems pass.

    Args:
        directory: open, in which the entry lies.
        name: of the entry; `.` for the directory itself.

    Raises:
        PermissionError: it does, or nothing proves that it does not.
    """
    if file_system_type(directory) != PROC:
        return
    with ExitStack() as fds:
        chain = _way_up(directory, fds)
        root = chain[-1]
        if not is_proc_root(root) or _is_mounted_part(directory, root) or _is_part_mounted_on(directory, name, root):
            raise _refused()  # a part of a procfs, mounted alone or over another part of it
        first = os.fstat(chain[-2]) if len(chain) > 1 else None
        if first is None:
            _check_in_root(root, name, fds)
        elif _is_ours(root, chain[-2]) and not _is_shared(chain, name):
            raise _refused()


def _is_part_mounted_on(directory: int, name: str, root: int) -> bool:
    """Tell whether a part of a process is mounted on an entry of a directory of a procfs."""
    if name == ".":
        return False
    try:
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return False  # then nobody opens it
    try:
        return file_system_type(fd) == PROC and _is_mounted_part(fd, root)
    finally:
        os.close(fd)


def _is_mounted_part(fd: int, root: int) -> bool:
    """Tell whether what is open on a procfs is mounted where it is, and belongs to a process; True if nobody can tell.

    Container runtimes mount other parts over themselves, to make them read-only.
    """
    try:
        mount = mount_of(fd)
        return mount != mount_of(root) and root_of_mount(mount).split("/")[1].isdecimal()
    except (OSError, IndexError):
        return os.path.lexists("/proc/self")  # without a /proc of ours the processes of this one are not ours either


def _check_in_root(root: int, name: str, fds: ExitStack) -> None:
    """Check an entry right below the root of a procfs: that of a process, or one of the machine."""
    if name == _MEMORY:
        raise _refused()
    if name == ".":
        return
    try:
        st = os.stat(name, dir_fd=root, follow_symlinks=False)
        if not stat.S_ISDIR(st.st_mode):
            return
        top = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=root)
    except FileNotFoundError:
        return
    fds.callback(os.close, top)
    if _is_ours(root, top):
        raise _refused()


def _way_up(directory: int, fds: ExitStack) -> list[int]:
    """Return a directory and those above it on procfs, the uppermost last."""
    chain = [os.dup(directory)]
    fds.callback(os.close, chain[0])
    while not is_proc_root(chain[-1]):
        above = os.open("..", _DIRECTORY, dir_fd=chain[-1])
        fds.callback(os.close, above)
        if file_system_type(above) != PROC:
            break
        chain.append(above)
    return chain


def _is_shared(chain: list[int], name: str) -> bool:
    """Tell whether an entry is what every process of the namespace has alike."""
    if len(chain) == 2:
        return name in _SHARED
    parent = os.fstat(chain[-3])
    for shared in _SHARED:
        try:
            st = os.stat(shared, dir_fd=chain[-2], follow_symlinks=False)
        except OSError:
            continue
        if os.path.samestat(st, parent):
            return True
    return False


@dataclass(frozen=True, slots=True)
class _Status:
    name: str
    tgid: int
    ppid: int


def _is_ours(root: int, top: int) -> bool:
    """Tell whether a directory right below the root of a procfs is of a process of the daemon.

    All numbers are those of the process namespace that procfs shows.

    Raises:
        PermissionError: it does not say.
    """
    status = _status(top)
    if status is None:
        return False  # no process, or none any more
    server, keeper = _server_and_keeper(root)
    if server is None:
        return False  # a namespace that we are not in
    spare = status.ppid == keeper and status.name.startswith(_NAME)
    return status.tgid in (server, keeper) or status.ppid == server or spare


def _server_and_keeper(root: int) -> tuple[int | None, int | None]:
    try:
        server = int(os.readlink("self", dir_fd=root))
    except (FileNotFoundError, ValueError):
        return None, None
    parent = _parent(root, server)
    if "ENVD_KEEPER_FD" in os.environ:
        return server, parent
    return parent, _parent(root, parent) if parent else None  # in a process that searches


def _parent(root: int, pid: int) -> int | None:
    fd = os.open(str(pid), _DIRECTORY, dir_fd=root)
    try:
        status = _status(fd)
    finally:
        os.close(fd)
    return status.ppid if status else None


def _status(top: int) -> _Status | None:
    """Return what a process says of itself; None if it is no process, or has ended."""
    try:
        fd = os.open("status", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
    except FileNotFoundError:
        return None
    try:
        text = os.read(fd, _STATUS_BYTES).decode(errors="replace")
    except ProcessLookupError:
        return None
    finally:
        os.close(fd)
    fields = {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}
    try:
        return _Status(fields["Name"], int(fields["Tgid"]), int(fields["PPid"]))
    except (KeyError, ValueError):
        return None


def _refused() -> PermissionError:
    return PermissionError(errno.EACCES, "an entry of the daemon's own process")
