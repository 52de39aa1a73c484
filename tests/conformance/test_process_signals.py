"""Signals to programs, their groups and everything they started."""

from __future__ import annotations

import pytest

from envd_proto.process.process_pb2 import (
    SIGNAL_SIGKILL,
    SIGNAL_SIGTERM,
    SIGNAL_TARGET_GROUP,
    SIGNAL_TARGET_LEADER,
    SIGNAL_TARGET_TREE,
    SIGNAL_UNSPECIFIED,
)
from tests.support.kernel import Gate, exited, is_running, kill
from tests.support.process import Processes, pid, shell, start_request
from tests.support.wires import RpcError


@pytest.mark.line(199)
@pytest.mark.parametrize("signal", [SIGNAL_UNSPECIFIED, 2])
async def test_a_signal_e2b_does_not_know_is_unimplemented(processes: Processes, signal):
    async with processes.start(start_request("sleep", "1000")) as program:
        with pytest.raises(RpcError) as error:
            await processes.signal(pid(program.pid), signal)
        assert is_running(program.pid)
    assert error.value.code == "unimplemented"
    assert error.value.message.startswith("invalid signal: ")


@pytest.mark.line(199)
async def test_a_signal_to_a_finished_program_is_not_found(processes: Processes):
    finished = await processes.run(start_request("true"))
    with pytest.raises(RpcError) as error:
        await processes.signal(pid(finished.pid), SIGNAL_SIGTERM)
    assert error.value.code == "not_found"


@pytest.mark.line(199)
@pytest.mark.parametrize(("number", "name"), [(1, "HUP"), (2, "INT"), (3, "QUIT"), (10, "USR1"), (28, "WINCH")])
async def test_any_signal_goes_by_its_number(processes: Processes, number, name):
    script = f"trap 'echo got {name}' {name}; echo ready; while :; do sleep 0.05; done"
    async with processes.start(shell(script)) as program:
        await program.until(b"ready\n")
        await processes.signal(pid(program.pid), number=number)
        await program.until(f"got {name}\n".encode())


@pytest.mark.line(199)
async def test_a_real_time_signal_goes_by_its_number(processes: Processes):
    async with processes.start(start_request("sleep", "1000")) as program:
        await processes.signal(pid(program.pid), number=64)
        assert (await program.rest()).end.signal == 64


@pytest.mark.line(199)
@pytest.mark.parametrize("number", [0, 65, 4_000_000_000])
async def test_a_number_that_is_no_signal_is_invalid(processes: Processes, number):
    async with processes.start(start_request("sleep", "1000")) as program:
        with pytest.raises(RpcError) as error:
            await processes.signal(pid(program.pid), number=number)
        assert is_running(program.pid)
    assert error.value.code == "invalid_argument"


@pytest.mark.line(199)
async def test_a_stopped_program_goes_on(processes: Processes):
    async with processes.start(start_request("cat")) as program:
        await processes.signal(pid(program.pid), number=19)
        await processes.signal(pid(program.pid), number=18)
        await processes.send_input(pid(program.pid), b"on\n")
        await program.until(b"on\n")


@pytest.mark.line(199)
@pytest.mark.parametrize("target", [0, SIGNAL_TARGET_TREE], ids=["by default", "by target"])
async def test_a_kill_ends_the_whole_tree(processes: Processes, target):
    async with processes.start(shell("sleep 1000 & echo $!; wait")) as program:
        child = int(await program.line())
        await processes.signal(pid(program.pid), SIGNAL_SIGKILL, target=target)
        assert (await program.rest()).end.signal == 9
        await exited(child)


@pytest.mark.line(199)
async def test_a_kill_finds_what_has_left_the_session(processes: Processes):
    async with processes.start(shell("setsid sh -c 'echo $$; exec sleep 1000' & wait")) as program:
        child = int(await program.line())
        await processes.signal(pid(program.pid), SIGNAL_SIGKILL)
        await exited(program.pid, child)


@pytest.mark.line(199)
@pytest.mark.parametrize(
    ("signal", "target"),
    [(SIGNAL_SIGTERM, 0), (SIGNAL_SIGKILL, SIGNAL_TARGET_LEADER)],
    ids=["terminate by default", "kill by target"],
)
async def test_a_signal_to_the_leader_leaves_its_children_alone(processes: Processes, signal, target):
    async with processes.start(start_request("sleep", "1000")) as bystander:
        script = "sleep 1000 > /dev/null 2>&1 & echo $!; wait"
        async with processes.start(shell(script)) as program:
            child = int(await program.line())
            await processes.signal(pid(program.pid), signal, target=target)
            await program.rest()
            assert is_running(child)
            assert is_running(bystander.pid)
        await _end(child)


@pytest.mark.line(199)
async def test_a_signal_to_the_group_reaches_the_children_in_it(processes: Processes):
    async with processes.start(start_request("sleep", "1000")) as bystander:
        async with processes.start(shell("sleep 1000 & echo $!; wait")) as program:
            child = int(await program.line())
            await processes.signal(pid(program.pid), SIGNAL_SIGTERM, target=SIGNAL_TARGET_GROUP)
            await program.rest()
            await exited(child)
        assert is_running(bystander.pid)


@pytest.mark.line(201)
async def test_a_program_that_traps_the_signal_may_say_goodbye(processes: Processes):
    script = "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.05; done"
    async with processes.start(shell(script)) as program:
        await program.until(b"ready\n")
        await processes.signal(pid(program.pid), SIGNAL_SIGTERM)
        outcome = await program.rest()
    assert outcome.stdout == b"ready\nbye\n"
    assert (outcome.end.exit_code, outcome.end.exited, outcome.end.signal) == (7, True, 0)


@pytest.mark.line(201)
async def test_nothing_printed_before_a_kill_is_lost(processes: Processes, gate: Gate):
    script = f"head -c 60000 /dev/zero; echo x > {gate.path}; exec sleep 1000"
    async with processes.start(shell(script)) as program:
        await gate.reached()
        await processes.signal(pid(program.pid), SIGNAL_SIGKILL)
        outcome = await program.rest()
    assert len(outcome.stdout) == 60_000
    assert outcome.end.signal == 9


async def _end(number: int) -> None:
    """Kill a child the daemon was told to leave alone, and wait for it."""
    kill(number)
    await exited(number)
