"""What the demo's scenes are played on: a daemon of their own, a time limit, a table of what was seen."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple, NoReturn

from connect_json import Client, RpcError

LIMIT_S = 30  # of each scene, and of the start
STARTED = time.monotonic()
# Everything started here carries this in its environment, so that what is left of it can be found in /proc.
MARK = f"{os.getpid()}.demo"


class Result(NamedTuple):
    scene: str
    seen: str
    expected: str


class Daemon(NamedTuple):
    pid: int
    client: Client

    def server_pid(self) -> int:
        children = proc_file(f"{self.pid}/task/{self.pid}/children").decode().split()
        (server,) = (int(pid) for pid in children if proc_file(f"{pid}/comm") == b"envd-server\n")
        return server


def proc_file(name: str) -> bytes:
    """Read a file in /proc; empty if its process is gone or not ours to look at."""
    with suppress(OSError), open(f"/proc/{name}", "rb") as file:
        return file.read()
    return b""


def left_running(name: str) -> list[int]:
    mark = f"{name}={MARK}".encode()
    return [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and mark in proc_file(f"{pid}/environ")]


def say(text: str) -> None:
    print(f"  {time.monotonic() - STARTED:7.3f} s  {text}", flush=True)


def expire(_number: int, _frame: object) -> NoReturn:
    raise TimeoutError(f"not done after {LIMIT_S} s")


@contextmanager
def running_daemon() -> Iterator[Daemon]:
    """Yield a daemon on a free port; on the way out it is stopped, with everything it runs."""
    command = [sys.executable, "-m", "envd", "--port", "0", "--listen", "127.0.0.1", "--log-level", "error"]
    env = {**os.environ, "ENVD_DEMO_DAEMON": MARK}
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=env)
    try:
        signal.alarm(LIMIT_S)
        ready = json.loads(process.stdout.readline() if process.stdout else b"")
        host, _, port = ready["addresses"][0].rpartition(":")
        say(f"envd {ready['version']} listens on {host}:{port}, pid {ready['pid']}")
        yield Daemon(ready["pid"], Client(host, int(port)))
    finally:
        signal.alarm(0)
        for ask in (process.terminate, process.terminate, process.kill):
            with suppress(subprocess.TimeoutExpired):
                ask()
                process.wait(LIMIT_S / 2)


def play(scene: Callable[[Daemon], Result], daemon: Daemon) -> Result:
    name = scene.__name__.replace("_", " ")
    print(f"\n{name}", flush=True)
    signal.alarm(LIMIT_S)
    try:
        return scene(daemon)
    except (RpcError, OSError, http.client.HTTPException, ValueError, KeyError) as exc:
        return Result(name, f"{type(exc).__name__}: {exc}", "no error")
    finally:
        signal.alarm(0)


def table(results: list[Result]) -> str:
    rows = [("scene", "what was seen", "expected", "ok")]
    rows += [(row.scene, row.seen, row.expected, "yes" if row.seen == row.expected else "NO") for row in results]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
