"""Every number and address the daemon can be told, and its defaults. Values are read once, before anything starts."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one client, request or message. Sizes in bytes, times in seconds.

    Attributes:
        file_s: how long a call waits for a file system that does not answer.
    """

    connections: int = 4096
    streams: int = 1024
    header_bytes: int = 64 * KIB
    message_bytes: int = 4 * MIB
    start_bytes: int = 32 * MIB
    input_bytes: int = 64 * MIB
    init_bytes: int = 1 * MIB
    idle_s: float = 640.0
    header_s: float = 30.0
    body_idle_s: float = 300.0
    unary_s: float = 3600.0
    file_s: float = 30.0
    peer_dead_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Output:
    """Bounds of kept processes and their output. Sizes in bytes, times in seconds.

    Attributes:
        live_bytes: of each live stream.
        finished_bytes: of each finished one.
        trimmed_bytes: of each live one when memory is short.
        total_bytes: of all together.
        stall_s: a subscriber that does not read is waited for, while others read on.
        return_s: one whose connection broke. Longer for one that reads with pauses, at most `stall_s`.
        return_after_kill_s: the same when the server was killed.
        drain_s: the end is announced when the output was quiet for so long after the exit ...
        drain_at_most_s: ... or so long after it; everything the process itself had printed is in the journal by then.
        finished_s: a finished process stays connectable.
        finished_programs: so many stay.
    """

    live_bytes: int = 4 * MIB
    finished_bytes: int = 1 * MIB
    trimmed_bytes: int = 64 * KIB
    total_bytes: int = 256 * MIB
    total_share_of_memory: int = 16
    stall_s: float = 30.0
    return_s: float = 5.0
    return_after_kill_s: float = 10.0
    drain_s: float = 0.2
    drain_at_most_s: float = 2.0
    finished_s: float = 600.0
    finished_programs: int = 1000


@dataclass(frozen=True, slots=True)
class Uploads:
    """Bounds of resumable uploads: their number, and the time they wait. Times in seconds.

    Attributes:
        at_once: of committed ones the oldest are forgotten first, then RESOURCE_EXHAUSTED.
        expiry_s: after the last part, an upload is removed.
        committed_s: a commit is remembered.
        ranges: of one upload that do not touch each other.
        parts: of one upload under way; RESOURCE_EXHAUSTED beyond.
        parts_of_all: of all uploads; the same.
    """

    at_once: int = 1000
    expiry_s: float = 24 * 3600.0
    committed_s: float = 600.0
    ranges: int = 10_000
    parts: int = 64
    parts_of_all: int = 256


@dataclass(frozen=True, slots=True)
class Watching:
    """Bounds of watches, and the time for which a watched directory may be away from its path. Times in seconds.

    Attributes:
        kept_watches: that are polled, or outlive their streams.
        kept_s: for so long after somebody has asked for one.
        events: that wait in one watch to be taken. Then it stops to listen, and looks for differences when they were.
        entries: in the pictures of all watches together.
        away_s: the path of a tree may lead elsewhere; a directory above that was renamed may be renamed back.
        directories: that one watch may follow.
        all_directories: that all watches together may follow; one that two follow counts twice.
    """

    kept_watches: int = 256
    kept_s: float = 3600.0
    events: int = 16_384
    entries: int = 262_144
    directories: int = 131_072
    all_directories: int = 262_144
    away_s: float = 0.5


@dataclass(frozen=True, slots=True)
class Config:
    """The daemon's configuration as the command line gives it.

    Attributes:
        token_fd: of the file in memory with the access token, None without one.
        allow_origins: web pages that may call while there is no token.
        allow_hosts: names under which the daemon may be called besides the loopback's.
    """

    listeners: tuple[int, ...] = ()
    log_level: str = "info"
    in_sandbox: bool = True
    token_fd: int | None = None
    allow_origins: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    stop_grace_s: float = 5.0
    strict_users: bool = False
    limits: Limits = Limits()
    output: Output = Output()
    uploads: Uploads = Uploads()
    watching: Watching = Watching()

    def to_json(self) -> str:
        """Serialise for the server's command line."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Config:
        """Read what to_json wrote; what is not there has its default, what is unknown is passed over."""
        fields = json.loads(text)
        for name in ("listeners", "allow_origins", "allow_hosts"):
            fields[name] = tuple(fields.get(name, ()))
        for part, kind in (("limits", Limits), ("output", Output), ("uploads", Uploads), ("watching", Watching)):
            fields[part] = kind(**_known(kind, fields.get(part, {})))
        return cls(**_known(cls, fields))


def _known(kind: type[Any], fields: dict[str, Any]) -> dict[str, Any]:
    """Return what a class has a field for: another version, which an update replaced, may have written more."""
    return {field.name: fields[field.name] for field in dataclasses.fields(kind) if field.name in fields}
