"""Readers that are slow, stop, vanish and come back: nobody waits for them who need not, and nothing is lost."""

from __future__ import annotations

import pytest

from envd_proto.process.process_pb2 import OutputPosition
from tests.support.kernel import Gate, exited, is_running
from tests.support.process import Follower, Processes, pid, shell, start_request

pytestmark = pytest.mark.every_wire

MIB = 2**20
# More than what is kept of a stream and all buffers on the way can hold.
PRINTED_BYTES = 48 * MIB
SMALL_BUFFER_BYTES = 64 * 1024
LINES = 150_000
NUMBERED = b"".join(b"%d\n" % number for number in range(1, LINES + 1))


async def read_at_least(program: Follower, count: int) -> None:
    size = 0
    while size < count:
        size += len((await program.next()).data.stdout)


async def test_a_program_waits_for_its_only_reader_and_nothing_is_lost(processes: Processes):
    request = start_request("head", "-c", str(PRINTED_BYTES), "/dev/zero")
    async with processes.start(request, receive_buffer_bytes=SMALL_BUFFER_BYTES) as program:
        # Others are served meanwhile, with more output than the stalled reader could have been sent.
        other = await processes.run(start_request("head", "-c", str(PRINTED_BYTES), "/dev/zero"))
        assert len(other.stdout) == PRINTED_BYTES
        assert is_running(program.pid)
        outcome = await program.rest()
    assert len(outcome.stdout) == PRINTED_BYTES
    assert outcome.end.exit_code == 0


async def test_a_program_goes_on_when_its_only_reader_is_gone_and_does_not_come_back(processes: Processes):
    request = start_request("head", "-c", str(PRINTED_BYTES), "/dev/zero")
    async with processes.start(request, receive_buffer_bytes=SMALL_BUFFER_BYTES) as program:
        await processes.run(start_request("head", "-c", str(PRINTED_BYTES), "/dev/zero"))
        assert is_running(program.pid)
        program.leave()
        await exited(program.pid, timeout_s=60)  # a moment in which it could come back, but not for ever


async def test_a_program_without_a_reader_does_not_wait_and_its_newest_output_is_kept(processes: Processes, gate: Gate):
    async with processes.start(shell(f"read _ < {gate.path}; head -c {PRINTED_BYTES} /dev/zero")) as program:
        program.leave()
        gate.open()
        await exited(program.pid)
        outcome = await processes.replay(pid(program.pid))
    begin = outcome.events[0].start.position.stdout
    assert outcome.data[0].offset == begin
    assert begin + len(outcome.stdout) == PRINTED_BYTES
    assert len(outcome.stdout) >= MIB // 2
    assert outcome.end.exit_code == 0


async def test_a_client_that_vanishes_resumes_to_every_byte(processes: Processes):
    async with processes.start(start_request("seq", str(LINES))) as program:
        await read_at_least(program, 1000)
        program.leave()
        seen = program.seen.stdout
        outcome = await processes.replay(pid(program.pid), resume=OutputPosition(stdout=len(seen)))
    assert outcome.events[0].start.position.stdout == len(seen)
    assert seen + outcome.stdout == NUMBERED


async def test_a_client_that_cannot_name_a_position_misses_nothing_either(over_connect: Processes, gate: Gate):
    request = shell(f"seq {LINES}; read _ < {gate.path}; echo last")
    async with over_connect.start(request, receive_buffer_bytes=SMALL_BUFFER_BYTES) as program:
        # Read all that is on its way before leaving: what this side's kernel has acknowledged counts as taken. (So a
        # gRPC client cannot be shown the same: what its library has received and not handed over is lost with it.)
        await read_at_least(program, len(NUMBERED))
        program.stream.connection.close()
        seen = program.seen.stdout
        gate.open()
        outcome = await over_connect.replay(pid(program.pid))
    begin = outcome.data[0].offset
    assert begin <= len(seen)
    assert outcome.stdout == (NUMBERED + b"last\n")[begin:]


async def test_a_client_that_vanishes_again_and_again_has_every_byte_once(processes: Processes):
    async with processes.start(start_request("seq", str(LINES))) as program:
        seen = b""
        for _ in range(20):
            async with processes.connect(pid(program.pid), resume=OutputPosition(stdout=len(seen))) as follower:
                await read_at_least(follower, 1000)
                follower.leave()
            seen += follower.seen.stdout
        rest = await processes.replay(pid(program.pid), resume=OutputPosition(stdout=len(seen)))
    assert seen + rest.stdout == NUMBERED


async def test_two_readers_at_different_places_each_get_their_own(processes: Processes):
    async with processes.start(start_request("seq", str(LINES))) as program:
        whole = await program.rest()
    assert whole.stdout == NUMBERED
    for begin in (0, 7, LINES):
        outcome = await processes.replay(pid(program.pid), resume=OutputPosition(stdout=begin))
        assert outcome.stdout == NUMBERED[begin:]
