"""What it costs to find and grep, beside find, grep and ripgrep on the same files in the same run.

`python benchmarks/search.py [DIRECTORY]` prints these rows alone; without a directory: Python's standard library and
what is installed there.
"""

from __future__ import annotations

import os
import shutil
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from google.protobuf.message import Message

from benchmarks.daemon import Daemon, running
from benchmarks.wire import Client
from envd_proto.filesystem import filesystem_pb2 as pb
from envd_proto.filesystem import search_pb2 as search

Row = Callable[..., None]

_ROUNDS = 3
_ALL = 1_000_000
_BYTES = 64 * 1024 * 1024


def measure(row: Row, top: str = os.path.dirname(os.__file__)) -> None:
    """Print the rows."""
    with running() as daemon:
        everything = search.FindRequest(selection=search.Selection(path=top, order=search.SEARCH_ORDER_NONE))
        _beside(row, daemon, "Find, all", "Find", everything, {"find -ls": ["find", top, "-ls"]})
        by_name = search.FindRequest(selection=search.Selection(path=top, include=["*.pyi"]))
        _beside(row, daemon, "Find, *.pyi", "Find", by_name, {"find -name": ["find", top, "-name", "*.pyi", "-ls"]})
        for what, text, options in (
            ("a word", "deprecated_since", ["-F"]),
            ("an expression", r"class \w+Error\(", ["-P"]),
            ("an expression without a word", r"[a-z]+_[0-9]{5,}", ["-P"]),
            ("either case", "notimplementederror", ["-iP"]),
        ):
            _grep(row, daemon, top, f"Grep, {what}", text, options)
        _first(row, daemon, top)
        _small(row, daemon)
        _stat_meanwhile(row, daemon, top)


def _grep(row: Row, daemon: Daemon, top: str, work: str, text: str, options: list[str]) -> None:
    pattern = search.Pattern(
        text=text,
        fixed="-F" in options,
        case=search.CASE_MODE_INSENSITIVE if "-iP" in options else search.CASE_MODE_UNSPECIFIED,
    )
    request = search.GrepRequest(
        selection=search.Selection(path=top), pattern=pattern, max_matches=_ALL, max_bytes=_BYTES
    )
    others = {"grep -r": ["grep", "-rnI", *options, text, top]}
    if shutil.which("rg"):
        rg = [
            "rg",
            "-n",
            "--no-ignore",
            "--hidden",
            "--no-config",
            *[one.replace("P", "") for one in options],
            text,
            top,
        ]
        others["rg"] = [one for one in rg if one != "-"]
        others["rg -j1"] = [*others["rg"], "-j1"]
    _beside(row, daemon, work, "Grep", request, others)


def _beside(row: Row, daemon: Daemon, work: str, method: str, request: Message, others: dict[str, list[str]]) -> None:
    """Measure a call and commands in turns, so that all see the same machine."""
    client = Client(daemon.port)
    message = _message(method, request)
    times: dict[str, list[float]] = {name: [] for name in ("here", *others)}
    client.stream(message)
    for _ in range(_ROUNDS):
        times["here"].append(_timed(lambda: client.stream(message)))
        for name, command in others.items():
            times[name].append(_timed(partial(subprocess.run, command, stdout=subprocess.PIPE, check=False)))
    client.close()
    best = {name: min(found) * 1000 for name, found in times.items()}
    beside = ", ".join(f"{name} {one:.0f} ms" for name, one in best.items() if name != "here")
    row(f"{work}, best of {_ROUNDS}", f"{best['here']:.0f} ms", beside)


def _first(row: Row, daemon: Daemon, top: str) -> None:
    """Measure how soon ten lines are there, from a process that is there already and from one that must be started."""
    selection, pattern = search.Selection(path=top), search.Pattern(text="import")
    few = _message("Grep", search.GrepRequest(selection=selection, pattern=pattern, max_matches=10))
    many = _message(
        "Grep", search.GrepRequest(selection=selection, pattern=pattern, max_matches=_ALL, max_bytes=_BYTES)
    )
    warm, cold = [], []
    for _ in range(20):
        client = Client(daemon.port)
        client.stream(few)
        warm.append(_timed(lambda client=client: client.stream(few)) * 1000)  # type: ignore[misc]  # mypy #1484
        client.sock.sendall(many)
        client.sock.recv(65536)
        client.close()  # what is called off costs its process
        time.sleep(0.1)
        client = Client(daemon.port)
        cold.append(_timed(lambda client=client: client.stream(few)) * 1000)  # type: ignore[misc]
        client.close()
    row(
        "Grep, ten lines, p50",
        f"{statistics.median(warm):.1f} ms",
        f"first start a process: {statistics.median(cold):.0f} ms",
    )


def _stat_meanwhile(row: Row, daemon: Daemon, top: str) -> None:
    """Measure other calls while one and three searches go on."""
    message = _unary("Stat", pb.StatRequest(path=top))
    row("Stat, alone, p50 (p99)", _latency(daemon, message, lambda: True))
    pattern = search.Pattern(text=r"[a-z]+_[0-9]{5,}x")
    grep = _message("Grep", search.GrepRequest(selection=search.Selection(path=top), pattern=pattern))
    for count in (1, 3):
        threads = [threading.Thread(target=Client(daemon.port).stream, args=(grep,)) for _ in range(count)]
        for thread in threads:
            thread.start()
        work = f"Stat, while {count} search{'es' if count > 1 else ''}, p50 (p99)"
        row(work, _latency(daemon, message, threads[0].is_alive))
        for thread in threads:
            thread.join()


def _small(row: Row, daemon: Daemon) -> None:
    """Measure calls about one small file."""
    lines = _unary("ReadLines", search.ReadLinesRequest(path=__file__, first=10, last=20))
    row("ReadLines, ten lines, p50 (p99)", _latency(daemon, lines, lambda: True))
    request = search.ReplaceRequest(
        selection=search.Selection(path=__file__), pattern=search.Pattern(text="_ROUNDS ="), dry_run=True
    )
    row("Replace, one file, dry run, p50 (p99)", _latency(daemon, _unary("Replace", request), lambda: True))


def _latency(daemon: Daemon, message: bytes, goes_on: Callable[[], bool]) -> str:
    client = Client(daemon.port)
    times: list[float] = []
    while len(times) < 2000 and goes_on():
        times.append(_timed(lambda: client.unary(message)) * 1e6)
    client.close()
    times.sort()
    return f"{times[len(times) // 2]:.0f} ({times[len(times) * 99 // 100]:.0f}) us"


def _timed(once: Callable[[], object]) -> float:
    began = time.perf_counter()
    once()
    return time.perf_counter() - began


def _message(method: str, request: Message) -> bytes:
    payload = request.SerializeToString()
    return _head(method, "application/connect+proto", struct.pack(">BI", 0, len(payload)) + payload)


def _unary(method: str, request: Message) -> bytes:
    return _head(method, "application/proto", request.SerializeToString())


def _head(method: str, content_type: str, body: bytes) -> bytes:
    head = f"POST /filesystem.Filesystem/{method} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _print(work: str, here: str, beside: str = "") -> None:
    print(f"{work:44} {here:>22}  {beside}", flush=True)


if __name__ == "__main__":
    measure(_print, *sys.argv[1:])
