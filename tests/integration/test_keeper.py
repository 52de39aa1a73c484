"""The keeper against real processes: stopping, restarting, reaping, and a server that does as it likes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from envd.config import Config
from envd_proto.process.process_pb2 import ProcessEvent
from tests.support.connect import Client, Codec
from tests.support.daemon import Daemon, running_daemon
from tests.support.faults import (
    descriptors,
    keeper_of,
    kill_server,
    launch,
    new_server,
    persist,
    port_of,
    scripted_keeper,
    settled,
    shell_daemon,
    zombies,
)
from tests.support.kernel import Gate, children, exited, is_running
from tests.support.process import Processes, pid, shell, start_request
from tests.support.readers import configured_daemon

# Says it is ready, then outlives everything but SIGKILL.
STUBBORN = "trap '' TERM; echo ready; exec sleep 1000"
POLITE = "trap 'echo asked; exit 5' TERM; echo ready; while :; do sleep 1000 & wait; done"
# Whatever ends within `AT_ONCE_S` was not waited for where the grace after SIGTERM is `LONG_GRACE`.
AT_ONCE_S = 60.0
LONG_GRACE = Config(stop_grace_s=600.0)


def processes_of(daemon: Daemon) -> Processes:
    return Processes(Client(daemon.port, Codec.PROTO))


# Stopping.


async def test_the_first_sigterm_ends_the_programs_and_shows_their_followers_how() -> None:
    async with running_daemon() as daemon:
        processes = processes_of(daemon)
        async with processes.start(shell(POLITE)) as polite, processes.start(shell(STUBBORN)) as stubborn:
            await polite.until(b"ready\n")
            await stubborn.until(b"ready\n")
            stopped = asyncio.create_task(asyncio.to_thread(daemon.stop))
            asked, killed = (await polite.rest()).end, (await stubborn.rest()).end
            assert (asked.exit_code, asked.signal, asked.cause) == (5, 0, ProcessEvent.CAUSE_SHUTDOWN)
            assert b"asked\n" in polite.seen.stdout
            assert (killed.exit_code, killed.signal, killed.cause) == (-1, signal.SIGKILL, ProcessEvent.CAUSE_SHUTDOWN)
            assert await stopped == 0


async def test_an_idle_daemon_stops_at_once() -> None:
    async with configured_daemon(LONG_GRACE) as daemon:
        async with asyncio.timeout(AT_ONCE_S):
            assert await asyncio.to_thread(daemon.stop) == 0


async def test_a_shell_in_a_terminal_is_hung_up_on_and_not_waited_for() -> None:
    """Interactive shells ignore SIGTERM."""
    async with configured_daemon(LONG_GRACE) as daemon:
        request = start_request("/bin/bash", "--norc", "-i")
        request.pty.size.rows, request.pty.size.cols = 24, 80
        async with processes_of(daemon).start(request) as follower:
            while (await follower.next()).WhichOneof("event") != "data":
                pass  # until it prompts
            stopped = asyncio.create_task(asyncio.to_thread(daemon.stop))
            async with asyncio.timeout(AT_ONCE_S):
                assert (await follower.rest()).end.cause == ProcessEvent.CAUSE_SHUTDOWN
                assert await stopped == 0


async def test_sigterm_ends_what_programs_left_behind_too(gate: Gate) -> None:
    async with running_daemon() as daemon:
        child = f"trap '' TERM; echo $$ > {gate.path}; exec sleep 1000"
        async with processes_of(daemon).start(shell(f"setsid sh -c '{child}' & wait")):
            left = int(await gate.reached())
            assert await asyncio.to_thread(daemon.stop) == 0
            await exited(left)


async def test_a_second_sigterm_does_not_wait() -> None:
    async with configured_daemon(LONG_GRACE) as daemon:
        program = await launch(Client(daemon.port, Codec.PROTO), shell(STUBBORN))
        server = daemon.server_pid()
        async with processes_of(daemon).start(shell(POLITE)) as follower:
            await follower.until(b"ready\n")
            os.kill(daemon.pid, signal.SIGTERM)
            await follower.until(b"asked\n")
            async with asyncio.timeout(AT_ONCE_S):
                assert await asyncio.to_thread(daemon.stop) == 1
        await exited(program, server)


async def test_sigterm_while_no_server_is_there_stops_the_keeper() -> None:
    async with keeper_of("/bin/false") as keeper:
        while (await keeper.noted())["delay_ms"] < 400:
            pass
        os.kill(keeper.pid, signal.SIGTERM)
        async with asyncio.timeout(AT_ONCE_S):
            await keeper.ended()


async def test_the_server_ends_with_its_keeper() -> None:
    async with running_daemon() as daemon:
        server = daemon.server_pid()
        os.kill(daemon.pid, signal.SIGKILL)
        await exited(server)


# Restarting.


async def test_a_server_that_cannot_start_is_tried_again_ever_later_and_that_is_logged() -> None:
    async with keeper_of("/bin/false") as keeper:
        notes = [await keeper.noted() for _ in range(5)]
    assert {note["message"] for note in notes} == {"server ended, restarting"}
    assert {note["exit_code"] for note in notes} == {1}
    delays = [note["delay_ms"] for note in notes]
    assert delays == sorted(delays)
    assert delays[-1] > delays[0]


async def test_a_server_that_is_missing_is_tried_again_too() -> None:
    async with keeper_of("/nonexistent/server") as keeper:
        assert [(await keeper.noted())["exit_code"] for _ in range(2)] == [127, 127]


async def test_what_a_killed_server_had_sent_is_done() -> None:
    # The first server never reads: what it had not read when it died must not hide what it had sent.
    script = """
if generation == 1:
    reader, writer = os.pipe()
    spawn(1, "/bin/cat", stdin=reader, held=[writer])
    tell(wire.CLOSE, 1, [0])
    tell(wire.KILL, 1, 15, False)
    die()
found = []
while True:
    message, fds = hear(wire.PROCESS, wire.ADOPTED)
    if message[0] == wire.ADOPTED:
        break
    found.append((message[1], len(fds)))
say(found=found, last=message[1])
stay()
"""
    async with scripted_keeper(script) as keeper:
        assert await keeper.said() == {"found": [[1, 0]], "last": 1}


async def test_an_end_nobody_heard_of_is_told_to_the_next_server() -> None:
    script = """
if generation == 1:
    spawn(1, "/bin/sh", "-c", "exit 7")
    hear(wire.EXITED)
    die()
message, _ = hear(wire.PROCESS)
say(ident=message[1], spawned=message[4], status=os.waitstatus_to_exitcode(message[5][0]))
stay()
"""
    async with scripted_keeper(script) as keeper:
        assert await keeper.said() == {"ident": 1, "spawned": [0, ""], "status": 7}


@pytest.mark.slow
async def test_a_server_that_reads_nothing_does_not_stop_the_keeper() -> None:
    # The ends of 3000 programs are more than its socket holds; the keeper hears it out all the same.
    script = """
hear(wire.ADOPTED)
for ident in range(1, 3001):
    spawn(ident, "/nonexistent")
say(sent=True)
reader, writer = os.pipe2(os.O_CLOEXEC)
spawn(3001, "/bin/cat", stdin=reader)
os.close(reader)
tell(wire.KILL, 3001, 9, False)
heard = [hear(wire.SPAWNED, wire.EXITED)[0] for _ in range(2 * 3001)]
say(spawned=len({m[1] for m in heard if m[0] == wire.SPAWNED}), ended=len({m[1] for m in heard if m[0] == wire.EXITED}))
stay()
"""
    async with scripted_keeper(script) as keeper:
        assert await keeper.said() == {"sent": True}
        assert await keeper.said() == {"spawned": 3001, "ended": 3001}


@pytest.mark.slow
async def test_a_thousand_ends_and_releases_at_once_do_not_deadlock() -> None:
    # All programs read one pipe, so all end together; meanwhile the server only writes.
    script = """
reader, writer = os.pipe2(os.O_CLOEXEC)
hear(wire.ADOPTED)
before = len(os.listdir(f"/proc/{os.getppid()}/fd"))
for ident in range(1, 1001):
    spawn(ident, "/bin/cat", stdin=reader, held=[reader, reader])
for _ in range(1000):
    message, _ = hear(wire.SPAWNED)
    assert message[3] == 0, message
os.close(writer)
for ident in range(1, 1001):
    tell(wire.CLOSE, ident, [0])
    tell(wire.KILL, ident, 0, True)
    tell(wire.FORGET, [ident])
reader, writer = os.pipe2(os.O_CLOEXEC)
spawn(1001, "/bin/true")
while hear(wire.EXITED)[0][1] != 1001:
    pass
say(before=before)
stay()
"""
    async with scripted_keeper(script) as keeper:
        before = (await keeper.said())["before"]
        # One pipe descriptor each was kept by nobody: the records, the held copies and the reports are gone.
        assert await settled(lambda: descriptors(keeper.pid), lambda count: count <= before + 3) <= before + 3
        assert await settled(lambda: zombies(keeper.pid), lambda found: not found) == []


async def test_a_release_of_what_is_not_there_does_no_harm() -> None:
    script = """
hear(wire.ADOPTED)
tell(wire.FORGET, [7, 8, 9])
tell(wire.CLOSE, 7, [0, 1])
tell(wire.KILL, 7, 9, True)
spawn(10, "/bin/true")
tell(wire.CLOSE, 10, [5])
message, _ = hear(wire.EXITED)
tell(wire.KILL, 10, 9, True)
tell(wire.FORGET, [10, 10])
spawn(11, "/bin/true")
message, _ = hear(wire.EXITED)
say(ident=message[1])
stay()
"""
    async with scripted_keeper(script) as keeper:
        assert await keeper.said() == {"ident": 11}


# Reaping.


async def test_orphans_are_reaped(gate: Gate, tmp_path: Path) -> None:
    async with running_daemon() as daemon:
        go = Gate(tmp_path, "go")
        inner = f"echo $$ > {gate.path}; read _ < {go.path}"
        try:
            outcome = await processes_of(daemon).run(
                shell(f"(setsid sh -c '{inner}' > /dev/null 2>&1 < /dev/null &)"),
            )
            assert outcome.end.exit_code == 0
            orphan = int(await gate.reached())
            assert await settled(lambda: parent_of(orphan), lambda found: found == daemon.pid) == daemon.pid
            go.open()
            # Gone from the table of processes, not only dead.
            assert await settled(lambda: Path(f"/proc/{orphan}").exists(), lambda there: not there) is False
        finally:
            go.close()


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


# Standard error.


@contextmanager
def full_pipe() -> Iterator[tuple[int, int]]:
    """A pipe nobody reads, and a way to fill it: its write end blocks, like an operator's."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        yield reader, writer
    finally:
        os.close(reader)
        os.close(writer)


def fill(writer: int) -> None:
    """Fill a pipe, byte by byte at the end, through a description of its own."""
    own = os.open(f"/proc/self/fd/{writer}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        for size in (65536, 4096, 1):
            while True:
                try:
                    os.write(own, b"x" * size)
                except BlockingIOError:
                    break
    finally:
        os.close(own)


async def serves(processes: Processes, keeper: int) -> None:
    """Fail unless programs run, before and after the server is killed."""
    assert (await processes.run(shell("echo one; exit 3"))).end.exit_code == 3
    server = server_of(keeper)
    os.kill(server, signal.SIGKILL)
    await exited(server)
    assert (await persist(lambda: processes.run(shell("echo two; exit 4")))).end.exit_code == 4
    assert server_of(keeper) != server


def server_of(keeper: int) -> int:
    return next(child for child in children(keeper) if Path(f"/proc/{child}/comm").read_text() == "envd-server\n")


async def test_a_closed_stderr_stops_nothing() -> None:
    async with shell_daemon('exec "$@" 2>&-') as process:
        await serves(Processes(Client(await port_of(process), Codec.PROTO)), process.pid)
        process.terminate()
        assert await asyncio.to_thread(process.wait, 20) == 0


async def test_closed_standard_descriptors_are_not_taken_by_others() -> None:
    async with shell_daemon('exec "$@" <&- 2>&-') as process:
        processes = Processes(Client(await port_of(process), Codec.PROTO))
        outcome = await processes.run(start_request("readlink", *(f"/proc/self/fd/{fd}" for fd in range(3))))
        assert all(line.startswith(b"pipe:") for line in outcome.stdout.splitlines()), outcome.stdout
        assert [os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in (0, 2)] == ["/dev/null"] * 2


async def test_a_full_stderr_stops_nothing() -> None:
    with full_pipe() as (_, writer):
        async with shell_daemon('exec "$@"', stderr=writer) as process:
            port = await port_of(process)
            fill(writer)
            async with asyncio.timeout(AT_ONCE_S):
                await serves(Processes(Client(port, Codec.PROTO)), process.pid)
            process.terminate()
            assert await asyncio.to_thread(process.wait, 20) == 0


async def test_a_stderr_nobody_reads_any_more_stops_nothing() -> None:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    async with shell_daemon('exec "$@"', stderr=writer) as process:
        os.close(writer)
        port = await port_of(process)
        os.close(reader)
        await serves(Processes(Client(port, Codec.PROTO)), process.pid)


async def test_the_keeper_survives_a_full_stderr_while_its_server_fails(tmp_path: Path) -> None:
    generations = Gate(tmp_path)
    with full_pipe() as (_, writer):
        fill(writer)
        try:
            async with keeper_of("/bin/sh", "-c", f"echo $ENVD_GENERATION > {generations.path}; exit 1", stderr=writer):
                seen = b""
                while b"4\n" not in seen:
                    seen += await generations.reached()
        finally:
            generations.close()
    assert seen.startswith(b"1\n2\n3\n4\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
async def test_other_ways_to_ask_for_the_end_drain_as_well(number: signal.Signals) -> None:
    async with running_daemon() as daemon:
        processes = processes_of(daemon)
        async with processes.start(shell(POLITE)) as follower:
            await follower.until(b"ready\n")
            os.kill(daemon.pid, number)
            end = (await follower.rest()).end
            assert (end.exit_code, end.cause) == (5, ProcessEvent.CAUSE_SHUTDOWN)
            await exited(daemon.pid)


async def test_a_killed_server_is_replaced_on_the_same_address() -> None:
    async with running_daemon() as daemon:
        processes = processes_of(daemon)
        program = await launch(Client(daemon.port, Codec.PROTO), shell("read _; exit 9"))
        old = await kill_server(daemon)
        assert {info.pid for info in await persist(processes.list)} == {program}
        assert await new_server(daemon, old) != old
        assert is_running(program)
        await processes.close_stdin(pid(program))
        assert (await processes.replay(pid(program))).end.exit_code == 9


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_to_the_whole_group_drains_as_one_to_the_daemon(number: int) -> None:
    async with shell_daemon('exec "$@"', start_new_session=True, stderr=subprocess.PIPE) as process:
        processes = Processes(Client(await port_of(process), Codec.PROTO))
        async with processes.start(start_request("sleep", "60")) as program:
            os.killpg(process.pid, number)
            end = (await program.rest()).end
        assert await asyncio.to_thread(process.wait, 20) == 0
        assert end.cause == ProcessEvent.CAUSE_SHUTDOWN
        assert process.stderr is not None
        with process.stderr as log:
            assert b"Traceback" not in log.read()


async def test_a_hangup_ignored_from_the_start_stays_ignored() -> None:
    async with shell_daemon("trap '' HUP; exec \"$@\"") as process:
        processes = Processes(Client(await port_of(process), Codec.PROTO))
        async with processes.start(start_request("sleep", "60")) as program:
            process.send_signal(signal.SIGHUP)
            await processes.signal(pid(program.pid), number=9)
            assert (await program.rest()).end.cause == ProcessEvent.CAUSE_SIGNAL_REQUEST
        assert process.poll() is None
