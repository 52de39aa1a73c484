"""Ids of one thread: Python and the C library change those of the whole process.

Sources: credentials(7), nptl(7); numbers from the kernel's asm/unistd.h.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import platform
import sys
from typing import Final

log = logging.getLogger("envd.host")

_NO_ID = 0xFFFFFFFF

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

_ids = _QUICK["syscall"]
_ids.restype = ctypes.c_long
_ids.argtypes = [ctypes.c_long] * 4
_set_groups = _QUICK["syscall"]
_set_groups.restype = ctypes.c_long
_set_groups.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p]

Groups = ctypes.Array[ctypes.c_uint32]


def to_array(groups: tuple[int, ...]) -> Groups:
    """Return groups as the kernel takes them."""
    return (ctypes.c_uint32 * len(groups))(*groups)


# The process's own, to come back to. They do not change while it runs.
OWN_UID: Final = os.geteuid()
_GID: Final = os.getegid()
_GROUPS: Final = to_array(tuple(os.getgroups()))


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


def take_own_ids() -> None:
    """Take the process's own ids in this thread, or end the process: nothing may go on with somebody else's.

    A thread is born with the ids of the one that starts it, so each that is not started by the main thread begins with
    this.
    """
    is_back = False
    try:
        if _NUMBERS is not None:
            set_thread_user(OWN_UID)
            set_thread_group(_GID)
            set_thread_groups(_GROUPS)
        is_back = os.geteuid() == OWN_UID
    finally:
        if not is_back:
            log.critical("a thread cannot take its own rights again: the server ends")
            os._exit(os.EX_OSERR)


def begin_thread() -> None:
    """Take the process's own ids in a new thread, if it was born with others."""
    if os.geteuid() != OWN_UID:
        take_own_ids()
