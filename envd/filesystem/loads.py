"""Counts the file work that goes on, by device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .steps import Step, StepLimits

_MANY_STUCK = 32


@dataclass(slots=True)
class _Load:
    """The file work on one device.

    Attributes:
        running: steps that have a thread.
        long: those of them that take long and get on.
        stuck: those of them that do not get on.
        full_since: since when all of them are stuck and there may be no more; None if that is not so.
    """

    running: int = 0
    long: int = 0
    stuck: int = 0
    full_since: float | None = None


class Loads:
    """The file work on all devices. One thread at a time uses it.

    Attributes:
        silent: devices on which something is stuck.
        stuck: how many steps are.
    """

    def __init__(self, sizes: StepLimits) -> None:
        self._sizes = sizes
        self._running: dict[Step[Any], None] = {}
        self._devices: dict[str, _Load] = {}
        self.silent: set[str] = set()
        self.stuck = 0

    def __len__(self) -> int:
        return len(self._running)

    def __iter__(self) -> Iterator[Step[Any]]:
        return iter(list(self._running))

    def has(self, step: Step[Any]) -> bool:
        """Return whether a thread has it."""
        return step in self._running

    def room(self, devices: tuple[str, ...]) -> bool:
        """Return whether one more step may begin on all of these devices."""
        sizes, running = self._sizes, len(self._running)
        if running >= sizes.threads or running - self.stuck >= sizes.working:
            return False
        most = sizes.device_in_need if self.stuck >= _MANY_STUCK else sizes.device
        loads = [load for load in map(self._devices.get, devices) if load is not None]
        return all(load.running - load.long < most and load.running < sizes.working for load in loads)

    def add(self, step: Step[Any]) -> None:
        """Count a step that gets a thread."""
        self._running[step] = None
        self._count(step, 1)

    def remove(self, step: Step[Any]) -> None:
        """Count it no more."""
        del self._running[step]
        self._count(step, -1)
        step.stuck = step.long = False

    def move(self, step: Step[Any], devices: tuple[str, ...]) -> None:
        """Count it elsewhere."""
        if step in self._running:
            self._count(step, -1)
            step.devices = devices
            self._count(step, 1)

    def look(self, step: Step[Any], now: float) -> bool:
        """See whether a step gets on; True if it is stuck and was not."""
        was_stuck = step.stuck
        self._count(step, -1)
        step.look(now)
        self._count(step, 1)
        return step.stuck and not was_stuck

    def look_at_devices(self, now: float) -> None:
        """Note which devices are full of what does not get on."""
        for device, load in self._devices.items():
            if load.stuck < load.running or self.room((device,)):
                load.full_since = None
            elif load.full_since is None:
                load.full_since = now

    def full_since(self, devices: tuple[str, ...]) -> float | None:
        """Return since when nothing can begin on these devices because nothing there gets on; None if it can."""
        since = [load.full_since for load in map(self._devices.get, devices) if load is not None]
        return min((time for time in since if time is not None), default=None)

    @property
    def exhausted(self) -> bool:
        """All threads that there may be are stuck."""
        return len(self._running) >= self._sizes.threads and self.stuck == len(self._running)

    def _count(self, step: Step[Any], sign: int) -> None:
        self.stuck += sign * step.stuck
        for device in step.devices:
            load = self._devices.setdefault(device, _Load())
            load.running += sign
            load.stuck += sign * step.stuck
            load.long += sign * step.long
            if load.stuck:
                self.silent.add(device)
            else:
                self.silent.discard(device)
            if not load.running and sign < 0:
                del self._devices[device]
