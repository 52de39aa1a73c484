"""A daemon without root: it serves its own user, and says so once."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Iterator

import pytest

from envd_proto.process.process_pb2 import SIGNAL_SIGKILL, SIGNAL_SIGTERM, SIGNAL_TARGET_TREE
from tests.support.connect import Client, Codec, ConnectError
from tests.support.daemon import Daemon
from tests.support.filesystem import Files
from tests.support.kernel import exited
from tests.support.process import Processes, pid, shell, start_request
from tests.support.terminals import printed, terminal_shell
from tests.support.trusted_directories import trusted_directory
from tests.support.wires import RpcError


@pytest.fixture(scope="module")
def unprivileged(other_user: pwd.struct_passwd) -> Iterator[Daemon]:
    started = Daemon.start("--port", "0", "--listen", "127.0.0.1", user=other_user.pw_name)
    yield started
    started.stop()


@pytest.fixture
def processes(unprivileged: Daemon, codec: Codec) -> Processes:
    return Processes.on(unprivileged.port, codec)


def logged(daemon: Daemon) -> list[dict[str, str]]:
    return [json.loads(line) for line in list(daemon.stderr)]


async def test_it_runs_programs_as_its_own_user(processes: Processes, other_user: pwd.struct_passwd):
    outcome = await processes.run(shell('id -u; id -g; echo "$USER" "$LOGNAME" "$HOME"; pwd'))
    name, home = other_user.pw_name, other_user.pw_dir
    expected = f"{other_user.pw_uid}\n{other_user.pw_gid}\n{name} {name} {home}\n{home}\n"
    assert (outcome.stdout.decode(), outcome.stderr, outcome.end.exit_code) == (expected, b"", 0)


async def test_programs_have_its_groups(processes: Processes, other_user: pwd.struct_passwd):
    named = await processes.run(shell(f"id -G; id -G {other_user.pw_name}"))
    have, expected = named.stdout.decode().splitlines()
    assert sorted(have.split()) == sorted(expected.split())


async def test_its_own_name_works(unprivileged: Daemon, codec: Codec, other_user: pwd.struct_passwd):
    processes = Processes.on(unprivileged.port, codec, user=other_user.pw_name)
    assert (await processes.run(shell("id -un"))).stdout.decode() == other_user.pw_name + "\n"


@pytest.mark.parametrize("user", ["root", "nobody"])
async def test_another_user_is_refused_in_the_end_of_the_stream(unprivileged: Daemon, codec: Codec, user):
    with pytest.raises(ConnectError) as refused:
        await Processes.on(unprivileged.port, codec, user=user).run(start_request("true"))
    assert (refused.value.code, refused.value.status) == ("permission_denied", 200)
    assert user in refused.value.message


async def test_a_user_that_does_not_exist_is_refused(unprivileged: Daemon, codec: Codec):
    with pytest.raises(ConnectError) as refused:
        await Processes.on(unprivileged.port, codec, user="nosuchuser").run(start_request("true"))
    assert refused.value.code == "unauthenticated"


async def test_input_and_signals_work(processes: Processes):
    async with processes.start(shell("trap 'echo terminated; exit 9' TERM; read x; echo $x; read y")) as program:
        await processes.send_input(pid(program.pid), b"hello\n")
        await program.until(b"hello\n")
        await processes.signal(pid(program.pid), SIGNAL_SIGTERM)
        outcome = await program.rest()
    assert (outcome.stdout, outcome.end.exit_code) == (b"hello\nterminated\n", 9)


async def test_sigkill_ends_the_whole_tree(processes: Processes):
    async with processes.start(shell("setsid sleep 1000 & echo $!; sleep 1000")) as program:
        child = int(await program.line())
        await processes.signal(pid(program.pid), SIGNAL_SIGKILL, target=SIGNAL_TARGET_TREE)
        await exited(program.pid, child)
        assert (await program.rest()).end.status == "signal: killed"


async def test_a_deadline_kills(processes: Processes):
    with pytest.raises(ConnectError) as late:
        await processes.run(start_request("sleep", "1000"), headers={"Connect-Timeout-Ms": "300"})
    assert late.value.code == "deadline_exceeded"


async def test_priority_and_oom_score_are_left_as_they_are(processes: Processes):
    request = shell("nice; cat /proc/self/oom_score_adj")
    request.limits.nice = 5
    request.limits.oom_score_adj = 300
    outcome = await processes.run(request)
    assert outcome.end.exit_code == 0
    assert outcome.stderr == b""


async def test_a_command_that_is_not_there_and_one_it_may_not_run(processes: Processes):
    assert (await processes.run(start_request("nosuchcommand"))).end.exit_code == 127
    assert (await processes.run(start_request("/etc/passwd"))).end.exit_code == 126


async def test_it_survives_the_loss_of_its_server(unprivileged: Daemon):
    processes = Processes.on(unprivileged.port, Codec.PROTO)
    async with processes.start(shell("echo before; read _; echo after")) as program:
        await program.until(b"before\n")
        unprivileged.kill_server()
        await processes.send_input(pid(program.pid), b"go\n")
        outcome = await processes.replay(pid(program.pid))
    assert outcome.stdout.endswith(b"after\n")
    assert outcome.end.exit_code == 0


def test_it_warns_exactly_once(other_user: pwd.struct_passwd):
    daemon = Daemon.start("--port", "0", "--listen", "127.0.0.1", "--log-level", "debug", user=other_user.pw_name)
    daemon.stop()
    worse = [line for line in logged(daemon) if line["level"] not in ("debug", "info")]
    assert [line["level"] for line in worse] == ["warning"]
    assert "root" in worse[0]["message"]


async def test_a_terminal_is_its_own_too(processes: Processes, other_user: pwd.struct_passwd):
    outcome = await processes.run(terminal_shell("echo x > $(tty); stat -c %U $(tty); stty size; exit 3", cols=90))
    assert (printed(outcome).decode(), outcome.end.exit_code) == (f"x\r\n{other_user.pw_name}\r\n24 90\r\n", 3)


async def test_a_file_in_a_sticky_directory_of_somebody_else_is_written(unprivileged: Daemon):
    files = Files(Client(unprivileged.port, Codec.PROTO))
    with trusted_directory() as sticky:
        theirs = sticky / "theirs"
        theirs.write_bytes(b"old")
        theirs.chmod(0o666)
        sticky.chmod(0o1777)
        await files.write(theirs, b"new")
        assert (theirs.read_bytes(), theirs.stat().st_uid, os.listdir(sticky)) == (b"new", 0, ["theirs"])
        with pytest.raises(RpcError, match="not permitted"):
            await files.write(theirs, b"newer", atomic=True)
        assert (theirs.read_bytes(), os.listdir(sticky)) == (b"new", ["theirs"])


async def test_a_file_in_a_directory_it_may_not_change_is_written(unprivileged: Daemon):
    files = Files(Client(unprivileged.port, Codec.PROTO))
    with trusted_directory() as closed:
        (closed / "file").write_bytes(b"old")
        (closed / "file").chmod(0o666)
        await files.write(closed / "file", b"new")
        assert ((closed / "file").read_bytes(), os.listdir(closed)) == (b"new", ["file"])
