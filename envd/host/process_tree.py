"""Process trees: everything a process has started, also what left its session and its parent."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import select
import signal
import time
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet

from .orphans import Orphans, ProcessStat, SharedScan, children_of, read_mark, read_process

_KILL_ROUNDS = 100
_DEATH_S = 0.01
_WAITED_FOR = 64
_NO_PIDFDS = (errno.ENOSYS, errno.EPERM)  # gVisor and kernels before 5.3; a seccomp filter
_RLIMIT_LOCKS = 10  # missing from the resource module; setrlimit(2)


class ProcessTrees:
    """Finds and signals the trees of processes. Blocks: it reads /proc. For threads.

    A tree is a process and its descendants. Those whose parent has ended are children of the reaper then, and known by
    their session or mark; so it suffices to look at those, and at the descendants. That is as much work for one process
    as it has processes, and orphans there are, however many other processes run. Where the kernel shows no children all
    of /proc is read, once for all callers that wait.

    Args:
        reaper: the process that forked all processes, and to which orphans go.
        leaders: see Orphans.
    """

    def __init__(self, reaper: int, leaders: AbstractSet[bytes]) -> None:
        self._orphans = Orphans(reaper, leaders)
        self._reaper = reaper
        self._everything = SharedScan(_everything)
        self._children_are_shown = self._orphans.can_be_seen()

    def members(self, leader: int, mark: int) -> list[int]:
        """Return the pids of a process's living tree, the leader included.

        Args:
            leader: the process's pid, which is also its session.
            mark: the value of RLIMIT_LOCKS it was started with and every descendant inherits; 0 if it has none.
        """
        return [process.pid for process in self._members(leader, mark)]

    def signal(self, leader: int, mark: int, number: int) -> int:
        """Send a signal to a process's tree; return how many processes got it.

        SIGKILL is repeated until none is left, for a process may fork while it is being looked for.
        """
        if number != signal.SIGKILL:
            return sum(_send(process, number) for process in self._members(leader, mark))
        total = 0
        for _ in range(_KILL_ROUNDS):
            # Orphans are looked for once no process can leave the tree any more.
            processes = self._below(leader) or self._members(leader, mark)
            if not processes:
                break
            total += _kill(processes)
        return total

    def holders(self, leader: int, mark: int, names: set[str], limit: int) -> list[int]:
        """Return the members of a tree, at most `limit`, that hold open what /proc/PID/fd shows by one of the names."""
        pids = (pid for pid in self.members(leader, mark) if names & _open_files(pid))
        return [pid for pid, _ in zip(pids, range(limit), strict=False)]

    def _members(self, leader: int, mark: int) -> list[ProcessStat]:
        """Find the tree; empty only if nobody of it was alive at some moment after the call began.

        The leader first: it cannot come back, and once it is gone everybody in its tree descends from an orphan.
        """
        if not self._children_are_shown:
            return _members_of(self._everything.now(), leader, mark)
        below = self._below(leader)
        orphans = self._orphans.now()
        if orphans is None:
            return _members_of(self._everything.now(), leader, mark)
        orphaned = (
            read_process(process.pid)
            for process in orphans
            if process.session == leader or (mark and process.mark == mark)
        )
        return _living([*below, *self._with_descendants([process for process in orphaned if process is not None])])

    def _below(self, leader: int) -> list[ProcessStat]:
        """Return a process and its descendants, those whose parents live."""
        first = read_process(leader) if self._children_are_shown else None
        if first is None or first.session != leader or first.zombie:
            return []
        return self._with_descendants([first])

    def _with_descendants(self, tops: list[ProcessStat]) -> list[ProcessStat]:
        tree = {process.pid: process for process in tops}
        above = list(tree)
        while above:
            parent = above.pop()
            for pid in children_of(parent):
                process = read_process(pid) if pid not in tree else None
                # Its parent may have ended since: then it is an orphan, and found as one in the next round.
                if process is not None and process.parent == parent:
                    tree[pid] = process
                    above.append(pid)
        return _living(tree.values())


def _living(processes: Iterable[ProcessStat]) -> list[ProcessStat]:
    return sorted({process.pid: process for process in processes if not process.zombie}.values())


def _everything() -> dict[int, tuple[ProcessStat, int]]:
    """Return all processes there are, with their marks."""
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return {
        process.pid: (process, read_mark(process.pid)) for process in map(read_process, pids) if process is not None
    }


def _members_of(processes: dict[int, tuple[ProcessStat, int]], leader: int, mark: int) -> list[ProcessStat]:
    tree = {
        pid
        for pid, (process, marked) in processes.items()
        if leader in (process.session, pid) or (mark and marked == mark)
    }
    grown = True
    while grown:
        children = {pid for pid, (process, _) in processes.items() if process.parent in tree and pid not in tree}
        tree |= children
        grown = bool(children)
    return _living(processes[pid][0] for pid in tree)


def _kill(processes: list[ProcessStat]) -> int:
    """SIGKILL processes and give them a moment to die, before they are looked for again; return how many got it."""
    count = 0
    with contextlib.ExitStack() as unwind:
        dying: list[int] = []
        for process in processes:
            with _descriptor_of(process) as descriptor:
                if _signal(process, descriptor, signal.SIGKILL):
                    count += 1
                    if descriptor is not None and len(dying) < _WAITED_FOR:
                        dying.append(os.dup(descriptor))
                        unwind.callback(os.close, dying[-1])
        if dying or not count:
            _await_deaths(dying)
        else:
            time.sleep(_DEATH_S)
    return count


def _await_deaths(descriptors: list[int]) -> None:
    """Wait a moment until all have died."""
    deadline = time.monotonic() + _DEATH_S
    for descriptor in descriptors:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll(max(deadline - time.monotonic(), 0) * 1000)


def _send(process: ProcessStat, number: int) -> bool:
    with _descriptor_of(process) as descriptor:
        return _signal(process, descriptor, number)


def _signal(process: ProcessStat, descriptor: int | None, number: int) -> bool:
    """Signal a process by its pidfd, or by its pid where there are none; False if it is gone, or not ours to signal."""
    try:
        if descriptor is None:
            os.kill(process.pid, number)
        elif descriptor < 0:
            return False
        else:
            signal.pidfd_send_signal(descriptor, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


@contextlib.contextmanager
def _descriptor_of(process: ProcessStat) -> Iterator[int | None]:
    """Yield a pidfd of exactly the process that was seen, not of a later one with its pid; -1 if it is gone.

    None where there are no pidfds: then the process was the one that was seen a moment ago.
    """
    with contextlib.ExitStack() as unwind:
        try:
            opened = os.pidfd_open(process.pid)
            unwind.callback(os.close, opened)
            descriptor: int | None = opened
        except ProcessLookupError:
            descriptor = -1
        except OSError as exc:
            if exc.errno not in _NO_PIDFDS:
                raise
            descriptor = None
        again = read_process(process.pid)
        yield descriptor if again is not None and again.started == process.started else -1


def _open_files(pid: int) -> set[str]:
    folder = f"/proc/{pid}/fd"
    links = set()
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            with contextlib.suppress(OSError):
                links.add(os.readlink(f"{folder}/{name}"))
    return links


def marks_work() -> bool:
    """Tell whether this kernel keeps and shows RLIMIT_LOCKS; a sandboxing kernel may not."""
    probe = 0x5EED
    try:
        limits = resource.getrlimit(_RLIMIT_LOCKS)
        resource.setrlimit(_RLIMIT_LOCKS, (probe, limits[1]))
        try:
            return read_mark(os.getpid()) == probe
        finally:
            resource.setrlimit(_RLIMIT_LOCKS, limits)
    except (OSError, ValueError):
        return False
