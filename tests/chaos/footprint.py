"""What keeper and server use, to compare the end with the beginning."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

from tests.support.daemon import Daemon
from tests.support.faults import memory_kib, zombies

# What a finished program that is kept, for ten minutes and at most a thousand, may have.
_MEMORY_FILES_OF_A_PROGRAM = 3  # two journals and a ledger
_KEEPER_KIB_OF_A_PROGRAM = 2
_SERVER_KIB_OF_A_PROGRAM = 24
# What may differ between two looks at a daemon at rest.
_SLACK = {
    "keeper_kib": 1024,
    "server_kib": 24 * 1024,
    "keeper_fds": 4,
    "server_fds": 32,
    "memory_files": 16,
    "threads": 96,
}


@dataclass(frozen=True, slots=True)
class Footprint:
    """A daemon at rest.

    Attributes:
        keeper_kib, server_kib: memory beyond what finished programs that are kept may have.
        keeper_fds, server_fds: without memory files.
        memory_files: of the keeper, beyond those of such programs.
    """

    keeper_kib: int
    server_kib: int
    keeper_fds: int
    server_fds: int
    memory_files: int
    threads: int
    zombies: int
    temporaries: int

    @classmethod
    def of(cls, daemon: Daemon, root: Path, *, kept: int) -> Footprint:
        """Look at a daemon that keeps so many finished programs."""
        server = daemon.server_pid()
        (keeper_memory, keeper_fds), (_, server_fds) = _descriptors(daemon.pid), _descriptors(server)
        return cls(
            memory_kib(daemon.pid) - _KEEPER_KIB_OF_A_PROGRAM * kept,
            memory_kib(server) - _SERVER_KIB_OF_A_PROGRAM * kept,
            keeper_fds,
            server_fds,
            max(keeper_memory - _MEMORY_FILES_OF_A_PROGRAM * kept, 0),
            len(os.listdir(f"/proc/{daemon.pid}/task")) + len(os.listdir(f"/proc/{server}/task")),
            len(zombies(daemon.pid)) + len(zombies(server)),
            sum(1 for _ in root.rglob(".envd-*")),
        )

    def growth_since(self, before: Footprint) -> dict[str, int]:
        """Return what there is more of than a daemon at rest may differ by."""
        grown = {one.name: getattr(self, one.name) - getattr(before, one.name) for one in fields(self)}
        return {name: more for name, more in grown.items() if more > _SLACK.get(name, 0)}


def _descriptors(pid: int) -> tuple[int, int]:
    """Return how many memory files a process has open, and how many others."""
    memory = others = 0
    for name in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):  # closed meanwhile
            if os.readlink(f"/proc/{pid}/fd/{name}").startswith("/memfd:"):
                memory += 1
            else:
                others += 1
    return memory, others
