"""What operations on trees cost: processor time per call of all the daemon's processes, so that waits do not count.

`python benchmarks/trees.py` prints these rows alone. With PYTHONPATH=OTHER it measures the daemon of another checkout.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parent.parent))

from google.protobuf.message import Message

from benchmarks.daemon import Daemon, cpu_s_of, running
from benchmarks.wire import Client
from envd_proto.filesystem import archive_pb2 as archive
from envd_proto.filesystem import filesystem_pb2 as pb
from envd_proto.filesystem import search_pb2 as search

Row = Callable[..., None]

_ROUNDS = 5
_CROWD = 100_000
_TREE = (50, 20, 50)  # directories, directories in each, files in each of those
_SMALL = 5000
_DEEP = 1000
_STREAM = "application/connect+proto"


def measure(row: Row) -> None:
    """Print the rows."""
    top = Path(tempfile.mkdtemp())
    try:
        with running() as daemon:
            _listings(row, daemon, top)
            _searches(row, daemon)
            _copies(row, daemon, top)
            _others(row, daemon, top)
    finally:
        subprocess.run(["rm", "-rf", top], check=True)


def _listings(row: Row, daemon: Daemon, top: Path) -> None:
    crowd, tree = top / "crowd", top / "tree"
    crowd.mkdir()
    for number in range(_CROWD):
        (crowd / f"entry-{number:06d}").touch()
    one, other, files = _TREE
    for at in range(one * other):
        below = tree / f"d{at // other}/d{at % other}"
        below.mkdir(parents=True)
        for number in range(files):
            (below / f"f{number}").touch()
    listed = _stream("ListEntries", pb.ListEntriesRequest(path=str(crowd)))
    _row(row, daemon, "ListEntries, 100 000 in a directory", listed)
    _row(row, daemon, "ListDir, 50 000 in a tree", _unary("ListDir", pb.ListDirRequest(path=str(tree), depth=4)))
    watched = _unary("CreateWatcher", pb.CreateWatcherRequest(path=str(tree), recursive=True))
    _row(row, daemon, "recursive watch of the same tree", watched)


def _searches(row: Row, daemon: Daemon) -> None:
    library = os.path.dirname(os.__file__)
    found = _stream("Find", search.FindRequest(selection=search.Selection(path=library)))
    _row(row, daemon, "Find, the standard library", found)
    pattern = search.Pattern(text="deprecated_since", fixed=True)
    request = search.GrepRequest(selection=search.Selection(path=library), pattern=pattern)
    _row(row, daemon, "Grep, a word in it", _stream("Grep", request))


def _copies(row: Row, daemon: Daemon, top: Path) -> None:
    small, copy = top / "small", top / "copy"
    small.mkdir()
    for number in range(_SMALL):
        (small / f"{number}").write_bytes(b"x" * 1000)
    request = pb.CopyRequest(source=str(small), destination=str(copy), recursive=True)
    _row(row, daemon, "Copy, 5000 small files", _unary("Copy", request), lambda: shutil.rmtree(copy))
    _row(row, daemon, "Archive, 5000 small files", _stream("Archive", archive.ArchiveRequest(path=str(small))))

    def again() -> None:
        shutil.copytree(small, copy)

    again()
    _row(row, daemon, "Remove, 5000 small files", _unary("Remove", pb.RemoveRequest(path=str(copy))), again)


def _others(row: Row, daemon: Daemon, top: Path) -> None:
    deep = top / "deep"
    deep.mkdir()
    fd = os.open(deep, os.O_RDONLY)
    for _ in range(_DEEP):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    found = _stream("Find", search.FindRequest(selection=search.Selection(path=str(deep))))
    _row(row, daemon, "Find, 1000 levels", found)


def _row(row: Row, daemon: Daemon, work: str, message: bytes, after: Callable[[], object] | None = None) -> None:
    """Measure a call several times, with what puts things back in between."""
    client = Client(daemon.port)
    times, waits = [], []
    for _ in range(_ROUNDS):
        before, began = _cpu_s(daemon), time.perf_counter()
        if _STREAM.encode() in message.partition(b"\r\n\r\n")[0]:
            client.stream(message)
        else:
            _answer(client, message)
        waits.append(time.perf_counter() - began)
        times.append(_cpu_s(daemon) - before)
        if after is not None:
            after()
    client.close()
    row(work, f"{min(times) * 1000:.1f} ms CPU", "-", f"{min(waits) * 1000:.0f} ms until it was there")


def _answer(client: Client, message: bytes) -> None:
    """Read an answer that has a length."""
    client.sock.sendall(message)
    data = b""
    while b"\r\n\r\n" not in data:
        data += client.sock.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    if b" 200 " not in head.split(b"\r\n")[0]:
        raise RuntimeError(data[:500])
    left = int(lines[b"content-length"]) - len(body)
    while left:
        left -= len(client.sock.recv(min(left, 1 << 20)))


def _cpu_s(daemon: Daemon) -> float:
    """Processor seconds of keeper, server and what the server has started."""
    server = daemon.server
    children = Path(f"/proc/{server}/task").glob("*/children")
    workers = {int(pid) for path in children for pid in path.read_text().split()}
    return cpu_s_of(daemon.keeper) + cpu_s_of(server) + sum(cpu_s_of(pid) for pid in workers)


def _stream(method: str, message: Message) -> bytes:
    payload = message.SerializeToString()
    return _request(method, _STREAM, struct.pack(">BI", 0, len(payload)) + payload)


def _unary(method: str, message: Message) -> bytes:
    return _request(method, "application/proto", message.SerializeToString())


def _request(method: str, content_type: str, body: bytes) -> bytes:
    head = f"POST /filesystem.Filesystem/{method} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


if __name__ == "__main__":

    def _print(work: str, here: str, reference: str, floor: str = "") -> None:
        print(f"{work:44} {here:>22} {reference:>12}  {floor}", flush=True)

    measure(_print)
