"""Six promises of envd, kept over real sockets in front of you: `make demo`.

Prints what it sees, then a table; exits with 0 only if all was as expected, in its time, and nothing is left running.
"""

from __future__ import annotations

import base64
import hashlib
import os
import random
import signal
import sys
import time
from contextlib import suppress
from typing import Self

from connect_json import Message, Output, output_of
from stage import MARK, Daemon, Result, expire, left_running, play, running_daemon, say, table

MIB = 1 << 20

# Waits for an answer after each line: a line that is held back anywhere on its way stops it for good.
LIVE = 'for n in 1 2 3 4 5; do echo "line $n"; read -r answer || exit 9; done'
ADDER = 'sum=0; while read -r n; do sum=$((sum + n)); echo "sum $sum"; done; echo "bye $sum"; exit 3'
TREE = """
import os, signal
role = "leader"
if os.fork() == 0:
    role = "child"
    if os.fork() == 0:
        role = "grandchild"
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.write(1, f"{role} {os.getpid()}\\n".encode())
while True: signal.pause()
"""

# Random bytes from fixed seeds, so that both sides can compute them. It waits after each part: what a client that is
# away has not read stays below the 4 MiB that are kept of each stream.
SEEDS = (1, 2)
BLOB = f"""
import random, sys
for seed in {SEEDS}:
    sys.stdout.buffer.write(random.Random(seed).randbytes({3 * MIB}))
    sys.stdout.flush()
    sys.stdin.readline()
"""

# Says its window's size at the start and for each line that is typed; ends where Ctrl+D is.
WINDOW = "stty -echo; stty size; while read -r line; do stty size; done; exit 4"

# The pause between lines only keeps it at work while the server dies; select ends it early for a word on stdin.
COUNTER = """
import os, select
n = 0
while not select.select([0], [], [], 0.0005)[0]:
    os.write(1, b"out %d\\n" % n)
    os.write(2, b"err %d\\n" % n)
    n += 1
os.write(1, b"pid %d\\n" % os.getpid())
raise SystemExit(5 if os.read(0, 100) == b"stop\\n" else 6)
"""


class Program:
    """A program in the sandbox and what this client has received of it, so that it can go on after a broken stream."""

    def __init__(self, daemon: Daemon, cmd: str, code: str, size: Message | None = None) -> None:
        self._client = daemon.client
        self.output = {"stdout": bytearray(), "stderr": bytearray(), "pty": bytearray()}
        self.status, self.connections, self._ends = "no end", 0, 0
        config = {"cmd": cmd, "args": ["-c", code], "cwd": "/", "envs": {"ENVD_DEMO_PROGRAM": MARK}}
        self._open("Start", {"process": config, **({"pty": {"size": size}} if size else {})})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stream.close()

    def resume(self) -> None:
        """Connect again and go on exactly where the last stream broke."""
        self.stream.close()
        self._open("Connect", {**self._selector, "resume": {name: len(data) for name, data in self.output.items()}})

    def follow(self, *, lines: int = sys.maxsize, size: int = sys.maxsize) -> None:
        """Take in events until standard output or the terminal has so many lines or bytes, or the stream ends."""
        while self._ends < lines and len(self.output["stdout"]) < size:
            if (message := next(self._messages, None)) is None:
                return
            self._take(message["event"], output_of(message))

    def lines(self, stream: str = "stdout") -> list[str]:
        return self.output[stream].decode(errors="replace").splitlines()

    def call(self, method: str, **fields: object) -> None:
        self._client.unary(f"process.Process/{method}", {**self._selector, **fields})

    def send(self, *texts: str) -> None:
        inputs = ({"stdin": base64.b64encode(text.encode()).decode()} for text in texts)
        data = ({"data": {"input": stdin}} for stdin in inputs)
        self._client.client_stream("process.Process/StreamInput", [{"start": self._selector}, *data])

    def type(self, text: str) -> None:
        self.call("SendInput", input={"pty": base64.b64encode(text.encode()).decode()})

    def _open(self, method: str, request: Message) -> None:
        self.stream = self._client.stream(f"process.Process/{method}", request)
        self._messages = iter(self.stream)
        self.pid = next(self._messages)["event"]["start"]["pid"]
        self._selector = {"process": {"pid": self.pid}}
        self.connections += 1

    def _take(self, event: Message, piece: Output | None) -> None:
        self.status = event.get("end", {}).get("status", self.status)
        if piece is None:
            return
        have = self.output[piece.stream]
        if piece.offset != len(have):  # so nothing is missing and nothing comes twice
            raise ValueError(f"{piece.stream} goes on at byte {piece.offset} instead of {len(have)}")
        have += piece.data
        self._ends += piece.data.count(b"\n") if piece.stream != "stderr" else 0


def live_lines(daemon: Daemon) -> Result:
    with Program(daemon, "/bin/sh", LIVE) as program:
        for count in range(1, 6):
            program.follow(lines=count)
            say(f"saw {program.lines()[-1]!r}; answering, so that the next one is printed")
            program.send("seen\n")
        program.follow()
    answer = f"{len(program.lines())} lines, each before the next was printed, {program.status}"
    return Result("lines arrive live", answer, "5 lines, each before the next was printed, exit status 0")


def conversation(daemon: Daemon) -> Result:
    with Program(daemon, "/bin/sh", ADDER) as program:
        for numbers, lines in (("5",), 1), (("7", "30"), 3):
            say(f"sending {numbers}")
            program.send(*(f"{number}\n" for number in numbers))
            program.follow(lines=lines)
            say(f"the program says {program.lines()[-1]!r}")
        program.call("CloseStdin")
        program.follow()
    answer = f"{', '.join(program.lines())}, {program.status}"
    return Result("a conversation over stdin", answer, "sum 5, sum 12, sum 42, bye 42, exit status 3")


def tree_killed(daemon: Daemon) -> Result:
    with Program(daemon, sys.executable, TREE) as program:
        program.follow(lines=3)
        tree = dict(line.split(maxsplit=1) for line in program.lines())
        say(f"running: {tree}; the grandchild has left the session and ignores SIGTERM")
        program.call("SendSignal", signal="SIGNAL_SIGKILL")
        program.follow()
    while any(os.path.exists(f"/proc/{pid}") for pid in tree.values()):
        time.sleep(0.005)  # the time limit of the scene ends a wait in vain
    say("none of them is in /proc any more")
    answer = f"{', '.join(sorted(tree))}: {program.status}, none left"
    return Result("a process tree killed whole", answer, "child, grandchild, leader: signal: killed, none left")


def vanishing_client(daemon: Daemon) -> Result:
    with Program(daemon, sys.executable, BLOB) as program:
        for mib in (1, 2, 3, 4, 5, 6):
            program.follow(size=mib * MIB)
            if mib % 3 == 0:
                program.send("go on\n")
                continue
            say(f"vanishing without a word after {len(program.output['stdout'])} bytes, then resuming there")
            program.stream.abort()
            program.resume()
        program.follow()
    out, blob = program.output["stdout"], b"".join(random.Random(seed).randbytes(3 * MIB) for seed in SEEDS)
    same = "same" if hashlib.sha256(out).digest() == hashlib.sha256(blob).digest() else "another"
    answer = f"{len(out)} bytes, {same} SHA-256, {program.connections} connections, {program.status}"
    expected = f"{len(blob)} bytes, same SHA-256, 5 connections, exit status 0"
    return Result("a client that vanishes", answer, expected)


def server_killed(daemon: Daemon) -> Result:
    server = daemon.server_pid()
    with Program(daemon, sys.executable, COUNTER) as program:
        program.follow(lines=200)
        os.kill(server, signal.SIGKILL)
        with suppress(ConnectionError):
            program.follow()
        pid, lines, began = program.pid, len(program.lines()), time.monotonic()
        say(f"server {server} killed by SIGKILL, the stream broke after {lines} lines")
        program.resume()
        say(f"server {daemon.server_pid()} answers after {(time.monotonic() - began) * 1000:.0f} ms; reading on")
        program.follow(lines=lines + 200)
        program.send("stop\n")
        program.follow()
    *numbered, last = program.lines()
    say(f"{len(numbered)} lines on each stream, then {last!r}")
    wanted = [[f"{name} {n}" for n in range(len(numbered))] for name in ("out", "err")]
    once = [numbered, program.lines("stderr")] == wanted
    same = last == f"pid {pid}" and program.pid == pid
    answer = f"{'every line once' if once else 'lines differ'}, {'same' if same else 'another'} pid, {program.status}"
    return Result("the server killed by SIGKILL", answer, "every line once, same pid, exit status 5")


def terminal(daemon: Daemon) -> Result:
    with Program(daemon, "/bin/sh", WINDOW, {"cols": 80, "rows": 24}) as program:
        program.follow(lines=1)
        program.call("Update", pty={"size": {"cols": 132, "rows": 43}})
        program.type("again\n")
        program.follow(lines=2)
        say(f"stty size said {', '.join(program.lines('pty'))}; killing the server by SIGKILL")
        os.kill(daemon.server_pid(), signal.SIGKILL)
        with suppress(ConnectionError):
            program.follow()
        program.resume()
        say("attached again; the window is as it was, and can be changed")
        program.type("again\n")
        program.follow(lines=3)
        program.call("Update", pty={"size": {"cols": 100, "rows": 30}})
        program.type("again\n\x04")
        program.follow()
    answer = f"{', '.join(program.lines('pty'))}, {program.connections} connections, {program.status}"
    return Result("a terminal", answer, "24 80, 43 132, 43 132, 30 100, 2 connections, exit status 4")


def main() -> int:
    scenes = (live_lines, conversation, tree_killed, vanishing_client, server_killed, terminal)
    signal.signal(signal.SIGALRM, expire)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with running_daemon() as daemon:
            results = [play(scene, daemon) for scene in scenes]
    finally:
        left = left_running("ENVD_DEMO_DAEMON") + left_running("ENVD_DEMO_PROGRAM")
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    results.append(Result("everything stopped", f"{len(left)} processes left", "0 processes left"))
    print(f"\n{table(results)}")
    return 0 if all(row.seen == row.expected for row in results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
