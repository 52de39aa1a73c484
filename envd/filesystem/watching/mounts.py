"""What kind of file system a directory is on. Source: statfs(2), linux/magic.h."""

from __future__ import annotations

import ctypes
import os

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
