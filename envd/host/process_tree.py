"""Process trees: everything a program has started, also what left its session and its parent."""

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

from .orphans import Orphans, Seen, SharedScan, children_of, read_mark, read_process

_KILL_ROUNDS = 100
_DEATH_S = 0.01
_WAITED_FOR = 64
_NO_PIDFDS = (errno.ENOSYS, errno.EPERM)  # gVisor and kernels before 5.3; a seccomp filter
_RLIMIT_LOCKS = 10  # missing from the resource module; setrlimit(2)


class ProcessTrees:
    """Finds and signals the trees of programs. Blocks: it reads /proc. For threads.

    A tree is a program and its descendants. Those whose parent has ended are children of the reaper then, and known by
    their session or mark; so it suffices to look at those, and at the descendants. That is as much work for one program
    as it has processes, and orphans there are, however many other programs run. Where the kernel shows no children all
    of /proc is read, once for all who wait.

    Args:
        reaper: the process that forked all programs, and to which orphans go.
        leaders: see Orphans.
    """

    def __init__(self, reaper: int, leaders: AbstractSet[bytes]) -> None:
        self._orphans = Orphans(reaper, leaders)
        self._reaper = reaper
        self._everything = SharedScan(_everything)
        self._children_are_shown = self._orphans.can_be_seen()

    def members(self, leader: int, mark: int) -> list[int]:
        """Return the pids of a program's living tree, the leader included.

        Args:
            leader: the program's pid, which is also its session.
            mark: the value of RLIMIT_LOCKS it was started with and every descendant inherits; 0 if it has none.
        """
        return [seen.pid for seen in self._members(leader, mark)]

    def signal(self, leader: int, mark: int, number: int) -> int:
        """Send a signal to a program's tree; return how many processes got it.

        SIGKILL is repeated until nobody is left, for a process may fork while it is being looked for.
        """
        if number != signal.SIGKILL:
            return sum(_send(seen, number) for seen in self._members(leader, mark))
        total = 0
        for _ in range(_KILL_ROUNDS):
            # Who has left the tree is looked for once nobody can leave it any more.
            found = self._below(leader) or self._members(leader, mark)
            if not found:
                break
            total += _kill(found)
        return total

    def holders(self, leader: int, mark: int, names: set[str], limit: int) -> list[int]:
        """Return the members of a tree, at most `limit`, that hold open what /proc/PID/fd shows by one of the names."""
        found = (pid for pid in self.members(leader, mark) if names & _open_files(pid))
        return [pid for pid, _ in zip(found, range(limit), strict=False)]

    def _members(self, leader: int, mark: int) -> list[Seen]:
        """Find the tree; empty only if nobody of it was alive at some moment after the call began.

        The leader first: it cannot come back, and once it is gone everybody in its tree descends from an orphan.
        """
        if not self._children_are_shown:
            return _members_of(self._everything.now(), leader, mark)
        below = self._below(leader)
        orphans = self._orphans.now()
        if orphans is None:
            return _members_of(self._everything.now(), leader, mark)
        left = (read_process(one.pid) for one in orphans if one.session == leader or (mark and one.mark == mark))
        return _living([*below, *self._with_descendants([seen for seen in left if seen is not None])])

    def _below(self, leader: int) -> list[Seen]:
        """Return a program and its descendants, those whose parents live."""
        first = read_process(leader) if self._children_are_shown else None
        if first is None or first.session != leader or first.zombie:
            return []
        return self._with_descendants([first])

    def _with_descendants(self, tops: list[Seen]) -> list[Seen]:
        tree = {seen.pid: seen for seen in tops}
        above = list(tree)
        while above:
            parent = above.pop()
            for pid in children_of(parent):
                seen = read_process(pid) if pid not in tree else None
                # Its parent may have ended since: then it is an orphan, and found as one in the next round.
                if seen is not None and seen.parent == parent:
                    tree[pid] = seen
                    above.append(pid)
        return _living(tree.values())


def _living(seen: Iterable[Seen]) -> list[Seen]:
    return sorted({one.pid: one for one in seen if not one.zombie}.values())


def _everything() -> dict[int, tuple[Seen, int]]:
    """Return all processes there are, with their marks."""
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return {seen.pid: (seen, read_mark(seen.pid)) for seen in map(read_process, pids) if seen is not None}


def _members_of(processes: dict[int, tuple[Seen, int]], leader: int, mark: int) -> list[Seen]:
    tree = {
        pid for pid, (seen, marked) in processes.items() if leader in (seen.session, pid) or (mark and marked == mark)
    }
    grown = True
    while grown:
        children = {pid for pid, (seen, _) in processes.items() if seen.parent in tree and pid not in tree}
        tree |= children
        grown = bool(children)
    return _living(processes[pid][0] for pid in tree)


def _kill(found: list[Seen]) -> int:
    """SIGKILL processes and give them a moment to die, before they are looked for again; return how many got it."""
    count = 0
    with contextlib.ExitStack() as unwind:
        dying: list[int] = []
        for seen in found:
            with _descriptor_of(seen) as descriptor:
                if _signal(seen, descriptor, signal.SIGKILL):
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
    until = time.monotonic() + _DEATH_S
    for descriptor in descriptors:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll(max(until - time.monotonic(), 0) * 1000)


def _send(seen: Seen, number: int) -> bool:
    with _descriptor_of(seen) as descriptor:
        return _signal(seen, descriptor, number)


def _signal(seen: Seen, descriptor: int | None, number: int) -> bool:
    """Signal a process by its pidfd, or by its pid where there are none; False if it is gone, or not ours to signal."""
    try:
        if descriptor is None:
            os.kill(seen.pid, number)
        elif descriptor < 0:
            return False
        else:
            signal.pidfd_send_signal(descriptor, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


@contextlib.contextmanager
def _descriptor_of(seen: Seen) -> Iterator[int | None]:
    """Yield a pidfd of exactly the process that was seen, not of a later one with its pid; -1 if it is gone.

    None where there are no pidfds: then the process was the one that was seen a moment ago.
    """
    with contextlib.ExitStack() as unwind:
        try:
            opened = os.pidfd_open(seen.pid)
            unwind.callback(os.close, opened)
            descriptor: int | None = opened
        except ProcessLookupError:
            descriptor = -1
        except OSError as exc:
            if exc.errno not in _NO_PIDFDS:
                raise
            descriptor = None
        again = read_process(seen.pid)
        yield descriptor if again is not None and again.started == seen.started else -1


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
        before = resource.getrlimit(_RLIMIT_LOCKS)
        resource.setrlimit(_RLIMIT_LOCKS, (probe, before[1]))
        try:
            return read_mark(os.getpid()) == probe
        finally:
            resource.setrlimit(_RLIMIT_LOCKS, before)
    except (OSError, ValueError):
        return False
