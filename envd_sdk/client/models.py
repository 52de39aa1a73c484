"""Requests and answers of the control plane's REST API, by its names in Python's spelling."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from envd_sdk.sandbox_info import SandboxState

_SPELLINGS = {"id": "ID", "mb": "MB", "mib": "MiB"}


def json_name(name: str) -> str:
    """`sandbox_id` is `sandboxID`."""
    first, *rest = name.split("_")
    return first + "".join(_SPELLINGS.get(part, part.capitalize()) for part in rest)


@dataclass(frozen=True)
class Model:
    """Something with a form in JSON. What is not known is ignored, what is missing has its default."""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        values = {}
        for attribute in dataclasses.fields(cls):
            value = data.get(json_name(attribute.name))
            if value is not None:
                values[attribute.name] = _time(value) if "datetime" in str(attribute.type) else value
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, without what is None."""
        values = ((attribute.name, getattr(self, attribute.name)) for attribute in dataclasses.fields(self))
        return {json_name(name): value for name, value in values if value is not None}


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


@dataclass(frozen=True)
class NewSandbox(Model):
    """A sandbox to make. `timeout` is in seconds; None is the control plane's default, 15."""

    template_id: str
    timeout: int | None = None
    metadata: Mapping[str, str] | None = None
    env_vars: Mapping[str, str] | None = None
    secure: bool | None = None
    auto_pause: bool | None = None
    allow_internet_access: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        values = super().to_dict()
        # The one name the API does not spell like the others.
        if "allowInternetAccess" in values:
            values["allow_internet_access"] = values.pop("allowInternetAccess")
        return values


@dataclass(frozen=True)
class ResumedSandbox(Model):
    """The request to resume a sandbox. `timeout` is in seconds."""

    timeout: int | None = None
    auto_pause: bool | None = None


@dataclass(frozen=True)
class Sandbox(Model):
    """A sandbox that can be used."""

    sandbox_id: str
    template_id: str = ""
    client_id: str = ""
    envd_version: str = ""
    alias: str | None = None
    envd_access_token: str | None = field(default=None, repr=False)
    traffic_access_token: str | None = field(default=None, repr=False)
    domain: str | None = None


@dataclass(frozen=True)
class ListedSandbox(Model):
    """A sandbox in a list."""

    sandbox_id: str
    template_id: str = ""
    client_id: str = ""
    alias: str | None = None
    cpu_count: int = 0
    memory_mb: int = 0
    disk_size_mb: int = 0
    started_at: datetime | None = None
    end_at: datetime | None = None
    state: str = SandboxState.RUNNING.value
    metadata: Mapping[str, str] = field(default_factory=dict)
    envd_version: str = ""


@dataclass(frozen=True)
class SandboxDetail(ListedSandbox):
    """A sandbox with what its own clients need."""

    envd_access_token: str | None = field(default=None, repr=False)
    domain: str | None = None


@dataclass(frozen=True)
class SandboxLog(Model):
    """One line of a sandbox's log."""

    timestamp: datetime | None = None
    line: str = ""


@dataclass(frozen=True)
class SandboxLogs(Model):
    """Lines of a sandbox's log, oldest first."""

    logs: Sequence[SandboxLog] = ()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        return cls(tuple(SandboxLog.from_dict(log) for log in data.get("logs") or ()))


@dataclass(frozen=True)
class SandboxMetric(Model):
    """The resources a sandbox used at one moment; `mem_*` and `disk_*` in bytes, `*_mib` in MiB."""

    timestamp: datetime | None = None
    cpu_count: int = 0
    cpu_used_pct: float = 0.0
    mem_used: int = 0
    mem_total: int = 0
    mem_used_mib: int = 0
    mem_total_mib: int = 0
    disk_used: int = 0
    disk_total: int = 0


@dataclass(frozen=True)
class RunningSandboxWithMetrics(ListedSandbox):
    """A sandbox that runs, with what it used lately."""

    metrics: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Template(Model):
    """A template."""

    template_id: str
    build_id: str = ""
    cpu_count: int = 0
    memory_mb: int = 0
    public: bool = False
    aliases: Sequence[str] = ()
    created_at: datetime | None = None
    updated_at: datetime | None = None
    last_spawned_at: datetime | None = None
    created_by: Mapping[str, Any] | None = None
    build_count: int = 0
    spawn_count: int = 0
    build_status: str = ""
    envd_version: str = ""


@dataclass(frozen=True)
class TemplateBuildRequest(Model):
    """A template to build."""

    dockerfile: str
    alias: str | None = None
    team_id: str | None = None
    start_cmd: str | None = None
    ready_cmd: str | None = None
    cpu_count: int | None = None
    memory_mb: int | None = None


@dataclass(frozen=True)
class TemplateUpdateRequest(Model):
    """Changes to a template."""

    public: bool | None = None


@dataclass(frozen=True)
class TemplateBuild(Model):
    """The progress of a build."""

    template_id: str
    build_id: str = ""
    status: str = ""
    logs: Sequence[str] = ()


@dataclass(frozen=True)
class Team(Model):
    """A team."""

    team_id: str
    name: str = ""
    api_key: str = field(default="", repr=False)
    is_default: bool = False


@dataclass(frozen=True)
class Error(Model):
    """The body of an answer that is no success."""

    code: int = 0
    message: str = ""
