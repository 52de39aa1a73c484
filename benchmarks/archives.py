"""What directories cost up and down as archives, beside a call for each file; and who waits meanwhile.

`python benchmarks/archives.py [FILES]` prints these rows alone, for 5000 small files unless another number is given.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.daemon import Daemon, running
from benchmarks.wire import Client

Row = Callable[..., None]

_GIB = 1 << 30
_PIECE = os.urandom(1 << 20)
_SMALL = _PIECE[:1000]
_IN_ONE = 100


def measure(row: Row, count: int = 5000) -> None:
    """Print the rows."""
    for kind, place in (("tmpfs", "/dev/shm"), ("disk", "/var/tmp")):
        with tempfile.TemporaryDirectory(dir=place) as directory, running() as daemon:
            _many(row, daemon, Path(directory), f"{count} files, {kind}", count)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory, running() as daemon:
        _large(row, daemon, Path(directory))


def _many(row: Row, daemon: Daemon, top: Path, what: str, count: int) -> None:
    names = [f"d{number // _IN_ONE}/f{number}" for number in range(count)]
    single_up = _timed(lambda: _each(daemon, [_post(top / "single" / name) for name in names]))
    single_down = _timed(lambda: _each(daemon, [_get(f"/files?path={top}/single/{name}") for name in names]))
    for format_ in ("tar", "tar.gz", "tar.zst"):
        target = f"/files/archive?path={top}/single&format={format_}"
        took, cpu_s, waits = _watched(daemon, partial(_download, daemon.port, target))
        _row(row, f"down, {format_}, {what}", took, single_down, cpu_s, waits)
    archive = _download(daemon.port, f"/files/archive?path={top}/single")
    for over in (False, True):
        took, cpu_s, waits = _watched(daemon, lambda: _upload(daemon.port, f"/files/extract?path={top}/new", archive))
        _row(row, f"up, {'over the same' if over else 'new'}, {what}", took, single_up, cpu_s, waits)
    assert sum(len(files) for _, _, files in os.walk(top / "new")) == count
    began = time.perf_counter()
    subprocess.run(["tar", "-cf", "/dev/null", "-C", top / "single", "."], check=True)
    (top / "tar").mkdir()
    packed = time.perf_counter()
    subprocess.run(["tar", "-xf", "-", "-C", top / "tar"], input=archive, check=True)
    ended = time.perf_counter()
    row(
        f"GNU tar alone, {what}",
        f"{(packed - began) * 1000:.0f} ms",
        f"extracts in {(ended - packed) * 1000:.0f} ms",
    )


def _row(row: Row, work: str, took_s: float, single_s: float, cpu_s: float, waits: list[float]) -> None:
    waits.sort()
    p99 = waits[len(waits) * 99 // 100] * 1000 if waits else 0
    note = (
        f"CPU {cpu_s:.2f} s; Stat meanwhile p50 {waits[len(waits) // 2] * 1000:.1f}, p99 {p99:.1f} ms" if waits else ""
    )
    alone = f"one by one {single_s * 1000:.0f} ms ({single_s / took_s:.1f}x); {note}"
    row(work, f"{took_s * 1000:.0f} ms", alone)


def _large(row: Row, daemon: Daemon, top: Path) -> None:
    (top / "t").mkdir()
    with (top / "t/large").open("wb") as file:
        for _ in range(_GIB // len(_PIECE)):
            file.write(_PIECE)
    (top / "single").write_bytes(b"x")
    cpu, began = daemon.cpu_s(), time.perf_counter()
    size = _download_size(daemon.port, f"/files/archive?path={top}/t")
    took, used = time.perf_counter() - began, daemon.cpu_s() - cpu
    assert size > _GIB
    row("down, tar, one file of 1 GiB, tmpfs", f"{_GIB / took / 1e6:.0f} MB/s, {used:.2f} s")
    began = time.perf_counter()
    subprocess.run(f"tar -cf - -C {top}/t . | cat > /dev/null", shell=True, check=True)
    row("tar | cat, the same", f"{_GIB / (time.perf_counter() - began) / 1e6:.0f} MB/s")
    head = subprocess.run(["tar", "-cf", "-", "-C", top, "single"], check=True, capture_output=True).stdout[:512]
    info = _head_of(head, _GIB)
    shutil.rmtree(top / "t")
    cpu, began = daemon.cpu_s(), time.perf_counter()
    _upload_large(daemon.port, f"/files/extract?path={top}/up", info)
    took, used = time.perf_counter() - began, daemon.cpu_s() - cpu
    assert (top / "up/single").stat().st_size == _GIB
    row("up, tar, one file of 1 GiB, tmpfs", f"{_GIB / took / 1e6:.0f} MB/s, {used:.2f} s")
    row("peak RSS of the server", f"{_peak_mb(daemon.server):.1f} MB")


def _head_of(block: bytes, size: int) -> bytes:
    changed = block[:124] + b"%011o\0" % size + block[136:148] + b" " * 8 + block[156:]
    return changed[:148] + b"%06o\0 " % sum(changed) + changed[156:]


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _watched(daemon: Daemon, work: Callable[[], object]) -> tuple[float, float, list[float]]:
    """Do it while another client asks for Stat again and again; return seconds, processor seconds, and its waits."""
    with _asking(daemon.port) as waits:
        cpu = daemon.cpu_s()
        took = _timed(work)
        used = daemon.cpu_s() - cpu
    return took, used, waits


@contextmanager
def _asking(port: int) -> Iterator[list[float]]:
    body = b'{"path":"/"}'
    head = b"POST /filesystem.Filesystem/Stat HTTP/1.1\r\nHost: b\r\nContent-Type: application/json\r\n"
    message = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    waits, done = list[float](), threading.Event()

    def ask() -> None:
        client = Client(port)
        while not done.is_set():
            waits.append(_timed(lambda: client.unary(message)))
            time.sleep(0.001)
        client.close()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield waits
    finally:
        done.set()
        thread.join()


def _each(daemon: Daemon, messages: list[bytes]) -> None:
    client = Client(daemon.port)
    for message in messages:
        client.unary(message)
    client.close()


def _post(path: Path) -> bytes:
    head = f"POST /files?path={path} HTTP/1.1\r\nHost: b\r\nContent-Type: application/octet-stream\r\n"
    return f"{head}Content-Length: {len(_SMALL)}\r\n\r\n".encode() + _SMALL


def _get(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: b\r\n\r\n".encode()


_CHUNK = re.compile(rb"\r\n([0-9a-f]+)\r\n")


def _download(port: int, target: str) -> bytes:
    """Return the body of a chunked response."""
    client = Client(port)
    client.sock.sendall(_get(target))
    pieces: list[bytes] = []
    while not (pieces and pieces[-1].endswith(b"0\r\n\r\n")):
        pieces.append(client.sock.recv(1 << 20))
        if not pieces[-1]:
            raise ConnectionError("the archive was cut off")
    client.close()
    whole = b"".join(pieces)
    assert whole.startswith(b"HTTP/1.1 200 "), whole[:200]
    at, content = whole.index(b"\r\n\r\n") + 2, []
    while (found := _CHUNK.match(whole, at)) and (size := int(found[1], 16)):
        content.append(whole[found.end() : found.end() + size])
        at = found.end() + size
    return b"".join(content)


def _download_size(port: int, target: str) -> int:
    client = Client(port)
    size = client.stream(_get(target))
    client.close()
    return size


def _upload(port: int, target: str, data: bytes) -> None:
    head = (
        f"POST {target} HTTP/1.1\r\nHost: b\r\nContent-Type: application/x-tar\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    client = Client(port)
    client.sock.sendall(head.encode() + data)
    _expect_success(client)


def _upload_large(port: int, target: str, head: bytes) -> None:
    length = len(head) + _GIB + 1024
    client = Client(port)
    start = f"POST {target} HTTP/1.1\r\nHost: b\r\nContent-Type: application/x-tar\r\nContent-Length: {length}\r\n\r\n"
    client.sock.sendall(start.encode() + head)
    for _ in range(_GIB // len(_PIECE)):
        client.sock.sendall(_PIECE)
    client.sock.sendall(bytes(1024))
    _expect_success(client)


def _expect_success(client: Client) -> None:
    answer = client.sock.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    client.close()


def _peak_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def _print(work: str, here: str, beside: str = "") -> None:
    print(f"{work:44} {here:>22}  {beside}", flush=True)


if __name__ == "__main__":
    measure(_print, *map(int, sys.argv[1:2]))
