"""Programs that print much, readers that read it fast, slowly or not at all, and what that costs the server."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import os
import random
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest
from google.protobuf.message import Message

from envd.config import Config
from envd.process.stream import readable_bytes
from envd_proto.process.process_pb2 import (
    SIGNAL_SIGKILL,
    ConnectRequest,
    ConnectResponse,
    OutputPosition,
    ProcessEvent,
    ProcessSelector,
    StartRequest,
    StartResponse,
)
from tests.support.connect import Codec, ConnectError, Frame, error_in, frame
from tests.support.daemon import Daemon, daemon_of
from tests.support.http1 import request
from tests.support.process import CONNECT, START, Processes, pid, start_request

MIB = 1 << 20
DEADLINE_S = 60.0
_RECV_BYTES = 512 * 1024
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h

# The pattern: blocks of 1 MiB, each its number in 8 bytes and then always the same noise. No two blocks are equal, so
# bytes that are lost, doubled or moved show.
_BLOCK = MIB
_NOISE = random.Random(7).randbytes(_BLOCK - 8)
_PRINT_PATTERN = """
import os, random, sys
total, progress = int(sys.argv[1]), sys.argv[2]
counter = os.open(progress, os.O_WRONLY) if progress else -1
noise = random.Random(7).randbytes((1 << 20) - 8)
written = 0
while written < total:
    block = memoryview((written >> 20).to_bytes(8, "big") + noise)[: total - written]
    while block:
        done = os.write(1, block[:65536])
        written, block = written + done, block[done:]
        if counter >= 0:
            os.pwrite(counter, b"%20d" % written, 0)
"""


def pattern(begin: int, end: int) -> bytes:
    """Bytes [begin, end) of the pattern."""
    first = begin // _BLOCK
    blocks = [number.to_bytes(8, "big") + _NOISE for number in range(first, -(-end // _BLOCK))]
    return b"".join(blocks)[begin - first * _BLOCK : end - first * _BLOCK]


def printing(total: int, progress: Progress | None = None, *, tag: str | None = None) -> StartRequest:
    """A program that prints so many bytes of the pattern, and keeps `progress` up to date."""
    path = progress.path if progress is not None else ""
    return start_request(sys.executable, "-c", _PRINT_PATTERN, str(total), path, tag=tag, stdin=False)


class Progress:
    """How much a program started with `printing` has written, by its own account."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "progress")
        Path(self.path).write_bytes(b"%20d" % 0)

    def __call__(self) -> int:
        return int(Path(self.path).read_bytes() or b"0")


async def until(true: Callable[[], object], *, timeout_s: float = DEADLINE_S) -> None:
    """Look again and again until something is true, awaiting it if need be; TimeoutError if it does not become so."""
    async with asyncio.timeout(timeout_s):
        while True:
            result = true()
            if await result if inspect.isawaitable(result) else result:
                return
            await asyncio.sleep(0.02)


async def at_rest(value: Callable[[], int], *, quiet_s: float = 0.7, timeout_s: float = DEADLINE_S) -> int:
    """Wait until a number above zero has not changed for `quiet_s`, and return it."""
    last, since = value(), time.monotonic()
    async with asyncio.timeout(timeout_s):
        while not last or time.monotonic() - since < quiet_s:
            await asyncio.sleep(0.02)
            now = value()
            if now != last:
                last, since = now, time.monotonic()
    return last


def _set_receive_buffer(sock: socket.socket, size: int) -> None:
    """Set it beyond the machine's limit, too, or skip."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= size:
        return
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
    except PermissionError:
        pytest.skip("a receive buffer beyond net.core.rmem_max needs CAP_NET_ADMIN")


class Tap:
    """A stream of events read on a plain blocking socket, binary codec: nothing is read that the test does not read.

    Reading waits at most DEADLINE_S; call it in a thread. What was read is counted, not kept.
    """

    def __init__(
        self,
        port: int,
        method: str,
        message: Message,
        response: type[StartResponse | ConnectResponse],
        *,
        receive_buffer_bytes: int | None = None,
        sock: socket.socket | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self._response = response
        self.socket = sock or socket.socket()
        if receive_buffer_bytes is not None:
            _set_receive_buffer(self.socket, receive_buffer_bytes)
        self.socket.settimeout(DEADLINE_S)
        self._raw = bytearray()
        self._body = bytearray()
        self._over = False
        self._deaf = False
        self.pid = 0
        # Where the next byte of each stream is expected.
        self.begin = (0, 0)
        try:
            self.socket.connect((host, port))
            headers = {"Content-Type": Codec.PROTO.stream_type}
            self.socket.sendall(request("POST", f"/{method}", headers=headers, body=frame(message.SerializeToString())))
            self._read_head()
        except BaseException:
            self.socket.close()
            raise

    def _fill(self) -> None:
        if self._deaf:
            raise EOFError("no more is read here")
        data = self.socket.recv(_RECV_BYTES)
        if not data:
            raise EOFError("the connection ended inside a response")
        self._raw += data

    def _line(self) -> bytes:
        while (at := self._raw.find(b"\r\n")) < 0:
            self._fill()
        line = bytes(self._raw[:at])
        del self._raw[: at + 2]
        return line

    def _read_head(self) -> None:
        status = self._line()
        assert b" 200 " in status, status
        while self._line():
            pass

    def _chunk(self) -> None:
        size = int(self._line(), 16)
        while len(self._raw) < size + 2:
            self._fill()
        self._body += memoryview(self._raw)[:size]
        del self._raw[: size + 2]
        self._over = size == 0

    def _frame(self) -> Frame:
        while len(self._body) < 5 or len(self._body) < 5 + int.from_bytes(self._body[1:5], "big"):
            if self._over:
                raise EOFError("the body ended without an end-stream frame")
            self._chunk()
        flags, length = struct.unpack_from(">BI", self._body)
        payload = bytes(memoryview(self._body)[5 : 5 + length])
        del self._body[: 5 + length]
        return Frame(flags, payload)

    def events(self) -> Iterator[ProcessEvent]:
        """Events as they come; returns after a good end of the stream, ConnectError after a bad one."""
        while True:
            found = self._frame()
            if found.is_end:
                error = error_in(found)
                if error:
                    raise error
                return
            event = self._response.FromString(found.payload).event
            if event.HasField("start"):
                self.pid = event.start.pid
                self.begin = (event.start.position.stdout, event.start.position.stderr)
            yield event

    def start_event(self) -> ProcessEvent:
        return next(self.events())

    def read_stdout(self, size: int, *, bytes_per_s: float | None = None) -> bytes:
        """At least so many more bytes of standard output; all there is if it ends before."""
        got = bytearray()
        began = time.monotonic()
        for event in self.events():
            got += event.data.stdout
            if bytes_per_s is not None:  # a pace, not a wait for something
                time.sleep(max(began + len(got) / bytes_per_s - time.monotonic(), 0))
            if len(got) >= size:
                break
        return bytes(got)

    def rest(self) -> Rest:
        """Everything to the end of the stream, put back together by its offsets."""
        found = Rest()
        for event in self.events():
            found.add(event)
        return found

    def in_kernel(self) -> bytes:
        """What the kernel has received but this reader has not read; to the sender that is received."""
        self.socket.setblocking(False)
        try:
            return self.socket.recv(16 * MIB, socket.MSG_PEEK)
        except BlockingIOError:
            return b""
        finally:
            self.socket.settimeout(DEADLINE_S)

    def unread_bytes(self) -> int:
        """How many bytes that are."""
        return readable_bytes(self.socket.fileno())

    def received(self) -> list[ProcessEvent]:
        """Every whole event received beyond those read so far. Afterwards the tap can only be closed."""
        self._raw += self.in_kernel()
        self._deaf = True
        found = []
        with suppress(EOFError):
            for event in self.events():
                found.append(event)
        return found

    def reset(self) -> None:
        """Go away with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        self.socket.close()


@dataclasses.dataclass(slots=True)
class Rest:
    """What was left of a stream."""

    stdout: bytearray = dataclasses.field(default_factory=bytearray)
    stderr: bytearray = dataclasses.field(default_factory=bytearray)
    gaps: list[tuple[int, int, int]] = dataclasses.field(default_factory=list)
    end: ProcessEvent.EndEvent | None = None
    first_stdout: int | None = None

    def add(self, event: ProcessEvent) -> None:
        if event.HasField("data"):
            if event.data.stdout and self.first_stdout is None:
                self.first_stdout = event.data.offset
            self.stdout += event.data.stdout
            self.stderr += event.data.stderr
        elif event.HasField("gap"):
            self.gaps.append((event.gap.stream, event.gap.begin, event.gap.end))
        elif event.HasField("end"):
            self.end = event.end


@asynccontextmanager
async def tap_start(
    processes: Processes, message: StartRequest, *, receive_buffer_bytes: int | None = None
) -> AsyncIterator[Tap]:
    """Start a program and tap its stream, its start event read; killed on the way out if it still runs."""
    tap = await asyncio.to_thread(
        Tap, processes.client.port, START, message, StartResponse, receive_buffer_bytes=receive_buffer_bytes
    )
    try:
        await asyncio.to_thread(tap.start_event)
        yield tap
    finally:
        tap.close()
        with suppress(ConnectError, OSError, EOFError):
            await processes.signal(pid(tap.pid), SIGNAL_SIGKILL)


@asynccontextmanager
async def tap_connect(
    port: int,
    selector: ProcessSelector,
    *,
    resume: OutputPosition | None = None,
    receive_buffer_bytes: int | None = None,
) -> AsyncIterator[Tap]:
    """Tap a program that was started before, the start event read."""
    message = ConnectRequest(process=selector, resume=resume)
    tap = await asyncio.to_thread(
        Tap, port, CONNECT, message, ConnectResponse, receive_buffer_bytes=receive_buffer_bytes
    )
    try:
        await asyncio.to_thread(tap.start_event)
        yield tap
    finally:
        tap.close()


def descriptors(process: int) -> int:
    """How many descriptors a process has open."""
    return len(os.listdir(f"/proc/{process}/fd"))


def resident_bytes(process: int) -> int:
    """RSS; memory files are not in it."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def memory_file_bytes(process: int) -> int:
    """Memory held by the memory files a process has open: journals and ledgers."""
    total = 0
    for fd in os.listdir(f"/proc/{process}/fd"):
        with suppress(FileNotFoundError):
            path = f"/proc/{process}/fd/{fd}"
            if os.readlink(path).startswith("/memfd:"):
                total += os.stat(path).st_blocks * 512
    return total


@dataclasses.dataclass(slots=True)
class Peak:
    """The most a server used while it was watched, beyond what it had resident at first."""

    resident_growth: int = 0
    memory_files: int = 0
    samples: int = 0


@asynccontextmanager
async def watching_memory(process: int) -> AsyncIterator[Peak]:
    """Sample a process's memory twenty times a second, and once more at the end."""
    peak, before = Peak(), resident_bytes(process)

    def sample() -> None:
        peak.resident_growth = max(peak.resident_growth, resident_bytes(process) - before)
        peak.memory_files = max(peak.memory_files, memory_file_bytes(process))
        peak.samples += 1

    async def sample_on() -> None:
        while True:
            sample()
            await asyncio.sleep(0.05)

    task = asyncio.create_task(sample_on())
    try:
        yield peak
        sample()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


# The command line has no option for sizes and times: this starts the daemon as it does, with a configuration.
_LAUNCH = """
import dataclasses, os, sys
from envd import __main__ as command
from envd.config import Config
listener = command._bind(sys.argv[2], 0)
os.set_inheritable(listener.fileno(), True)
config = dataclasses.replace(Config.from_json(sys.argv[1]), listeners=(listener.detach(),))
command._become_keeper(config.to_json(), config.log_level)
"""


@contextmanager
def configured(config: Config, host: str = "127.0.0.1") -> Iterator[Daemon]:
    """A daemon with sizes and times of one's own, so that a test need not wait for the usual ones."""
    with daemon_of([sys.executable, "-c", _LAUNCH, config.to_json(), host]) as daemon:
        yield daemon


@asynccontextmanager
async def configured_daemon(config: Config, host: str = "127.0.0.1") -> AsyncIterator[Daemon]:
    """The same for one async test."""
    manager = configured(config, host)
    daemon = await asyncio.to_thread(manager.__enter__)
    try:
        yield daemon
    finally:
        await asyncio.to_thread(manager.__exit__, None, None, None)
