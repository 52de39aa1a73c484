"""Usage of the machine as /proc has it: processors, memory, the disk at /. No container's own share."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from dataclasses import dataclass

from envd.errors import Code, EnvdError, from_os_error

log = logging.getLogger("envd.host")

PERIOD_S = 2.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_IDLE, _IO_WAIT, _GUEST = 3, 4, 8  # columns of /proc/stat; guest time is in user time already. proc_stat(5)


@dataclass(frozen=True, slots=True)
class Processors:
    """Number of processors; the ticks that all together were busy, and had, since the machine was started."""

    count: int
    busy: int
    total: int


@dataclass(frozen=True, slots=True)
class Usage:
    """One measurement; sizes in bytes.

    Attributes:
        at: Unix seconds.
        cpu_used_pct: busy share of all processors, over the last seconds.
        cpu_busy_us: time all processors were busy since the machine was started.
        cpu_total_us: time they had.
        mem_used: memory that processes cannot have.
        mem_cache: memory that holds file content and can be given back.
        disk_used: space that users other than root cannot fill any more.
    """

    measured_at: float
    cpu_count: int
    cpu_used_pct: float
    cpu_busy_us: int
    cpu_total_us: int
    mem_total: int
    mem_used: int
    mem_cache: int
    disk_total: int
    disk_used: int


class Meter:
    """Measures usage. The processors' share is that of the last period, for every caller and however often it asks."""

    def __init__(self) -> None:
        self._previous: Processors | None = None
        self._latest: Processors | None = None

    async def watch(self) -> None:
        """Read the processors' times once per period, for ever; where that cannot be done, not at all."""
        try:
            while True:
                self._previous, self._latest = self._latest, await asyncio.to_thread(_processors)
                await asyncio.sleep(PERIOD_S)
        except EnvdError as exc:
            log.warning("processors cannot be watched", extra={"reason": exc.message})

    async def measure(self) -> Usage:
        """Return what is used now.

        Raises:
            EnvdError: INTERNAL if this kernel does not say.
        """
        return await asyncio.to_thread(self._measure)

    def _measure(self) -> Usage:
        now, previous, latest = _processors(), self._previous, self._latest
        # Before the first period is over there is only its beginning.
        begin, end = (previous, latest) if previous and latest else (latest or now, now)
        memory = _memory()
        disk_total, disk_used = _disk()
        return Usage(
            measured_at=time.time(),
            cpu_count=now.count,
            cpu_used_pct=share(begin, end),
            cpu_busy_us=_us(now.busy),
            cpu_total_us=_us(now.total),
            mem_total=memory["MemTotal"],
            mem_used=memory["MemTotal"] - memory["MemAvailable"],
            mem_cache=memory["Cached"] + memory["SReclaimable"],
            disk_total=disk_total,
            disk_used=disk_used,
        )


def share(begin: Processors, end: Processors) -> float:
    """Return the busy share between two readings in percent, 0 to 100."""
    busy, total = end.busy - begin.busy, end.total - begin.total
    return min(100.0, 100.0 * busy / total) if busy > 0 and total > 0 else 0.0


def _us(ticks: int) -> int:
    return ticks * 1_000_000 // _TICKS_PER_S


def _processors() -> Processors:
    lines = [line.split() for line in _text("/proc/stat").splitlines() if line.startswith("cpu")]
    if not lines:
        raise EnvdError(Code.INTERNAL, "/proc/stat does not have the processors' times")
    times = [int(field) for field in lines[0][1 : 1 + _GUEST]]
    total = sum(times)
    return Processors(len(lines) - 1, total - times[_IDLE] - times[_IO_WAIT], total)


def _memory() -> dict[str, int]:
    """Return /proc/meminfo in bytes; what this kernel does not have is 0."""
    sizes = {"MemTotal": 0, "MemAvailable": 0, "Cached": 0, "SReclaimable": 0}
    for line in _text("/proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        if name in sizes:
            sizes[name] = int(value.split()[0]) * 1024
    return sizes


def _disk() -> tuple[int, int]:
    try:
        disk = os.statvfs("/")
    except OSError as exc:
        raise from_os_error(exc, doing="statvfs /") from exc
    return disk.f_blocks * disk.f_frsize, (disk.f_blocks - disk.f_bavail) * disk.f_frsize


def _text(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError as exc:
        raise EnvdError(Code.INTERNAL, f"read {path}: {os.strerror(exc.errno or 0).lower()}") from exc
