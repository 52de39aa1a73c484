"""Opens the entries that clients' paths name."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack, closing
from functools import cache

from .mounts import mount_of
from .own_processes import refuse_own
from .resolving import PROC, Landing, resolve_by_steps
from .system_calls import CACHED, NO_MAGICLINKS, NO_XDEV, file_system_type, has_openat2, openat2

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_CREAT | os.O_TRUNC
# statfs(2)
_LOCAL = frozenset(
    {
        0xEF53,  # ext2, ext3, ext4
        0x58465342,  # XFS
        0x9123683E,  # Btrfs
        0xF2F52010,  # F2FS
        0x01021994,  # tmpfs
        0x858458F6,  # ramfs
    }
)
_MOST_BYTES = 4000  # of a path the kernel takes at once; PATH_MAX is 4096 with its NUL


def open_path(path: str, flags: int = os.O_PATH, *, follow: bool = True, start: int | None = None) -> int:
    """Open what a client's path names, close-on-exec. Links of /proc into processes are not followed. Blocks.

    Args:
        path: absolute, or relative to `start`; of any length.
        flags: of open(2), without those that make or empty a file.
        follow: a link at the end.
        start: an open directory; stays the caller's.

    Raises:
        OSError: EACCES for what is a process of the daemon's own, or behind a link of /proc into any process; ELOOP
            for a link at the end that is not to be followed and not opened with O_PATH.
    """
    return open_and_look(path, flags, follow=follow, start=start)[0]


def open_and_look(
    path: str, flags: int = os.O_PATH, *, follow: bool = True, start: int | None = None
) -> tuple[int, os.stat_result]:
    """As open_path; return the state of what is open, too."""
    assert not flags & _NEW
    if has_openat2():
        return _look_by_openat2(path, flags, follow=follow, start=start)
    return _with_state(open_by_steps(path, flags, follow=follow, start=start))


def open_by_openat2(path: str, flags: int, *, follow: bool, start: int | None = None) -> int:
    """As open_path, the way where the kernel has openat2."""
    return _look_by_openat2(path, flags, follow=follow, start=start)[0]


def _look_by_openat2(path: str, flags: int, *, follow: bool, start: int | None) -> tuple[int, os.stat_result]:
    data = os.fsencode(path)
    last = flags if follow else flags | os.O_NOFOLLOW
    try:
        fd = _open2(data, last, start) if len(data) <= _MOST_BYTES else _open_long(data, last, start)
    except OSError as exc:
        if exc.errno != errno.ELOOP:
            raise
        # The other way knows which kind of link it was.
        return _with_state(open_by_steps(path, flags, follow=follow, start=start))
    fd, st = _with_state(fd)
    try:
        # What is on a disk has the number of that; a procfs has one that the kernel makes up, as others do.
        on_proc = not os.major(st.st_dev) and file_system_type(fd) == PROC
    except OSError:
        os.close(fd)
        raise
    if not on_proc:
        return fd, st
    os.close(fd)
    # The other way knows in which directory it lies.
    return _with_state(open_by_steps(path, flags, follow=follow, start=start))


def _with_state(fd: int) -> tuple[int, os.stat_result]:
    try:
        return fd, os.fstat(fd)
    except OSError:
        os.close(fd)
        raise


def open_cached(path: str) -> int | None:
    """Open with O_PATH what a path names, on the event loop: only if the kernel knows all of the way in memory.

    Never blocks. A link at the end is not followed. It lies on the mount of the root: on another one who knows
    what it is waits for a server or a disk.

    Returns:
        None if it takes a thread to open it, or to say why it cannot be opened.
    """
    data = os.fsencode(path)
    if not root_is_local() or len(data) > _MOST_BYTES:
        return None
    try:
        return openat2(data, os.O_PATH | os.O_NOFOLLOW, NO_MAGICLINKS | NO_XDEV | CACHED)
    except (OSError, ValueError):
        return None


@cache
def root_is_local() -> bool:
    """Tell whether the root is a file system whose inodes say in memory what there is to say of them. Blocks.

    An overlay is none: there may be a network or a FUSE server below it.
    """
    try:
        root = openat2(b"/", os.O_PATH, NO_MAGICLINKS | NO_XDEV | CACHED)
    except OSError:
        return False  # a kernel before 5.12
    try:
        return file_system_type(root) in _LOCAL
    except OSError:
        return False
    finally:
        os.close(root)


def _open_long(path: bytes, flags: int, start: int | None) -> int:
    """Open a path that is longer than the kernel takes, piece by piece."""
    with ExitStack() as descriptors:
        while len(path) > _MOST_BYTES:
            cut = path.rfind(b"/", 1, _MOST_BYTES)
            if cut < 0:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), os.fsdecode(path))
            start = _open2(path[:cut], _DIRECTORY, start)
            descriptors.callback(os.close, start)
            path = path[cut:].lstrip(b"/") or b"."
        return _open2(path, flags, start)


def _open2(path: bytes, flags: int, start: int | None) -> int:
    if start is None:
        return openat2(path, flags, NO_MAGICLINKS)
    return openat2(path, flags, NO_MAGICLINKS, start)


def open_by_steps(path: str, flags: int, *, follow: bool, start: int | None = None) -> int:
    """As open_path, the way where the kernel has no openat2."""
    with closing(resolve_by_steps(path, follow=follow, start=start)) as landing:
        return _open_landing(landing, path, flags)


def _open_landing(landing: Landing, path: str, flags: int) -> int:
    if landing.fd is None or landing.state is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    check_landing(landing)
    if flags & os.O_PATH:
        if flags & os.O_DIRECTORY and not stat.S_ISDIR(landing.state.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return os.dup(landing.fd)
    return os.open(landing.name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=landing.directory)


def check_landing(landing: Landing) -> None:
    """Refuse a landing in the daemon's own part of a procfs.

    Raises:
        PermissionError: it is there.
    """
    refuse_own(landing.directory, landing.name)
    if landing.fd is None or landing.state is None:
        return
    if stat.S_ISDIR(landing.state.st_mode):
        refuse_own(landing.fd)
    else:
        _refuse_alone(landing.directory, landing.fd)


def _refuse_alone(directory: int, fd: int) -> None:
    """Refuse a file of a procfs that is mounted where no procfs is: nothing says of which process it is."""
    if file_system_type(fd) == PROC != file_system_type(directory):
        raise PermissionError(errno.EACCES, "a file of a procfs, mounted alone")


def open_parent(path: str) -> tuple[int, str]:
    """Open the directory that a client's path names an entry of, with O_PATH; return it and the entry's name. Blocks.

    The entry need not be there, and may be a link.

    Args:
        path: absolute; slashes at its end say nothing. It does not end with `.` or `..`.

    Raises:
        OSError: EACCES for what is a process of the daemon's own.
    """
    above, name = os.path.split(path.rstrip("/"))
    fd = open_path(above or "/", _DIRECTORY)
    try:
        refuse_own(fd, name or ".")
    except OSError:
        os.close(fd)
        raise
    return fd, name


def reopen(fd: int, flags: int) -> int:
    """Open anew what is open with O_PATH, whatever has its name by now; the kernel checks the rights to it. Blocks.

    Raises:
        OSError: as open(2); FileNotFoundError also where there is no /proc.
    """
    return os.open(f"/proc/self/fd/{fd}", flags & ~os.O_NOFOLLOW | os.O_CLOEXEC)


def open_below(directory: int, name: str, flags: int) -> int:
    """Open an entry of an open directory; a link is not followed. Blocks.

    Raises:
        OSError: ELOOP or ENOTDIR for a link, unless with O_PATH; EACCES for what is a process of the daemon's own.
    """
    fd = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        if file_system_type(fd) == PROC:
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                refuse_own(fd)
            else:
                _refuse_alone(directory, fd)
                refuse_own(directory, name)
    except OSError:
        os.close(fd)
        raise
    return fd


def path_of(directory: int) -> str:
    """Return the path of an open directory, with all links resolved. Blocks.

    Raises:
        OSError: nobody can tell: it was removed, or there is no /proc and something above cannot be read.
    """
    try:
        return os.readlink(f"/proc/self/fd/{directory}")
    except FileNotFoundError:  # without /proc
        return _path_by_names(directory)


def _path_by_names(directory: int) -> str:
    """Find the names of a directory and those above it, as getcwd(3) does where the kernel does not tell."""
    names: list[str] = []
    with ExitStack() as descriptors:
        current = directory
        while True:
            above = os.open("..", _DIRECTORY, dir_fd=current)
            descriptors.callback(os.close, above)
            st, st_above = os.fstat(current), os.fstat(above)
            if os.path.samestat(st, st_above):
                return "/" + "/".join(reversed(names))
            names.append(_name_in(above, st))
            current = above


def _name_in(directory: int, entry: os.stat_result) -> str:
    readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    try:
        for name in os.listdir(readable):
            if os.path.samestat(os.stat(name, dir_fd=directory, follow_symlinks=False), entry):
                return name
    finally:
        os.close(readable)
    raise FileNotFoundError(errno.ENOENT, "the directory was removed")


def is_mount_point(directory: int, name: str) -> bool:
    """Tell whether something is mounted on an entry of an open directory; False if nobody can tell. Blocks."""
    try:
        if has_openat2():
            return _crosses_mount(directory, name)
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            return mount_of(fd) != mount_of(directory)
        finally:
            os.close(fd)
    except (OSError, ValueError):
        return False  # then the rename will say


def _crosses_mount(directory: int, name: str) -> bool:
    try:
        os.close(openat2(os.fsencode(name), os.O_PATH | os.O_NOFOLLOW, NO_XDEV, directory))
    except OSError as exc:
        return exc.errno == errno.EXDEV
    return False
