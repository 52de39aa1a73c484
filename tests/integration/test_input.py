"""Standard input: in order, whole, and never in anybody else's way."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import select
import sys
from collections.abc import AsyncIterator, Iterator

import pytest

from envd_proto.process.process_pb2 import (
    SIGNAL_SIGKILL,
    OutputPosition,
    ProcessInput,
    SendInputRequest,
    StreamInputResponse,
)
from tests.support.connect import Client, Codec, ConnectError, frame
from tests.support.daemon import Daemon, running_daemon
from tests.support.faults import kill_server, new_server, persist
from tests.support.http1 import Connection, chunk, connection
from tests.support.kernel import Gate, exited
from tests.support.process import (
    SEND_INPUT,
    STREAM_INPUT,
    Follower,
    Processes,
    input_data,
    input_for,
    pid,
    shell,
    start_request,
)
from tests.support.readers import MIB, at_rest, descriptors, memory_file_bytes, pattern, until, watching_memory

# A pipe holds 64 KiB unless somebody widens it.
MUCH = pattern(0, 10 * MIB)
KILLS = 6
DIGEST = "import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())"


@pytest.fixture(scope="module")
def own_daemon() -> Iterator[Daemon]:
    """Its memory and descriptors are measured, so nothing else is to use it."""
    started = Daemon.start()
    yield started
    started.stop()


@pytest.fixture
def processes(own_daemon: Daemon) -> Processes:
    return Processes.on(own_daemon.port, Codec.PROTO)


def not_reading_until(gate: Gate, then: str) -> str:
    """A shell script that reads none of its input until the gate is opened."""
    # In a child: a redirection of the shell's own would hide its standard input from the test.
    return f"echo ready; head -n 1 {gate.path} > /dev/null; exec {then}"


def digest_of(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode() + b"\n"


async def _full(processes: Processes, program: Follower) -> None:
    """Fill the program's pipe to the last byte, by a call that is given up."""
    with pytest.raises(ConnectError) as late:
        await processes.send_input(pid(program.pid), b"x" * MIB, timeout_s=0.1)
    assert late.value.code == "deadline_exceeded"


@pytest.fixture
async def stuck(processes: Processes, gate: Gate) -> AsyncIterator[Follower]:
    """A program that reads nothing until the gate is opened, and then says the digest of what it read."""
    script = not_reading_until(gate, f"{sys.executable} -c '{DIGEST}'")
    async with processes.start(shell(script)) as program:
        await program.until(b"ready\n")
        yield program


async def test_input_that_waits_holds_up_no_other_call(processes: Processes, stuck: Follower, gate: Gate):
    waiting = asyncio.create_task(processes.send_input(pid(stuck.pid), MUCH))
    async with processes.start(start_request("cat")) as other:
        for number in range(50):
            line = f"line {number}\n".encode()
            await processes.send_input(pid(other.pid), line)
            await other.until(line)
            assert stuck.pid in await processes.pids()
        async with processes.connect(pid(stuck.pid)):
            pass
        assert (await processes.run(shell("exit 3"))).end.exit_code == 3
    assert not waiting.done()
    gate.open()
    await waiting
    await processes.close_stdin(pid(stuck.pid))
    assert (await stuck.rest()).stdout == b"ready\n" + digest_of(MUCH)


async def test_a_program_whose_input_waits_can_be_signalled(processes: Processes, stuck: Follower):
    waiting = asyncio.create_task(processes.send_input(pid(stuck.pid), MUCH))
    async with asyncio.timeout(60):
        await processes.signal(pid(stuck.pid), SIGNAL_SIGKILL)
        assert (await stuck.rest()).end.signal == 9
        with pytest.raises(ConnectError):
            await waiting


async def test_the_deadline_of_a_call_ends_its_wait_and_the_next_writer_is_not_harmed(
    processes: Processes, stuck: Follower, gate: Gate
):
    given_up, next_one = b"a" * MIB, b"b" * MIB
    with pytest.raises(ConnectError) as late:
        await processes.send_input(pid(stuck.pid), given_up, timeout_s=2)
    assert (late.value.code, late.value.status) == ("deadline_exceeded", 504)
    waiting = asyncio.create_task(processes.send_input(pid(stuck.pid), next_one))
    gate.open()
    await waiting
    await processes.close_stdin(pid(stuck.pid))
    digest = (await stuck.rest()).stdout.removeprefix(b"ready\n")
    # Of the call given up a first part has gone in, no more than a pipe holds.
    possible = {digest_of(given_up[:size] + next_one): size for size in range(0, MIB + 1, 4096)}
    assert 0 < possible[digest] < MIB


async def test_a_client_that_goes_away_gives_up_its_place(processes: Processes, stuck: Follower, gate: Gate):
    await _full(processes, stuck)
    request = SendInputRequest(process=pid(stuck.pid), input=ProcessInput(stdin=b"never"))
    async with connection(processes.client.port) as conn:
        await conn.send(processes.client.request(SEND_INPUT, request.SerializeToString(), streaming=False))
        last = asyncio.create_task(processes.send_input(pid(stuck.pid), b"last"))
        conn.reset()
    gate.open()
    await last
    await processes.close_stdin(pid(stuck.pid))
    digest = (await stuck.rest()).stdout.removeprefix(b"ready\n")
    assert digest in {digest_of(b"x" * size + b"last") for size in range(0, MIB + 1, 4096)}


async def test_close_stdin_comes_after_everything_sent_before(processes: Processes, stuck: Follower, gate: Gate):
    waiting = asyncio.create_task(processes.send_input(pid(stuck.pid), MUCH))
    await _until_it_waits(processes, stuck)
    closing = asyncio.create_task(processes.close_stdin(pid(stuck.pid)))
    # An answer of another call after it was sent on the same loop; then nothing has been closed.
    await processes.list()
    assert not closing.done()
    gate.open()
    await asyncio.gather(waiting, closing)
    assert (await stuck.rest()).stdout == b"ready\n" + digest_of(MUCH)


async def _until_it_waits(processes: Processes, program: Follower) -> None:
    """Wait until the program's pipe is full: then whoever wrote to it has the turn, and a later call comes after."""
    await until(lambda: _pipe_is_full(program.pid))


def _pipe_is_full(number: int) -> bool:
    fd = os.open(f"/proc/{number}/fd/0", os.O_WRONLY | os.O_NONBLOCK)
    try:
        return not select.select([], [fd], [], 0)[1]
    finally:
        os.close(fd)


async def test_input_after_close_stdin_is_refused(processes: Processes, gate: Gate):
    async with processes.start(shell(f"cat; read _ < {gate.path}")) as program:
        await processes.close_stdin(pid(program.pid))
        with pytest.raises(ConnectError, match="stdin not enabled or closed"):
            await processes.send_input(pid(program.pid), b"late")
        await processes.close_stdin(pid(program.pid))  # a second time is no error
        gate.open()
        assert (await program.rest()).end.exit_code == 0


@pytest.mark.parametrize("size", [100, 3000, 50_000])
async def test_calls_at_once_each_arrive_whole(processes: Processes, size):
    """Whatever the order, no call's bytes stand between another's; larger ones than a pipe takes atomically, too."""
    texts = [f"{number:03}".encode() * (size // 3) + b"\n" for number in range(100)]
    async with processes.start(start_request("cat")) as program:
        await asyncio.gather(*(processes.send_input(pid(program.pid), text) for text in texts))
        await processes.close_stdin(pid(program.pid))
        outcome = await program.rest()
    lines = outcome.stdout.splitlines(keepends=True)
    assert sorted(lines) == texts


async def test_calls_one_after_the_other_arrive_in_order(processes: Processes):
    async with processes.start(start_request("cat")) as program:
        for number in range(300):
            await processes.send_input(pid(program.pid), f"{number}\n".encode())
        await processes.close_stdin(pid(program.pid))
        outcome = await program.rest()
    assert outcome.stdout == b"".join(f"{number}\n".encode() for number in range(300))


async def test_pieces_of_a_stream_arrive_in_order_among_single_calls(processes: Processes):
    pieces = [f"s{number}\n".encode() for number in range(500)]
    async with processes.start(start_request("cat")) as program:
        messages = [input_for(pid(program.pid)), *map(input_data, pieces)]
        await asyncio.gather(
            processes.stream_input(messages),
            *(processes.send_input(pid(program.pid), f"c{number}\n".encode()) for number in range(50)),
        )
        await processes.close_stdin(pid(program.pid))
        lines = (await program.rest()).stdout.splitlines(keepends=True)
    assert [line for line in lines if line.startswith(b"s")] == pieces
    assert len(lines) == 550


# Back-pressure.


async def _send_stream(client: Client, conn: Connection, number: int, sizes: list[int], sent: list[int]) -> None:
    """Send an input stream piece by piece; `sent` counts the bytes the kernel has taken."""
    head = client.request(STREAM_INPUT, None, streaming=True, chunks=[]).removesuffix(b"0\r\n\r\n")
    await conn.send(head + chunk(frame(input_for(pid(number)).SerializeToString())))
    offset = 0
    for size in sizes:
        piece = frame(input_data(pattern(offset, offset + size)).SerializeToString())
        # Its own deadline would end the wait that is looked for here.
        await asyncio.get_running_loop().sock_sendall(conn.socket, chunk(piece))
        offset += size
        sent[0] += size
    await conn.send(b"0\r\n\r\n")


@pytest.mark.parametrize("size", [64 * 1024, 4 * MIB])
async def test_a_stream_to_a_program_that_does_not_read_waits_in_bounded_memory(
    own_daemon: Daemon, processes: Processes, stuck: Follower, gate: Gate, size
):
    total, client, sent = 200 * MIB, processes.client, [0]
    async with watching_memory(own_daemon.server_pid()) as peak, connection(client.port) as conn:
        sending = asyncio.create_task(_send_stream(client, conn, stuck.pid, [size] * (total // size), sent))
        taken = await at_rest(lambda: sent[0])
        assert taken < 48 * MIB
        assert not sending.done()
        assert stuck.pid in await processes.pids()
        gate.open()
        await sending
        async with client.response_on(conn) as stream:
            answers = [answer async for answer in stream.messages(StreamInputResponse)]
        assert len(answers) == 1
        await processes.close_stdin(pid(stuck.pid))
        outcome = await stuck.rest()
    assert peak.resident_growth < 64 * MIB
    digest = hashlib.sha256()
    for begin in range(0, total, size):
        # Each piece is cut from the pattern anew.
        digest.update(pattern(begin, begin + size))
    assert outcome.stdout == b"ready\n" + digest.hexdigest().encode() + b"\n"


async def test_many_large_calls_to_a_program_that_does_not_read_are_bounded_in_number(
    own_daemon: Daemon, processes: Processes, stuck: Follower, gate: Gate
):
    """256 may wait; the next is refused at once. Those that waited are served in the end."""
    await _full(processes, stuck)
    first = asyncio.create_task(processes.send_input(pid(stuck.pid), b"y" * 1000))
    others = [asyncio.create_task(processes.send_input(pid(stuck.pid), b"y" * 1000)) for _ in range(266)]
    refused = []
    async with asyncio.timeout(60):
        while len(refused) < 11:
            done, _ = await asyncio.wait([first, *others], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                with pytest.raises(ConnectError) as error:
                    await task
                assert error.value.code == "resource_exhausted"
                refused.append(task)
            others = [task for task in [first, *others] if task not in done]
            first = others.pop()
    assert stuck.pid in await processes.pids()
    gate.open()
    await asyncio.gather(first, *others)
    await processes.close_stdin(pid(stuck.pid))
    digest = (await stuck.rest()).stdout.removeprefix(b"ready\n")
    written = b"y" * 1000 * 256
    assert digest in {digest_of(b"x" * size + written) for size in range(0, MIB + 1, 4096)}


# A program that ends, or closes its input, while somebody writes to it.


@pytest.mark.parametrize("then", ["true", "sh -c 'exec <&-; echo closed; sleep 1000'"], ids=["exits", "closes"])
async def test_input_that_waits_fails_when_nobody_will_read_it(processes: Processes, gate: Gate, then):
    async with processes.start(shell(not_reading_until(gate, then))) as program:
        await program.until(b"ready\n")
        calls = [asyncio.create_task(processes.send_input(pid(program.pid), MUCH[:MIB])) for _ in range(5)]
        messages = [input_for(pid(program.pid)), input_data(MUCH[:MIB])]
        streamed = asyncio.create_task(processes.stream_input(messages))
        await until(lambda: _pipe_is_full(program.pid))
        gate.open()
        async with asyncio.timeout(60):
            for call in [*calls, streamed]:
                with pytest.raises(ConnectError) as failed:
                    await call
                assert failed.value.code in ("internal", "not_found")


async def test_input_for_a_program_that_has_ended_is_not_found(processes: Processes):
    outcome = await processes.run(start_request("true"))
    with pytest.raises(ConnectError) as refused:
        await processes.send_input(pid(outcome.pid), b"x")
    assert refused.value.code == "not_found"


async def test_no_descriptor_is_left_by_input_that_failed(own_daemon: Daemon, processes: Processes):
    server = own_daemon.server_pid()
    before = await at_rest(lambda: descriptors(server), quiet_s=0.2)
    files = memory_file_bytes(server)
    for _ in range(20):
        async with processes.start(start_request("sleep", "1000")) as program:
            call = asyncio.create_task(processes.send_input(pid(program.pid), MUCH[:MIB]))
            await until(lambda number=program.pid: _pipe_is_full(number))
            await processes.signal(pid(program.pid), SIGNAL_SIGKILL)
            with pytest.raises(ConnectError):
                await call
            await program.rest()
            await exited(program.pid)
    # Each finished program keeps a ledger; it has printed nothing.
    await until(lambda: descriptors(server) <= before + 20)
    assert memory_file_bytes(server) <= files + 20 * 8192


async def test_input_acknowledged_before_the_server_is_killed_arrives(gate: Gate):
    async with running_daemon() as daemon:
        processes = Processes.on(daemon.port, Codec.PROTO)
        async with processes.start(shell(not_reading_until(gate, "cat"))) as program:
            await program.until(b"ready\n")
            await processes.send_input(pid(program.pid), b"acknowledged\n")
            daemon.kill_server()
            await processes.send_input(pid(program.pid), b"by the next\n")
            await processes.close_stdin(pid(program.pid))
            gate.open()
            outcome = await processes.replay(pid(program.pid))
    assert outcome.stdout.endswith(b"acknowledged\nby the next\n")


@pytest.mark.slow
async def test_input_with_keys_arrives_once_while_servers_are_killed():
    sent: list[bytes] = []
    unknown: list[bytes] = []
    async with running_daemon() as daemon:
        processes = Processes.on(daemon.port, Codec.PROTO)
        async with processes.start(start_request("cat")) as program:
            killing = asyncio.create_task(_kill_some(daemon))
            while not killing.done():
                sent.append(b"%d\n" % len(sent))
                if not await persist(lambda: _accepted(processes, program.pid, sent[-1])):
                    unknown.append(sent[-1])
            await persist(lambda: processes.close_stdin(pid(program.pid)))
            outcome = await persist(lambda: processes.replay(pid(program.pid), resume=OutputPosition()))
    # A line is unknown if a server was killed between the kernel's taking it and the note of that.
    assert len(unknown) <= KILLS
    got = outcome.stdout.splitlines(keepends=True)
    assert [line for line in got if line not in unknown] == [line for line in sent if line not in unknown]
    assert len(got) == len(set(got))


async def _accepted(processes: Processes, number: int, line: bytes) -> bool:
    try:
        await processes.send_input(pid(number), line, key=line.decode())
    except ConnectError as error:
        if error.code != "aborted":
            raise
        return False
    return True


async def _kill_some(daemon: Daemon) -> None:
    chance = random.Random(4)
    for _ in range(KILLS):
        await asyncio.sleep(chance.random() * 0.1)
        await new_server(daemon, await kill_server(daemon))
