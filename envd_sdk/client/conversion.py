"""From the API's models to what callers see."""

from __future__ import annotations

from envd_sdk.client import models
from envd_sdk.sandbox_info import SandboxInfo, SandboxMetrics, SandboxState

_MIB = 1024 * 1024


def info_from(found: models.ListedSandbox) -> SandboxInfo:
    return SandboxInfo(
        sandbox_id=found.sandbox_id,
        template_id=found.template_id,
        name=found.alias,
        metadata=dict(found.metadata),
        started_at=found.started_at,
        end_at=found.end_at,
        state=SandboxState(found.state),
        cpu_count=found.cpu_count,
        memory_mb=found.memory_mb,
        envd_version=found.envd_version,
        sandbox_domain=found.domain if isinstance(found, models.SandboxDetail) else None,
    )


def metrics_from(found: models.SandboxMetric) -> SandboxMetrics:
    return SandboxMetrics(
        timestamp=found.timestamp,
        cpu_count=found.cpu_count,
        cpu_used_pct=found.cpu_used_pct,
        mem_used=found.mem_used or found.mem_used_mib * _MIB,
        mem_total=found.mem_total or found.mem_total_mib * _MIB,
        disk_used=found.disk_used,
        disk_total=found.disk_total,
    )
