"""Terminals on the real kernel: many of them, floods, kills of the server, programs that let go of their terminal."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import time
from pathlib import Path

import pytest

from envd_proto.process.process_pb2 import SIGNAL_SIGKILL, OutputPosition, UpdateRequest
from tests.support.connect import ConnectError
from tests.support.daemon import Daemon
from tests.support.faults import descriptors, kill_server, launch, new_server, persist, settled
from tests.support.kernel import Gate, exited
from tests.support.process import Processes, pid
from tests.support.readers import memory_file_bytes
from tests.support.terminals import (
    RAW,
    TerminalReader,
    flood,
    flooded,
    matched,
    printed,
    pty,
    resize,
    send_pty,
    terminal_python,
    terminal_shell,
    until,
)

TERMINALS = 300
KILLS = 20
RESIZES = 500
MIB = 1 << 20
# What is kept, a quarter more between two trims, and what a reader that has just left may still lack.
JOURNAL_BOUND = 15 * MIB
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(process: int) -> float:
    """Processor time a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def random_source() -> random.Random:
    """Chance, and in the report of a failed test the number that repeats it."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    return random.Random(seed)


@pytest.mark.slow
async def test_three_hundred_terminals_at_once(own_daemon: Daemon, own: Processes) -> None:
    before = descriptors(own_daemon.pid)
    pids = [
        await launch(own.client, terminal_shell(f"tty; read line; echo got $line; exit {number % 200}"))
        for number in range(TERMINALS)
    ]
    assert await own.pids() >= set(pids)
    for number, program in enumerate(pids):
        await send_pty(own, pid(program), b"%d\r" % number)
    names = set()
    for number, program in enumerate(pids):
        outcome = await own.replay(pid(program), resume=OutputPosition())
        assert outcome.end.exit_code == number % 200
        name, _, rest = printed(outcome).partition(b"\r\n")
        assert b"got %d\r\n" % number in rest
        names.add(name)
    assert len(names) == TERMINALS
    # Of each that has ended the keeper holds its journal and its ledger.
    kept = before + 2 * TERMINALS
    assert await settled(lambda: descriptors(own_daemon.pid), lambda now: now <= kept) <= kept


@pytest.mark.slow
async def test_no_byte_of_a_flood_is_lost_or_doubled_by_kills_of_the_server(
    own_daemon: Daemon, own: Processes, tmp_path: Path
) -> None:
    stop, chance = tmp_path / "stop", random_source()
    program = await launch(own.client, flood(3_000_000, stop))
    reader = TerminalReader(own.client, program)
    async with asyncio.TaskGroup() as group:
        following = group.create_task(reader.run())
        for _ in range(KILLS):
            for _ in range(chance.randrange(1, 12)):
                await reader.more()
            await kill_server(own_daemon)
        assert not following.done()
        stop.touch()
        end = await following
    assert reader.seen == flooded(len(reader.seen) // 10)
    assert end.exit_code == 3
    assert reader.connections > KILLS


@pytest.mark.slow
async def test_a_flood_that_nobody_follows_loses_nothing_of_its_tail_by_kills(
    own_daemon: Daemon, own: Processes
) -> None:
    lines, chance = 1_500_000, random_source()
    program = await launch(own.client, flood(lines))
    for _ in range(5):
        await kill_server(own_daemon)
        await persist(own.list)
        await asyncio.to_thread(time.sleep, chance.random() / 50)  # an arbitrary instant of the flood
    await exited(program)
    outcome = await persist(lambda: own.replay(pid(program)))
    tail = printed(outcome)
    assert outcome.end.output.pty == lines * 10
    assert outcome.data[0].offset + len(tail) == lines * 10
    assert tail == flooded(lines)[outcome.data[0].offset :]


async def test_a_terminal_lives_through_a_kill_with_its_size_and_takes_input_and_resizes(
    own_daemon: Daemon, own: Processes
) -> None:
    script = "while read line; do stty size; [ $line = end ] && exit 44; done"
    program = await launch(own.client, terminal_shell(script, cols=90, rows=20))
    await resize(own, pid(program), 100, 30)
    await kill_server(own_daemon)
    await persist(lambda: send_pty(own, pid(program), b"one\r"))
    async with own.connect(pid(program), resume=OutputPosition()) as follower:
        await until(follower, b"30 100\r\n")
        await resize(own, pid(program), 101, 31)
        await send_pty(own, pid(program), b"end\r")
        outcome = await follower.rest()
    assert printed(outcome).endswith(b"31 101\r\n")
    assert outcome.end.exit_code == 44


async def test_a_terminal_that_ended_while_no_server_was_there_tells_everything(
    own_daemon: Daemon, own: Processes, gate: Gate
) -> None:
    program = await launch(own.client, terminal_shell(f"echo before; read _ < {gate.path}; echo last; exit 42"))
    os.kill(own_daemon.pid, signal.SIGSTOP)
    try:
        await kill_server(own_daemon)
        gate.open()
        await exited(program)
    finally:
        os.kill(own_daemon.pid, signal.SIGCONT)
    outcome = await persist(lambda: own.replay(pid(program), resume=OutputPosition()))
    assert (outcome.end.exit_code, printed(outcome)) == (42, b"before\r\nlast\r\n")
    await kill_server(own_daemon)
    again = await persist(lambda: own.replay(pid(program), resume=OutputPosition()))
    assert (again.end, printed(again)) == (outcome.end, printed(outcome))


async def test_a_background_job_keeps_its_terminal_over_the_end_and_a_kill(
    own_daemon: Daemon, own: Processes, gate: Gate
) -> None:
    script = f"trap '' HUP; (read _ < {gate.path}; echo late) & echo $!; exit 5"
    outcome = await own.run(terminal_shell(script))
    assert (outcome.end.exit_code, list(outcome.end.held_by)) == (5, [int(printed(outcome))])
    await kill_server(own_daemon)
    await persist(own.list)
    gate.open()
    async with asyncio.timeout(60):
        while b"late\r\n" not in printed(again := await own.replay(pid(outcome.pid), resume=OutputPosition())):
            await asyncio.sleep(0.02)
    assert list(again.end.held_by) == list(outcome.end.held_by)


async def test_when_nothing_holds_a_terminal_any_more_it_is_gone(
    own_daemon: Daemon, own: Processes, gate: Gate
) -> None:
    outcome = await own.run(terminal_shell(f"trap '' HUP; (read _ < {gate.path}) & tty; exit 0"))
    name = printed(outcome).decode().split("\r\n")[0]
    assert os.path.exists(name)
    gate.open()
    assert await settled(lambda: os.path.exists(name), lambda there: not there) is False


# Lets go of its terminal for a second and a half, opens it again, prints and ends.
_LETS_GO = """
import os, time
for fd in (0, 1, 2):
    os.close(fd)
with open(GATE, "w") as gate:
    gate.write("closed")
time.sleep(1.5)
os.open("/dev/tty", os.O_RDWR)
os.write(0, b"back")
line = os.read(0, 100)
os.write(0, b"<" + line.strip() + b">")
os._exit(9)
"""


async def test_a_terminal_nobody_has_open_costs_nothing_and_may_be_opened_again(
    own_daemon: Daemon, own: Processes, gate: Gate
) -> None:
    request = terminal_python(_LETS_GO.replace("GATE", repr(gate.path)))
    async with own.start(request) as program:
        await gate.reached()
        server = own_daemon.server_pid()
        used = cpu_s(server)
        await until(program, b"back")
        assert cpu_s(server) - used < 0.3
        await send_pty(own, pid(program.pid), b"again\r")
        await until(program, b"<again>")
        assert (await program.rest()).end.exit_code == 9


# Lets go of its terminal for a second and a half, opens it again, and reads what was typed meanwhile.
_READS_LATER = """
import hashlib, os, sys, time
os.system("stty raw -echo")
for fd in (0, 1, 2):
    os.close(fd)
with open(GATE, "w") as gate:
    gate.write("closed")
time.sleep(1.5)
os.open("/dev/tty", os.O_RDWR)
data = b""
while len(data) < int(sys.argv[1]):
    data += os.read(0, 65536)
os.write(0, hashlib.sha256(data).hexdigest().encode())
"""


async def test_typing_into_a_terminal_nobody_has_open_costs_nothing_and_waits(
    own_daemon: Daemon, own: Processes, gate: Gate
) -> None:
    data = random.Random(9).randbytes(MIB // 4)
    async with own.start(terminal_python(_READS_LATER.replace("GATE", repr(gate.path)), str(len(data)))) as program:
        await gate.reached()
        server = own_daemon.server_pid()
        used = cpu_s(server)
        await send_pty(own, pid(program.pid), data)
        assert cpu_s(server) - used < 0.3
        await matched(program, hashlib.sha256(data).hexdigest().encode())


async def test_the_end_of_a_program_that_let_go_of_its_terminal_comes_at_once(own: Processes) -> None:
    async with own.start(terminal_shell("echo up; exec 0<&- 1>&- 2>&-; exec sleep 1000")) as program:
        await until(program, b"up")
        await own.signal(pid(program.pid), SIGNAL_SIGKILL)
        assert (await program.rest()).end.signal == signal.SIGKILL


@pytest.mark.slow
async def test_five_hundred_resizes_in_a_flood_lose_nothing(own: Processes, tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    async with own.start(flood(0, stop)) as program:
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(program.rest())
            for number in range(RESIZES):
                await own.update(UpdateRequest(process=pid(program.pid), pty=pty(80 + number, 24 + number % 50)))
            stop.touch()
        outcome = reading.result()
    assert printed(outcome) == flooded(len(printed(outcome)) // 10)
    assert outcome.end.exit_code == 3


async def test_input_to_a_program_that_does_not_read_holds_up_nothing_else(own: Processes) -> None:
    async with own.start(terminal_shell(f"trap '' HUP; {RAW} exec sleep 1000")) as program:
        await until(program, b"ready")
        typing = asyncio.create_task(send_pty(own, pid(program.pid), bytes(MIB)))
        async with asyncio.timeout(60):
            await resize(own, pid(program.pid), 100, 30)
            await own.list()
            assert not typing.done()
            await own.signal(pid(program.pid), SIGNAL_SIGKILL)
            assert (await program.rest()).end.signal == signal.SIGKILL
            with pytest.raises(ConnectError) as error:
                await typing
        assert error.value.code == "internal"


async def test_a_megabyte_typed_arrives_whole(own: Processes) -> None:
    data = random.Random(5).randbytes(MIB)
    async with own.start(terminal_shell(f"{RAW} head -c {MIB} | sha256sum; exit 6")) as program:
        await until(program, b"ready")
        await send_pty(own, pid(program.pid), data)

        await matched(program, hashlib.sha256(data).hexdigest().encode())
        assert (await program.rest()).end.exit_code == 6


@pytest.mark.slow
async def test_a_flood_nobody_reads_is_kept_in_bounded_memory(own_daemon: Daemon, own: Processes) -> None:
    lines = 2_000_000
    program = await launch(own.client, flood(lines))
    server = own_daemon.server_pid()
    most = 0
    while (await own.pids()) >= {program}:
        most = max(most, memory_file_bytes(server))
    assert most < JOURNAL_BOUND
    outcome = await own.replay(pid(program))
    assert outcome.end.output.pty == lines * 10
    assert printed(outcome) == flooded(lines)[-len(printed(outcome)) :]


@pytest.mark.slow
async def test_a_slow_only_reader_holds_the_program_up_and_loses_nothing(own_daemon: Daemon, own: Processes) -> None:
    lines = 4_000_000
    async with own.start(flood(lines), receive_buffer_bytes=64 * 1024) as program:
        server = own_daemon.server_pid()
        await settled(lambda: memory_file_bytes(server), lambda kept: kept >= 4 * MIB)
        assert program.pid in await own.pids()
        outcome = await program.rest()
    assert printed(outcome) == flooded(lines)
    assert outcome.end.exit_code == 3


@pytest.mark.slow
async def test_a_new_server_takes_over_what_was_in_the_relay(own_daemon: Daemon, own: Processes) -> None:
    """Many kills at the moment something is printed by a program that otherwise is quiet."""
    program, expected = await launch(own.client, terminal_shell(f"{RAW} while read line; do echo $line; done")), b""
    async with own.connect(pid(program), resume=OutputPosition()) as follower:
        expected += await until(follower, b"ready\n")
    for number in range(10):
        await persist(own.list)
        await send_pty(own, pid(program), b"%d\n" % number)
        expected += b"%d\n" % number
        old = await kill_server(own_daemon)
        await new_server(own_daemon, old)
    async with asyncio.timeout(60):
        reader = TerminalReader(own.client, program)
        following = asyncio.create_task(reader.run())
        while bytes(reader.seen) != expected:
            await reader.more()
        following.cancel()
