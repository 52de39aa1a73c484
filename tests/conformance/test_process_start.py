"""Start: what a program gets, what it says, and how it ends."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
import time
import uuid
from pathlib import Path

import pytest

from envd_proto.process.process_pb2 import SIGNAL_SIGKILL, SIGNAL_SIGTERM, ProcessEvent
from tests.conftest import INHERITED
from tests.support.connect import Client, ConnectError, basic
from tests.support.daemon import Daemon
from tests.support.kernel import Gate, exited, is_running, kill
from tests.support.process import Processes, pid, shell, start_request

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root starts programs as another user")


def as_user(processes: Processes, name: str) -> Processes:
    return Processes(Client(processes.client.port, processes.client.codec, basic(name)))


@pytest.mark.line(171)
async def test_a_program_starts_prints_and_ends(processes: Processes):
    outcome = await processes.run(start_request("echo", "hi"))
    assert outcome.kinds == ["start", "data", "end"]
    assert outcome.pid > 1
    assert (outcome.stdout, outcome.stderr) == (b"hi\n", b"")
    assert (outcome.end.exit_code, outcome.end.exited, outcome.end.status) == (0, True, "exit status 0")
    assert not outcome.end.HasField("error")


async def test_standard_error_is_a_stream_of_its_own(processes: Processes):
    outcome = await processes.run(shell("echo out; echo err >&2"))
    assert (outcome.stdout, outcome.stderr) == (b"out\n", b"err\n")


async def test_output_arrives_while_the_program_runs(processes: Processes, gate: Gate):
    async with processes.start(shell(f"echo first; read _ < {gate.path}; echo second")) as program:
        await program.until(b"first\n")
        assert is_running(program.pid)
        gate.open()
        assert (await program.rest()).stdout == b"first\nsecond\n"


async def test_the_pid_is_that_of_the_program(processes: Processes):
    outcome = await processes.run(shell("echo $$"))
    assert int(outcome.stdout) == outcome.pid


async def test_output_is_bytes_and_nothing_is_translated(processes: Processes):
    text = bytes(range(256))
    escapes = "".join(f"\\{byte:03o}" for byte in text)
    assert (await processes.run(start_request("printf", escapes))).stdout == text


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


@pytest.mark.line(175)
@pytest.mark.parametrize("name", ["no-such-command-here", "/no/such/command"])
async def test_a_command_that_does_not_exist_ends_with_127_and_its_name(processes: Processes, name):
    outcome = await processes.run(start_request(name))
    assert outcome.kinds[0] == "start"
    assert (outcome.end.exit_code, outcome.end.exited) == (127, True)
    assert name.encode() in outcome.stderr
    assert b"No such file or directory" in outcome.stderr
    assert outcome.end.cause == ProcessEvent.CAUSE_EXEC_FAILED
    assert outcome.end.exec_failure.errno == 2


@pytest.mark.line(176)
async def test_a_file_that_is_not_executable_ends_with_126(processes: Processes, tmp_path: Path):
    plain = tmp_path / "plain"
    plain.write_text("no program\n")
    plain.chmod(0o644)
    outcome = await processes.run(start_request(str(plain)))
    assert (outcome.end.exit_code, outcome.end.exited) == (126, True)
    assert str(plain).encode() in outcome.stderr
    assert outcome.end.exec_failure.errno == 13


async def test_a_directory_is_no_command(processes: Processes):
    assert (await processes.run(start_request("/tmp"))).end.exit_code == 126


async def test_no_command_at_all_ends_with_127(processes: Processes):
    assert (await processes.run(start_request(""))).end.exit_code == 127


async def test_a_script_without_an_interpreter_line_does_not_hang(processes: Processes, tmp_path: Path):
    script = tmp_path / "script"
    script.write_text("echo hi\n")
    script.chmod(0o755)
    # execvp(3) gives such a file to the shell; a plain execve(2) cannot run it.
    assert (await processes.run(start_request(str(script)))).end.exit_code in {0, 126}


async def test_a_command_is_looked_up_in_the_programs_own_path(processes: Processes, tmp_path: Path):
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\necho found\n")
    tool.chmod(0o755)
    outcome = await processes.run(start_request("tool", envs={"PATH": f"/nonexistent:{tmp_path}"}))
    assert outcome.stdout == b"found\n"


@pytest.mark.line(177)
async def test_a_missing_cwd_is_invalid(processes: Processes):
    with pytest.raises(ConnectError) as error:
        await processes.run(start_request("pwd", cwd="/no/such/directory"))
    assert error.value.code == "invalid_argument"
    assert error.value.message == "cwd '/no/such/directory' does not exist"


@pytest.mark.line(178)
async def test_a_cwd_the_user_may_not_enter_is_invalid(processes: Processes, other_user: pwd.struct_passwd):
    with tempfile.TemporaryDirectory() as private, pytest.raises(ConnectError) as error:
        await as_user(processes, other_user.pw_name).run(start_request("pwd", cwd=private))
    assert error.value.code == "invalid_argument"
    assert "permission denied" in error.value.message


async def test_a_cwd_that_is_a_file_is_invalid(processes: Processes):
    with pytest.raises(ConnectError) as error:
        await processes.run(start_request("pwd", cwd="/etc/passwd"))
    assert error.value.code == "invalid_argument"
    assert "not a directory" in error.value.message


@pytest.mark.line(179)
@pytest.mark.parametrize("cwd", [None, "", "~"])
async def test_without_a_cwd_it_is_the_home(processes: Processes, other_user: pwd.struct_passwd, cwd):
    outcome = await as_user(processes, other_user.pw_name).run(start_request("pwd", cwd=cwd))
    assert outcome.stdout.decode().strip() == other_user.pw_dir


@pytest.mark.line(179)
@pytest.mark.parametrize("cwd", ["sub/dir", "~/sub/dir"])
async def test_a_relative_cwd_is_below_the_home(processes: Processes, other_user: pwd.struct_passwd, cwd):
    where = Path(other_user.pw_dir, "sub/dir")
    where.mkdir(parents=True, exist_ok=True)
    outcome = await as_user(processes, other_user.pw_name).run(start_request("pwd", cwd=cwd))
    assert outcome.stdout.decode().strip() == str(where)


@pytest.mark.line(177)
async def test_the_home_of_another_user_is_not_spelled_with_a_tilde(processes: Processes):
    with pytest.raises(ConnectError) as error:
        await processes.run(start_request("pwd", cwd="~root"))
    assert error.value.code == "invalid_argument"


@pytest.mark.line(180)
async def test_the_environment_is_the_users_and_not_the_daemons(processes: Processes, other_user: pwd.struct_passwd):
    outcome = await as_user(processes, other_user.pw_name).run(start_request("/usr/bin/env", "-0"))
    found = dict(entry.split("=", 1) for entry in outcome.stdout.decode().split("\0") if entry)
    assert found["PATH"] == os.environ["PATH"]
    assert found["HOME"] == other_user.pw_dir
    assert found["USER"] == found["LOGNAME"] == other_user.pw_name
    assert not {INHERITED, "TERM", "LANG", "SHELL", "PWD"} & set(found)
    assert all(name.startswith("E2B_") for name in set(found) - {"PATH", "HOME", "USER", "LOGNAME"})


@pytest.mark.line(180)
async def test_the_variables_of_the_request_come_last(processes: Processes):
    envs = {"HOME": "/elsewhere", "OWN": "a=b c\nd", "EMPTY": "", "ÜMLAUT": "ä"}
    outcome = await processes.run(start_request("/usr/bin/env", "-0", envs=envs))
    found = dict(entry.split("=", 1) for entry in outcome.stdout.decode().split("\0") if entry)
    assert {name: found[name] for name in envs} == envs


@pytest.mark.line(182)
async def test_user_and_groups_are_those_of_the_user(processes: Processes, other_user: pwd.struct_passwd):
    outcome = await as_user(processes, other_user.pw_name).run(shell("id -u; id -g; id -G"))
    uid, gid, groups = outcome.stdout.decode().splitlines()
    assert (int(uid), int(gid)) == (other_user.pw_uid, other_user.pw_gid)
    assert set(map(int, groups.split())) == set(os.getgrouplist(other_user.pw_name, other_user.pw_gid))


@pytest.mark.line(182)
async def test_a_program_has_the_users_rights_and_no_more(processes: Processes, other_user: pwd.struct_passwd):
    named = as_user(processes, other_user.pw_name)
    assert (await named.run(start_request("cat", "/etc/shadow"))).end.exit_code == 1
    status = (await named.run(start_request("grep", "CapEff", "/proc/self/status"))).stdout
    assert status.split() == [b"CapEff:", b"0000000000000000"]


@needs_root
@pytest.mark.line(183)
async def test_a_program_is_of_ordinary_priority_and_the_first_to_go_when_memory_ends(processes: Processes):
    outcome = await processes.run(shell("cat /proc/self/oom_score_adj; nice"))
    assert outcome.stdout.split() == [b"100", b"0"]


@needs_root
@pytest.mark.line(183)
@pytest.mark.skipif(shutil.which("ionice") is None, reason="ionice is not installed")
async def test_a_program_is_of_ordinary_io_priority(processes: Processes):
    assert (await processes.run(start_request("ionice"))).stdout.strip() == b"best-effort: prio 4"


@pytest.mark.line(184)
@pytest.mark.parametrize("stdin", [None, True])
async def test_standard_input_is_a_pipe(processes: Processes, stdin):
    async with processes.start(shell("readlink /proc/self/fd/0", stdin=stdin)) as program:
        assert (await program.rest()).stdout.startswith(b"pipe:")


@pytest.mark.line(184)
async def test_standard_input_that_is_not_wanted_is_empty(processes: Processes):
    outcome = await processes.run(shell("readlink /proc/self/fd/0; wc -c", stdin=False))
    assert outcome.stdout.split() == [b"/dev/null", b"0"]


async def test_a_program_has_no_descriptors_but_its_own_three(processes: Processes):
    # The fourth is the directory being listed.
    assert (await processes.run(start_request("ls", "/proc/self/fd"))).stdout.split() == [b"0", b"1", b"2", b"3"]


async def test_a_program_has_no_signal_blocked_or_ignored(processes: Processes):
    outcome = await processes.run(start_request("grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"))
    assert [line.split()[1].strip(b"0") for line in outcome.stdout.splitlines()] == [b"", b""]


@pytest.mark.line(185)
async def test_much_output_comes_in_pieces_of_at_most_32_kib(processes: Processes):
    outcome = await processes.run(start_request("head", "-c", "200000", "/dev/zero"))
    sizes = [len(data.stdout) for data in outcome.data]
    assert sum(sizes) == 200_000
    assert max(sizes) <= 32 * 1024
    assert len(sizes) > 1


@pytest.mark.line(185)
async def test_every_piece_says_where_it_lies_in_its_stream(processes: Processes):
    outcome = await processes.run(shell("head -c 100000 /dev/zero; head -c 70000 /dev/zero >&2"))
    for stream in ("stdout", "stderr"):
        expected = 0
        for data in outcome.data:
            if data.HasField(stream):
                assert data.offset == expected
                expected += len(getattr(data, stream))
    assert (outcome.end.output.stdout, outcome.end.output.stderr) == (100_000, 70_000)


@pytest.mark.line(202)
async def test_a_deadline_kills_the_whole_tree(processes: Processes):
    began = time.monotonic()
    async with processes.start(shell("sleep 1000 & echo $!; wait"), headers={"Connect-Timeout-Ms": "700"}) as program:
        child = int(await program.line())
        with pytest.raises(ConnectError) as error:
            await program.rest()
        took = time.monotonic() - began
        await exited(program.pid, child, timeout_s=5)
    assert (error.value.code, error.value.message) == ("deadline_exceeded", "context deadline exceeded")
    assert 0.65 < took < 3


@pytest.mark.line(202)
async def test_whoever_connects_after_the_deadline_learns_that_it_was_the_cause(processes: Processes):
    async with processes.start(start_request("sleep", "1000"), headers={"Connect-Timeout-Ms": "200"}) as program:
        with pytest.raises(ConnectError):
            await program.rest()
    end = (await processes.replay(pid(program.pid))).end
    assert (end.exit_code, end.signal, end.cause) == (-1, 9, ProcessEvent.CAUSE_DEADLINE)


@pytest.mark.line(202)
async def test_a_program_that_is_faster_than_its_deadline_ends_by_itself(processes: Processes):
    outcome = await processes.run(start_request("true"), headers={"Connect-Timeout-Ms": "20000"})
    assert (outcome.end.exit_code, outcome.end.cause) == (0, ProcessEvent.CAUSE_ITSELF)


@pytest.mark.line(202)
async def test_the_deadline_holds_though_the_client_is_gone(processes: Processes):
    async with processes.start(start_request("sleep", "1000"), headers={"Connect-Timeout-Ms": "500"}) as program:
        program.stream.connection.reset()
        await exited(program.pid, timeout_s=5)


@pytest.mark.line(206)
async def test_the_end_does_not_wait_for_a_child_that_keeps_the_output_open(processes: Processes):
    began = time.monotonic()
    outcome = await processes.run(shell("sleep 1000 & echo $!"))
    took = time.monotonic() - began
    child = int(outcome.stdout)
    try:
        assert took < 3
        assert (outcome.end.exit_code, list(outcome.end.held_by)) == (0, [child])
        assert is_running(child)
    finally:
        kill(child)


@pytest.mark.line(206)
async def test_what_such_a_child_prints_at_once_is_still_before_the_end(processes: Processes):
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
    outcome = await processes.run(shell("sleep 1000 > /dev/null 2>&1 & echo $!"))
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


async def test_the_same_idempotency_key_never_runs_twice(processes: Processes, gate: Gate, tmp_path: Path):
    count = tmp_path / "count"
    request = shell(f"echo run >> {count}; read _ < {gate.path}; exit 5")
    request.idempotency_key = uuid.uuid4().hex
    async with processes.start(request) as first, processes.start(request) as second:
        assert (first.seen.events[0].start.existing, second.seen.events[0].start.existing) == (False, True)
        assert first.pid == second.pid
        gate.open()
        ends = [(await follower.rest()).end.exit_code for follower in (first, second)]
    third = await processes.run(request)
    assert (ends, third.end.exit_code, third.pid) == ([5, 5], 5, first.pid)
    assert count.read_text() == "run\n"


async def test_starting_a_hundred_programs_leaves_none_behind(processes: Processes, daemon: Daemon):
    pids = set()
    for _ in range(100):
        outcome = await processes.run(start_request("true"))
        assert outcome.end.exit_code == 0
        pids.add(outcome.pid)
    assert not pids & await processes.pids()
    assert not any(is_running(number) for number in pids)
