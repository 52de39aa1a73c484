"""What native gRPC costs here, beside a bare grpc.aio server in the same run."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from benchmarks.daemon import Daemon, cpu_s_of, running
from benchmarks.wire import Client
from envd_proto.process import process_pb2 as pb

_CALLS = 3000
_HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
_PIECE = bytes(256 * 1024)
_UP_BYTES = 512 * 1024 * 1024
_SERVICE = "/process.Process/"

Row = Callable[..., None]


def measure(row: Row) -> None:
    """Print the rows."""
    _first_connection(row)
    with running() as daemon:
        _unary(row, daemon)
        _down(row, daemon)
        _up(row, daemon)


@contextmanager
def _channel(port: int) -> Iterator[grpc.Channel]:
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        yield channel


def _first_connection(row: Row) -> None:
    """Have a client of HTTP/1.1 ask on and on while the first gRPC connection makes the daemon import grpcio."""
    with running() as daemon:
        client, waits, over = Client(daemon.port), list[float](), threading.Event()

        def ask() -> None:
            while not over.is_set():
                began = time.perf_counter()
                client.unary(_HEALTH)
                waits.append((time.perf_counter() - began) * 1000)

        thread = threading.Thread(target=ask)
        thread.start()
        time.sleep(0.5)
        before, begun = max(waits[10:]), len(waits)
        # Another process, or its own import of grpcio would hold up the client that asks.
        command = [
            sys.executable,
            "-c",
            f"import grpc; grpc.channel_ready_future(grpc.insecure_channel('127.0.0.1:{daemon.port}')).result(20)",
        ]
        subprocess.run(command, check=True)
        over.set()
        thread.join()
        client.close()
    row("longest stall at the first gRPC connection", f"{max(waits[begun:]):.1f} ms", f"{before:.1f} ms before it")


def _call(channel: grpc.Channel, method: str, kind: str, request: Any, response: Any) -> Any:
    make = getattr(channel, kind)
    return make(
        _SERVICE + method, request_serializer=request.SerializeToString, response_deserializer=response.FromString
    )


def _unary(row: Row, daemon: Daemon) -> None:
    with _channel(daemon.port) as channel:
        ours = _call(channel, "List", "unary_unary", pb.ListRequest, pb.ListResponse)
        here = _p50_and_cpu(lambda: ours(pb.ListRequest()), daemon.cpu_s)
    echo = subprocess.Popen([sys.executable, "-m", "benchmarks.grpc_echo"], stdout=subprocess.PIPE, text=True)
    try:
        assert echo.stdout is not None
        with _channel(int(echo.stdout.readline())) as channel:
            bare = channel.unary_unary("/bench.Bench/Echo")
            floor = _p50_and_cpu(lambda: bare(b""), lambda: cpu_s_of(echo.pid))
    finally:
        echo.terminate()
        echo.wait()
    row(
        "gRPC List, p50, CPU a call",
        "{:.0f} us, {:.0f} us".format(*here),
        "bare grpc.aio {:.0f} us, {:.0f} us".format(*floor),
    )


def _p50_and_cpu(call: Callable[[], object], cpu_s: Callable[[], float]) -> tuple[float, float]:
    """Return the median time of a call and the processor time it costs the server, both in microseconds."""
    for _ in range(100):
        call()
    times, cpu = [], cpu_s()
    for _ in range(_CALLS):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return sorted(times)[_CALLS // 2] * 1e6, (cpu_s() - cpu) / _CALLS * 1e6


def _down(row: Row, daemon: Daemon) -> None:
    with _channel(daemon.port) as channel:
        start = _call(channel, "Start", "unary_stream", pb.StartRequest, pb.StartResponse)
        process = pb.ProcessConfig(cmd="head", args=["-c", str(_UP_BYTES), "/dev/zero"])
        cpu, began = daemon.cpu_s(), time.perf_counter()
        total = sum(len(answer.event.data.stdout) for answer in start(pb.StartRequest(process=process, stdin=False)))
        seconds, cpu = time.perf_counter() - began, daemon.cpu_s() - cpu
    assert total == _UP_BYTES
    row("gRPC stdout 512 MiB, CPU per GiB", f"{total / seconds / 1e6:.0f} MB/s, {cpu * 2:.1f} s")


def _up(row: Row, daemon: Daemon) -> None:
    with _channel(daemon.port) as channel:
        start = _call(channel, "Start", "unary_stream", pb.StartRequest, pb.StartResponse)
        stream_input = _call(channel, "StreamInput", "stream_unary", pb.StreamInputRequest, pb.StreamInputResponse)
        process = pb.ProcessConfig(cmd="sh", args=["-c", "exec cat >/dev/null"])
        events = start(pb.StartRequest(process=process))
        selector = pb.ProcessSelector(pid=next(events).event.start.pid)

        def messages() -> Iterator[pb.StreamInputRequest]:
            yield pb.StreamInputRequest(start=pb.StreamInputRequest.StartEvent(process=selector))
            data = pb.StreamInputRequest.DataEvent(input=pb.ProcessInput(stdin=_PIECE))
            yield from (pb.StreamInputRequest(data=data) for _ in range(_UP_BYTES // len(_PIECE)))

        cpu, began = daemon.cpu_s(), time.perf_counter()
        stream_input(messages())
        seconds, cpu = time.perf_counter() - began, daemon.cpu_s() - cpu
        events.cancel()
    row("gRPC stdin 512 MiB, CPU per GiB", f"{_UP_BYTES / seconds / 1e6:.0f} MB/s, {cpu * 2:.1f} s")
