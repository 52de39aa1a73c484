"""A daemon to measure, and what the kernel says of its processes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running daemon: its port, the keeper's pid, and how long it took to answer its first health check."""

    port: int
    keeper: int
    started_ms: float

    @property
    def server(self) -> int:
        """The server's pid."""
        children = Path(f"/proc/{self.keeper}/task/{self.keeper}/children").read_text().split()
        return next(int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text() == "envd-server\n")

    def cpu_s(self) -> float:
        """Processor seconds of keeper and server so far, without the programs'."""
        return cpu_s_of(self.keeper) + cpu_s_of(self.server)

    def pss_mb(self) -> tuple[float, float]:
        """Proportional set size of keeper and server, in MB."""
        return _pss_mb(self.keeper), _pss_mb(self.server)


def cpu_s_of(pid: int) -> float:
    """Processor seconds of a process so far: of all its threads that still run."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def _pss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise ValueError("smaps_rollup without Pss")


@contextmanager
def running(*arguments: str, stderr: int | None = None) -> Iterator[Daemon]:
    """Start a daemon on a free port of the loopback interface; it is stopped on the way out."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "envd", "--port", "0", "--listen", "127.0.0.1", "--log-level", "warning"]
    process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=stderr, text=True)
    try:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        yield Daemon(int(ready["addresses"][0].rpartition(":")[2]), process.pid, (time.perf_counter() - began) * 1000)
    finally:
        process.terminate()
        process.wait(30)
