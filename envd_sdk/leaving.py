"""Positions at which handles were disconnected. No network in here."""

from __future__ import annotations

from envd_sdk.results import OutputPosition

_REMEMBERED = 1000


class Left:
    """The positions of one sandbox's handles by pid, for the next connection. The newest thousand."""

    def __init__(self) -> None:
        self._places: dict[int, OutputPosition] = {}

    def note(self, pid: int, position: OutputPosition) -> None:
        self._places.pop(pid, None)
        self._places[pid] = position
        while len(self._places) > _REMEMBERED:
            self._places.pop(next(iter(self._places)), None)

    def take(self, pid: int | None) -> OutputPosition | None:
        return None if pid is None else self._places.pop(pid, None)
