"""Measure the daemon on this machine: `make bench`.

Prints each figure beside what was measured in the same run, on the same machine: a floor (the same without a daemon) or
the processor time it took. Figures of another machine, or of another day, say nothing beside these, so there are none.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import archives, files, grpc_wire, kills, search, terminals, trees, watching
from benchmarks.daemon import Daemon, running
from benchmarks.wire import Client, request, start_request

GIB = 1 << 30
Command = tuple[str, list[str]]
TRUE: Command = ("true", [])
# Without a home: what a login shell reads there is the user's affair.
LOGIN_TRUE: Command = ("/usr/bin/env", ["HOME=/nonexistent", "/bin/bash", "-l", "-c", "true"])


def main() -> None:
    """Run everything; takes about three minutes."""
    print(f"{'work':44} {'here':>22}  beside it, in the same run")
    _start_up()
    with running() as daemon:
        keeper, server = daemon.pss_mb()
        _row("idle, PSS of keeper + server", f"{keeper:.1f} + {server:.1f} MB")
        _unary(daemon)
        for codec in ("proto", "json"):
            _latency(daemon, f"Start `true` to End, {codec}", start_request(codec, *TRUE), *TRUE)
        _latency(daemon, "Start `bash -l -c true` to End, proto", start_request("proto", *LOGIN_TRUE), *LOGIN_TRUE)
        for codec in ("proto", "json"):
            _at_once(daemon, f"16 at once, `true`, {codec}", start_request(codec, *TRUE))
        _at_once(daemon, "16 at once, `bash -l -c true`, proto", start_request("proto", *LOGIN_TRUE))
        for codec in ("proto", "json"):
            _stdout(daemon, codec)
        _row("peak RSS of the server", f"{_peak_mb(daemon.server):.0f} MB")
    terminals.measure(_row)
    kills.measure(_row)
    files.measure(_row)
    files.memory(_row)
    search.measure(_row)
    trees.measure(_row)
    archives.measure(_row, 2000)
    watching.measure(_row)
    grpc_wire.measure(_row)
    _adoption()


def _row(work: str, here: str, beside: str = "") -> None:
    print(f"{work:44} {here:>22}  {beside}", flush=True)


def _start_up() -> None:
    times = []
    for _ in range(7):
        with running() as daemon:
            times.append(daemon.started_ms)
    _row("start to readiness, median of 7", f"{statistics.median(times):.0f} ms")


def _times_ms(count: int, once: Callable[[], object]) -> list[float]:
    times = []
    for _ in range(count):
        began = time.perf_counter()
        once()
        times.append((time.perf_counter() - began) * 1000)
    return sorted(times)


def _p50_p99(times: list[float]) -> tuple[float, float]:
    return times[len(times) // 2], times[len(times) * 99 // 100]


def _unary(daemon: Daemon) -> None:
    client = Client(daemon.port)
    calls = (
        ("GET /health", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ("List, JSON", request("application/json", "List", b"{}")),
        ("List, proto", request("application/proto", "List", b"")),
    )
    for name, message in calls:
        client.unary(message)
        cpu = daemon.cpu_s()
        p50, p99 = _p50_p99(_times_ms(5000, functools.partial(client.unary, message)))
        cpu_us = (daemon.cpu_s() - cpu) / 5000 * 1e6
        _row(f"{name}, p50 (p99)", f"{p50 * 1000:.0f} ({p99 * 1000:.0f}) us", f"CPU {cpu_us:.0f} us a call")
    client.close()


def _latency(daemon: Daemon, work: str, message: bytes, cmd: str, args: list[str]) -> None:
    client = Client(daemon.port)
    path = cmd if "/" in cmd else f"/bin/{cmd}"
    environment = {"PATH": os.environ["PATH"], "HOME": "/root"}

    def floor() -> None:
        os.waitpid(os.posix_spawn(path, [cmd, *args], environment), 0)

    ours, bare = [], []
    for _ in range(10):  # in turn, so that both see the same machine
        ours += _times_ms(30, lambda: client.stream(message))
        bare += _times_ms(30, floor)
    (p50, p99), (bare_p50, _) = _p50_p99(sorted(ours)), _p50_p99(sorted(bare))
    _row(f"{work}, p50 (p99)", f"{p50:.1f} ({p99:.1f}) ms", f"posix_spawn {bare_p50:.1f} ms")
    client.close()


def _at_once(daemon: Daemon, work: str, message: bytes) -> None:
    each = 30

    def work_through() -> None:
        client = Client(daemon.port)
        for _ in range(each):
            client.stream(message)
        client.close()

    threads = [threading.Thread(target=work_through) for _ in range(16)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _row(work, f"{16 * each / (time.perf_counter() - began):.0f} /s")


def _stdout(daemon: Daemon, codec: str) -> None:
    client = Client(daemon.port)
    message = start_request(codec, "head", ["-c", str(GIB), "/dev/zero"])
    rates, cpus = [], []
    for _ in range(3):
        cpu, began = daemon.cpu_s(), time.perf_counter()
        client.stream(message)
        rates.append(GIB / (time.perf_counter() - began) / 1e6)
        cpus.append(daemon.cpu_s() - cpu)
    here = f"{statistics.median(rates):.0f} MB/s, {statistics.median(cpus):.1f} s"
    _row(f"stdout 1 GiB, {codec}, CPU per GiB", here, f"socket alone {_socket_mb_s():.0f} MB/s")
    client.close()


def _socket_mb_s() -> float:
    """Push as much through a bare loopback connection, 256 KiB at a time."""
    server = socket.create_server(("127.0.0.1", 0))
    sender = socket.create_connection(server.getsockname())
    receiver, _ = server.accept()
    piece = bytes(256 * 1024)

    def push() -> None:
        for _ in range(GIB // len(piece)):
            sender.sendall(piece)
        sender.close()

    began = time.perf_counter()
    thread = threading.Thread(target=push)
    thread.start()
    buffer = bytearray(1 << 20)
    while receiver.recv_into(buffer):
        pass
    thread.join()
    for sock in (receiver, server):
        sock.close()
    return GIB / (time.perf_counter() - began) / 1e6


def _peak_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def _adoption() -> None:
    """Kill the server under 100 programs; time until a new one answers, and what it says adoption took."""
    with tempfile.TemporaryFile() as log, running("--log-level", "info", stderr=log.fileno()) as daemon:
        followers = [Client(daemon.port) for _ in range(100)]
        for follower in followers:
            follower.sock.sendall(start_request("proto", "sleep", ["60"]))
            follower.sock.recv(65536)
        old = daemon.server
        began = time.perf_counter()
        os.kill(old, signal.SIGKILL)
        client = Client(daemon.port)
        client.unary(request("application/proto", "List", b""))
        total_ms = (time.perf_counter() - began) * 1000
        log.seek(0)
        lines = [json.loads(line) for line in log]
        adoption_ms = next(line["adoption_ms"] for line in lines if line.get("adopted") == len(followers))
        _row(
            "server killed under 100 programs, to List",
            f"{total_ms:.0f} ms",
            f"adoption {adoption_ms} ms",
        )
        for connection in (client, *followers):
            connection.close()


if __name__ == "__main__":
    main()
