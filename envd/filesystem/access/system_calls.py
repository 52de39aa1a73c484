"""System calls that Python has no function for, or that its C library makes for the whole process.

Sources: openat2(2), credentials(7), statfs(2); numbers from the kernel's asm/unistd.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from functools import cache

NO_MAGICLINKS = 0x02
NO_SYMLINKS = 0x04
NO_XDEV = 0x01
CACHED = 0x20

_AT_FDCWD = -100
_OPENAT2 = 437
_NO_ID = 0xFFFFFFFF
_HOW = struct.Struct("QQQ")
_FileSystem = (ctypes.c_uint32 if platform.machine() == "s390x" else ctypes.c_long) * 64  # a struct statfs and more

# setgroups, setresgid, setresuid with 32-bit ids.
_GENERIC = (159, 149, 147)
_I386 = (206, 210, 208)
_CREDENTIAL_CALLS = {
    "x86_64": (116, 119, 117),
    "aarch64": _GENERIC,
    "riscv64": _GENERIC,
    "loongarch64": _GENERIC,
    "i386": _I386,
    "i686": _I386,
    "armv7l": _I386,
    "armv6l": _I386,
    "s390x": (206, 210, 208),
    "ppc64le": (81, 169, 164),
}


def _credential_calls() -> tuple[int, int, int] | None:
    machine = platform.machine()
    if sys.maxsize < 2**32:  # a 32-bit interpreter on a 64-bit kernel
        machine = {"x86_64": "i386", "aarch64": "armv7l"}.get(machine, machine)
    return _CREDENTIAL_CALLS.get(machine)


_NUMBERS = _credential_calls()
# These never block, so the interpreter's lock is kept: to give it up and take it again costs more than they do.
_QUICK = ctypes.PyDLL(None, use_errno=True)
_BLOCKING = ctypes.CDLL(None, use_errno=True)

_ids = _QUICK["syscall"]
_ids.restype = ctypes.c_long
_ids.argtypes = [ctypes.c_long] * 4
_set_groups = _QUICK["syscall"]
_set_groups.restype = ctypes.c_long
_set_groups.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p]
_openat2 = _BLOCKING["syscall"]
_openat2.restype = ctypes.c_long
_openat2.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_long]
_fstatfs = _BLOCKING["fstatfs"]
_fstatfs.restype = ctypes.c_int
_fstatfs.argtypes = [ctypes.c_int, ctypes.c_void_p]


def set_thread_groups(groups: ctypes.Array[ctypes.c_uint32]) -> None:
    """Set the supplementary groups of this thread, of no other one.

    Raises:
        OSError: not allowed, or not known how on this machine.
    """
    if _set_groups(_numbers()[0], len(groups), ctypes.addressof(groups)):
        raise _failure()


def set_thread_group(gid: int) -> None:
    """Set the effective and file system group of this thread, of no other one.

    Raises:
        OSError: not allowed.
    """
    if _ids(_numbers()[1], -1, _checked(gid), -1):
        raise _failure()


def set_thread_user(uid: int) -> None:
    """Set the effective and file system user of this thread, and with it its capabilities, of no other one.

    Raises:
        OSError: not allowed.
    """
    if _ids(_numbers()[2], -1, _checked(uid), -1):
        raise _failure()


def _checked(number: int) -> int:
    """Return the number of a user or group; the highest one means to the kernel: leave it as it is."""
    if not 0 <= number < _NO_ID:
        raise OSError(errno.EINVAL, f"{number} is no user or group that a thread can act as")
    return number


def _numbers() -> tuple[int, int, int]:
    if _NUMBERS is None:
        raise OSError(errno.ENOSYS, f"no thread can act as another user on {platform.machine()}")
    return _NUMBERS


def _failure() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))


def openat2(path: bytes, flags: int, resolve: int, directory: int = _AT_FDCWD) -> int:
    """Open a path, with bounds to how it is resolved. Blocks, unless CACHED is one of them.

    Raises:
        OSError: as open(2); EAGAIN if CACHED and it would have blocked.
        ValueError: NUL in the path.
    """
    if b"\0" in path:
        raise ValueError("embedded null byte")
    how = _HOW.pack(flags | os.O_CLOEXEC, 0, resolve)
    while (fd := _openat2(_OPENAT2, directory, path, how, _HOW.size)) < 0:
        number = ctypes.get_errno()
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number), os.fsdecode(path))
    return int(fd)


@cache
def has_openat2() -> bool:
    """Tell whether the kernel has it and lets us use it: gVisor, kernels before 5.6 and some seccomp filters do not."""
    try:
        os.close(openat2(b"/", os.O_PATH, NO_MAGICLINKS))
    except OSError:
        return False
    return True


def file_system_type(fd: int) -> int:
    """Return the magic number of the file system an open file is on. Blocks.

    Raises:
        OSError: it does not say.
    """
    found = _FileSystem()
    while _fstatfs(fd, found):
        if ctypes.get_errno() != errno.EINTR:
            raise _failure()
    return found[0] & 0xFFFFFFFF  # the first word says it
