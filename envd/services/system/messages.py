"""Conversion of settings and usage from and to JSON, for REST, and messages of the contract."""

from __future__ import annotations

import calendar
import datetime as dt
import json
import logging
import re
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from envd import json_slices
from envd.errors import Code, EnvdError
from envd.host.init import InitSettings
from envd.host.metrics import Usage
from envd_proto.system import system_pb2 as pb

log = logging.getLogger("envd.host")

_AT_ONCE_CHARACTERS = 4096
_ELEMENTS = 65_536  # of a body that anybody may send
_S = 1_000_000_000
_MIB = 1024 * 1024
# The hour, too, is looked at here: Python takes 24 for the next midnight from 3.14 on.
_RFC_3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2})(?:\.([0-9]+))?(Z|[+-]([0-9]{2}):([0-9]{2}))"
)
# Of POST /init; nothing is done with them yet.
_WITHOUT_EFFECT = ("volumeMounts", "hyperloopIP", "lifecycleID", "caBundle")


def settings_from_json(data: bytes) -> InitSettings:
    """Read the body of POST /init; an empty one is an object without fields, and null is as good as absent.

    Raises:
        ValueError, TypeError: it is no such object.
    """
    try:
        fields = _decoded(data.decode()) if data else {}
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc
    if fields is None:
        fields = {}
    if not isinstance(fields, dict):
        raise TypeError("not an object")
    unused = [name for name in _WITHOUT_EFFECT if fields.get(name) is not None]
    if unused:
        log.info("fields of /init without effect", extra={"fields": unused})
    token, variables, timestamp = (fields.get(name) for name in ("accessToken", "envVars", "timestamp"))
    return InitSettings(
        token=None if token is None else _text(token),
        variables=None if variables is None else _texts(variables),
        default_user=_text(fields.get("defaultUser")),
        default_workdir=_text(fields.get("defaultWorkdir")),
        timestamp_ns=None if timestamp is None else ns_from_rfc3339(_text(timestamp)),
    )


def _decoded(text: str) -> Any:
    return json.loads(text) if len(text) < _AT_ONCE_CHARACTERS else json_slices.decode(text, _ELEMENTS)


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError("not a string")
    value.encode()  # half a surrogate pair is no text
    return value


def _texts(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return {_text(name): _text(text) for name, text in value.items()}


def ns_from_rfc3339(text: str) -> int:
    """Return nanoseconds since 1970; digits beyond them are cut off.

    Raises:
        ValueError: it is no time of RFC 3339.
    """
    match = _RFC_3339.fullmatch(text)
    if match is None:
        raise ValueError("not a time of RFC 3339")
    local, fraction, zone, hours, minutes = match.groups()
    offset_s = 0 if zone == "Z" else _offset_s(zone[0], int(hours), int(minutes))
    seconds = calendar.timegm(dt.datetime.fromisoformat(local).timetuple()) - offset_s
    return seconds * _S + int((fraction or "0")[:9].ljust(9, "0"))


def _offset_s(sign: str, hours: int, minutes: int) -> int:
    if hours > 23 or minutes > 59:
        raise ValueError("no such time zone")
    return (hours * 60 + minutes) * (-60 if sign == "-" else 60)


def settings_from(request: pb.InitRequest) -> InitSettings:
    """Read a message.

    Raises:
        EnvdError: INVALID_ARGUMENT for a time there is not.
    """
    timestamp = request.timestamp
    if not 0 <= timestamp.nanos < _S:
        raise EnvdError(Code.INVALID_ARGUMENT, f"timestamp.nanos must be from 0 to {_S - 1}, not {timestamp.nanos}")
    return InitSettings(
        token=request.access_token if request.HasField("access_token") else None,
        variables=request.env_vars.values if request.HasField("env_vars") else None,
        default_user=request.default_user,
        default_workdir=request.default_workdir,
        timestamp_ns=timestamp.seconds * _S + timestamp.nanos if request.HasField("timestamp") else None,
    )


def json_from_usage(usage: Usage) -> dict[str, Any]:
    """Return what GET /metrics answers."""
    return {
        "ts": int(usage.measured_at),
        "cpu_count": usage.cpu_count,
        "cpu_used_pct": round(usage.cpu_used_pct, 2),
        "mem_total_mib": usage.mem_total // _MIB,
        "mem_used_mib": usage.mem_used // _MIB,
        "mem_total": usage.mem_total,
        "mem_used": usage.mem_used,
        "mem_cache": usage.mem_cache,
        "disk_used": usage.disk_used,
        "disk_total": usage.disk_total,
    }


def metrics_from(usage: Usage) -> pb.MetricsResponse:
    """Return the message of a measurement."""
    return pb.MetricsResponse(
        time=timestamp_from(usage.measured_at),
        cpu_count=usage.cpu_count,
        cpu_used_pct=usage.cpu_used_pct,
        cpu_busy_us=usage.cpu_busy_us,
        cpu_total_us=usage.cpu_total_us,
        mem_total=usage.mem_total,
        mem_used=usage.mem_used,
        mem_cache=usage.mem_cache,
        disk_total=usage.disk_total,
        disk_used=usage.disk_used,
    )


def timestamp_from(unix_s: float) -> Timestamp:
    """Return the message of a time of day."""
    microseconds = round(unix_s * 1_000_000)
    return Timestamp(seconds=microseconds // 1_000_000, nanos=microseconds % 1_000_000 * 1000)
