"""How programs end: by themselves, by a signal, at a deadline, and with children that outlive them."""

from __future__ import annotations

import time

import pytest

from envd.config import Config, Output
from envd_proto.process.process_pb2 import SIGNAL_SIGKILL, SIGNAL_SIGTERM, ProcessEvent
from tests.support.connect import Codec
from tests.support.kernel import Gate, exited, is_running, kill
from tests.support.process import Processes, pid, shell, start_request
from tests.support.readers import configured_daemon
from tests.support.wires import RpcError


@pytest.mark.line(172)
async def test_an_exit_status_is_told_as_number_and_as_text(processes: Processes):
    end = (await processes.run(shell("exit 3"))).end
    assert (end.exit_code, end.exited, end.status, end.error) == (3, True, "exit status 3", "exit status 3")
    assert (end.signal, end.cause) == (0, ProcessEvent.CAUSE_ITSELF)


@pytest.mark.line(173)
async def test_a_killed_program_ends_with_the_signal(processes: Processes):
    async with processes.start(start_request("sleep", "1000")) as program:
        await processes.signal(pid(program.pid), SIGNAL_SIGKILL)
        end = (await program.rest()).end
    assert (end.exit_code, end.exited, end.status, end.error) == (-1, False, "signal: killed", "signal: killed")
    assert (end.signal, end.cause) == (9, ProcessEvent.CAUSE_SIGNAL_REQUEST)


@pytest.mark.line(174)
async def test_a_terminated_program_ends_with_the_signal(processes: Processes):
    async with processes.start(start_request("sleep", "1000")) as program:
        await processes.signal(pid(program.pid), SIGNAL_SIGTERM)
        end = (await program.rest()).end
    assert (end.exit_code, end.exited, end.status) == (-1, False, "signal: terminated")
    assert (end.signal, end.cause) == (15, ProcessEvent.CAUSE_SIGNAL_REQUEST)


async def test_a_program_that_kills_itself_is_its_own_cause(processes: Processes):
    end = (await processes.run(shell("kill -SEGV $$"))).end
    assert (end.exit_code, end.exited, end.signal) == (-1, False, 11)
    assert end.status.startswith("signal: segmentation fault")
    assert end.cause == ProcessEvent.CAUSE_ITSELF


@pytest.mark.line(202)
@pytest.mark.every_wire
async def test_a_deadline_kills_the_whole_tree(processes: Processes):
    async with processes.start(shell("sleep 1000 & echo $!; wait"), timeout_s=3) as program:
        child = int(await program.line())
        with pytest.raises(RpcError) as error:
            await program.rest()
        await exited(program.pid, child)
    assert error.value.code == "deadline_exceeded"


@pytest.mark.line(202)
async def test_whoever_connects_after_the_deadline_learns_that_it_was_the_cause(processes: Processes):
    async with processes.start(start_request("sleep", "1000"), timeout_s=3) as program:
        with pytest.raises(RpcError):
            await program.rest()
    end = (await processes.replay(pid(program.pid))).end
    assert (end.exit_code, end.signal, end.cause) == (-1, 9, ProcessEvent.CAUSE_DEADLINE)


@pytest.mark.line(202)
async def test_a_program_that_is_faster_than_its_deadline_ends_by_itself(processes: Processes):
    outcome = await processes.run(start_request("true"), timeout_s=60)
    assert (outcome.end.exit_code, outcome.end.cause) == (0, ProcessEvent.CAUSE_ITSELF)


@pytest.mark.line(202)
@pytest.mark.every_wire
async def test_the_deadline_holds_though_the_client_is_gone(processes: Processes):
    async with processes.start(start_request("sleep", "1000"), timeout_s=3) as program:
        program.leave()
        await exited(program.pid)


@pytest.mark.line(206)
async def test_the_end_does_not_wait_for_a_child_that_keeps_the_output_open(processes: Processes):
    outcome = await processes.run(shell("sleep 1000 & echo $!"))
    child = int(outcome.stdout)
    try:
        assert (outcome.end.exit_code, list(outcome.end.held_by)) == (0, [child])
        assert is_running(child)
    finally:
        kill(child)


@pytest.mark.line(206)
async def test_what_such_a_child_prints_at_once_is_still_before_the_end():
    # A busy machine may let the child wait for longer than the product's fifth of a second.
    async with configured_daemon(Config(output=Output(drain_s=3.0, drain_at_most_s=60.0))) as daemon:
        processes = Processes.on(daemon.port, Codec.PROTO)
        outcome = await processes.run(shell("(echo quick; exec sleep 1000) & echo $!"))
        lines = set(outcome.stdout.split())
        kill(int((lines - {b"quick"}).pop()))
    assert b"quick" in lines


@pytest.mark.line(206)
async def test_what_such_a_child_prints_later_reaches_whoever_connects(processes: Processes, gate: Gate):
    outcome = await processes.run(shell(f"(read _ < {gate.path}; echo late) & echo $!"))
    child = int(outcome.stdout)
    gate.open()
    await exited(child)
    later = await processes.replay(pid(outcome.pid))
    assert later.stdout == b"late\n"
    assert later.end.exit_code == 0


@pytest.mark.line(206)
async def test_a_child_that_does_not_hold_the_output_is_not_named(processes: Processes):
    outcome = await processes.run(
        shell("sleep 1000 > /dev/null 2>&1 & while ! [ /proc/$!/fd/2 -ef /dev/null ]; do :; done; echo $!")
    )
    try:
        assert list(outcome.end.held_by) == []
    finally:
        kill(int(outcome.stdout))


async def test_the_end_says_what_the_program_used_and_when(processes: Processes):
    before = time.time()
    end = (await processes.run(shell("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"))).end
    after = time.time()
    assert end.usage.user_us > 0
    assert end.usage.max_rss_bytes > 0
    assert before - 1 < end.started_at.ToNanoseconds() / 1e9 <= end.ended_at.ToNanoseconds() / 1e9 < after + 1


async def test_starting_a_hundred_programs_leaves_none_behind(processes: Processes):
    pids = set()
    for _ in range(100):
        outcome = await processes.run(start_request("true"))
        assert outcome.end.exit_code == 0
        pids.add(outcome.pid)
    assert not pids & await processes.pids()
    assert not any(is_running(number) for number in pids)
