"""Connect and List: following a program from elsewhere, later, or again."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import AsyncExitStack

import pytest

from envd_proto.process.process_pb2 import (
    SIGNAL_SIGKILL,
    ConnectRequest,
    ConnectResponse,
    ListRequest,
    ListResponse,
    OutputPosition,
    ProcessEvent,
    ProcessSelector,
    StartResponse,
)
from tests.support.daemon import running_daemon
from tests.support.kernel import Gate, exited, is_running
from tests.support.process import (
    CONNECT,
    LIST,
    NO_PID,
    START,
    Follower,
    Processes,
    pid,
    shell,
    start_request,
    tag,
)
from tests.support.wires import OpenWire, RpcError


def new_tag() -> str:
    return uuid.uuid4().hex


async def listed(processes: Processes, name: str) -> None:
    """Wait until a program of that tag runs."""
    async with asyncio.timeout(60):
        while name not in {info.tag for info in await processes.list()}:
            pass


@pytest.mark.line(186)
@pytest.mark.every_wire
async def test_a_program_goes_on_and_is_listed_when_its_client_is_gone(processes: Processes):
    async with processes.start(start_request("sleep", "1000")) as program:
        program.leave()
        assert program.pid in await processes.pids()
        assert is_running(program.pid)


@pytest.mark.line(187)
@pytest.mark.parametrize("by", ["pid", "tag"])
async def test_a_program_is_followed_by_pid_and_by_tag(processes: Processes, by):
    name = new_tag()
    async with processes.start(start_request("cat", tag=name)) as program:
        async with processes.connect(pid(program.pid) if by == "pid" else tag(name)) as follower:
            assert follower.pid == program.pid
            await processes.send_input(pid(program.pid), b"later\n")
            await processes.close_stdin(pid(program.pid))
            outcome = await follower.rest()
        assert (outcome.stdout, outcome.end.exit_code) == (b"later\n", 0)
        assert outcome.kinds[0] == "start"
        await program.rest()


@pytest.mark.line(187)
async def test_each_of_several_tagged_programs_is_found(processes: Processes):
    names = [new_tag() for _ in range(6)]
    async with AsyncExitStack() as stack:
        programs: dict[str, Follower] = {}
        for name in names:
            programs[name] = await stack.enter_async_context(processes.start(start_request("cat", tag=name)))
        for name in names:
            async with processes.connect(tag(name)) as follower:
                assert follower.pid == programs[name].pid
            await processes.send_input(tag(name), name.encode())
            await programs[name].until(name.encode())


async def test_of_several_running_programs_with_a_tag_the_newest_is_meant(processes: Processes):
    name = new_tag()
    async with (
        processes.start(start_request("sleep", "1000", tag=name)),
        processes.start(start_request("sleep", "1000", tag=name)) as newer,
        processes.connect(tag(name)) as follower,
    ):
        assert follower.pid == newer.pid


@pytest.mark.line(188)
async def test_what_nobody_took_is_replayed_while_the_program_runs(processes: Processes, gate: Gate, tmp_path):
    reported = Gate(tmp_path, "reported")
    script = f"read _ < {gate.path}; echo lost; echo x > {reported.path}; exec sleep 1000"
    async with processes.start(shell(script)) as program:
        program.leave()
        await processes.list()  # over the same connection where there is but one: the daemon has heard of the leaving
        gate.open()
        await reported.reached()
        reported.close()
        async with processes.connect(pid(program.pid)) as follower:
            await follower.until(b"lost\n")
            assert follower.seen.stdout == b"lost\n"


@pytest.mark.line(188, 189)
async def test_what_nobody_took_is_replayed_after_the_program_ended(processes: Processes, gate: Gate):
    async with processes.start(shell(f"read _ < {gate.path}; echo out; echo err >&2; exit 3")) as program:
        program.leave()
        await processes.list()  # over the same connection where there is but one: the daemon has heard of the leaving
        gate.open()
        await exited(program.pid)
        outcome = await processes.replay(pid(program.pid))
    assert (outcome.stdout, outcome.stderr, outcome.end.exit_code) == (b"out\n", b"err\n", 3)


@pytest.mark.line(188)
async def test_what_was_taken_is_not_replayed(processes: Processes):
    async with processes.start(start_request("cat")) as program:
        await processes.send_input(pid(program.pid), b"one\n")
        await program.until(b"one\n")
        async with processes.connect(pid(program.pid)) as follower:
            await processes.send_input(pid(program.pid), b"two\n")
            await follower.until(b"two\n")
        assert follower.seen.stdout == b"two\n"


@pytest.mark.line(189)
@pytest.mark.parametrize("by", ["pid", "tag"])
async def test_a_finished_program_can_be_connected_to(processes: Processes, by):
    name = new_tag()
    first = await processes.run(shell("echo taken; exit 6", tag=name))
    outcome = await processes.replay(pid(first.pid) if by == "pid" else tag(name))
    assert outcome.kinds == ["start", "end"]
    assert (outcome.pid, outcome.end.exit_code, outcome.end.status) == (first.pid, 6, "exit status 6")


@pytest.mark.line(189)
async def test_a_finished_program_is_not_listed_unless_asked_for(processes: Processes):
    finished = await processes.run(shell("exit 6"))
    assert finished.pid not in await processes.pids()
    info = next(info for info in await processes.list(include_finished=True) if info.pid == finished.pid)
    assert info.end.exit_code == 6


@pytest.mark.line(190)
async def test_an_unknown_pid_is_not_found(processes: Processes):
    with pytest.raises(RpcError) as error:
        await processes.replay(pid(NO_PID))
    assert (error.value.code, error.value.message) == ("not_found", f"process with pid {NO_PID} not found")


@pytest.mark.line(190)
async def test_an_unknown_tag_is_not_found(processes: Processes):
    name = new_tag()
    with pytest.raises(RpcError) as error:
        await processes.replay(tag(name))
    assert (error.value.code, error.value.message) == ("not_found", f"process with tag {name} not found")


@pytest.mark.line(190)
@pytest.mark.parametrize("text", ["100%", "ü–漢", "a\r\ngrpc-status: 0", '<&">'], ids=ascii)
async def test_an_unknown_tag_is_named_whatever_its_letters(processes: Processes, text):
    name = text + new_tag()
    with pytest.raises(RpcError) as error:
        await processes.signal(tag(name), SIGNAL_SIGKILL)
    assert (error.value.code, error.value.message) == ("not_found", f"process with tag {name} not found")


@pytest.mark.line(190)
async def test_a_process_the_daemon_did_not_start_is_not_found(processes: Processes):
    with pytest.raises(RpcError) as error:
        await processes.signal(pid(1), SIGNAL_SIGKILL)
    assert error.value.code == "not_found"


@pytest.mark.line(191)
@pytest.mark.parametrize("request_", [ConnectRequest(), ConnectRequest(process=ProcessSelector())], ids=["no", "empty"])
async def test_a_missing_selector_is_unimplemented(processes: Processes, request_):
    async with processes.wire.server_stream(CONNECT, request_, ConnectResponse) as incoming:
        with pytest.raises(RpcError) as error:
            await anext(incoming)
    assert error.value.code == "unimplemented"


@pytest.mark.line(191)
@pytest.mark.parametrize("method", ["send_input", "close_stdin", "signal"])
async def test_a_missing_selector_of_a_unary_call_is_unimplemented(processes: Processes, method):
    arguments = {"send_input": (b"x",), "close_stdin": (), "signal": (SIGNAL_SIGKILL,)}[method]
    with pytest.raises(RpcError) as error:
        await getattr(processes, method)(ProcessSelector(), *arguments)
    assert error.value.code == "unimplemented"


@pytest.mark.line(192)
async def test_two_readers_both_get_everything_from_then_on(processes: Processes):
    async with (
        processes.start(start_request("cat")) as program,
        processes.connect(pid(program.pid)) as first,
        processes.connect(pid(program.pid)) as second,
    ):
        await processes.send_input(pid(program.pid), b"all\n")
        await processes.close_stdin(pid(program.pid))
        for follower in (program, first, second):
            outcome = await follower.rest()
            assert (outcome.stdout, outcome.end.exit_code) == (b"all\n", 0)


@pytest.mark.line(192)
@pytest.mark.every_wire
async def test_a_reader_that_leaves_does_not_disturb_the_other(processes: Processes):
    async with (
        processes.start(start_request("cat")) as program,
        processes.connect(pid(program.pid)) as follower,
    ):
        program.leave()
        await processes.send_input(pid(program.pid), b"x" * 100_000)
        await processes.close_stdin(pid(program.pid))
        assert len((await follower.rest()).stdout) == 100_000


@pytest.mark.line(193)
async def test_the_list_shows_how_a_program_was_started(processes: Processes):
    name = new_tag()
    request = start_request("sleep", "1000", envs={"A": "b"}, cwd="/tmp", tag=name)
    async with processes.start(request) as program:
        info = next(info for info in await processes.list() if info.pid == program.pid)
    assert info.config == request.process
    assert info.tag == name
    assert not info.HasField("end")


@pytest.mark.line(193)
async def test_the_list_of_no_programs_is_an_empty_message(open_wire: OpenWire):
    async with running_daemon() as quiet, open_wire(quiet.port) as wire:
        assert await wire.unary(LIST, ListRequest(), ListResponse) == ListResponse()


@pytest.mark.line(203)
@pytest.mark.every_wire
async def test_the_deadline_of_a_connect_is_only_that_streams(processes: Processes):
    async with processes.start(start_request("cat")) as program:
        with pytest.raises(RpcError) as error:
            async with processes.connect(pid(program.pid), timeout_s=0.2) as follower:
                await follower.rest()
        assert error.value.code == "deadline_exceeded"
        await processes.send_input(pid(program.pid), b"alive\n")
        await program.until(b"alive\n")


@pytest.mark.line(205)
async def test_a_reused_tag_means_the_new_program(processes: Processes):
    name = new_tag()
    old = await processes.run(shell("exit 6", tag=name))
    async with processes.start(start_request("cat", tag=name)) as program:
        async with processes.connect(tag(name)) as follower:
            assert follower.pid == program.pid != old.pid
        await processes.close_stdin(tag(name))
        await program.rest()
    assert (await processes.replay(tag(name))).end.exit_code == 0


async def test_connecting_at_a_position_begins_exactly_there(processes: Processes):
    first = await processes.run(shell("printf 0123456789; printf abcdef >&2"))
    outcome = await processes.replay(pid(first.pid), resume=OutputPosition(stdout=4, stderr=6))
    assert (outcome.stdout, outcome.stderr) == (b"456789", b"")
    assert outcome.data[0].offset == 4
    assert outcome.events[0].start.position == OutputPosition(stdout=4, stderr=6)


async def test_connecting_at_the_beginning_replays_what_was_taken(processes: Processes):
    first = await processes.run(shell("echo again"))
    assert (await processes.replay(pid(first.pid), resume=OutputPosition())).stdout == b"again\n"


async def test_bytes_that_are_no_longer_kept_are_announced_as_a_gap(processes: Processes):
    size = 12 * 2**20
    first = await processes.run(start_request("head", "-c", str(size), "/dev/zero"))
    assert len(first.stdout) == size
    outcome = await processes.replay(pid(first.pid), resume=OutputPosition(stdout=10))
    gaps = [event.gap for event in outcome.events if event.HasField("gap")]
    assert len(gaps) == 1
    assert (gaps[0].stream, gaps[0].begin) == (ProcessEvent.STREAM_STDOUT, 10)
    assert gaps[0].end + len(outcome.stdout) == size
    assert outcome.stdout


async def test_a_position_behind_the_end_is_refused_or_waits_for_nothing(processes: Processes):
    first = await processes.run(shell("printf 0123456789"))
    with pytest.raises(RpcError) as error:
        await processes.replay(pid(first.pid), resume=OutputPosition(stdout=11))
    assert error.value.code in {"invalid_argument", "out_of_range"}


@pytest.mark.line(186)
@pytest.mark.every_wire
async def test_a_client_that_vanishes_before_the_start_event_leaves_a_program_that_can_be_found(processes: Processes):
    name = new_tag()
    async with processes.wire.server_stream(START, start_request("cat", tag=name), StartResponse) as incoming:
        await listed(processes, name)
        incoming.leave()
    async with processes.connect(tag(name)) as follower:
        await processes.send_input(tag(name), b"here\n")
        await follower.until(b"here\n")
    await processes.signal(tag(name), SIGNAL_SIGKILL)
