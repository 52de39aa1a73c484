"""Information that a control plane has about a sandbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class SandboxState(StrEnum):
    """The state of a sandbox."""

    RUNNING = "running"
    PAUSED = "paused"


@dataclass
class SandboxInfo:
    """A sandbox as the control plane knows it.

    Attributes:
        sandbox_id: names it.
        template_id: what it was made from.
        name: the template's alias.
        metadata: given when it was made.
        started_at: when it was made.
        end_at: when its time is up.
        state: running or paused.
        cpu_count: virtual processors.
        memory_mb: MiB.
        envd_version: of its daemon.
    """

    sandbox_id: str
    template_id: str = ""
    name: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    started_at: datetime | None = None
    end_at: datetime | None = None
    state: SandboxState = SandboxState.RUNNING
    cpu_count: int = 0
    memory_mb: int = 0
    envd_version: str = ""
    sandbox_domain: str | None = None


@dataclass
class SandboxMetrics:
    """The resources a sandbox used at one moment.

    Attributes:
        timestamp: of that moment.
        cpu_count: virtual processors.
        cpu_used_pct: share of all of them, 0 to 100.
        mem_used: bytes.
        mem_total: bytes.
        disk_used: bytes.
        disk_total: bytes.
    """

    timestamp: datetime | None
    cpu_count: int = 0
    cpu_used_pct: float = 0.0
    mem_used: int = 0
    mem_total: int = 0
    disk_used: int = 0
    disk_total: int = 0


@dataclass(frozen=True)
class SandboxQuery:
    """A selection of sandboxes: those with all of the metadata, in one of the states. None is any."""

    metadata: Mapping[str, str] | None = None
    state: Sequence[SandboxState] | None = None
