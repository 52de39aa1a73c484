"""Programs by pid and tag."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from .process import Process

_Key = TypeVar("_Key", int, str)


class Index:
    """Finds programs: a running one rather than a finished one, of several the newest.

    Attributes:
        leaders: pids of the programs that have not ended, as /proc has them; also read by threads.
    """

    def __init__(self) -> None:
        self.leaders: set[bytes] = set()
        self._by_pid: dict[int, list[Process]] = {}
        self._by_tag: dict[str, list[Process]] = {}

    def add(self, running: Process) -> None:
        """Take a program in."""
        self._by_pid.setdefault(running.pid, []).append(running)
        if running.command.tag is not None:
            self._by_tag.setdefault(running.command.tag, []).append(running)
        if running.alive:
            self.leaders.add(b"%d" % running.pid)

    def ended(self, running: Process) -> None:
        """Take note that a program has ended: its pid may become another's."""
        self.leaders.discard(b"%d" % running.pid)

    def remove(self, running: Process) -> None:
        """Forget a program."""
        _remove(self._by_pid, running.pid, running)
        if running.command.tag is not None:
            _remove(self._by_tag, running.command.tag, running)

    def by_pid(self, pid: int) -> Process | None:
        """Return the program with a pid."""
        return _newest(self._by_pid.get(pid, ()))

    def by_tag(self, tag: str) -> Process | None:
        """Return the program with a tag."""
        return _newest(self._by_tag.get(tag, ()))


def _remove(index: dict[_Key, list[Process]], key: _Key, running: Process) -> None:
    index[key].remove(running)
    if not index[key]:
        del index[key]


def _newest(those: Iterable[Process]) -> Process | None:
    return max(those, key=lambda running: (running.ended is None, running.identity.ident), default=None)
