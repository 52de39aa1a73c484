"""What kind of file system a directory is on. Source: statfs(2), linux/magic.h."""

from __future__ import annotations

import ctypes
import os

_NETWORK = {0x6969, 0xFF534D42, 0x517B, 0xFE534D42, 0x65735546}  # NFS, CIFS, SMB, SMB2, FUSE
# Made up by the kernel, large, and without reports of changes: proc, sysfs, debugfs, tracefs, the two kinds of cgroup.
_MADE_UP = {0x9FA0, 0x62656572, 0x64626720, 0x74726163, 0x27E0EB, 0x63677270}
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
