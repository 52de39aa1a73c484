"""Clears away what a test process started or made, however that process ended: by Ctrl+C, by SIGKILL, in a crash.

Each test process enters `no_leftovers` once. That marks the environment, which daemons and helpers inherit (the
programs in a daemon do not, but they are its descendants), and starts this file as a process of its own session, which
waits for the end of its standard input: the kernel closes that with the test process.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

MARK = "ENVD_TEST_PROCESS"


@contextmanager
def no_leftovers(*directories: str) -> Iterator[None]:
    """Whatever was started in the block and is still there at its end, or at the end of this process, is killed.

    Then the directories are removed.
    """
    before = os.environ.pop(MARK, None)
    mark = uuid.uuid4().hex
    # Not a child of the group that Ctrl+C interrupts.
    reaper = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, mark, *directories],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.environ[MARK] = mark
    try:
        yield
    finally:
        reaper.communicate()
        del os.environ[MARK]
        if before is not None:
            os.environ[MARK] = before


def marked(mark: str) -> set[int]:
    """The processes whose environment has the mark."""
    found, wanted = set(), f"{MARK}={mark}".encode()
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError), open(f"/proc/{entry}/environ", "rb") as file:
            if wanted in file.read().split(b"\0"):
                found.add(int(entry))
    return found


def with_descendants(pids: set[int]) -> set[int]:
    """The processes and all that came from them, as far as they still hang together."""
    children: dict[int, list[int]] = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError), open(f"/proc/{entry}/stat", "rb") as file:
            children.setdefault(int(file.read().rpartition(b")")[2].split()[1]), []).append(int(entry))
    found, rest = set(pids), list(pids)
    while rest:
        new = set(children.get(rest.pop(), ())) - found
        found |= new
        rest += new
    return found


def reap(mark: str) -> None:
    """Kill until nothing with the mark is left; a daemon may be starting a process meanwhile."""
    for _ in range(10):
        left = marked(mark)
        if not left:
            return
        for pid in with_descendants(left):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.stdin.buffer.read()
    reap(sys.argv[1])
    for directory in sys.argv[2:]:
        shutil.rmtree(directory, ignore_errors=True)
