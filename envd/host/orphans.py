"""Orphans: the children of the process to which everything goes that lost its parent.

Source: proc_pid_task_children(5), pid_namespaces(7); prctl(2), PR_SET_CHILD_SUBREAPER.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Generic, NamedTuple, TypeVar

_READINGS = 20
_RLIMIT_LOCKS_NAME = b"Max file locks"
# It has ended, or is hidden from us. Anything else, a lack of descriptors above all, is no answer.
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)

_Found = TypeVar("_Found")


class ProcessStat(NamedTuple):
    """One process in one reading of /proc; the start time tells it from a later one with its pid."""

    pid: int
    parent: int
    session: int
    started: int
    zombie: bool


class Orphan(NamedTuple):
    """A child of the reaper, as it was when it was seen first; the inode tells it from a later one with its pid."""

    pid: int
    inode: int
    session: int
    mark: int


def read_process(pid: int) -> ProcessStat | None:
    """Return a process; None if there is none.

    Raises:
        OSError: there is no descriptor or memory left to look.
    """
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except _GONE:
        return None
    try:
        text = os.read(fd, 4096)
    except _GONE:
        return None
    finally:
        os.close(fd)
    # The name is in parentheses and may contain anything, so fields are counted from the last one. proc_pid_stat(5).
    fields = text[text.rindex(b")") + 2 :].split(b" ", 20)
    return ProcessStat(pid, int(fields[1]), int(fields[3]), int(fields[19]), fields[0] in (b"Z", b"X"))


def read_mark(pid: int) -> int:
    """Return the soft RLIMIT_LOCKS of a process; 0 for none."""
    try:
        with open(f"/proc/{pid}/limits", "rb") as file:
            for line in file:
                if line.startswith(_RLIMIT_LOCKS_NAME):
                    soft = line.split()[3]
                    return int(soft) if soft.isdigit() else 0
    except _GONE:
        pass
    return 0


def children_of(pid: int) -> list[int]:
    """Return the children of a process, of all its threads; of one that is gone none."""
    pids: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except _GONE:
        return pids
    for thread in threads:
        pids.extend(map(int, _children_of_thread(pid, thread)))
    return pids


def _children_of_thread(pid: int, thread: int | str) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/task/{thread}/children", "rb", buffering=0) as file:
            return file.read().split()
    except _GONE:
        return []


class SharedScan(Generic[_Found]):
    """Reads once for all threads that wait at the moment.

    A scan that began before a call is too old for it; one that begins later serves all calls made by then.
    """

    def __init__(self, look: Callable[[], _Found]) -> None:
        self._look = look
        self._lock = threading.Lock()
        self._last: tuple[float, _Found] | None = None

    def now(self) -> _Found:
        """Return the result of a scan that begins after this call."""
        requested_at = time.monotonic()
        with self._lock:
            if self._last is None or self._last[0] <= requested_at:
                began_at = time.monotonic()
                self._last = began_at, self._look()
            return self._last[1]


class Orphans:
    """The children of a subreaper that are no leaders of processes. It has a single thread.

    A process that loses its parent goes to the nearest subreaper above it, so what left a process's tree is here, or
    below what is here.

    Args:
        reaper: the subreaper's pid.
        leaders: pids of the processes that run, as /proc has them; what is in here is passed by unread.
    """

    def __init__(self, reaper: int, leaders: AbstractSet[bytes]) -> None:
        self._reaper = reaper
        self._leaders = leaders
        self._own = b"%d" % os.getpid()
        self._orphans: dict[bytes, Orphan] = {}
        self._shared = SharedScan(self._look)

    def can_be_seen(self) -> bool:
        """Tell whether this kernel shows a process's children."""
        return self._own in _children_of_thread(self._reaper, self._reaper)

    def now(self) -> list[Orphan] | None:
        """Return all there are; None if so many end that no reading can be trusted."""
        return self._shared.now()

    def _look(self) -> list[Orphan] | None:
        """Read until nobody left the list meanwhile.

        The kernel goes from one child to the next, but counts from the beginning if the one it had come to is gone, and
        then may pass by others. If all it has shown are there afterwards, that has not happened.
        """
        listed = self._listed()
        for _ in range(_READINGS):
            relisted = self._listed()
            if listed <= relisted:
                return self._read(listed)
            listed = relisted
        return None

    def _listed(self) -> set[bytes]:
        return set(_children_of_thread(self._reaper, self._reaper))

    def _read(self, pids: set[bytes]) -> list[Orphan]:
        """Return what is known of children, reading about those only that were not there before."""
        orphans: dict[bytes, Orphan] = {}
        for pid in pids - self._leaders:
            orphan = None if pid == self._own else self._read_one(pid)
            if orphan is not None:
                orphans[pid] = orphan
        self._orphans = orphans
        return list(orphans.values())

    def _read_one(self, pid: bytes) -> Orphan | None:
        orphan, inode = self._orphans.get(pid), _inode(pid)
        if orphan is not None and orphan.inode == inode:
            return orphan
        process = read_process(int(pid))
        return None if process is None else Orphan(process.pid, inode, process.session, read_mark(process.pid))


def _inode(pid: bytes) -> int:
    """Return the inode of a process's directory, which no later process has; 0 if it is gone."""
    try:
        return os.stat(b"/proc/" + pid).st_ino
    except _GONE:
        return 0
