"""System calls that Python has no function for. Sources: openat2(2), statfs(2), statx(2)."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from functools import cache

NO_MAGICLINKS = 0x02
NO_SYMLINKS = 0x04
NO_XDEV = 0x01
CACHED = 0x20

_AT_FDCWD = -100
_OPENAT2 = 437
_CLONE_FS = 0x200
_HOW = struct.Struct("QQQ")
_FileSystem = (ctypes.c_uint32 if platform.machine() == "s390x" else ctypes.c_long) * 64  # a struct statfs and more

_AT_EMPTY_PATH = 0x1000
_BIRTH = 0x800  # STATX_BTIME
_Statx = ctypes.c_char * 256
_MASK = struct.Struct("=I")
_TIME, _BIRTH_AT = struct.Struct("=qI"), 80
_BILLION = 1_000_000_000

_BLOCKING = ctypes.CDLL(None, use_errno=True)

_openat2 = _BLOCKING["syscall"]
_openat2.restype = ctypes.c_long
_openat2.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_long]
_fstatfs = _BLOCKING["fstatfs"]
_fstatfs.restype = ctypes.c_int
_fstatfs.argtypes = [ctypes.c_int, ctypes.c_void_p]
_unshare = _BLOCKING["unshare"]
_unshare.restype = ctypes.c_int
_unshare.argtypes = [ctypes.c_int]


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
    buffer = _FileSystem()
    while _fstatfs(fd, buffer):
        if ctypes.get_errno() != errno.EINTR:
            raise _failure()
    return buffer[0] & 0xFFFFFFFF  # the first word says it


def born_ns(fd: int) -> int:
    """Return when an open file was made, in nanoseconds since 1970; 0 where nobody can tell. Blocks.

    No later file with its number has the same.
    """
    buffer = _Statx()
    try:
        failed = _BLOCKING.statx(fd, b"", _AT_EMPTY_PATH, _BIRTH, buffer)
    except AttributeError:  # an older C library
        return 0
    if failed or not _MASK.unpack_from(buffer)[0] & _BIRTH:
        return 0
    seconds, nanoseconds = _TIME.unpack_from(buffer, _BIRTH_AT)
    return int(seconds) * _BILLION + int(nanoseconds)


def unshare_working_directory() -> bool:
    """Give this thread a working directory, root and umask of its own; False if it may not have them.

    A seccomp filter may forbid it, as Docker's does for those who are not CAP_SYS_ADMIN. A thread that this one starts
    shares with this one.
    """
    return not _unshare(_CLONE_FS)
