"""The next server: there in time whatever happens to the one before, to the machine, and to the code on disk."""

from __future__ import annotations

import asyncio
import http.client
import os
import shutil
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import pytest

from envd_proto.process.process_pb2 import SIGNAL_SIGKILL, OutputPosition
from tests.support.connect import Client, Codec, ConnectError
from tests.support.daemon import ROOT, Daemon, daemon_of, running_daemon
from tests.support.faults import kill_server, launch, persist, settled
from tests.support.filesystem import Files
from tests.support.fuse import hanging
from tests.support.grpc import Grpc
from tests.support.kernel import children, exited, open_pidfds, readable
from tests.support.process import Processes, pid, shell, start_request
from tests.support.searching import Search
from tests.support.wires import RpcError

LINES = 4000
PRINTS = f"i=0; while [ $i -lt {LINES} ]; do echo $i; i=$((i+1)); [ $((i%100)) = 0 ] && sleep 0.2; done; exit 4"


def processes_of(daemon: Daemon) -> Processes:
    return Processes(Client(daemon.port, Codec.PROTO))


def standby_of(daemon: Daemon) -> int | None:
    for child in children(daemon.pid):
        with suppress(OSError):
            if Path(f"/proc/{child}/comm").read_text() == "envd-standby\n":
                return child
    return None


async def standby(daemon: Daemon) -> int:
    found = await settled(lambda: standby_of(daemon), bool)
    assert found
    return found


# Whoever stands by.


async def test_the_process_that_stands_by_serves_next_and_another_one_stands_by() -> None:
    async with running_daemon() as daemon:
        for _ in range(3):
            next_one = await standby(daemon)
            await kill_server(daemon)
            assert (await persist(lambda: processes_of(daemon).run(shell("echo hi")))).stdout == b"hi\n"
            assert daemon.server_pid() == next_one


async def test_without_one_that_stands_by_the_next_server_is_started_anew() -> None:
    async with running_daemon() as daemon:
        lost = await standby(daemon)
        os.kill(lost, signal.SIGKILL)
        await exited(lost)
        await kill_server(daemon)
        assert (await persist(lambda: processes_of(daemon).run(shell("echo hi")))).stdout == b"hi\n"
        assert daemon.server_pid() != lost


async def test_who_stands_by_ends_with_the_keeper() -> None:
    async with running_daemon() as daemon:
        waiting = await standby(daemon)
        os.kill(daemon.pid, signal.SIGKILL)
        await exited(waiting)


async def test_keeper_server_and_standby_fit_the_budget() -> None:
    async with running_daemon() as daemon:
        await standby(daemon)

        def pss() -> int:
            total = 0
            for one in (daemon.pid, *children(daemon.pid)):
                rollup = Path(f"/proc/{one}/smaps_rollup").read_text()
                total += int(rollup.split("Pss_Anon:")[1].split()[0])
            return total

        assert await settled(pss, lambda kib: kib <= 40 * 1024) <= 40 * 1024


# A killed keeper.


@pytest.mark.parametrize("kind", ["pipes", "terminal"])
async def test_programs_of_a_killed_keeper_print_on_to_their_end(tmp_path: Path, kind: str) -> None:
    async with running_daemon() as daemon:
        done = tmp_path / "done"
        # More than a pipe holds, so somebody has to take it.
        request = shell(
            f"read _ < {tmp_path}/go; i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done; echo > {done}"
        )
        if kind == "terminal":
            request.pty.size.rows, request.pty.size.cols = 24, 80
        os.mkfifo(tmp_path / "go")
        program = await launch(Client(daemon.port, Codec.PROTO), request)
        with open_pidfds([program]) as fds:
            server = daemon.server_pid()
            os.kill(daemon.pid, signal.SIGKILL)
            await exited(server)
            (tmp_path / "go").write_text("go\n")
            await readable(fds[0])
        assert done.exists()
        with pytest.raises(OSError, match="refused"):
            get_health(daemon.port)


# Servers that hang.


async def test_a_killed_server_that_a_dead_file_system_holds_is_replaced(tmp_path: Path) -> None:
    with hanging(tmp_path / "dead") as dead:
        async with running_daemon() as daemon:
            await standby(daemon)
            files, server = Files(Client(daemon.port, Codec.PROTO)), daemon.server_pid()
            dead.stop_answering()
            calls = [asyncio.create_task(files.stat(dead.path / str(number))) for number in range(2)]
            try:
                await asyncio.to_thread(dead.wait_for_requests, 1)
                os.kill(server, signal.SIGKILL)
                assert (await persist(lambda: processes_of(daemon).run(shell("echo hi")))).stdout == b"hi\n"
                assert daemon.server_pid() != server
                # It is still there, and cannot be waited for.
                assert "\nState:\tZ" in Path(f"/proc/{server}/status").read_text()
            finally:
                dead.answer()
                for call in calls:
                    call.cancel()
                await asyncio.gather(*calls, return_exceptions=True)


@pytest.mark.slow
async def test_a_stopped_server_is_replaced_and_its_programs_output_is_whole() -> None:
    async with running_daemon() as daemon:
        processes, server = processes_of(daemon), daemon.server_pid()
        program = await launch(Client(daemon.port, Codec.PROTO), shell(PRINTS))
        os.kill(server, signal.SIGSTOP)
        await exited(server, timeout_s=60)
        outcome = await persist(lambda: processes.replay(pid(program), resume=OutputPosition()))
        assert outcome.stdout == b"".join(b"%d\n" % number for number in range(LINES))
        assert outcome.end.exit_code == 4


@pytest.mark.slow
async def test_a_daemon_that_was_frozen_as_a_whole_keeps_its_server() -> None:
    async with running_daemon() as daemon:
        server = daemon.server_pid()
        for order in ((daemon.pid, server), (server, daemon.pid)):
            for one in order:
                os.kill(one, signal.SIGSTOP)
            await asyncio.sleep(20)  # longer than a server may be silent
            for one in order:
                os.kill(one, signal.SIGCONT)
            assert (await processes_of(daemon).run(shell("echo hi"))).stdout == b"hi\n"
        assert daemon.server_pid() == server
        assert not [line for line in daemon.stderr if "replaced" in line]


@pytest.mark.slow
async def test_sigterm_ends_a_daemon_whose_server_is_stopped() -> None:
    async with running_daemon() as daemon:
        os.kill(daemon.server_pid(), signal.SIGSTOP)
        os.kill(daemon.pid, signal.SIGTERM)
        await exited(daemon.pid, timeout_s=60)


# The code on disk.


@contextmanager
def copied_daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon that runs from a copy of the packages, which may be damaged."""
    for package in ("envd", "envd_proto"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    run = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from envd.__main__ import main; main()"
    with daemon_of([sys.executable, "-P", "-c", run, "--port", "0", "--listen", "127.0.0.1"]) as daemon:
        yield daemon


@pytest.mark.parametrize("damage", ["removed", "broken", "half"])
async def test_a_daemon_whose_code_is_replaced_goes_on_with_the_code_it_runs(tmp_path: Path, damage: str) -> None:
    with copied_daemon(tmp_path) as daemon:
        program = await launch(Client(daemon.port, Codec.PROTO), shell("echo before; sleep 1000"))
        if damage == "removed":
            shutil.rmtree(tmp_path / "envd")
            shutil.rmtree(tmp_path / "envd_proto")
        elif damage == "broken":
            for path in (tmp_path / "envd").rglob("*.py"):
                path.write_text("raise RuntimeError('of another version')\n")
        else:
            for path in (tmp_path / "envd" / "process").glob("*.py"):
                path.unlink()
        for _ in range(3):
            await standby(daemon)
            await kill_server(daemon)
            processes = processes_of(daemon)
            assert program in await persist(processes.pids)
            assert (await processes.run(shell("echo hi"))).stdout == b"hi\n"
            assert (await Files(Client(daemon.port, Codec.PROTO)).stat(tmp_path)).path == str(tmp_path)
        await processes.signal(pid(program), SIGNAL_SIGKILL)


# No process or thread to be had.


@asynccontextmanager
async def few_tasks(daemon: Daemon, most: int) -> AsyncIterator[Path]:
    """Let daemon and programs have so many processes and threads; yields the control group."""
    name = f"envd-{uuid.uuid4().hex[:12]}"
    for root in (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup")):
        group = root / name
        try:
            group.mkdir()
            (group / "pids.max").write_text(str(most))
            for one in (daemon.pid, *children(daemon.pid)):
                (group / "cgroup.procs").write_text(str(one))
        except OSError:
            with suppress(OSError):
                group.rmdir()
            continue
        try:
            yield group
        finally:
            for one in (daemon.pid, *children(daemon.pid)):
                with suppress(OSError):
                    (root / "cgroup.procs").write_text(str(one))
            await settled((group / "cgroup.procs").read_text, lambda text: not text)
            group.rmdir()
        return
    pytest.skip("no control group with a limit of processes can be made")


BOMB = "import os, time\nwhile True:\n try: os.fork()\n except OSError: time.sleep(0.01)"
TASKS = 60


@pytest.mark.slow
async def test_a_fork_bomb_can_be_ended_also_by_a_server_that_began_under_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x\n")
    async with running_daemon() as daemon:
        await standby(daemon)
        client = Client(daemon.port, Codec.PROTO)
        processes, files = Processes(client), Files(client)
        async with few_tasks(daemon, TASKS) as group:

            def count() -> int:
                return int((group / "pids.current").read_text())

            for killed in (False, True):
                bomb = await launch(client, start_request(sys.executable, "-I", "-S", "-c", BOMB, stdin=False))
                assert await settled(count, lambda tasks: tasks >= TASKS) >= TASKS
                if killed:
                    await kill_server(daemon)
                    assert bomb in await persist(processes.pids)
                assert (await files.stat(tmp_path / "file")).size == 2
                await files.write(tmp_path / "written", b"y" * 3_000_000)
                with pytest.raises(ConnectError) as refused:
                    await processes.run(shell("echo hi"))
                assert refused.value.code == "resource_exhausted"
                with pytest.raises(ConnectError) as refused:
                    await Search(client).grep(tmp_path, "x")
                assert refused.value.code == "resource_exhausted"
                serving = daemon.server_pid()
                async with Grpc.open(daemon.port) as grpc:
                    with pytest.raises(RpcError) as failed:
                        await Processes(grpc).pids()
                    assert failed.value.code == "unavailable"
                assert daemon.server_pid() == serving
                await processes.signal(pid(bomb), SIGNAL_SIGKILL)
                assert await settled(count, lambda tasks: tasks <= TASKS // 2) <= TASKS // 2
                assert (await processes.run(shell("echo hi"))).stdout == b"hi\n"


# Records that cannot be read.


def overwrite(daemon: Daemon, name: str, data: bytes, offset: int = 0) -> None:
    """Write into a memory file of the keeper."""
    for fd in os.listdir(f"/proc/{daemon.pid}/fd"):
        if os.readlink(f"/proc/{daemon.pid}/fd/{fd}").startswith(f"/memfd:{name} "):
            own = os.open(f"/proc/{daemon.pid}/fd/{fd}", os.O_WRONLY)
            os.pwrite(own, data, offset)
            os.close(own)
            return
    raise AssertionError(f"the keeper has no {name}")


@pytest.mark.parametrize("request_kind", ["pipes", "terminal"])
async def test_a_program_whose_record_cannot_be_read_goes_on_and_can_be_ended(request_kind: str) -> None:
    async with running_daemon() as daemon:
        processes = processes_of(daemon)
        request = shell("echo before; exec sleep 1000")
        if request_kind == "terminal":
            request.pty.size.rows, request.pty.size.cols = 24, 80
        program = await launch(processes.client, request)
        other = await launch(processes.client, shell("echo other; exec sleep 1000"))
        overwrite(daemon, "envd-1-ledger", os.urandom(4096))
        await kill_server(daemon)
        assert await persist(processes.pids) == {program, other}
        await processes.signal(pid(program), SIGNAL_SIGKILL)
        outcome = await processes.replay(pid(program))
        assert b"before" in outcome.stdout + b"".join(data.pty for data in outcome.data)
        assert outcome.end.signal == signal.SIGKILL
        assert (await processes.run(shell("echo hi"))).stdout == b"hi\n"
        await kill_server(daemon)  # and it does not cost the next server anything either
        assert other in await persist(processes.pids)


@pytest.mark.parametrize("record", ["session", "leftovers", "watchers", "uploads"])
async def test_a_record_that_cannot_be_read_does_not_keep_a_server_from_starting(record: str) -> None:
    async with running_daemon() as daemon:
        program = await launch(Client(daemon.port, Codec.PROTO), shell("exec sleep 1000"))
        for data in (b"\xff" * 8192, os.urandom(8192)):
            overwrite(daemon, record, data)
            await kill_server(daemon)
            if record == "session":
                # Whether there was a token nobody knows: whoever asks is refused, and the daemon is there.
                with pytest.raises(ConnectError) as refused:
                    await persist(processes_of(daemon).pids)
                assert refused.value.code == "unauthenticated"
            else:
                assert program in await persist(processes_of(daemon).pids)
        assert len([line for line in daemon.stderr if "restarting" in line]) == 2


# No server at all.


async def test_while_no_server_can_be_started_the_port_says_so_on_every_wire(tmp_path: Path) -> None:
    with copied_daemon(tmp_path) as daemon:
        program = await launch(Client(daemon.port, Codec.PROTO), shell("exec sleep 1000"))
        module = tmp_path / "envd" / "server.py"
        source = module.read_text()
        module.write_text("raise RuntimeError('of another version')\n")
        waiting = await standby(daemon)
        os.kill(waiting, signal.SIGKILL)
        await exited(waiting)
        await kill_server(daemon)

        async def said() -> ConnectError:
            async with asyncio.timeout(60):
                while True:
                    try:
                        await processes_of(daemon).pids()
                    except ConnectError as error:
                        return error
                    except (EOFError, OSError):
                        continue

        error = await said()
        assert (error.code, error.status) == ("unavailable", 503)
        assert "cannot be started" in error.message
        status = await asyncio.to_thread(get_health, daemon.port)
        assert status == 503
        async with Grpc.open(daemon.port) as wire:
            with pytest.raises(RpcError) as failed:
                await Processes(wire).pids()
            assert failed.value.code == "unavailable"
        assert any("no server can be started" in line for line in daemon.stderr)
        module.write_text(source)
        processes = processes_of(daemon)
        async with asyncio.timeout(60):
            while True:
                with suppress(ConnectError, OSError, EOFError):
                    assert program in await processes.pids()
                    break
        assert await asyncio.to_thread(get_health, daemon.port) == 204


def get_health(port: int) -> int:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        link.request("GET", "/health")
        return link.getresponse().status
    finally:
        link.close()
