"""What a client may ask of the daemon beyond E2B's contract: timeouts, resource limits, and what it is told."""

from __future__ import annotations

import os
import pwd
import time

import pytest

from envd_proto.process.process_pb2 import Limits, OutputPosition, ProcessEvent, StartRequest, Timeouts
from tests.support.kernel import exited, is_running
from tests.support.process import Processes, pid, shell, start_request
from tests.support.wires import RpcError

OWN_NAME = pwd.getpwuid(os.geteuid()).pw_name


async def test_a_wall_timeout_ends_the_whole_tree_and_is_the_cause(processes: Processes):
    request = shell("sleep 1000 & echo $!; wait")
    request.timeouts.CopyFrom(Timeouts(wall_ms=2000))
    async with processes.start(request) as program:
        child = int(await program.line())
        end = (await program.rest()).end
        await exited(child)
    assert (end.signal, end.cause) == (9, ProcessEvent.CAUSE_WALL_TIMEOUT)


async def test_a_wall_timeout_holds_though_nobody_is_connected(processes: Processes):
    request = start_request("sleep", "1000")
    request.timeouts.CopyFrom(Timeouts(wall_ms=2000))
    async with processes.start(request) as program:
        program.leave()
        await exited(program.pid)
    assert (await processes.replay(pid(program.pid))).end.cause == ProcessEvent.CAUSE_WALL_TIMEOUT


async def test_an_idle_timeout_begins_anew_with_every_output(processes: Processes):
    request = shell("for i in 1 2 3 4 5; do sleep 0.2; echo $i; done; exec sleep 1000")
    request.timeouts.CopyFrom(Timeouts(idle_ms=3000))
    outcome = await processes.run(request)
    assert outcome.stdout == b"1\n2\n3\n4\n5\n"
    assert (outcome.end.signal, outcome.end.cause) == (9, ProcessEvent.CAUSE_IDLE_TIMEOUT)


async def test_a_program_has_its_grace_between_the_two_signals(processes: Processes):
    request = shell("trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.05; done")
    request.timeouts.CopyFrom(Timeouts(wall_ms=2000, grace_ms=10_000))
    outcome = await processes.run(request)
    assert outcome.stdout == b"ready\nbye\n"
    assert (outcome.end.exit_code, outcome.end.cause) == (7, ProcessEvent.CAUSE_WALL_TIMEOUT)


async def test_a_program_that_ignores_the_first_signal_is_killed_after_its_grace(processes: Processes):
    request = shell("trap '' TERM; echo ready; while :; do sleep 0.05; done")
    request.timeouts.CopyFrom(Timeouts(wall_ms=200, grace_ms=300))
    outcome = await processes.run(request)
    assert (outcome.end.signal, outcome.end.cause) == (9, ProcessEvent.CAUSE_WALL_TIMEOUT)


async def test_limits_are_set_before_the_program_runs(processes: Processes):
    request = shell("ulimit -n; ulimit -c; ulimit -f; ulimit -t")
    request.limits.CopyFrom(Limits(open_files=64, core_bytes=0, file_size_bytes=512 * 1024, cpu_seconds=100))
    # Blocks of 512 bytes.
    assert (await processes.run(request)).stdout.split() == [b"64", b"0", b"1024", b"100"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only a daemon that is root sets priorities")
async def test_priorities_are_set_before_the_program_runs(processes: Processes):
    request = shell("nice; cat /proc/self/oom_score_adj")
    request.limits.CopyFrom(Limits(nice=5, oom_score_adj=500))
    assert (await processes.run(request)).stdout.split() == [b"5", b"500"]


async def test_a_limit_on_memory_is_felt(processes: Processes):
    request = start_request("head", "-c", "1", "/dev/zero")
    request.limits.address_space_bytes = 4096
    end = (await processes.run(request)).end
    assert (end.exit_code, end.signal) != (0, 0)


async def test_a_limit_above_the_daemons_own_is_invalid(processes: Processes):
    request = start_request("true")
    request.limits.open_files = 2**40
    with pytest.raises(RpcError) as error:
        await processes.run(request)
    assert error.value.code == "invalid_argument"


async def test_the_list_says_whose_a_program_is_and_since_when(processes: Processes, other_user: pwd.struct_passwd):
    before = time.time()
    named = processes.as_user(other_user.pw_name)
    async with processes.start(start_request("sleep", "1000")) as own, named.start(shell("exec sleep 1000")) as other:
        listed = {info.pid: info for info in await processes.list()}
    assert (listed[own.pid].user, listed[other.pid].user) == (OWN_NAME, other_user.pw_name)
    assert before - 1 < listed[own.pid].started_at.ToNanoseconds() / 1e9 < time.time() + 1


async def test_an_idempotency_key_with_a_position_goes_on_where_the_client_was(processes: Processes):
    request = shell("printf 0123456789; read _; printf abc")
    request.idempotency_key = os.urandom(8).hex()
    async with processes.start(request) as first:
        await first.until(b"0123456789")
        first.leave()
        request.resume.stdout = 4
        async with processes.start(request) as again:
            assert again.seen.events[0].start.existing
            assert again.pid == first.pid
            await processes.send_input(pid(first.pid), b"\n")
            assert (await again.rest()).stdout == b"456789abc"


@pytest.mark.every_wire
async def test_a_repeated_start_without_a_position_begins_at_the_beginning(processes: Processes):
    # Its first call broke: what the kernel had received of that, it need not have seen.
    request = shell("head -c 200000 /dev/zero; echo written >&2; read _; printf abc")
    request.idempotency_key = os.urandom(8).hex()
    async with processes.start(request) as first:
        await first.until(b"written\n")
        first.leave()
        async with processes.start(request) as again:
            start = again.seen.events[0].start
            assert (start.existing, start.pid, start.position.stdout) == (True, first.pid, 0)
            await again.until(b"written\n")
            await processes.send_input(pid(first.pid), b"\n")
            assert (await again.rest()).stdout == b"\0" * 200_000 + b"abc"
    assert (await processes.run(request)).stdout == b"\0" * 200_000 + b"abc"


@pytest.mark.every_wire
async def test_a_repeated_start_without_a_position_is_told_what_is_no_longer_kept(processes: Processes):
    size = 12 * 1024 * 1024
    request = shell(f"head -c {size} /dev/zero; echo written >&2; read _; printf abc")
    request.idempotency_key = os.urandom(8).hex()
    async with processes.start(request) as first:
        seen, written = 0, False
        while seen < size or not written:  # each stream has its own pace
            data = (await first.next()).data
            seen, written = seen + len(data.stdout), written or bool(data.stderr)
        assert seen == size
        await processes.send_input(pid(first.pid), b"\n")
        await first.rest()
    again = await processes.run(request)
    [gap] = [event.gap for event in again.events if event.HasField("gap")]
    assert (gap.begin, again.data[0].offset) == (0, gap.end)
    assert 0 < gap.end < size
    assert again.stdout == b"\0" * (size - gap.end) + b"abc"


async def test_different_keys_are_different_programs(processes: Processes):
    pids = set()
    for _ in range(2):
        request = start_request("true")
        request.idempotency_key = os.urandom(8).hex()
        pids.add((await processes.run(request)).pid)
    assert len(pids) == 2


async def test_a_key_that_is_too_long_is_invalid(processes: Processes):
    request = start_request("true")
    request.idempotency_key = "x" * 256
    with pytest.raises(RpcError) as error:
        await processes.run(request)
    assert error.value.code == "invalid_argument"


def _another(request: StartRequest, change: str) -> StartRequest:
    """A request that differs in one thing."""
    other = StartRequest()
    other.CopyFrom(request)
    match change:
        case "cmd":
            other.process.cmd = "/bin/bash"
        case "args":
            other.process.args.append("more")
        case "envs":
            other.process.envs["NAME"] = "other"
        case "cwd":
            other.process.cwd = "/usr"
        case "tag":
            other.tag = "other"
        case "stdin":
            other.stdin = False
        case "timeouts":
            other.timeouts.wall_ms = 77_000
        case "limits":
            other.limits.open_files = 99
        case "pty":
            other.pty.size.cols = 81
    return other


@pytest.mark.parametrize("change", ["cmd", "args", "envs", "cwd", "tag", "stdin", "timeouts", "limits", "pty"])
async def test_a_key_that_was_used_for_another_program_is_a_conflict(over_connect: Processes, change: str):
    request = shell("exec sleep 1000", envs={"NAME": "value"}, tag="one")
    request.idempotency_key = os.urandom(8).hex()
    async with over_connect.start(request) as first:
        with pytest.raises(RpcError) as error:
            await over_connect.run(_another(request, change))
        assert error.value.code == "already_exists"
        assert f"process {first.pid}, with other {change}:" in error.value.message
        assert "value" not in error.value.message
        async with over_connect.start(request) as again:
            assert again.pid == first.pid


async def test_a_key_that_was_used_for_another_user_is_a_conflict(processes: Processes, other_user: pwd.struct_passwd):
    request = shell("exec sleep 1000")
    request.idempotency_key = os.urandom(8).hex()
    async with processes.start(request):
        with pytest.raises(RpcError) as error:
            await processes.as_user(other_user.pw_name).run(request)
        assert (error.value.code, "with other user:" in error.value.message) == ("already_exists", True)


async def test_a_key_may_be_repeated_from_another_place_and_with_the_users_name(over_connect: Processes):
    request = shell("exec sleep 1000")
    request.idempotency_key = os.urandom(8).hex()
    async with over_connect.start(request) as first:
        request.resume.CopyFrom(OutputPosition())
        request.event_bytes = 65536
        request.process.cwd = ""
        async with over_connect.as_user(OWN_NAME).start(request, timeout_s=60) as second:
            assert second.pid == first.pid


async def test_a_key_whose_program_could_not_be_started_may_be_used_again(processes: Processes):
    request = start_request("pwd", cwd="/no/such/directory")
    request.idempotency_key = os.urandom(8).hex()
    with pytest.raises(RpcError):
        await processes.run(request)
    request.process.cwd = "/usr"
    assert (await processes.run(request)).stdout == b"/usr\n"


async def test_a_finished_program_is_gone_from_the_kernel(processes: Processes):
    outcome = await processes.run(start_request("true"))
    assert not is_running(outcome.pid)
    assert not os.path.exists(f"/proc/{outcome.pid}")
