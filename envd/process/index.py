"""Processes by pid and tag."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from .process import Process

_Key = TypeVar("_Key", int, str)


class Index:
    """Finds processes: a running one rather than a finished one, of several the newest.

    Attributes:
        leaders: pids of the processes that have not ended, as /proc has them; also read by threads.
    """

    def __init__(self) -> None:
        self.leaders: set[bytes] = set()
        self._by_pid: dict[int, list[Process]] = {}
        self._by_tag: dict[str, list[Process]] = {}

    def add(self, process: Process) -> None:
        """Add a process."""
        self._by_pid.setdefault(process.pid, []).append(process)
        if process.command.tag is not None:
            self._by_tag.setdefault(process.command.tag, []).append(process)
        if process.alive:
            self.leaders.add(b"%d" % process.pid)

    def ended(self, process: Process) -> None:
        """Record that a process has ended: its pid may become another's."""
        self.leaders.discard(b"%d" % process.pid)

    def remove(self, process: Process) -> None:
        """Forget a process."""
        _remove(self._by_pid, process.pid, process)
        if process.command.tag is not None:
            _remove(self._by_tag, process.command.tag, process)

    def by_pid(self, pid: int) -> Process | None:
        """Return the process with a pid."""
        return _newest(self._by_pid.get(pid, ()))

    def by_tag(self, tag: str) -> Process | None:
        """Return the process with a tag."""
        return _newest(self._by_tag.get(tag, ()))


def _remove(index: dict[_Key, list[Process]], key: _Key, process: Process) -> None:
    index[key].remove(process)
    if not index[key]:
        del index[key]


def _newest(those: Iterable[Process]) -> Process | None:
    return max(those, key=lambda process: (process.ended is None, process.identity.ident), default=None)
