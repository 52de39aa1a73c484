"""Programs in terminals, through the process service."""

from __future__ import annotations

import asyncio
import re
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from envd_proto.process.process_pb2 import (
    PTY,
    ConnectRequest,
    ConnectResponse,
    OutputPosition,
    ProcessEvent,
    ProcessInput,
    ProcessSelector,
    SendInputRequest,
    SendInputResponse,
    StartRequest,
    StreamInputRequest,
    UpdateRequest,
)
from tests.support.connect import Client, frame
from tests.support.faults import CUT_OFF
from tests.support.kernel import DEADLINE_S
from tests.support.process import CONNECT, SEND_INPUT, Follower, Outcome, Processes, shell, start_request

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
    await processes.wire.unary(SEND_INPUT, request, SendInputResponse)


def pty_data(data: bytes) -> StreamInputRequest:
    return StreamInputRequest(data=StreamInputRequest.DataEvent(input=ProcessInput(pty=data)))


async def resize(processes: Processes, selector: ProcessSelector, cols: int, rows: int) -> None:
    await processes.update(UpdateRequest(process=selector, pty=pty(cols, rows)))


# Prints at least so many numbered lines to a raw terminal, and until there is a file by that name; then exits with 3.
_FLOOD = """
import os, sys
total, stop, n = int(sys.argv[1]), sys.argv[2], 0
os.system("stty raw -echo")
while n < total or (stop and not os.path.exists(stop)):
    block = b"".join(b"%09d\\n" % i for i in range(n, n + 1000))
    n += 1000
    while block:
        block = block[os.write(1, block):]
os._exit(3)
"""


def flood(lines: int, stop: Path | None = None) -> StartRequest:
    """A program that prints numbered lines of ten bytes as fast as its terminal takes them, thousands of them.

    Args:
        lines: at least so many.
        stop: and until there is such a file.
    """
    return terminal_python(_FLOOD, str(lines), "" if stop is None else str(stop))


def flooded(lines: int) -> bytes:
    """What it prints."""
    return b"".join(b"%09d\n" % number for number in range(lines))


@dataclass(slots=True)
class TerminalReader:
    """Follows one terminal over as many connections as it takes, each begun where the last one broke.

    Every byte was checked to come once and in order.
    """

    client: Client
    pid: int
    seen: bytearray = field(default_factory=bytearray)
    connections: int = 0
    progress: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> ProcessEvent.EndEvent:
        """Follow to the end."""
        while True:
            with suppress(*CUT_OFF):
                return await self._follow()

    async def _follow(self) -> ProcessEvent.EndEvent:
        resume = OutputPosition(pty=len(self.seen))
        request = ConnectRequest(process=ProcessSelector(pid=self.pid), resume=resume)
        async with self.client.stream_raw(CONNECT, frame(self.client.codec.encode(request))) as stream:
            self.connections += 1
            async for message in stream.messages(ConnectResponse):
                event = message.event
                assert not event.HasField("gap"), event
                if event.HasField("data"):
                    assert event.data.offset == len(self.seen)
                    self.seen += event.data.pty
                    self.progress.set()
                elif event.HasField("end"):
                    return event.end
        raise AssertionError("the stream ended without an end")

    async def more(self) -> None:
        """Wait for the next piece."""
        self.progress.clear()
        async with asyncio.timeout(DEADLINE_S):
            await self.progress.wait()
