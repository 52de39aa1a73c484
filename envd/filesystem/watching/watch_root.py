"""Directories that can be watched, and the kind of file system they are on. Source: statfs(2), linux/magic.h."""

from __future__ import annotations

import ctypes
import os
import stat
from dataclasses import dataclass

from envd.errors import Code, EnvdError, from_os_error
from envd.filesystem.access import open_path, path_of
from envd.host.users import User

_NETWORK = {0x6969, 0xFF534D42, 0x517B, 0xFE534D42, 0x65735546}  # NFS, CIFS, SMB, SMB2, FUSE
# Made up by the kernel, and without reports of changes.
_MADE_UP = {
    0x9FA0,  # proc
    0x62656572,  # sysfs
    0x64626720,  # debugfs
    0x74726163,  # tracefs
    0x27E0EB,  # cgroup
    0x63677270,  # cgroup2
    0x1CD1,  # devpts
    0x73636673,  # securityfs
    0x62656570,  # configfs
    0xCAFE4A11,  # bpf
    0x6165676C,  # pstore
    0xDE5E81E4,  # efivarfs
    0x42494E4D,  # binfmt_misc
    0x65735543,  # fusectl
    0xF97CFF8C,  # selinuxfs
    0x43415D53,  # smackfs
    0x6E736673,  # nsfs
}
_STATFS_BYTES = 256  # its first field is the kind, the rest differs between machines

_libc = ctypes.CDLL(None, use_errno=True)


def on_network(directory: int) -> bool:
    """Return whether changes in an open directory may be made where this kernel does not see them. Blocks.

    Raises:
        OSError: the kernel does not say.
    """
    return _kind(directory) in _NETWORK


def is_made_up(directory: int) -> bool:
    """Return whether an open directory is the kernel's own work. Blocks.

    Raises:
        OSError: the kernel does not say.
    """
    return _kind(directory) in _MADE_UP


def _kind(directory: int) -> int:
    room = ctypes.create_string_buffer(_STATFS_BYTES)
    if _libc.fstatfs(directory, room) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return ctypes.c_long.from_buffer(room).value & 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class WatchRoot:
    """A directory that is watched.

    Attributes:
        path: as its client knows it.
        real: the same with all links resolved.
        user: as whom the kernel checks what is looked at.
        recursive: with all directories below.
        network: also where changes may be made elsewhere.
        remote: and that is where it is.
    """

    path: str
    real: str
    user: User
    recursive: bool
    network: bool = False
    remote: bool = False


def find_top(path: str, user: User, *, recursive: bool, network: bool) -> WatchRoot:
    """Look at a directory that is to be watched. Blocks.

    Args:
        path: absolute.
        user: who watches.
        recursive: with all directories below.
        network: also on a network file system.

    Raises:
        EnvdError: NOT_FOUND if it is not there; INVALID_ARGUMENT if it is no directory, or on a network file system.
    """
    try:
        fd = open_path(path, os.O_PATH)
    except FileNotFoundError as exc:
        text = f"path {path} not found: stat {path}: no such file or directory"
        raise EnvdError(Code.NOT_FOUND, text) from exc
    except OSError as exc:
        raise from_os_error(exc, doing=f"error statting path {path}") from exc
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            raise EnvdError(Code.INVALID_ARGUMENT, f"path {path} not a directory")
        real, remote = path_of(fd), _on_network(path, fd)
    finally:
        os.close(fd)
    if remote and not network:
        raise EnvdError(
            Code.INVALID_ARGUMENT,
            f"cannot watch path on network filesystem: {path}; set allow_network_mounts to watch it all the same",
        )
    return WatchRoot(os.path.normpath(path), real, user, recursive, network, remote)


def _on_network(path: str, directory: int) -> bool:
    try:
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
        try:
            return on_network(fd)
        finally:
            os.close(fd)
    except OSError as exc:
        raise from_os_error(exc, doing=f"error checking mount status: {path}") from exc
