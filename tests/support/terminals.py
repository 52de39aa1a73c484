"""Programs in terminals, through the process service."""

from __future__ import annotations

import re
import sys

from envd_proto.process.process_pb2 import (
    PTY,
    ProcessInput,
    ProcessSelector,
    SendInputRequest,
    SendInputResponse,
    StartRequest,
    StreamInputRequest,
    UpdateRequest,
)
from tests.support.process import SEND_INPUT, Follower, Outcome, Processes, shell, start_request

# Has the terminal pass bytes unchanged both ways, and says when.
RAW = "stty raw -echo; echo ready; "


def pty(cols: int = 80, rows: int = 24) -> PTY:
    return PTY(size=PTY.Size(cols=cols, rows=rows))


def in_terminal(request: StartRequest, cols: int = 80, rows: int = 24) -> StartRequest:
    """The same program in a terminal."""
    request.pty.CopyFrom(pty(cols, rows))
    return request


def terminal_shell(script: str, cols: int = 80, rows: int = 24, **options: object) -> StartRequest:
    """`/bin/sh -c` in a terminal; options as for `start_request`."""
    return in_terminal(shell(script, **options), cols, rows)


def terminal_python(code: str, *args: str, **options: object) -> StartRequest:
    """A Python program in a terminal, with as few imports as there can be."""
    return in_terminal(start_request(sys.executable, "-I", "-S", "-c", code, *args, **options))  # type: ignore[arg-type]


def printed(outcome: Outcome) -> bytes:
    """What came from the terminal."""
    return b"".join(data.pty for data in outcome.data)


async def until(follower: Follower, output: bytes) -> bytes:
    """Read until the terminal has shown that; return everything it has shown."""
    while output not in (seen := printed(follower.seen)):
        event = await follower.next()
        assert not event.HasField("end"), f"ended without printing {output!r}: {follower.seen.events}"
    return seen


async def matched(follower: Follower, pattern: bytes) -> re.Match[bytes]:
    """Read until the terminal has shown something like that."""
    while (match := re.search(pattern, printed(follower.seen))) is None:
        event = await follower.next()
        assert not event.HasField("end"), f"ended without printing {pattern!r}: {follower.seen.events}"
    return match


async def send_pty(processes: Processes, selector: ProcessSelector, data: bytes) -> None:
    """Type into a terminal."""
    request = SendInputRequest(process=selector, input=ProcessInput(pty=data))
    await processes.client.unary(SEND_INPUT, request, SendInputResponse)


def pty_data(data: bytes) -> StreamInputRequest:
    return StreamInputRequest(data=StreamInputRequest.DataEvent(input=ProcessInput(pty=data)))


async def resize(processes: Processes, selector: ProcessSelector, cols: int, rows: int) -> None:
    await processes.update(UpdateRequest(process=selector, pty=pty(cols, rows)))
