"""Process trees, read from /proc: everything a program has started, also what left its session and its parent."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import time
from dataclasses import dataclass

_KILL_ROUNDS = 100
_RLIMIT_LOCKS = 10  # missing from the resource module; setrlimit(2)


@dataclass(frozen=True, slots=True)
class _Seen:
    """One process in one reading of /proc; the start time tells it from a later one with its pid."""

    pid: int
    parent: int
    session: int
    started: int
    zombie: bool


def members(leader: int, mark: int) -> list[int]:
    """Return the pids of a program's living tree, the leader included.

    Args:
        leader: the program's pid, which is also its session.
        mark: the value of RLIMIT_LOCKS it was started with and every descendant inherits; 0 if it has none.
    """
    return [seen.pid for seen in _members(leader, mark)]


def _members(leader: int, mark: int) -> list[_Seen]:
    processes = {seen.pid: seen for seen in map(_read, _pids()) if seen is not None}
    tree = {pid for pid, seen in processes.items() if leader in (seen.session, pid)}
    if mark:
        tree.update(pid for pid in processes if pid not in tree and _mark(pid) == mark)
    grown = True
    while grown:
        children = {pid for pid, seen in processes.items() if seen.parent in tree and pid not in tree}
        tree |= children
        grown = bool(children)
    return [processes[pid] for pid in sorted(tree) if not processes[pid].zombie]


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _read(pid: int) -> _Seen | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except OSError:
        return None
    # The name is in parentheses and may contain anything, so fields are counted from the last one. proc_pid_stat(5).
    fields = text[text.rindex(b")") + 2 :].split()
    return _Seen(pid, int(fields[1]), int(fields[3]), int(fields[19]), fields[0] in (b"Z", b"X"))


def _mark(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/limits", "rb") as file:
            for line in file:
                if line.startswith(b"Max file locks"):
                    soft = line.split()[3]
                    return int(soft) if soft.isdigit() else 0
    except OSError:
        pass
    return 0


def signal_tree(leader: int, mark: int, number: int) -> int:
    """Send a signal to a program's tree; return how many processes got it.

    SIGKILL is repeated until nobody is left, for a process may fork while it is being looked for. Blocks: reads /proc.
    """
    total = 0
    for _ in range(_KILL_ROUNDS if number == signal.SIGKILL else 1):
        found = _members(leader, mark)
        if not found:
            break
        total += sum(_send(seen, number) for seen in found)
        if number == signal.SIGKILL:
            time.sleep(0.001)  # the killed need a moment to die before they can be told from new ones
    return total


def _send(seen: _Seen, number: int) -> bool:
    """Signal exactly the process that was seen, not a later one with its pid."""
    try:
        descriptor = os.pidfd_open(seen.pid)
    except OSError:
        return False
    try:
        again = _read(seen.pid)
        if again is None or again.started != seen.started:
            return False
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(descriptor, number)
            return True
    finally:
        os.close(descriptor)
    return False


def holders(leader: int, mark: int, names: set[str], limit: int) -> list[int]:
    """Return the members of a tree, at most `limit`, that hold something open which /proc/PID/fd shows by a name."""
    found = (pid for pid in members(leader, mark) if names & _open_files(pid))
    return [pid for pid, _ in zip(found, range(limit), strict=False)]


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
            return _mark(os.getpid()) == probe
        finally:
            resource.setrlimit(_RLIMIT_LOCKS, before)
    except (OSError, ValueError):
        return False
