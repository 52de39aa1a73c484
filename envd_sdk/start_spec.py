"""The request that starts a command. No network in here."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from envd_proto.process import process_pb2 as pb
from envd_sdk.exceptions import InvalidArgumentException
from envd_sdk.messages import size_from, text
from envd_sdk.results import PtySize

# As published SDKs run commands: a login shell, which has the user's profile.
_SHELL = "/bin/bash"
# Of output in one message at most: as much as a daemon sends.
EVENT_BYTES = 128 * 1024
# A daemon ends a command whose time is up; this side waits so much longer, in seconds, for the news of it.
NEWS_S = 5.0


@dataclass(frozen=True)
class StartSpec:
    """A command to start.

    Attributes:
        timeout_s: after which the daemon ends it; None for never.
        size: of the terminal to run it in; None for pipes.
        stdin: it gets an input pipe.
        tag: a name to find it by.
        key: two starts with the same key are one; None makes one up.
    """

    cmd: str
    args: tuple[str, ...] = ()
    cwd: str | None = None
    envs: Mapping[str, str] | None = None
    timeout_s: float | None = None
    size: PtySize | None = None
    stdin: bool = False
    tag: str | None = None
    key: str | None = None

    def request(self) -> pb.StartRequest:
        """The message, the same for every attempt: its idempotency key lets the command run once."""
        for name, value in (self.envs or {}).items():
            text(value, what=f"the variable {name}")
        request = pb.StartRequest(
            process=pb.ProcessConfig(cmd=self.cmd, args=self.args, envs=self.envs, cwd=self.cwd),
            stdin=self.stdin,
            tag=self.tag,
            idempotency_key=self.key or uuid.uuid4().hex,
            # From the first byte, also if an earlier attempt has started it; and gaps are understood.
            resume=pb.OutputPosition(),
            event_bytes=EVENT_BYTES,
        )
        if self.timeout_s is not None:
            request.timeouts.wall_ms = max(1, round(self.timeout_s * 1000))
        if self.size is not None:
            request.pty.CopyFrom(size_from(self.size))
        return request


def shell(cmd: str) -> tuple[str, tuple[str, ...]]:
    """Return a command line as an executable and its arguments.

    Raises:
        InvalidArgumentException: it is no string.
    """
    if not isinstance(cmd, str):
        # A list is what subprocess takes; here it would be run by no shell.
        raise InvalidArgumentException(f"the command is {type(cmd).__name__}: give one line, shlex.join(...) of a list")
    return _SHELL, ("-l", "-c", cmd)


def limit(timeout: float | None, *, name: str = "timeout") -> float | None:
    """Seconds, or None for no limit, which 0 means too.

    Raises:
        InvalidArgumentException: it is negative, or no number.
    """
    if timeout is None or timeout == 0:
        return None
    if not isinstance(timeout, int | float):
        raise InvalidArgumentException(f"{name} is {timeout!r}: give seconds, or 0 for no limit")
    if timeout < 0:
        raise InvalidArgumentException(f"{name} is {timeout}: give seconds, or 0 for no limit")
    return timeout
