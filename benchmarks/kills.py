"""Rows about ending programs, one after the other, beside more and more others."""

from __future__ import annotations

import struct
from collections.abc import Callable

from benchmarks.daemon import Daemon, running
from benchmarks.wire import Client, request, start_request
from envd_proto.process import process_pb2 as pb

Row = Callable[[str, str], object]

_COUNTS = (100, 300, 600, 1000)


def measure(row: Row) -> None:
    """Print the rows."""
    for count in _COUNTS:
        with running() as daemon:
            pids = [_start(daemon.port) for _ in range(count)]
            cpu_s = _kill_all(daemon, pids)
        row(f"SIGKILL of {count} `sleep`, one after the other", f"{cpu_s / count * 1000:.1f} ms CPU each")


def _start(port: int) -> int:
    """Start a program that stays, and leave; return its pid."""
    client = Client(port)
    client.sock.sendall(start_request("proto", "sleep", ["1000"]))
    data = b""
    while (frame := _first_frame(data)) is None:
        data += client.sock.recv(65536)
    client.close()
    return pb.StartResponse.FromString(frame).event.start.pid


def _first_frame(data: bytes) -> bytes | None:
    """Return the first message of a response in chunks, None if it is not all there."""
    _, _, body = data.partition(b"\r\n\r\n")
    _, _, chunk = body.partition(b"\r\n")
    if len(chunk) < struct.calcsize(">BI"):
        return None
    _, size = struct.unpack_from(">BI", chunk)
    return chunk[5 : 5 + size] if len(chunk) >= 5 + size else None


def _kill_all(daemon: Daemon, pids: list[int]) -> float:
    """Kill programs; return the processor seconds that took the daemon."""
    client, before = Client(daemon.port), daemon.cpu_s()
    for pid in pids:
        message = pb.SendSignalRequest(process=pb.ProcessSelector(pid=pid), signal=pb.SIGNAL_SIGKILL)
        client.unary(request("application/proto", "SendSignal", message.SerializeToString()))
    client.close()
    return daemon.cpu_s() - before
