"""Start: what a program gets, where it runs, and what it says."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
import uuid
from pathlib import Path

import pytest

from envd_proto.process.process_pb2 import OutputPosition, ProcessEvent, StartRequest
from tests.conftest import INHERITED
from tests.support.kernel import OF_THE_PROGRAM, Gate, is_running
from tests.support.process import Processes, pid, shell, start_request
from tests.support.wires import RpcError

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only a daemon that is root sets priorities")


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
    with pytest.raises(RpcError) as error:
        await processes.run(start_request("pwd", cwd="/no/such/directory"))
    assert error.value.code == "invalid_argument"
    assert error.value.message == "cwd '/no/such/directory' does not exist"


@pytest.mark.line(178)
async def test_a_cwd_the_user_may_not_enter_is_invalid(processes: Processes, other_user: pwd.struct_passwd):
    with tempfile.TemporaryDirectory() as private, pytest.raises(RpcError) as error:
        await processes.as_user(other_user.pw_name).run(start_request("pwd", cwd=private))
    assert error.value.code == "invalid_argument"
    assert "permission denied" in error.value.message


async def test_a_cwd_that_is_a_file_is_invalid(processes: Processes):
    with pytest.raises(RpcError) as error:
        await processes.run(start_request("pwd", cwd="/etc/passwd"))
    assert error.value.code == "invalid_argument"
    assert "not a directory" in error.value.message


@pytest.mark.line(179)
@pytest.mark.parametrize("cwd", [None, "", "~"])
async def test_without_a_cwd_it_is_the_home(processes: Processes, other_user: pwd.struct_passwd, cwd):
    outcome = await processes.as_user(other_user.pw_name).run(start_request("pwd", cwd=cwd))
    assert outcome.stdout.decode().strip() == other_user.pw_dir


@pytest.mark.line(179)
@pytest.mark.parametrize("cwd", ["sub/dir", "~/sub/dir"])
async def test_a_relative_cwd_is_below_the_home(processes: Processes, other_user: pwd.struct_passwd, cwd):
    where = Path(other_user.pw_dir, "sub/dir")
    where.mkdir(parents=True, exist_ok=True)
    outcome = await processes.as_user(other_user.pw_name).run(start_request("pwd", cwd=cwd))
    assert outcome.stdout.decode().strip() == str(where)


@pytest.mark.line(177)
async def test_the_home_of_another_user_is_not_spelled_with_a_tilde(processes: Processes):
    with pytest.raises(RpcError) as error:
        await processes.run(start_request("pwd", cwd="~root"))
    assert error.value.code == "invalid_argument"


@pytest.mark.line(180)
async def test_the_environment_is_the_users_and_not_the_daemons(processes: Processes, other_user: pwd.struct_passwd):
    outcome = await processes.as_user(other_user.pw_name).run(start_request("/usr/bin/env", "-0"))
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
    outcome = await processes.as_user(other_user.pw_name).run(shell("id -u; id -g; id -G"))
    uid, gid, groups = outcome.stdout.decode().splitlines()
    assert (int(uid), int(gid)) == (other_user.pw_uid, other_user.pw_gid)
    assert set(map(int, groups.split())) == set(os.getgrouplist(other_user.pw_name, other_user.pw_gid))


@pytest.mark.line(182)
async def test_a_program_has_the_users_rights_and_no_more(processes: Processes, other_user: pwd.struct_passwd):
    named = processes.as_user(other_user.pw_name)
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
    assert [int(line.split()[1], 16) & OF_THE_PROGRAM for line in outcome.stdout.splitlines()] == [0, 0]


@pytest.mark.line(185)
async def test_much_output_comes_in_pieces_of_at_most_32_kib(processes: Processes):
    outcome = await processes.run(start_request("head", "-c", "200000", "/dev/zero"))
    sizes = [len(data.stdout) for data in outcome.data]
    assert sum(sizes) == 200_000
    assert max(sizes) <= 32 * 1024
    assert len(sizes) > 1


@pytest.mark.parametrize(
    ("wanted", "largest"), [(1, 32), (100 * 1024, 100), (2**32 - 1, 128)], ids=["least", "between", "most"]
)
async def test_output_comes_in_pieces_as_large_as_was_asked_for(processes: Processes, wanted: int, largest: int):
    request = start_request("head", "-c", "3000000", "/dev/zero")
    request.event_bytes = wanted
    outcome = await processes.run(request)
    sizes = [len(data.stdout) for data in outcome.data]
    assert sum(sizes) == 3_000_000
    assert max(sizes) <= largest * 1024
    async with processes.connect(pid(outcome.pid), resume=OutputPosition(), event_bytes=wanted) as follower:
        again = await follower.rest()
    kept = [len(data.stdout) for data in again.data]
    # What is kept is there at once, so every run of it but its last piece is as large as it may be.
    assert max(kept) == largest * 1024


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


async def test_a_start_of_nothing_ends_like_an_unknown_command(processes: Processes):
    assert (await processes.run(StartRequest())).end.exit_code == 127
