"""Names of the daemon's processes, for `ps`, `pgrep` and `killall`."""

from __future__ import annotations

import os
import sys

_ARGUMENTS = slice(47, 49)  # where the command line begins and ends in memory; proc_pid_stat(5), arg_start and arg_end
_COMM_BYTES = 15


def call_this_process(name: str) -> None:
    """Rename this process, and threads it starts later: to `name`, from the interpreter's name.

    An agent that ends its own processes with `pkill python` or `pkill -f python` must not end the daemon. The command
    line is replaced as well: paths in it contain the word on many machines. Without /proc the names stay as they are.
    """
    try:
        _write("/proc/self/comm", 0, name.encode()[:_COMM_BYTES])
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        # The first two fields stand before the parenthesis.
        begin, end = (int(field) for field in fields[_ARGUMENTS.start - 2 : _ARGUMENTS.stop - 2])
        room = end - begin
        if room > 1:
            _write("/proc/self/mem", begin, name.encode()[: room - 1].ljust(room, b"\0"))
    except (OSError, ValueError):
        pass  # a kernel or sandbox that has it not


def program_name(name: str) -> str:
    """Return argv[0] for a process on the same interpreter that is to be called `name`.

    It stands in the directory that tells an interpreter where its library is; see envd.__main__.
    """
    own = sys.orig_argv[0]
    return os.path.join(os.path.dirname(own), name) if os.path.basename(own).startswith("envd") else own


def _write(path: str, offset: int, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.pwrite(fd, data, offset) if offset else os.write(fd, data)
    finally:
        os.close(fd)
