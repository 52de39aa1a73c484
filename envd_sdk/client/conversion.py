"""Converts the API's models to the SDK's types."""

from __future__ import annotations

from envd_sdk.client import models
from envd_sdk.sandbox_info import SandboxInfo, SandboxMetrics, SandboxState

_MIB = 1024 * 1024


def info_from(sandbox: models.ListedSandbox) -> SandboxInfo:
    return SandboxInfo(
        sandbox_id=sandbox.sandbox_id,
        template_id=sandbox.template_id,
        name=sandbox.alias,
        metadata=dict(sandbox.metadata),
        started_at=sandbox.started_at,
        end_at=sandbox.end_at,
        state=SandboxState(sandbox.state),
        cpu_count=sandbox.cpu_count,
        memory_mb=sandbox.memory_mb,
        envd_version=sandbox.envd_version,
        sandbox_domain=sandbox.domain if isinstance(sandbox, models.SandboxDetail) else None,
    )


def metrics_from(metric: models.SandboxMetric) -> SandboxMetrics:
    return SandboxMetrics(
        timestamp=metric.timestamp,
        cpu_count=metric.cpu_count,
        cpu_used_pct=metric.cpu_used_pct,
        mem_used=metric.mem_used or metric.mem_used_mib * _MIB,
        mem_total=metric.mem_total or metric.mem_total_mib * _MIB,
        disk_used=metric.disk_used,
        disk_total=metric.disk_total,
    )
