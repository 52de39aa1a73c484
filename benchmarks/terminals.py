"""From a byte typed into a terminal to its echo."""

from __future__ import annotations

import queue
import struct
import time
from collections.abc import Callable, Iterator

import grpc

from benchmarks.daemon import running
from benchmarks.wire import Client, request
from envd_proto.process import process_pb2
from envd_proto.pty import pty_pb2

_ECHOES = 2000
_RAW = process_pb2.ProcessConfig(cmd="/bin/sh", args=["-c", "stty raw -echo; echo ready; exec cat"])

Row = Callable[..., None]


def measure(row: Row) -> None:
    """Print the rows."""
    with running() as daemon:
        row("terminal echo, SendInput and Start, proto", _p50_p99(_over_connect(daemon.port)))
        row("terminal echo, Pty.Open over gRPC", _p50_p99(_over_open(daemon.port)))


def _p50_p99(times: list[float]) -> str:
    ordered = sorted(times)
    return f"{ordered[len(ordered) // 2] * 1e6:.0f} ({ordered[len(ordered) * 99 // 100] * 1e6:.0f}) us"


def _over_connect(port: int) -> list[float]:
    """Type with one connection, read with another, as E2B's clients do."""
    reader, writer = Client(port), Client(port)
    start = process_pb2.StartRequest(process=_RAW, pty=process_pb2.PTY(), tag="bench").SerializeToString()
    reader.sock.sendall(request("application/connect+proto", "Start", struct.pack(">BI", 0, len(start)) + start))
    seen = b""
    while b"ready" not in seen:
        seen += reader.sock.recv(65536)
    selector = process_pb2.ProcessSelector(tag="bench")
    key = process_pb2.SendInputRequest(process=selector, input=process_pb2.ProcessInput(pty=b"x"))
    message = request("application/proto", "SendInput", key.SerializeToString())
    times = []
    for _ in range(_ECHOES):
        began = time.perf_counter()
        writer.sock.sendall(message)
        reader.sock.recv(65536)
        times.append(time.perf_counter() - began)
        writer.sock.recv(65536)
    reader.close()
    writer.close()
    return times


def _over_open(port: int) -> list[float]:
    typed: queue.SimpleQueue[pty_pb2.OpenRequest | None] = queue.SimpleQueue()
    typed.put(pty_pb2.OpenRequest(open=pty_pb2.Opening(process=_RAW)))
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.stream_stream(
            "/pty.Pty/Open",
            request_serializer=pty_pb2.OpenRequest.SerializeToString,
            response_deserializer=pty_pb2.OpenResponse.FromString,
        )
        events = call(iter(typed.get, None))
        outputs = (answer.event.output.data for answer in events if answer.event.HasField("output"))
        _until_ready(outputs)
        key = pty_pb2.OpenRequest(input=pty_pb2.Input(data=b"x"))
        times = []
        for _ in range(_ECHOES):
            began = time.perf_counter()
            typed.put(key)
            next(outputs)
            times.append(time.perf_counter() - began)
        events.cancel()
    typed.put(None)
    return times


def _until_ready(outputs: Iterator[bytes]) -> None:
    seen = b""
    while b"ready" not in seen:
        seen += next(outputs)
