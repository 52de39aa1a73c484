"""Orphaned processes: when their keeper was killed they run on, and their output is read and thrown away.

Without anybody at the other end of its pipe a process dies of SIGPIPE when it prints, and one in a terminal of SIGHUP.
"""

from __future__ import annotations

import fcntl
import os
import select
import stat

from envd.keeper.naming import call_this_process

_MASTER = os.makedev(5, 2)  # /dev/ptmx; devices.txt of Linux
_STANDARD = 3
_BYTES = 65536


def leave_a_drain() -> None:
    """Fork a process that takes what processes print until the last of them has closed its output; return in this one.

    It holds nothing else of this process: clients see their connections close, and the port is free.
    """
    try:
        if os.fork():
            return
    except OSError:
        return  # no process to be had: then they find their pipes closed
    try:
        call_this_process("envd-drain")
        _drain(_outputs())
    finally:
        os._exit(os.EX_OK)


def _outputs() -> list[int]:
    """Return the descriptors that processes print to the other end of; all others are closed."""
    outputs = []
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd < _STANDARD:
            continue
        try:
            if _is_output(fd):
                outputs.append(fd)
            else:
                os.close(fd)
        except OSError:
            continue  # the directory that was listed
    return outputs


def _is_output(fd: int) -> bool:
    st = os.fstat(fd)
    if stat.S_ISCHR(st.st_mode):
        return st.st_rdev == _MASTER
    return stat.S_ISFIFO(st.st_mode) and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY


def _drain(outputs: list[int]) -> None:
    poll = select.poll()
    for fd in outputs:
        os.set_blocking(fd, False)
        poll.register(fd, select.POLLIN)
    open_outputs = set(outputs)
    while open_outputs:
        for fd, _ in poll.poll():
            try:
                ended = not os.read(fd, _BYTES)
            except BlockingIOError:
                continue
            except OSError:  # a terminal's end
                ended = True
            if ended:
                poll.unregister(fd)
                os.close(fd)
                open_outputs.discard(fd)
