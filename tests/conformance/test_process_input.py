"""Input to running programs, once or as a stream, and resizing their terminals."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest

from envd_proto.process.process_pb2 import (
    ProcessInput,
    SendInputRequest,
    SendInputResponse,
    StreamInputRequest,
    StreamInputResponse,
    UpdateRequest,
)
from tests.support.kernel import Gate, is_running
from tests.support.process import (
    NO_PID,
    SEND_INPUT,
    Processes,
    input_data,
    input_for,
    input_keepalive,
    pid,
    shell,
    start_request,
)
from tests.support.wires import RpcError

# Prints a line once it has read one byte, then waits to be let on, then counts the rest.
SLOW_READER = """
import os, sys
got = len(os.read(0, 1))
print("reading", flush=True)
open(sys.argv[1]).readline()
while piece := os.read(0, 65536):
    got += len(piece)
print(got, flush=True)
"""


def slow_reader(gate: Gate):
    return start_request(sys.executable, "-S", "-c", SLOW_READER, gate.path)


def program_input(number: int, **kind: bytes) -> SendInputRequest:
    return SendInputRequest(process=pid(number), input=ProcessInput(**kind))


@pytest.mark.line(194)
async def test_input_reaches_the_program_and_closing_is_its_end(processes: Processes):
    async with processes.start(start_request("cat")) as program:
        await processes.send_input(pid(program.pid), b"one ")
        await processes.send_input(pid(program.pid), b"two")
        await processes.close_stdin(pid(program.pid))
        outcome = await program.rest()
    assert (outcome.stdout, outcome.end.exit_code) == (b"one two", 0)


@pytest.mark.line(194)
async def test_input_is_any_bytes(processes: Processes):
    text = bytes(range(256)) * 40
    async with processes.start(start_request("cat")) as program:
        await processes.send_input(pid(program.pid), text)
        await processes.close_stdin(pid(program.pid))
        assert (await program.rest()).stdout == text


@pytest.mark.line(194)
async def test_empty_input_changes_nothing(processes: Processes):
    async with processes.start(start_request("cat")) as program:
        await processes.send_input(pid(program.pid), b"")
        await processes.send_input(pid(program.pid), b"on\n")
        await program.until(b"on\n")


@pytest.mark.line(194)
async def test_closing_comes_after_what_was_sent_before(processes: Processes, gate: Gate):
    # Far more than a pipe holds: most of it waits in the daemon when the program is let on.
    size = 2**20
    async with processes.start(slow_reader(gate)) as program, asyncio.TaskGroup() as tasks:
        tasks.create_task(processes.send_input(pid(program.pid), b"x" * size))
        await program.until(b"reading\n")
        tasks.create_task(processes.close_stdin(pid(program.pid)))
        gate.open()
        assert (await program.rest()).stdout.split() == [b"reading", str(size).encode()]


@pytest.mark.every_wire
async def test_input_to_a_program_that_does_not_read_ends_at_its_deadline(processes: Processes, gate: Gate):
    async with processes.start(slow_reader(gate)) as program:
        with pytest.raises(RpcError) as error:
            await processes.send_input(pid(program.pid), b"x" * 2**20, timeout_s=0.3)
    assert error.value.code == "deadline_exceeded"


async def test_input_that_waits_blocks_no_other_call(processes: Processes, gate: Gate):
    async with (
        processes.start(slow_reader(gate)) as program,
        processes.start(start_request("cat")) as other,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(processes.send_input(pid(program.pid), b"x" * 2**20))
        await program.until(b"reading\n")
        await processes.send_input(pid(other.pid), b"unhindered\n")
        await other.until(b"unhindered\n")
        assert program.pid in await processes.pids()
        gate.open()


@pytest.mark.line(195)
async def test_terminal_input_to_a_program_with_pipes_is_an_error(processes: Processes):
    async with processes.start(start_request("cat")) as program:
        with pytest.raises(RpcError) as error:
            await processes.wire.unary(SEND_INPUT, program_input(program.pid, pty=b"x"), SendInputResponse)
    assert (error.value.code, error.value.message) == (
        "internal",
        "error writing to tty: tty not assigned to process — input should be written to the stdin, not the tty",
    )


@pytest.mark.line(195)
async def test_input_of_no_kind_is_unimplemented(processes: Processes):
    async with processes.start(start_request("cat")) as program:
        for request in (SendInputRequest(process=pid(program.pid)), program_input(program.pid)):
            with pytest.raises(RpcError) as error:
                await processes.wire.unary(SEND_INPUT, request, SendInputResponse)
            assert error.value.code == "unimplemented"


@pytest.mark.line(196)
async def test_input_to_a_program_without_any_is_an_error(processes: Processes):
    async with processes.start(start_request("sleep", "1000", stdin=False)) as program:
        with pytest.raises(RpcError) as error:
            await processes.send_input(pid(program.pid), b"x")
    assert error.value.code == "internal"
    assert "stdin not enabled or closed" in error.value.message


@pytest.mark.line(196)
async def test_input_after_closing_is_an_error(processes: Processes):
    async with processes.start(shell("cat; exec sleep 1000")) as program:
        await processes.close_stdin(pid(program.pid))
        with pytest.raises(RpcError) as error:
            await processes.send_input(pid(program.pid), b"x")
    assert error.value.code == "internal"
    assert "stdin not enabled or closed" in error.value.message


async def test_input_nobody_reads_any_more_is_an_error(processes: Processes):
    async with processes.start(shell("exec 0<&-; echo closed; exec sleep 1000")) as program:
        await program.until(b"closed\n")
        with pytest.raises(RpcError) as error:
            # More than the pipe holds, as the keeper's copy of its reading end may still take the first bytes.
            await processes.send_input(pid(program.pid), b"x" * 2**20, timeout_s=5)
    assert error.value.code in {"internal", "deadline_exceeded"}


@pytest.mark.line(197)
async def test_closing_twice_or_what_was_never_open_is_no_error(processes: Processes):
    async with (
        processes.start(shell("cat; exec sleep 1000")) as program,
        processes.start(start_request("sleep", "1000", stdin=False)) as without,
    ):
        for number in (program.pid, program.pid, without.pid):
            await processes.close_stdin(pid(number))


@pytest.mark.line(198)
async def test_resizing_a_program_without_a_terminal_is_an_error(processes: Processes):
    async with processes.start(start_request("sleep", "1000")) as program:
        request = UpdateRequest(process=pid(program.pid))
        request.pty.size.cols = 80
        request.pty.size.rows = 24
        with pytest.raises(RpcError) as error:
            await processes.update(request)
    assert (error.value.code, error.value.message) == (
        "internal",
        "error resizing tty: tty not assigned to process",
    )


@pytest.mark.line(198)
async def test_an_update_without_a_terminal_changes_nothing(processes: Processes):
    async with processes.start(start_request("sleep", "1000")) as program:
        await processes.update(UpdateRequest(process=pid(program.pid)))
        assert is_running(program.pid)


@pytest.mark.line(200)
async def test_streamed_input_arrives_in_order_and_has_one_answer(processes: Processes):
    lines = [f"{number}\n".encode() for number in range(200)]
    async with processes.start(start_request("cat")) as program:
        messages = [input_for(pid(program.pid)), *map(input_data, lines)]
        assert await processes.stream_input(messages) == StreamInputResponse()
        await processes.close_stdin(pid(program.pid))
        assert (await program.rest()).stdout == b"".join(lines)


@pytest.mark.line(200)
async def test_the_end_of_streamed_input_is_not_that_of_the_programs_input(processes: Processes):
    async with processes.start(start_request("cat")) as program:
        for text in (b"one\n", b"two\n"):
            await processes.stream_input([input_for(pid(program.pid)), input_data(text)])
            await program.until(text)


@pytest.mark.line(200)
async def test_streamed_input_may_turn_to_another_program(processes: Processes):
    async with processes.start(start_request("cat")) as first, processes.start(start_request("cat")) as second:
        await processes.stream_input(
            [
                input_for(pid(first.pid)),
                input_data(b"to the first\n"),
                input_keepalive(),
                input_for(pid(second.pid)),
                input_data(b"to the second\n"),
            ]
        )
        await first.until(b"to the first\n")
        await second.until(b"to the second\n")
        assert first.seen.stdout == b"to the first\n"


@pytest.mark.line(200)
async def test_an_input_stream_of_nothing_is_no_error(processes: Processes):
    assert await processes.stream_input([]) == StreamInputResponse()


@pytest.mark.line(200)
async def test_streamed_input_for_nobody_is_not_found(processes: Processes):
    with pytest.raises(RpcError) as error:
        await processes.stream_input([input_for(pid(NO_PID)), input_data(b"x")])
    assert error.value.code == "not_found"


async def test_streamed_input_without_a_program_is_invalid(processes: Processes):
    with pytest.raises(RpcError) as error:
        await processes.stream_input([input_data(b"x")])
    assert error.value.code == "invalid_argument"


async def test_an_input_event_of_no_kind_is_unimplemented(processes: Processes):
    with pytest.raises(RpcError) as error:
        await processes.stream_input([StreamInputRequest()])
    assert error.value.code == "unimplemented"


async def test_streamed_terminal_input_to_a_program_with_pipes_is_an_error(processes: Processes):
    async with processes.start(start_request("cat")) as program:
        data = StreamInputRequest(data=StreamInputRequest.DataEvent(input=ProcessInput(pty=b"x")))
        with pytest.raises(RpcError) as error:
            await processes.stream_input([input_for(pid(program.pid)), data])
    assert error.value.code == "internal"
    assert "tty not assigned to process" in error.value.message


@pytest.mark.line(200)
async def test_much_streamed_input_arrives_whole(processes: Processes):
    async with processes.start(start_request("wc", "-c")) as program:
        await processes.stream_input([input_for(pid(program.pid)), *[input_data(b"x" * 50_000)] * 100])
        await processes.close_stdin(pid(program.pid))
        assert int((await program.rest()).stdout) == 5_000_000


@pytest.mark.line(200)
async def test_streamed_input_is_read_as_it_comes(processes: Processes):
    async with processes.start(start_request("cat")) as program:

        async def messages() -> AsyncIterator[StreamInputRequest]:
            yield input_for(pid(program.pid))
            for text in (b"one\n", b"two\n"):
                yield input_data(text)
                await program.until(text)

        assert await processes.stream_input(messages()) == StreamInputResponse()
        assert is_running(program.pid)


async def test_an_input_stream_that_fails_is_answered_though_its_client_goes_on(processes: Processes):
    async def messages() -> AsyncIterator[StreamInputRequest]:
        yield input_for(pid(NO_PID))
        yield input_data(b"x")
        await asyncio.Event().wait()

    with pytest.raises(RpcError) as error:
        await processes.stream_input(messages())
    assert error.value.code == "not_found"


@pytest.mark.line(35)
@pytest.mark.every_wire
async def test_an_input_stream_ends_at_its_deadline_though_its_client_sends_nothing(processes: Processes):
    async def messages() -> AsyncIterator[StreamInputRequest]:
        await asyncio.Event().wait()
        yield StreamInputRequest()

    with pytest.raises(RpcError) as error:
        await processes.stream_input(messages(), timeout_s=0.3)
    assert error.value.code == "deadline_exceeded"


# The same input once more.


async def test_a_key_is_written_once_however_often_it_is_sent(processes: Processes):
    async with processes.start(start_request("cat")) as program:
        for key, data in (("a", b"one "), ("a", b"one "), ("b", b"one "), ("a", b"one "), ("b", b"one ")):
            await processes.send_input(pid(program.pid), data, key=key)
        await processes.send_input(pid(program.pid), b"and without")
        await processes.close_stdin(pid(program.pid))
        outcome = await program.rest()
        # Its answer was lost, and the program has read it and ended: that is no failure.
        await processes.send_input(pid(program.pid), b"one ", key="b")
        with pytest.raises(RpcError) as new:
            await processes.send_input(pid(program.pid), b"one ", key="c")
    assert outcome.stdout == b"one one and without"
    assert new.value.code == "not_found"


async def test_a_repeated_call_writes_what_the_first_could_not(processes: Processes, gate: Gate):
    data = bytes(range(256)) * 1000
    async with processes.start(slow_reader(gate)) as program:
        with pytest.raises(RpcError) as late:
            await processes.send_input(pid(program.pid), data, key="key", timeout_s=0.3)
        assert late.value.code == "deadline_exceeded"
        gate.open()
        await processes.send_input(pid(program.pid), data, key="key")
        await processes.close_stdin(pid(program.pid))
        assert (await program.rest()).stdout.splitlines()[-1] == b"%d" % len(data)


@pytest.mark.parametrize("other", [b"les", b"mare"], ids=["shorter", "other"])
async def test_a_key_that_was_used_for_another_input_is_a_conflict(processes: Processes, other: bytes):
    async with processes.start(start_request("cat")) as program:
        await processes.send_input(pid(program.pid), b"more", key="key")
        with pytest.raises(RpcError) as used:
            await processes.send_input(pid(program.pid), other, key="key")
        await processes.close_stdin(pid(program.pid))
        assert (await program.rest()).stdout == b"more"
        with pytest.raises(RpcError) as ended:
            await processes.send_input(pid(program.pid), other, key="key")
    assert (used.value.code, "use another key" in used.value.message) == ("already_exists", True)
    assert ended.value.code == "already_exists"


@pytest.mark.parametrize("key", ["", "x" * 256], ids=["empty", "long"])
async def test_a_key_has_1_to_255_bytes(processes: Processes, key: str):
    async with processes.start(start_request("cat")) as program:
        with pytest.raises(RpcError) as refused:
            await processes.send_input(pid(program.pid), b"x", key=key)
        await processes.close_stdin(pid(program.pid))
        assert (await program.rest()).stdout == b""
    assert refused.value.code == "invalid_argument"
