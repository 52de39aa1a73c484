"""The server killed at any moment: programs, their output and everything that was promised about them are still there.

The keeper restarts the server on the same listening socket. A client sees its connection break, comes back and says how
far it had got.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from envd_proto.process.process_pb2 import (
    OutputPosition,
    ProcessEvent,
    StartRequest,
    Timeouts,
)
from tests.support.connect import Client, Codec, ConnectError
from tests.support.daemon import Daemon, running_daemon
from tests.support.faults import (
    CUT_OFF,
    Reader,
    descriptors,
    hanging_directory,
    kill_server,
    launch,
    memory_kib,
    new_server,
    persist,
    settled,
    zombies,
)
from tests.support.kernel import Gate, children, exited, is_running
from tests.support.process import Outcome, Processes, pid, shell, start_request, tag
from tests.support.readers import memory_file_bytes

KILLS = 50
LONG_LIVED = 6
FOLLOWED = 4  # of the long-lived ones
# Lines of one burst of a printer; a short-lived one prints three bursts, so that a kill often falls into its life.
BURST = 20
FIRST_BYTES = 8_000_000
MORE_THAN_THE_PIPE = 3_000_000

# Prints numbered lines in bursts on both streams, at least `lines` and until there is a file `until`; then a last one.
PRINTER = f"""
import os, sys, time
until, code, lines = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
n = 0
while n < lines or (until and not os.path.exists(until)):
    for fd, name in ((1, b"out"), (2, b"err")):
        os.write(fd, b"".join(b"%s %d\\n" % (name, i) for i in range(n, n + {BURST})))
    n += {BURST}
    time.sleep(0.02)
for fd in (1, 2):
    os.write(fd, b"last %d\\n" % n)
os._exit(code)
"""


def printer(until: Path | None, code: int, lines: int = 3 * BURST) -> StartRequest:
    arguments = ["" if until is None else str(until), str(code), str(lines)]
    return start_request(sys.executable, "-I", "-S", "-c", PRINTER, *arguments, stdin=False)


def assert_whole(out: bytes, err: bytes) -> None:
    """Every line a printer prints is there once, in order."""
    count = int(out.splitlines()[-1].split()[1])
    assert count >= BURST
    for name, data in ((b"out", out), (b"err", err)):
        assert data == b"".join(b"%s %d\n" % (name, i) for i in range(count)) + b"last %d\n" % count


def random_source() -> random.Random:
    """Chance, and in the report of a failed test the number that repeats it."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    return random.Random(seed)


@asynccontextmanager
async def reading(client: Client, pids: list[int]) -> AsyncIterator[list[Reader]]:
    """Readers of programs that come back whenever their connection breaks."""
    readers = [Reader(client, number) for number in pids]
    tasks = [reader.start() for reader in readers]
    try:
        yield readers
        async with asyncio.timeout(60):
            await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# Every line, every end.


@pytest.mark.slow
async def test_fifty_kills_lose_no_line_no_end_and_no_program(
    own_daemon: Daemon, own: Processes, tmp_path: Path
) -> None:
    client, stop, chance = own.client, tmp_path / "stop", random_source()
    long_lived = [await launch(client, printer(stop, code)) for code in range(LONG_LIVED)]
    short_lived: list[int] = []
    await kill_server(own_daemon)
    await persist(own.list)
    fds, memory = descriptors(own_daemon.pid), memory_kib(own_daemon.pid)
    async with reading(client, long_lived[:FOLLOWED]) as readers:
        for kill in range(1, KILLS):
            short_lived.append(await persist(lambda: launch(client, printer(None, 50 + kill))))  # noqa: B023 - called at once
            # Some pieces later is an arbitrary instant of the server's life.
            await chance.choice(readers).more(chance.randrange(1, 4))
            await kill_server(own_daemon)
        assert {info.pid for info in await persist(own.list)} >= set(long_lived)
        stop.touch()
    ends = {reader.pid: reader.end for reader in readers}
    for reader in readers:
        assert_whole(reader.out, reader.err)
        assert reader.connections > KILLS / 2
    for number in (*long_lived[FOLLOWED:], *short_lived):
        outcome = await own.replay(pid(number), resume=OutputPosition())
        assert_whole(outcome.stdout, outcome.stderr)
        ends[number] = outcome.end
    codes = [
        (end.exit_code, end.signal, end.cause) for end in map(ends.__getitem__, (*long_lived, *short_lived)) if end
    ]
    expected = [*range(LONG_LIVED), *range(51, 50 + KILLS)]
    assert codes == [(code, 0, ProcessEvent.CAUSE_ITSELF) for code in expected]
    await assert_back_to_normal(own_daemon, fds, memory, finished=LONG_LIVED + len(short_lived))


async def assert_back_to_normal(daemon: Daemon, fds: int, memory: int, *, finished: int) -> None:
    """Fail if the kills left anything behind but what is kept of finished programs.

    Of each of them keeper and server hold three descriptors (two journals and the ledger) instead of the five of a
    running one; the server's own (epoll, listener, keeper, wake-up pair, standard ones) and connections are few.
    """
    kept = 3 * finished
    assert await settled(lambda: descriptors(daemon.pid), lambda now: now <= fds + kept) <= fds + kept
    server = await new_server(daemon, 0)
    assert await settled(lambda: descriptors(server), lambda now: now <= kept + 24) <= kept + 24
    assert await settled(lambda: zombies(daemon.pid), lambda found: not found) == []
    # An adoption leaves nothing in the keeper, the record of a finished program a little less than a KiB; the allocator
    # takes memory 256 KiB at a time.
    assert memory_kib(daemon.pid) <= memory + finished + 2 * 256
    # A server starts with 15 MB. The journals it has taken over are the kernel's memory, not its own.
    assert memory_kib(server) <= 24 * 1024


async def test_programs_keep_their_pids_and_their_order_of_start(own_daemon: Daemon, own: Processes) -> None:
    pids = [await launch(own.client, shell("read _; exit 3")) for _ in range(5)]
    for _ in range(3):
        await kill_server(own_daemon)
        assert {info.pid for info in await persist(own.list)} == set(pids)
        assert all(is_running(number) for number in pids)


async def test_what_ended_while_no_server_was_there_reports_its_end(
    own_daemon: Daemon, own: Processes, gate: Gate
) -> None:
    program = await launch(own.client, shell(f"read _ < {gate.path}; echo last; exit 42"))
    killed = await launch(own.client, shell("echo last; exec sleep 1000"))
    # The keeper cannot start a new server while it is stopped.
    os.kill(own_daemon.pid, signal.SIGSTOP)
    try:
        await kill_server(own_daemon)
        gate.open()
        os.kill(killed, signal.SIGKILL)
        await exited(program, killed)
    finally:
        os.kill(own_daemon.pid, signal.SIGCONT)
    outcome = await persist(lambda: own.replay(pid(program), resume=OutputPosition()))
    assert (outcome.end.exit_code, outcome.stdout) == (42, b"last\n")
    outcome = await own.replay(pid(killed), resume=OutputPosition())
    assert (outcome.end.signal, outcome.stdout) == (signal.SIGKILL, b"last\n")


async def test_an_end_is_told_again_after_a_kill_with_the_same_words(own_daemon: Daemon, own: Processes) -> None:
    before = await own.run(shell("echo out; echo err >&2; exit 5"))
    await kill_server(own_daemon)
    after = await persist(lambda: own.replay(pid(before.pid), resume=OutputPosition()))
    assert (after.stdout, after.stderr) == (b"out\n", b"err\n")
    for name in (
        "exit_code",
        "signal",
        "exited",
        "status",
        "error",
        "cause",
        "usage",
        "output",
        "started_at",
        "ended_at",
    ):
        assert getattr(after.end, name) == getattr(before.end, name), name


async def test_the_streams_keep_their_order_of_arrival_over_a_kill(
    own_daemon: Daemon, own: Processes, tmp_path: Path
) -> None:
    steps = [Gate(tmp_path, f"step-{number}") for number in range(2)]
    script = f"echo a; read _ < {steps[0].path}; echo b >&2; read _ < {steps[1].path}; echo c"
    try:
        async with own.start(shell(script)) as follower:
            await follower.until(b"a\n")
            steps[0].open()
            await follower.until(b"b\n")
            await kill_server(own_daemon)
            steps[1].open()
            await exited(follower.pid)
            outcome = await persist(lambda: own.replay(pid(follower.pid), resume=OutputPosition()))
    finally:
        for step in steps:
            step.close()
    assert [data.stdout or data.stderr for data in outcome.data] == [b"a\n", b"b\n", b"c\n"]


@pytest.mark.slow
async def test_a_large_output_comes_whole_over_kills(own_daemon: Daemon, own: Processes) -> None:
    # Faster than any reader: the kill falls into a pipe, a splice or a journal that is being trimmed.
    size = 48 * 1024 * 1024
    script = f"seq -f '%015.0f' {size // 16}"
    program = await launch(own.client, shell(f"read _; {script}"))
    async with reading(own.client, [program]) as (reader,):
        await settled(lambda: reader.connections, bool)
        await own.send_input(pid(program), b"go\n")
        for share in (1, 2, 3):
            await settled(lambda: len(reader.out), lambda count, share=share: count >= share * size // 4)
            await kill_server(own_daemon)
    assert len(reader.out) == size
    assert bytes(reader.out) == b"".join(b"%015d\n" % (n + 1) for n in range(size // 16))


# A reader that gives no position.


async def test_without_a_position_a_reader_gets_at_least_what_it_had_not_acknowledged(
    own_daemon: Daemon, own: Processes
) -> None:
    # It stops in the middle: what the peer's kernel has taken is its own, the rest must come again. More than the
    # buffers of both kernels and the journal hold, so that not all of it is under way when the server is killed.
    size = 16 * 1024 * 1024
    request = shell(f"seq -f '%015.0f' {size // 16}; exec sleep 1000")
    async with own.start(request, receive_buffer_bytes=64 * 1024) as follower:
        await follower.until(b"000000000001000\n")
        await kill_server(own_daemon)
        with suppress(*CUT_OFF):
            await follower.rest()
        received = len(follower.seen.stdout)
        assert received < size
        rest = await persist(lambda: first_after(own, follower.pid, size))
    assert rest.start <= received
    assert rest.data == b"".join(b"%015d\n" % (n + 1) for n in range(size // 16))[rest.start :]


class Rest:
    """What a reader without a position got: where it began, and the bytes."""

    def __init__(self, start: int, data: bytes) -> None:
        self.start = start
        self.data = data


async def first_after(processes: Processes, number: int, size: int) -> Rest:
    async with processes.connect(pid(number)) as follower:
        start = follower.seen.events[0].start.position.stdout
        while start + len(follower.seen.stdout) < size:
            await follower.next()
        assert follower.seen.data[0].offset == start
        return Rest(start, follower.seen.stdout)


async def test_what_nobody_followed_comes_from_the_beginning_after_a_kill(
    own_daemon: Daemon, own: Processes, gate: Gate
) -> None:
    program = await launch(own.client, shell(f"read _ < {gate.path}; echo one; echo two; exit 1"))
    gate.open()
    await exited(program)
    await kill_server(own_daemon)
    outcome = await persist(lambda: own.replay(pid(program)))
    assert (outcome.stdout, outcome.end.exit_code) == (b"one\ntwo\n", 1)


async def test_a_position_beyond_what_was_printed_is_refused_after_a_kill_too(
    own_daemon: Daemon, own: Processes
) -> None:
    program = await launch(own.client, shell("echo one; exec sleep 1000"))
    await kill_server(own_daemon)
    with pytest.raises(ConnectError) as error:
        await persist(lambda: own.replay(pid(program), resume=OutputPosition(stdout=1000)))
    assert error.value.code == "out_of_range"


# Input.


async def test_input_goes_on_after_a_kill_and_still_ends(own_daemon: Daemon, own: Processes) -> None:
    program = await launch(own.client, start_request("cat"))
    for line in (b"one\n", b"two\n", b"three\n"):
        await persist(lambda line=line: own.send_input(pid(program), line))
        await kill_server(own_daemon)
    await persist(lambda: own.close_stdin(pid(program)))
    outcome = await own.replay(pid(program), resume=OutputPosition())
    assert (outcome.stdout, outcome.end.exit_code) == (b"one\ntwo\nthree\n", 0)


async def test_input_that_was_closed_stays_closed(own_daemon: Daemon, own: Processes, gate: Gate) -> None:
    program = await launch(own.client, shell(f"read _ < {gate.path}; cat; echo eof"))
    await own.close_stdin(pid(program))
    await kill_server(own_daemon)
    with pytest.raises(ConnectError):
        await persist(lambda: own.send_input(pid(program), b"late\n"))
    gate.open()
    assert (await own.replay(pid(program), resume=OutputPosition())).stdout == b"eof\n"


async def test_what_was_acknowledged_under_load_is_done_though_the_server_is_killed(
    own_daemon: Daemon, own: Processes
) -> None:
    # The keeper is busy with starts when the server dies right after its answer.
    for _ in range(3):
        program = await launch(own.client, start_request("cat"))
        busy = [asyncio.create_task(launch(own.client, shell("echo busy"))) for _ in range(40)]
        await own.list()
        await own.close_stdin(pid(program))
        await kill_server(own_daemon)
        await asyncio.gather(*busy, return_exceptions=True)
        await exited(program)


# What was promised at Start.


async def test_an_idempotency_key_names_its_program_after_a_kill(own_daemon: Daemon, own: Processes) -> None:
    request = shell("echo ran; exec sleep 1000", tag="keyed")
    request.idempotency_key = "after-a-kill"
    program = await launch(own.client, request)
    done = shell("echo done")
    done.idempotency_key = "finished"
    finished = await own.run(done)
    await kill_server(own_daemon)
    await persist(own.list)
    for number, again in ((program, request), (finished.pid, done)):
        async with own.start(again) as follower:
            assert (follower.pid, follower.seen.events[0].start.existing) == (number, True)
        again.process.args.append("another")
        with pytest.raises(ConnectError) as conflict:
            await own.run(again)
        assert conflict.value.code == "already_exists"
    assert [info.pid for info in await own.list()] == [program] or not is_running(program)


async def test_tags_and_the_list_are_as_before(own_daemon: Daemon, own: Processes) -> None:
    for number in range(3):
        envs = {"NUMBER": str(number), "EMPTY": ""}
        await launch(own.client, shell("exec sleep 1000 # ü", tag=f"tag-{number % 2}", cwd="/tmp", envs=envs))
    await own.run(shell("exit 7", tag="done"))
    before = sorted(await own.list(include_finished=True), key=lambda info: info.pid)
    await kill_server(own_daemon)
    after = sorted(await persist(lambda: own.list(include_finished=True)), key=lambda info: info.pid)
    assert after == before
    newest = max((info for info in before if info.tag == "tag-0"), key=lambda info: info.started_at.ToNanoseconds())
    async with own.connect(tag("tag-0")) as follower:
        assert follower.pid == newest.pid


@pytest.mark.parametrize(
    ("limit", "cause"),
    [
        ("deadline", ProcessEvent.CAUSE_DEADLINE),
        ("wall", ProcessEvent.CAUSE_WALL_TIMEOUT),
        ("idle", ProcessEvent.CAUSE_IDLE_TIMEOUT),
    ],
)
async def test_limits_of_time_still_hold(own_daemon: Daemon, own: Processes, limit: str, cause: int) -> None:
    request = shell("sleep 1000 & wait")
    if limit != "deadline":
        request.timeouts.CopyFrom(Timeouts(**{f"{limit}_ms": 1500}))
    program = await launch(own.client, request, timeout_ms=1500 if limit == "deadline" else None)
    below = children(program)
    await kill_server(own_daemon)
    end = (await persist(lambda: own.replay(pid(program)))).end
    assert (end.signal, end.cause) == (signal.SIGKILL, cause)
    assert end.ended_at.ToMilliseconds() - end.started_at.ToMilliseconds() >= 1400
    await exited(*below)


async def test_a_signal_reaches_the_whole_tree_after_a_kill(own_daemon: Daemon, own: Processes, gate: Gate) -> None:
    program = await launch(own.client, shell(f"setsid sh -c 'echo $$ > {gate.path}; exec sleep 1000' & wait"))
    left = int(await gate.reached())
    await kill_server(own_daemon)
    await persist(lambda: own.signal(pid(program), signal.SIGKILL))
    await exited(program, left)


# Starts that a kill falls into.


@pytest.fixture
def counted(tmp_path: Path) -> Path:
    """A file every program adds a line to."""
    path = tmp_path / "ran"
    path.touch()
    return path


@pytest.mark.slow
async def test_a_start_repeated_with_its_key_never_runs_twice(
    own_daemon: Daemon, own: Processes, counted: Path
) -> None:
    chance = random_source()
    for kill in range(8):
        requests = []
        for number in range(24):
            requests.append(shell(f"echo {kill}-{number} >> {counted}; exit {number}"))
            requests[-1].idempotency_key = f"{kill}-{number}"
        starts = [asyncio.create_task(persist(lambda one=one: own.run(one))) for one in requests]
        # A number of calls later is an arbitrary instant of the starts.
        for _ in range(chance.randrange(6)):
            await own.list()
        await kill_server(own_daemon)
        outcomes = await asyncio.gather(*starts)
        assert [outcome.end.exit_code for outcome in outcomes] == list(range(24))
    ran = counted.read_text().split()
    assert sorted(ran) == sorted(f"{kill}-{number}" for kill in range(8) for number in range(24))


async def test_a_program_still_on_its_way_is_taken_over_and_its_key_with_it(
    own_daemon: Daemon, own: Processes, counted: Path
) -> None:
    with hanging_directory() as directory:
        request = shell(f"echo ran >> {counted}; exit 6", cwd=directory.path)
        request.idempotency_key = "on its way"
        async with AsyncExitStack() as stack:
            first = asyncio.create_task(own.run(request))
            stack.callback(first.cancel)
            # There is the server, and there is the child that hangs.
            await settled(lambda: len(own_daemon.programs()), lambda count: count == 1)
            await kill_server(own_daemon)
            with pytest.raises(CUT_OFF):
                await first
            async with asyncio.timeout(60):
                assert await persist(own.list) == []
            again = asyncio.create_task(own.run(request))
            stack.callback(again.cancel)
            await own.list()
            directory.answer()
            outcome = await again
    assert (outcome.end.exit_code, outcome.events[0].start.existing) == (6, True)
    assert counted.read_text() == "ran\n"


def first_bytes(marker: Path, *, terminal: bool, cwd: str = "/") -> StartRequest:
    """A program that prints more than is kept, and says in a file that it was through; key and tag are that."""
    raw = "stty raw -echo; " if terminal else ""
    request = shell(f"{raw}head -c {FIRST_BYTES} /dev/zero; echo through > {marker}; exit 6", cwd=cwd)
    request.idempotency_key = request.tag = str(marker)
    request.resume.CopyFrom(OutputPosition())
    if terminal:
        request.pty.size.cols, request.pty.size.rows = 80, 24
    return request


async def come_back(own: Processes, request: StartRequest, by: str) -> Outcome:
    """Follow a program whose start was never heard of."""
    if by == "key":
        return await persist(lambda: own.run(request))
    return await persist(lambda: own.replay(tag(request.tag), resume=OutputPosition()))


def assert_from_the_first_byte(outcome: Outcome) -> None:
    printed = sum(len(data.stdout) + len(data.pty) for data in outcome.data)
    assert (printed, outcome.end.exit_code) == (FIRST_BYTES, 6)
    assert "gap" not in outcome.kinds


@pytest.mark.parametrize("by", ["key", "tag"])
@pytest.mark.parametrize("kind", ["pipes", "terminal"])
async def test_every_byte_waits_for_a_starter_whose_server_was_killed_before_it_could_follow(
    own_daemon: Daemon, own: Processes, tmp_path: Path, kind: str, by: str
) -> None:
    """The program prints only after the kill, so no server has ever had a follower of it."""
    with hanging_directory() as directory:
        marker = tmp_path / "through"
        request = first_bytes(marker, terminal=kind == "terminal", cwd=directory.path)
        async with AsyncExitStack() as stack:
            first = asyncio.create_task(own.run(request))
            stack.callback(first.cancel)
            await settled(lambda: len(own_daemon.programs()), lambda count: count == 1)
            await kill_server(own_daemon)
            with pytest.raises(CUT_OFF):
                await first
            await persist(own.list)
            directory.answer()
            # What it has printed by now would be gone if nobody was expected.
            await settled(lambda: memory_file_bytes(own_daemon.pid), lambda count: count > MORE_THAN_THE_PIPE)
            assert not marker.exists()
            assert_from_the_first_byte(await come_back(own, request, by))


@pytest.mark.parametrize("kills", [4, pytest.param(60, marks=pytest.mark.slow)])
async def test_every_byte_waits_for_a_starter_at_whatever_instant_its_server_was_killed(
    own_daemon: Daemon, own: Processes, tmp_path: Path, kills: int
) -> None:
    chance = random_source()
    for kill in range(kills):
        request = first_bytes(tmp_path / f"through-{kill}", terminal=bool(kill % 2))
        first = asyncio.create_task(launch(own.client, request))
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        if chance.randrange(2):
            await settled(lambda: len(own_daemon.programs()), lambda count: count > 0, timeout_s=1)
        await kill_server(own_daemon)
        with suppress(*CUT_OFF):
            await first
        assert_from_the_first_byte(await come_back(own, request, "key"))


async def test_a_server_killed_while_it_takes_over_is_replaced_again(
    own_daemon: Daemon, own: Processes, tmp_path: Path
) -> None:
    stop = tmp_path / "stop"
    pids = [await launch(own.client, printer(stop, number)) for number in range(20)]
    old = await kill_server(own_daemon)
    for _ in range(5):
        # At once, so that it dies before or amid its adoption.
        await new_server(own_daemon, old)
        old = await kill_server(own_daemon)
    stop.touch()
    for number, program in enumerate(pids):
        outcome = await persist(lambda program=program: own.replay(pid(program), resume=OutputPosition()))
        assert_whole(outcome.stdout, outcome.stderr)
        assert outcome.end.exit_code == number


async def test_an_announced_end_stays_what_it_was_over_a_kill() -> None:
    async with running_daemon() as daemon:
        processes = Processes.on(daemon.port, Codec.PROTO)
        async with processes.start(start_request("sleep", "60")) as program:
            await processes.signal(pid(program.pid), number=9)
            before = (await program.rest()).end
        await kill_server(daemon)
        after = (await processes.replay(pid(program.pid))).end
    assert before.cause == ProcessEvent.CAUSE_SIGNAL_REQUEST
    assert after == before
