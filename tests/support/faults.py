"""Breaking things on purpose, and reading what is left: killed servers, hanging directories, scripted servers."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from envd_proto.process.process_pb2 import (
    ConnectRequest,
    ConnectResponse,
    OutputPosition,
    ProcessEvent,
    ProcessSelector,
    StartRequest,
    StartResponse,
)
from tests.support.connect import Client, ConnectError, frame
from tests.support.daemon import ROOT, Daemon
from tests.support.kernel import children, descendants, open_pidfds, readable
from tests.support.process import CONNECT, START
from tests.support.wires import RpcError

DEADLINE_S = 60.0

ValueT = TypeVar("ValueT")

# What a call ends with when the server is killed under it.
CUT_OFF = (EOFError, OSError)


# Reading the kernel.


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def memory_kib(pid: int) -> int:
    """Memory a process has for itself, pages shared with others counted in part (PSS).

    Without what files are mapped to: that share grows when another interpreter on the machine ends.
    """
    return _field(f"/proc/{pid}/smaps_rollup", "Pss_Anon:")


def peak_bytes(pid: int) -> int:
    """The most memory a process has had in use."""
    return _field(f"/proc/{pid}/status", "VmHWM:") * 1024


def _field(path: str, name: str) -> int:
    for line in Path(path).read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise AssertionError(f"no {name} in {path}")


def zombies(parent: int) -> list[int]:
    """The children of a process that have ended and were not waited for."""
    found = []
    for pid in children(parent):
        with suppress(OSError):
            if "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text():
                found.append(pid)
    return found


async def settled(
    read: Callable[[], ValueT], good: Callable[[ValueT], bool], *, timeout_s: float = DEADLINE_S
) -> ValueT:
    """Look again until a reading is good; the last reading when the time is over, for the caller to judge.

    For what the kernel announces to nobody: counts of descriptors, of zombies, of memory.
    """
    deadline = asyncio.get_running_loop().time() + timeout_s
    while not good(value := read()) and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.02)
    return value


# Programs over a server that dies.


async def persist(call: Callable[[], Awaitable[ValueT]]) -> ValueT:
    """Make a call again for as long as the server is killed under it, also if the port says that this was too often."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                return await call()
            except CUT_OFF:
                continue
            except RpcError as exc:
                if "HTTP 503" not in str(exc):
                    raise
                await asyncio.sleep(0.05)


async def launch(client: Client, request: StartRequest, *, timeout_ms: int | None = None) -> int:
    """Start a program and leave at once; return its pid. Nobody follows it then."""
    headers = {} if timeout_ms is None else {"Connect-Timeout-Ms": str(timeout_ms)}
    async with client.stream_raw(START, frame(client.codec.encode(request)), headers=headers) as stream:
        async for message in stream.messages(StartResponse):
            return message.event.start.pid
    raise AssertionError("the stream of a Start had no events")


@dataclass(slots=True)
class Reader:
    """Follows one program over as many connections as it takes, each begun where the last one broke.

    Attributes:
        out, err: what was read; every byte was checked to come once and in order.
        connections: how many streams it took.
        progress: set whenever something was read.
    """

    client: Client
    pid: int
    out: bytearray = field(default_factory=bytearray)
    err: bytearray = field(default_factory=bytearray)
    end: ProcessEvent.EndEvent | None = None
    connections: int = 0
    progress: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[ProcessEvent.EndEvent] | None = None

    def start(self) -> asyncio.Task[ProcessEvent.EndEvent]:
        """Follow to the end, in a task whose result is the end."""
        self.task = asyncio.create_task(self._run())
        self.task.add_done_callback(lambda _: self.progress.set())
        return self.task

    async def _run(self) -> ProcessEvent.EndEvent:
        while self.end is None:
            with suppress(*CUT_OFF):
                await self._follow()
        return self.end

    async def _follow(self) -> None:
        resume = OutputPosition(stdout=len(self.out), stderr=len(self.err))
        request = ConnectRequest(process=ProcessSelector(pid=self.pid), resume=resume)
        async with self.client.stream_raw(CONNECT, frame(self.client.codec.encode(request))) as stream:
            self.connections += 1
            async for message in stream.messages(ConnectResponse):
                self._take(message.event, resume)

    def _take(self, event: ProcessEvent, resume: OutputPosition) -> None:
        kind = event.WhichOneof("event")
        if kind == "start":
            assert event.start.pid == self.pid
            assert event.start.position == resume
        elif kind == "data":
            which = event.data.WhichOneof("output")
            taken = self.out if which == "stdout" else self.err
            assert event.data.offset == len(taken), f"{which} of {self.pid}: {event.data.offset} after {len(taken)}"
            taken += getattr(event.data, str(which))
            self.progress.set()
        elif kind == "end":
            self.end = event.end
        else:
            assert kind == "keepalive", f"{self.pid} lost output: {event}"

    async def more(self, count: int) -> None:
        """Wait until that many more pieces were read; raises what its task has failed with."""
        for _ in range(count):
            self.progress.clear()
            async with asyncio.timeout(DEADLINE_S):
                await self.progress.wait()
            if self.task is not None and self.task.done():
                self.task.result()


# A directory that hangs.

_MS_NOSUID_NODEV = 2 | 4
_MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


class HangingDirectory:
    """A mounted filesystem that nobody serves: whoever enters it waits, as on a dead network mount.

    Source: fuse(4), linux/fuse.h.
    """

    _HEADER = struct.Struct("<IIQQIIII")  # length, opcode, unique, node, uid, gid, pid, padding
    _INIT, _DESTROY, _FORGET = 26, 38, (2, 42)
    _GETATTR, _ENOSYS = 3, 38
    # Version 7.31, then read-ahead, flags, limits; the rest of the 64 bytes are zeros.
    _INIT_REPLY = struct.pack("<IIIIHHI", 7, 31, 4096, 0, 0, 0, 4096).ljust(64, b"\0")
    # Valid for a second; node 1, a directory everybody may enter.
    _ATTRIBUTES = struct.pack("<QII", 1, 0, 0) + struct.pack("<QQQQQQIIIIIIIIII", 1, *(0,) * 8, 0o40755, 2, *(0,) * 5)

    def __init__(self) -> None:
        self.path = tempfile.mkdtemp(prefix="envd-hang-")
        os.chmod(self.path, 0o755)
        self._mounted = False
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._fd = os.open("/dev/fuse", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def mount(self) -> None:
        """Put it there; OSError where that is not allowed."""
        options = f"fd={self._fd},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        if _libc.mount(b"hang", self.path.encode(), b"fuse", _MS_NOSUID_NODEV, options) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        self._mounted = True

    def answer(self) -> None:
        """Begin to serve: whoever waits goes on, in an empty directory."""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        while not self._stop.is_set():
            if poll.poll(20):
                self._reply(os.read(self._fd, 1 << 20))

    def _reply(self, request: bytes) -> None:
        _, opcode, unique, *_ = self._HEADER.unpack_from(request)
        if opcode in (self._DESTROY, *self._FORGET):
            return
        reply = {self._INIT: self._INIT_REPLY, self._GETATTR: self._ATTRIBUTES}.get(opcode, b"")
        number = 0 if reply else -self._ENOSYS
        with suppress(OSError):  # whoever asked may be gone
            os.write(self._fd, struct.pack("<IiQ", 16 + len(reply), number, unique) + reply)

    def close(self) -> None:
        """Take it away; whoever still waits gets an error. May be called again."""
        if self._stop.is_set():
            return
        self._stop.set()
        if self._thread is not None:
            self._thread.join(DEADLINE_S)
        if self._mounted:
            _libc.umount2(self.path.encode(), _MNT_DETACH)
        os.close(self._fd)
        with suppress(OSError):
            os.rmdir(self.path)


@contextmanager
def hanging_directory() -> Iterator[HangingDirectory]:
    """A directory that hangs whoever enters it; skips where none can be made."""
    try:
        directory = HangingDirectory()
    except OSError as exc:
        pytest.skip(f"cannot open /dev/fuse: {exc.strerror}")
    try:
        try:
            directory.mount()
        except OSError as exc:
            pytest.skip(f"cannot mount a FUSE filesystem: {exc.strerror}")
        yield directory
    finally:
        directory.close()


# A keeper with a server that does what the test says.

_SCRIPT = f"""
import json, os, signal, socket, sys
sys.path.append({str(ROOT)!r})
from envd.keeper import wire
sock = socket.socket(fileno=int(os.environ["ENVD_KEEPER_FD"]))
generation = int(os.environ["ENVD_GENERATION"])

def say(**fields):
    print(json.dumps(fields), flush=True)

def tell(*message, fds=()):
    wire.send(sock, wire.pack(message), list(fds))

def recipe(*argv):
    return {{"argv": [text.encode() for text in argv], "env": {{b"PATH": b"/usr/bin:/bin"}}, "cwd": b"/",
            "fallback_cwd": b"",
            "credentials": None, "rlimits": [], "nice": 0, "oom_score_adj": 0, "mark": 0, "tty": False}}

def spawn(ident, *argv, stdin=None, held=()):
    null = os.open(os.devnull, os.O_RDWR)
    stdio = [null if stdin is None else stdin, null, null]
    tell(wire.SPAWN, ident, recipe(*argv), list(range(len(held))), fds=[*stdio, *held])
    os.close(null)

def hear(*kinds):
    while True:
        message, fds = wire.receive(sock)
        if message is None or message[0] in kinds:
            return message, fds

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def stay():
    while hear(wire.DRAIN)[0] is None:
        break
"""


class Keeper:
    """A real keeper; its server is a script, and what the script says is read here."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.pid = process.pid

    async def said(self) -> dict[str, Any]:
        """The next thing the server said."""
        assert self.process.stdout is not None
        return await self._line(self.process.stdout)

    async def noted(self) -> dict[str, Any]:
        """The next line the keeper logged."""
        assert self.process.stderr is not None
        return await self._line(self.process.stderr)

    async def _line(self, stream: asyncio.StreamReader) -> dict[str, Any]:
        async with asyncio.timeout(DEADLINE_S):
            line = await stream.readline()
        assert line, "the keeper ended"
        found: dict[str, Any] = json.loads(line)
        return found

    async def ended(self) -> int:
        async with asyncio.timeout(DEADLINE_S):
            return await self.process.wait()


@asynccontextmanager
async def keeper_of(*command: str, stderr: int = asyncio.subprocess.PIPE) -> AsyncIterator[Keeper]:
    """A keeper whose server is a command."""
    run = "import sys;sys.path.append(sys.argv[1]);from envd.keeper.keeper import Keeper;"
    run += "sys.exit(Keeper(sys.argv[2],sys.argv[2:],[]).run())"
    # Not a subreaper: that is set before the keeper's interpreter is executed, and these tests need none.
    line = [sys.executable, "-I", "-S", "-Xutf8", "-c", run, str(ROOT), *command]
    process = await asyncio.create_subprocess_exec(
        *line, stdin=subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=stderr
    )
    try:
        yield Keeper(process)
    finally:
        with open_pidfds([*descendants(process.pid), process.pid]) as fds:
            for fd in fds:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
            await process.communicate()


@asynccontextmanager
async def scripted_keeper(script: str) -> AsyncIterator[Keeper]:
    """A keeper whose server, of every generation, runs a script; see the names above it."""
    async with keeper_of(sys.executable, "-I", "-c", _SCRIPT + script) as keeper:
        yield keeper


# A daemon started in an unusual way.


@asynccontextmanager
async def shell_daemon(script: str, *arguments: str, **options: Any) -> AsyncIterator[subprocess.Popen[bytes]]:
    """A daemon started by a shell script that ends in `exec "$@"`; its readiness line is on stdout, to be read."""
    command = [sys.executable, "-m", "envd", "--port", "0", "--listen", "127.0.0.1", *arguments]
    process = subprocess.Popen(
        ["/bin/sh", "-c", script, "sh", *command],
        **{"cwd": ROOT, "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, **options},
    )
    try:
        yield process
    finally:
        with open_pidfds([*descendants(process.pid), process.pid]) as fds:
            for fd in fds:
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


async def port_of(process: subprocess.Popen[bytes]) -> int:
    """The port in a daemon's readiness line."""
    assert process.stdout is not None
    async with asyncio.timeout(DEADLINE_S):
        await readable(process.stdout.fileno())
        line = await asyncio.to_thread(process.stdout.readline)
    return int(json.loads(line)["addresses"][0].rpartition(":")[2])


async def kill_server(daemon: Daemon) -> int:
    """SIGKILL the server and wait until it is gone; waits for one to be there first."""
    await settled(lambda: _server(daemon), bool)
    return await asyncio.to_thread(daemon.kill_server)


async def new_server(daemon: Daemon, old: int) -> int:
    """The pid of the server that follows another."""
    return await settled(lambda: _server(daemon), lambda pid: pid not in (0, old))


def _server(daemon: Daemon) -> int:
    try:
        return daemon.server_pid()
    except AssertionError:
        return 0


def refused(error: pytest.ExceptionInfo[ConnectError]) -> tuple[str, str]:
    """The code and the message of an answer."""
    return error.value.code, error.value.message
