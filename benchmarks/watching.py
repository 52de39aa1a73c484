"""What it costs to be told of changes.

`python benchmarks/watching.py` prints these rows alone.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import selectors
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.daemon import Daemon, running
from envd_proto.filesystem import filesystem_pb2 as pb

Row = Callable[..., None]

_TOUCHES = 10_000
_SAMPLES = 2000
_TOUCH = f"""
import os
for number in range({_TOUCHES}):
    path = f"touched-{{number}}"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
    os.utime(path)
"""
_DRAIN = "--drain"
_CROWD = 100
_CROWD_FILES = 1000
_PAUSE_S = 0.005
_TREES = "i=0; while [ $i -lt 1000 ]; do mkdir -p $i/b/c/d && echo x > $i/b/c/d/f; i=$((i+1)); done"


def measure(row: Row) -> None:
    """Print the rows."""
    with running() as daemon:
        _latency(row, daemon)
        _touches(row, daemon)
        _trees(row, daemon)
        _crowd(row, daemon)


class _Stream:
    """A WatchDir whose messages are only counted."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._data = b""

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._sock.fileno()

    def read(self) -> int:
        """Return how many messages came in one read."""
        piece = self._sock.recv(1 << 20)
        if not piece:
            raise ConnectionError("the daemon closed the connection")
        self._data += piece
        return self._count()

    def _count(self) -> int:
        """Take whole chunks of the body apart, and the frames in them; a chunk holds whole frames."""
        count = 0
        while (end := self._data.find(b"\r\n")) >= 0:
            size = int(self._data[:end], 16)
            chunk = self._data[end + 2 : end + 2 + size]
            if len(self._data) < end + 4 + size:
                break
            self._data = self._data[end + 4 + size :]
            at = 0
            while at < len(chunk):
                at += 5 + int(struct.unpack_from(">I", chunk, at + 1)[0])
                count += 1
        return count


@contextmanager
def _watched(port: int, *, recursive: bool = False) -> Iterator[tuple[_Stream, Path]]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as root, _watching(port, root, recursive=recursive) as stream:
        yield stream, Path(root)


@contextmanager
def _watching(port: int, root: str, *, recursive: bool) -> Iterator[_Stream]:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        payload = pb.WatchDirRequest(path=root, recursive=recursive).SerializeToString()
        body = struct.pack(">BI", 0, len(payload)) + payload
        head = (
            "POST /filesystem.Filesystem/WatchDir HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Type: application/connect+proto\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        sock.sendall(head.encode() + body)
        data = b""
        while b"\r\n\r\n" not in data:
            data += sock.recv(4096)
        stream = _Stream(sock)
        stream._data = data.partition(b"\r\n\r\n")[2]  # noqa: SLF001 - what came with the head
        started = stream._count()  # noqa: SLF001
        while not started:
            started = stream.read()
        yield stream


def _latency(row: Row, daemon: Daemon) -> None:
    with _watched(daemon.port) as (stream, root):
        times = []
        for number in range(_SAMPLES):
            path = root / str(number)
            began = time.perf_counter()
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
            count = stream.read()
            while not count:
                count = stream.read()
            times.append((time.perf_counter() - began) * 1e6)
    p50, p99 = statistics.median(times), statistics.quantiles(times, n=100)[98]
    row("WatchDir, create to event, p50 / p99", f"{p50:.0f} / {p99:.0f} us")


def _touches(row: Row, daemon: Daemon) -> None:
    with _watched(daemon.port) as (stream, root):
        cpu, began = daemon.cpu_s(), time.perf_counter()
        maker = subprocess.Popen([sys.executable, "-c", _TOUCH], cwd=root)
        events = 0
        while events < 2 * _TOUCHES:
            events += stream.read()
        took, cpu = time.perf_counter() - began, daemon.cpu_s() - cpu
        maker.wait()
    row("WatchDir, 10 000 touches", f"{events} in {took:.2f} s, {cpu:.2f} s CPU")


def _trees(row: Row, daemon: Daemon) -> None:
    with _watched(daemon.port, recursive=True) as (stream, root):
        cpu, began = daemon.cpu_s(), time.perf_counter()
        maker = subprocess.Popen(["/bin/sh", "-c", _TREES], cwd=root)
        events = 0
        while maker.poll() is None or events < 6000:  # a CREATE for each of five entries, a WRITE for the file
            events += stream.read()
            if events >= 6000:
                break
        took, cpu = time.perf_counter() - began, daemon.cpu_s() - cpu
        maker.wait()
    row("WatchDir, 1000 times mkdir -p a/b/c/d", f"{events} in {took:.2f} s, {cpu:.2f} s CPU")


def _crowd(row: Row, daemon: Daemon) -> None:
    """Stat, every 5 ms, while each of 1000 new files is told to 100 streams of one tree."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as root, contextlib.ExitStack() as stack:
        crowd = [sys.executable, __file__, _DRAIN, str(daemon.port), root]
        readers = subprocess.Popen(crowd, stdout=subprocess.PIPE, text=True)
        stack.callback(readers.wait)
        stack.callback(readers.terminate)
        assert readers.stdout is not None
        readers.stdout.readline()
        cpu, began = daemon.cpu_s(), time.perf_counter()
        for number in range(_CROWD_FILES):
            Path(root, str(number)).write_text("x")
        times = []
        while readers.poll() is None:
            times.append(_stat(daemon.port, root))
            time.sleep(_PAUSE_S)
        took, cpu = time.perf_counter() - began, daemon.cpu_s() - cpu
    p50, worst = statistics.median(times) * 1e3, max(times) * 1e3
    row(
        "Stat beside 100 watches of 1000 new files, p50 / max",
        f"{p50:.1f} / {worst:.0f} ms, {took:.2f} s, {cpu:.2f} s CPU",
    )


def _stat(port: int, path: str) -> float:
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port)
    with contextlib.closing(connection):
        body = json.dumps({"path": path})
        connection.request("POST", "/filesystem.Filesystem/Stat", body, {"Content-Type": "application/json"})
        connection.getresponse().read()
    return time.perf_counter() - began


def _drain(port: int, root: str) -> None:
    """Watch a tree many times, and read until each stream has told of all files. A process of its own."""
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(_watching(port, root, recursive=True)) for _ in range(_CROWD)]
        print("ready", flush=True)
        waiting = selectors.DefaultSelector()
        for stream in streams:
            waiting.register(stream, selectors.EVENT_READ)
        left = dict.fromkeys(streams, 2 * _CROWD_FILES)  # a CREATE and a WRITE
        while left:
            for key, _ in waiting.select():
                ready = key.fileobj
                assert isinstance(ready, _Stream)
                left[ready] -= ready.read()
                if left[ready] <= 0:
                    del left[ready]
                    waiting.unregister(ready)


def _print(work: str, here: str, beside: str = "") -> None:
    print(f"{work:44} {here:>28}  {beside}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == [_DRAIN]:
        _drain(int(sys.argv[2]), sys.argv[3])
    else:
        measure(_print)
