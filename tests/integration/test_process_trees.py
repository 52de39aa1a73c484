"""Ending programs with everything they started: whatever else runs, and at a price that does not grow with that."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from envd.host.orphans import SharedScan
from envd.host.process_tree import ProcessTrees
from envd_proto.process.process_pb2 import SIGNAL_SIGKILL
from tests.support.connect import Codec
from tests.support.daemon import Daemon, running_daemon
from tests.support.faults import launch
from tests.support.kernel import exited
from tests.support.process import Processes, pid, shell, start_request

# Starts `count` processes that leave its session and their parent at once; they are all alike but for their number.
FORKER = """
import os, sys, time
for number in range(int(sys.argv[1])):
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.execv("/bin/sleep", ["sleep", "1000"])
    os.wait()
    if number == 20:
        print("many", flush=True)
time.sleep(1000)
"""


@pytest.fixture
async def own_daemon() -> AsyncIterator[Daemon]:
    async with running_daemon() as daemon:
        yield daemon


@pytest.fixture
def own(own_daemon: Daemon) -> Processes:
    return Processes.on(own_daemon.port, Codec.PROTO)


def living(marker: str) -> list[int]:
    """Processes that have a variable with this value, and have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if marker.encode() in path.read_bytes():
                found.append(int(path.parts[2]))
    return found


def reads(process: int) -> int:
    """How many system calls a process has read with."""
    lines = dict(line.split(": ") for line in Path(f"/proc/{process}/io").read_text().splitlines())
    return int(lines["syscr"])


async def kill_all(own: Processes, pids: list[int]) -> None:
    for number in pids:
        await own.signal(pid(number), SIGNAL_SIGKILL)
        await exited(number)


async def test_ending_a_program_costs_no_more_beside_many_others(own_daemon: Daemon, own: Processes) -> None:
    """What is counted is the reading of /proc; what else a call reads is the same beside few and many."""
    server, few, many = own_daemon.server_pid(), 20, 160
    costs = []
    for others in (few, many):
        beside = [await launch(own.client, shell("sleep 1000 & (setsid sleep 1000 &); wait")) for _ in range(others)]
        victims = [await launch(own.client, start_request("sleep", "1000")) for _ in range(10)]
        await own.signal(pid(victims[0]), SIGNAL_SIGKILL)  # who has left its parent is read once, now
        before = reads(server)
        await kill_all(own, victims[1:])
        costs.append((reads(server) - before) / len(victims[1:]))
        await kill_all(own, beside)
    assert costs[1] <= 2 * costs[0], costs


@pytest.mark.parametrize("count", [60, pytest.param(2000, marks=pytest.mark.slow)])
async def test_what_forks_out_of_its_tree_while_it_is_killed_is_killed_too(own: Processes, count: int) -> None:
    marker = f"marker-{uuid.uuid4().hex}"
    request = start_request(sys.executable, "-c", FORKER, str(count), envs={"MARKER": marker}, stdin=False)
    async with own.start(request) as program:
        await program.until(b"many\n")
        # Others end meanwhile: the list of who left its parent changes while it is read.
        noise = [asyncio.create_task(own.run(start_request("true"))) for _ in range(20)]
        await own.signal(pid(program.pid), SIGNAL_SIGKILL)
        assert living(marker) == []
        await asyncio.gather(*noise)


async def test_many_are_killed_at_once_and_no_other_program_with_them(own: Processes) -> None:
    marker, other = f"marker-{uuid.uuid4().hex}", f"marker-{uuid.uuid4().hex}"
    script = "sleep 1000 & (setsid sleep 1000 &); exec sleep 1000"
    beside = [await launch(own.client, shell(script, envs={"MARKER": other})) for _ in range(5)]
    victims = [await launch(own.client, shell(script, envs={"MARKER": marker})) for _ in range(30)]
    await asyncio.gather(*(own.signal(pid(number), SIGNAL_SIGKILL) for number in victims))
    assert living(marker) == []
    assert len(living(other)) == 3 * len(beside)
    await kill_all(own, beside)
    assert living(other) == []


@pytest.mark.slow
async def test_a_daemon_with_a_thousand_programs_stops() -> None:
    marker = f"marker-{uuid.uuid4().hex}"
    async with running_daemon() as daemon:
        own = Processes.on(daemon.port, Codec.PROTO)
        for _ in range(1000):
            await launch(own.client, start_request("sleep", "1000", envs={"MARKER": marker}))
        os.kill(daemon.pid, signal.SIGTERM)
        await exited(daemon.pid, timeout_s=60)
    assert living(marker) == []


def test_where_the_kernel_shows_no_children_all_processes_are_looked_at() -> None:
    """The reaper that is named here is not the parent of this process: so nothing is known of its children."""
    trees = ProcessTrees(1 if os.getppid() != 1 else 2, set())
    script = "sleep 1000 & echo $!; exec sleep 1000"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True) as program:
        assert program.stdout is not None
        child = int(program.stdout.readline())
        try:
            assert trees.members(program.pid, 0) == sorted([program.pid, child])
            # Each at least once: on a busy machine the killed take a while to die, and are killed again.
            assert trees.signal(program.pid, 0, signal.SIGKILL) >= 2
        finally:
            with suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
    assert program.returncode == -signal.SIGKILL
    assert trees.members(program.pid, 0) == []


def test_a_look_that_is_shared_began_after_each_who_gets_it_has_asked() -> None:
    looks: list[float] = []

    def look() -> float:
        looks.append(time.monotonic())
        time.sleep(0.002)  # long enough for others to ask meanwhile
        return looks[-1]

    def ask() -> None:
        for _ in range(50):
            asked = time.monotonic()
            began = shared.now()
            stale.extend([began] if began < asked else [])

    shared, stale = SharedScan(look), list[float]()
    askers = [threading.Thread(target=ask) for _ in range(8)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert stale == []
    assert len(looks) < 8 * 50, "no look was shared"
    before = len(looks)
    shared.now()
    assert len(looks) == before + 1


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM])
def test_a_tree_is_killed_where_the_kernel_has_no_pidfds(monkeypatch: pytest.MonkeyPatch, number):
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pidfd_open", refuse)
    marker = uuid.uuid4().hex
    program = ["sh", "-c", "sleep 1000 & echo begun; wait"]
    with subprocess.Popen(
        program, stdout=subprocess.PIPE, start_new_session=True, env={**os.environ, "MARKER": marker}
    ) as leader:
        assert leader.stdout is not None
        assert leader.stdout.readline() == b"begun\n"
        try:
            assert ProcessTrees(os.getpid(), set()).signal(leader.pid, 0, signal.SIGKILL) >= 2
        finally:
            with suppress(ProcessLookupError):
                os.killpg(leader.pid, signal.SIGKILL)
    assert leader.returncode == -signal.SIGKILL
    assert living(marker) == []
