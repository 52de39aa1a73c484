"""What the kernel knows about processes and pipes, and waiting for it to change."""

from __future__ import annotations

import asyncio
import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

DEADLINE_S = 60.0
OF_THE_PROGRAM = ~(0b11 << 31)
"""Masks a signal set of /proc/PID/status: the C library keeps signals 32 and 33 for itself and lets nobody reset
them, so what a parent of ours (make, for one) left there stays."""


def _parents() -> dict[int, int]:
    """The parent of every process there is."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError):
                # The name in brackets may itself hold brackets and spaces: what follows the last one is safe.
                fields = Path(f"/proc/{entry}/stat").read_text(errors="replace").rpartition(")")[2].split()
                found[int(entry)] = int(fields[1])
    return found


def children(pid: int) -> list[int]:
    return [child for child, parent in _parents().items() if parent == pid]


def descendants(pid: int) -> list[int]:
    parents = _parents()
    found = [pid]
    for ancestor in found:
        found.extend(child for child, parent in parents.items() if parent == ancestor)
    return found[1:]


@contextmanager
def open_pidfds(pids: list[int]) -> Iterator[list[int]]:
    """Descriptors of those of the processes that still exist; they keep meaning them when a pid is used again."""
    fds: list[int] = []
    try:
        for pid in pids:
            with suppress(ProcessLookupError):
                fds.append(os.pidfd_open(pid))
        yield fds
    finally:
        for fd in fds:
            os.close(fd)


def has_exited(fd: int, *, timeout_s: float = DEADLINE_S) -> bool:
    """Whether the process of a pidfd has ended, at the latest after that time."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))


def _resolve(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


async def readable(fd: int) -> None:
    """Wait until a descriptor can be read, or has ended."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(fd, _resolve, ready)
    try:
        await ready
    finally:
        loop.remove_reader(fd)


async def exited(*pids: int, timeout_s: float = DEADLINE_S) -> None:
    """Wait until processes have ended, reaped or not; TimeoutError if one does not."""
    with open_pidfds(list(pids)) as fds:
        async with asyncio.timeout(timeout_s):
            for fd in fds:
                await readable(fd)


def is_running(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    with open_pidfds([pid]) as fds:
        return bool(fds) and not has_exited(fds[0], timeout_s=0)


def kill(pid: int) -> None:
    """SIGKILL a process a test started, if it still exists."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class Gate:
    """A named pipe on which a program and a test wait for each other.

    A shell program waits with `read _ < PATH` and reports with `echo x > PATH`; one direction per gate.
    """

    def __init__(self, directory: Path, name: str = "gate") -> None:
        self.path = str(directory / name)
        os.mkfifo(self.path)
        os.chmod(self.path, 0o666)
        # Both ends, so that neither opening it here nor in the program waits for the other.
        self._fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def open(self) -> None:
        """Let the program that reads the gate go on."""
        os.write(self._fd, b"go\n")

    async def reached(self, timeout_s: float = DEADLINE_S) -> bytes:
        """Wait until the program has written to the gate, and return what."""
        async with asyncio.timeout(timeout_s):
            await readable(self._fd)
            return os.read(self._fd, 4096)

    def close(self) -> None:
        os.close(self._fd)
