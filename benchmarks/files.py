"""What files cost up and down.

`python benchmarks/files.py` prints these rows alone, then how much memory a daemon needs for 1 GiB up and down.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import pwd
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.daemon import Daemon, running
from benchmarks.wire import Client
from envd_proto.filesystem import filesystem_pb2 as pb

Row = Callable[..., None]

_GIB = 1 << 30
_PIECE = os.urandom(1 << 20)
_SMALL = _PIECE[:1024]
_BOUNDARY = b"benchboundary"
_PART_HEAD = b'--%b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n' % _BOUNDARY
_PART_END = b"\r\n--%b--\r\n" % _BOUNDARY
_OCTET = "application/octet-stream"
_FORM = f"multipart/form-data; boundary={_BOUNDARY.decode()}"


def measure(row: Row) -> None:
    """Print the rows."""
    with _directories() as places, running() as daemon:
        fast = places["tmpfs"]
        _small(row, daemon, "GET /files 1 KiB", _get(fast / "small"), fast / "small")
        octet = _head(fast / "up", _OCTET, len(_SMALL)) + _SMALL
        _small(row, daemon, "POST /files 1 KiB, octet", octet, fast / "up")
        form = _PART_HEAD + _SMALL + _PART_END
        _small(row, daemon, "POST /files 1 KiB, form", _head(fast / "up", _FORM, len(form)) + form, fast / "up")
        for place, directory in places.items():
            _small(row, daemon, f"Stat, {place}", _stat(directory / "small"), directory / "small")
        _small_as_user(row, daemon, fast)
        for place, directory in places.items():
            _up(row, daemon, directory, _OCTET, f"POST /files 1 GiB, octet, {place}")
            _up(row, daemon, directory, _FORM, f"POST /files 1 GiB, form, {place}")
            _parts(row, daemon, directory, f"PUT 1 GiB in 16 parts, {place}")
            _down(row, daemon, directory, f"GET /files 1 GiB, {place}")


@contextmanager
def _directories() -> Iterator[dict[str, Path]]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as tmpfs, tempfile.TemporaryDirectory(dir="/var/tmp") as disk:
        for place in (tmpfs, disk):
            (Path(place) / "small").write_bytes(_SMALL)
        yield {"tmpfs": Path(tmpfs), "disk": Path(disk)}


def _small_as_user(row: Row, daemon: Daemon, directory: Path) -> None:
    """Print the same as another user than root, whose rights the kernel checks."""
    try:
        user = pwd.getpwnam("nobody")
    except KeyError:
        return
    if os.geteuid() != 0:
        return
    theirs = directory / "theirs"
    theirs.mkdir()
    (theirs / "small").write_bytes(_SMALL)
    os.chown(theirs, user.pw_uid, user.pw_gid)
    directory.chmod(0o755)
    named = f"&username={user.pw_name}"
    _small(row, daemon, "GET /files 1 KiB, as nobody", _get(theirs / "small", named), theirs / "small")
    _small(row, daemon, "Stat, as nobody", _stat(theirs / "small", user.pw_name), theirs / "small")
    octet = _head(theirs / "up", _OCTET, len(_SMALL), named) + _SMALL
    _small(row, daemon, "POST /files 1 KiB, octet, as nobody", octet, theirs / "up")


def _get(path: Path, more: str = "") -> bytes:
    return f"GET /files?path={path}{more} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def _stat(path: Path, username: str = "") -> bytes:
    message = pb.StatRequest(path=str(path)).SerializeToString()
    lines = ["POST /filesystem.Filesystem/Stat HTTP/1.1", "Host: localhost", "Content-Type: application/proto"]
    if username:
        lines.append(f"Authorization: Basic {base64.b64encode(f'{username}:'.encode()).decode()}")
    return "\r\n".join([*lines, f"Content-Length: {len(message)}", "", ""]).encode() + message


def _head(path: Path, content_type: str, length: int, more: str = "") -> bytes:
    head = f"POST /files?path={path}{more} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
    return f"{head}Content-Length: {length}\r\n\r\n".encode()


def _small(row: Row, daemon: Daemon, work: str, message: bytes, path: Path) -> None:
    client = Client(daemon.port)
    times: list[float] = []
    for count in range(3200):
        if count == 200:
            times.clear()
            cpu = daemon.cpu_s()
        began = time.perf_counter()
        client.unary(message)
        times.append((time.perf_counter() - began) * 1e6)
    cpu_us = (daemon.cpu_s() - cpu) / len(times) * 1e6
    client.close()
    assert path.read_bytes() == _SMALL
    times.sort()
    here = f"{times[len(times) // 2]:.0f} ({times[len(times) * 99 // 100]:.0f}) us"
    row(f"{work}, p50 (p99)", here, f"CPU {cpu_us:.0f} us a call")


def _up(row: Row, daemon: Daemon, directory: Path, content_type: str, work: str) -> None:
    path = directory / "large"
    rates, cpus = [], []
    for _ in range(3):
        path.unlink(missing_ok=True)
        cpu, began = daemon.cpu_s(), time.perf_counter()
        _send(daemon.port, path, content_type)
        rates.append(_GIB / (time.perf_counter() - began) / 1e6)
        cpus.append(daemon.cpu_s() - cpu)
        assert path.stat().st_size == _GIB
    row(work, f"{statistics.median(rates):.0f} MB/s, {statistics.median(cpus):.2f} s")


def _send(port: int, path: Path, content_type: str) -> None:
    form = content_type is _FORM
    length = _GIB + (len(_PART_HEAD) + len(_PART_END) if form else 0)
    client = Client(port)
    client.sock.sendall(_head(path, content_type, length) + (_PART_HEAD if form else b""))
    for _ in range(_GIB // len(_PIECE)):
        client.sock.sendall(_PIECE)
    client.sock.sendall(_PART_END if form else b"")
    answer = client.sock.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    client.close()


def _parts(row: Row, daemon: Daemon, directory: Path, work: str) -> None:
    """Upload in parts, one after the other; the bytes of the row are those of POST /files."""
    path, part = directory / "parts", _GIB // 16
    rates, cpus = [], []
    for _ in range(3):
        path.unlink(missing_ok=True)
        cpu, began = daemon.cpu_s(), time.perf_counter()
        ident = json.loads(_exchange(daemon.port, "POST", "", json.dumps({"path": str(path)}).encode()))["id"]
        for offset in range(0, _GIB, part):
            _exchange(daemon.port, "PUT", f"/{ident}?offset={offset}", *[_PIECE] * (part // len(_PIECE)))
        _exchange(daemon.port, "POST", f"/{ident}/commit")
        rates.append(_GIB / (time.perf_counter() - began) / 1e6)
        cpus.append(daemon.cpu_s() - cpu)
        assert path.stat().st_size == _GIB
    path.unlink()
    row(work, f"{statistics.median(rates):.0f} MB/s, {statistics.median(cpus):.2f} s")


def _exchange(port: int, method: str, path: str, *body: bytes) -> bytes:
    client = Client(port)
    head = f"{method} /files/uploads{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {sum(map(len, body))}\r\n\r\n"
    client.sock.sendall(head.encode())
    for piece in body:
        client.sock.sendall(piece)
    answer = client.sock.recv(65536)
    assert answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 201 ")), answer
    client.close()
    return answer.partition(b"\r\n\r\n")[2]


def _down(row: Row, daemon: Daemon, directory: Path, work: str) -> None:
    rates, cpus = [], []
    for _ in range(3):
        cpu, began = daemon.cpu_s(), time.perf_counter()
        assert _receive(daemon.port, directory / "large", None) == _GIB
        rates.append(_GIB / (time.perf_counter() - began) / 1e6)
        cpus.append(daemon.cpu_s() - cpu)
    row(work, f"{statistics.median(rates):.0f} MB/s, {statistics.median(cpus):.2f} s")


def _receive(port: int, path: Path, digest: hashlib._Hash | None) -> int:
    client = Client(port)
    client.sock.sendall(_get(path))
    buffer = bytearray(1 << 20)
    view = memoryview(buffer)
    size = client.sock.recv_into(buffer)
    begin = buffer.index(b"\r\n\r\n") + 4
    total = size - begin
    if digest is not None:
        digest.update(view[begin:size])
    while total < _GIB and (size := client.sock.recv_into(buffer)):
        total += size
        if digest is not None:
            digest.update(view[:size])
    client.close()
    return total


def memory(row: Row) -> None:
    """Send 1 GiB up and down, compare hashes, and print what the server needed at most."""
    with _directories() as places, running() as daemon:
        path = places["disk"] / "large"
        client = Client(daemon.port)
        client.unary(_get(places["disk"] / "small"))
        client.close()
        idle = _peak_mb(daemon.server)
        sent, got = hashlib.sha256(), hashlib.sha256()
        for _ in range(_GIB // len(_PIECE)):
            sent.update(_PIECE)
        for content_type in (_OCTET, _FORM):
            _send(daemon.port, path, content_type)
            got = hashlib.sha256()
            _receive(daemon.port, path, got)
            assert got.digest() == sent.digest()
        row("peak RSS of the server, 1 GiB up and down", f"{_peak_mb(daemon.server):.1f} MB", f"idle {idle:.1f} MB")


def _peak_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def _print(work: str, here: str, beside: str = "") -> None:
    print(f"{work:44} {here:>22}  {beside}", flush=True)


if __name__ == "__main__":
    measure(_print)
    memory(_print)
