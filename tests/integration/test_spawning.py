"""Programs as they start: many at once, as whom, with what around them, and what cannot be started."""

from __future__ import annotations

import asyncio
import os
import pwd
import resource
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from envd.config import Config
from envd_proto.process.process_pb2 import Limits, ProcessConfig, StartRequest
from tests.support.connect import Client, Codec, ConnectError, basic
from tests.support.daemon import Daemon
from tests.support.faults import (
    descriptors,
    hanging_directory,
    kill_server,
    launch,
    persist,
    port_of,
    settled,
    shell_daemon,
    zombies,
)
from tests.support.kernel import OF_THE_PROGRAM, exited, is_running
from tests.support.process import Outcome, Processes, pid, shell, start_request

KIB = 1024
# One argument may have this many bytes, its end included. execve(2), MAX_ARG_STRLEN.
ARGUMENT_BYTES = 128 * KIB
AT_ONCE = 48
# A program that printed to stdout keeps a journal and the ledger, in the keeper and in the server.
KEPT_EACH = 2
# Connections of this test that the server has not seen close yet, and its threads' wake-ups.
SLACK = 8


@pytest.fixture
def shared(daemon: Daemon) -> Processes:
    return Processes(Client(daemon.port, Codec.PROTO))


async def run_many(processes: Processes, requests: list[StartRequest], headers: dict[str, str]) -> list[Outcome]:
    """Run programs, some dozen of them at a time."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def run(request: StartRequest) -> Outcome:
        async with turn:
            return await processes.run(request, headers=headers)

    return await asyncio.gather(*map(run, requests))


@asynccontextmanager
async def traffic(processes: Processes) -> AsyncIterator[None]:
    """A program that never stops printing, its reader, and calls one after the other; fails if one of them fails."""

    async def read(printing: asyncio.Event) -> None:
        async with processes.start(start_request("yes")) as follower:
            while True:
                await follower.next()
                follower.seen.events.clear()
                follower.seen.events.append(first)
                printing.set()

    async def call() -> None:
        while True:
            await processes.list()

    first = (await processes.run(start_request("true"))).events[0]
    printing = asyncio.Event()
    jobs = [asyncio.create_task(read(printing)), asyncio.create_task(call())]
    try:
        await printing.wait()
        yield
        assert not [job for job in jobs if job.done()]
    finally:
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)


# Many.


@pytest.mark.slow
async def test_three_hundred_programs_of_another_user_under_traffic(
    own_daemon: Daemon, own: Processes, other_user: pwd.struct_passwd
) -> None:
    user = basic(other_user.pw_name)
    await run_many(own, [shell("id -u")] * AT_ONCE, user)
    server = own_daemon.server_pid()
    before = descriptors(own_daemon.pid), descriptors(server)
    async with traffic(own):
        outcomes = await run_many(own, [shell(f"id -u; exit {number % 100}") for number in range(300)], user)
    assert {outcome.stdout for outcome in outcomes} == {b"%d\n" % other_user.pw_uid}
    assert [outcome.end.exit_code for outcome in outcomes] == [number % 100 for number in range(300)]
    assert await settled(lambda: zombies(own_daemon.pid), lambda found: not found) == []
    # `yes` and `true` of the traffic are kept as well.
    bound = 302 * KEPT_EACH + SLACK
    for process, had in zip((own_daemon.pid, server), before, strict=True):
        now = await settled(lambda process=process: descriptors(process), lambda now, had=had: now <= had + bound)
        assert now - had <= bound, f"{now - had} more descriptors in {process}"
    assert own_daemon.server_pid() == server


@pytest.mark.slow
async def test_forgotten_programs_leave_no_descriptor(own_daemon: Daemon, own: Processes) -> None:
    kept = Config().output.finished_programs
    server = own_daemon.server_pid()
    request = start_request("true", stdin=False)

    async def full() -> tuple[int, int]:
        # What is kept is looked through once a second.
        last = (await own.run(request)).pid
        await settled(lambda: is_running(last), lambda running: not running)
        readings: list[tuple[int, int]] = []

        def steady() -> bool:
            readings.append((descriptors(own_daemon.pid), descriptors(server)))
            return len(readings) > 60 and len(set(readings[-60:])) == 1

        await settled(steady, bool)
        return readings[-1]

    await run_many(own, [request] * (kept + 50), {})
    before = await full()
    assert before[0] <= kept + 50
    await run_many(own, [request] * 200, {})
    after = await full()
    assert abs(after[0] - before[0]) <= SLACK
    assert abs(after[1] - before[1]) <= SLACK
    assert len(await own.list(include_finished=True)) <= kept + 1


async def test_what_could_not_be_started_leaves_nothing_behind(own_daemon: Daemon, own: Processes) -> None:
    server = own_daemon.server_pid()
    await own.run(start_request("true"))
    before = descriptors(own_daemon.pid), descriptors(server)
    for number in range(50):
        with pytest.raises(ConnectError) as error:
            await own.run(start_request("true", cwd=f"/nonexistent/{number}"))
        assert error.value.code == "invalid_argument"
    for process, had in zip((own_daemon.pid, server), before, strict=True):
        now = await settled(lambda process=process: descriptors(process), lambda now, had=had: now <= had)
        assert now <= had + 2
    assert zombies(own_daemon.pid) == []


# A working directory that hangs.


async def test_a_hanging_working_directory_delays_nobody_else(own_daemon: Daemon, own: Processes) -> None:
    with hanging_directory() as directory:
        async with AsyncExitStack() as stack:
            hanging = [asyncio.create_task(own.run(start_request("true", cwd=directory.path))) for _ in range(5)]
            for task in hanging:
                stack.callback(task.cancel)
            await settled(lambda: len(own_daemon.programs()), lambda count: count == 5)
            async with asyncio.timeout(60):
                outcomes = await run_many(own, [shell("exit 3")] * 100, {})
            assert {outcome.end.exit_code for outcome in outcomes} == {3}
            assert not [task for task in hanging if task.done()]
            directory.close()
            for task in hanging:
                with pytest.raises(ConnectError) as error:
                    await task
                assert error.value.code == "invalid_argument"
                assert directory.path in error.value.message
    assert await settled(lambda: len(own_daemon.programs()), lambda count: count == 0) == 0


async def test_a_program_whose_directory_answers_late_runs_all_the_same(own_daemon: Daemon, own: Processes) -> None:
    with hanging_directory() as directory:
        late = asyncio.create_task(own.run(start_request("pwd", cwd=directory.path)))
        await settled(lambda: len(own_daemon.programs()), lambda count: count == 1)
        directory.answer()
        assert (await late).stdout == f"{directory.path}\n".encode()


async def test_a_client_does_not_wait_for_a_hanging_directory_beyond_its_deadline(
    own_daemon: Daemon, own: Processes
) -> None:
    with hanging_directory() as directory:
        with pytest.raises(ConnectError) as error:
            async with asyncio.timeout(60):
                await own.run(start_request("true", cwd=directory.path), headers={"Connect-Timeout-Ms": "300"})
        assert error.value.code == "deadline_exceeded"


async def test_a_hanging_child_holds_no_other_programs_pipes(own_daemon: Daemon, own: Processes) -> None:
    with hanging_directory() as directory:
        async with own.start(start_request("cat")) as cat:
            hanging = asyncio.create_task(own.run(start_request("true", cwd=directory.path)))
            await settled(lambda: len(own_daemon.programs()), lambda count: count == 2)
            async with asyncio.timeout(60):
                await own.close_stdin(pid(cat.pid))
                assert (await cat.rest()).end.exit_code == 0
            hanging.cancel()
            await asyncio.gather(hanging, return_exceptions=True)


async def test_the_daemon_stops_and_restarts_its_server_under_a_hanging_child(
    own_daemon: Daemon, own: Processes
) -> None:
    with hanging_directory() as directory:
        hanging = asyncio.create_task(own.run(start_request("true", cwd=directory.path)))
        await settled(lambda: len(own_daemon.programs()), lambda count: count == 1)
        (child,) = own_daemon.programs()
        await kill_server(own_daemon)
        async with asyncio.timeout(60):
            assert (await persist(lambda: own.run(shell("exit 4")))).end.exit_code == 4
        assert is_running(child)
        assert await asyncio.to_thread(own_daemon.stop) == 0
        await exited(child)
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)


# What is around a program.


async def text_of(processes: Processes, *command: str, headers: dict[str, str] | None = None, **options: object) -> str:
    outcome = await processes.run(start_request(*command, **options), headers=headers)  # type: ignore[arg-type]
    assert outcome.end.exit_code == 0, outcome.stderr
    return outcome.stdout.decode()


def fields_of(status: str) -> dict[str, str]:
    """/proc/PID/status as a mapping."""
    return {name: value.strip() for name, _, value in (line.partition(":") for line in status.splitlines())}


async def test_signals_are_as_a_shell_would_leave_them(shared: Processes) -> None:
    status = fields_of(await text_of(shared, "cat", "/proc/self/status"))
    assert {
        name: int(status[name], 16) & OF_THE_PROGRAM for name in ("SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd")
    } == dict.fromkeys(("SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd"), 0)


async def test_signals_the_operator_had_ignored_and_blocked_are_not_handed_down() -> None:
    # As under nohup, and under a parent that blocked one: 1 is SIGHUP.
    async with shell_daemon("trap '' HUP USR1 PIPE; exec \"$@\"") as process:
        processes = Processes(Client(await port_of(process), Codec.PROTO))
        status = fields_of(await text_of(processes, "cat", "/proc/self/status"))
        assert [int(status[name], 16) & OF_THE_PROGRAM for name in ("SigIgn", "SigBlk")] == [0, 0]


async def test_a_program_dies_of_sigpipe(shared: Processes) -> None:
    outcome = await shared.run(shell("(sleep 0; yes; echo $? >&2) | true; exit 0"))
    assert outcome.end.exit_code == 0
    assert outcome.stderr.strip() == b"141"


async def test_a_program_has_a_session_of_its_own_and_no_terminal(shared: Processes) -> None:
    outcome = await shared.run(start_request("cat", "/proc/self/stat"))
    fields = outcome.stdout.decode().rpartition(")")[2].split()
    group, session, terminal = map(int, fields[2:5])
    assert (group, session, terminal) == (outcome.pid, outcome.pid, 0)


async def test_a_program_has_its_three_descriptors_and_no_other(shared: Processes) -> None:
    async with shared.start(start_request("cat")), shared.start(start_request("cat")):
        # The fourth is the directory that ls reads.
        assert (await text_of(shared, "ls", "/proc/self/fd")).split() == ["0", "1", "2", "3"]


async def test_a_programs_descriptors_are_pipes_that_block(shared: Processes) -> None:
    flags = await text_of(shared, "sh", "-c", "for n in 0 1 2; do grep flags /proc/self/fdinfo/$n; done")
    # grep's own 1 and 2 are the program's; its 0 as well.
    for line in flags.splitlines():
        assert not int(line.split()[1], 8) & os.O_NONBLOCK


async def test_umask_priority_and_oom_score_are_the_defaults(daemon: Daemon, shared: Processes) -> None:
    script = "umask; nice; cat /proc/self/oom_score_adj"
    umask, nice, score = (await text_of(shared, "sh", "-c", script)).split()
    assert int(umask, 8) == int(fields_of(Path(f"/proc/{daemon.pid}/status").read_text())["Umask"], 8)
    assert nice == "0"
    assert score == ("100" if os.geteuid() == 0 else Path(f"/proc/{daemon.pid}/oom_score_adj").read_text().strip())


async def test_a_user_gets_all_its_ids_and_groups_and_no_other(
    shared: Processes, other_user: pwd.struct_passwd
) -> None:
    status = fields_of(await text_of(shared, "cat", "/proc/self/status", headers=basic(other_user.pw_name)))
    assert set(status["Uid"].split()) == {str(other_user.pw_uid)}
    assert set(status["Gid"].split()) == {str(other_user.pw_gid)}
    wanted = os.getgrouplist(other_user.pw_name, other_user.pw_gid)
    assert sorted(map(int, status["Groups"].split())) == sorted(wanted)
    assert [int(status[name], 16) for name in ("CapEff", "CapPrm", "CapAmb")] == [0, 0, 0]


def limits_of(text: str) -> dict[str, tuple[str, str]]:
    """/proc/PID/limits: name to soft and hard limit."""
    return {line[:26].strip(): (line[26:47].strip(), line[47:68].strip()) for line in text.splitlines()[1:]}


async def test_limits_are_those_the_daemon_was_started_with() -> None:
    async with shell_daemon('ulimit -Sn 777; exec "$@"') as process:
        processes = Processes(Client(await port_of(process), Codec.PROTO))
        theirs = limits_of(await text_of(processes, "cat", "/proc/self/limits"))
        keepers = limits_of(Path(f"/proc/{process.pid}/limits").read_text())
    assert theirs["Max open files"][0] == "777"
    assert keepers["Max open files"][0] == keepers["Max open files"][1] == theirs["Max open files"][1]
    # This one marks the program's tree and means nothing to the kernel.
    for limits in (theirs, keepers):
        del limits["Max open files"], limits["Max file locks"]
    assert theirs == keepers


# Limits of the request.


def limited(limits: Limits, *command: str) -> StartRequest:
    return StartRequest(process=ProcessConfig(cmd=command[0], args=command[1:]), limits=limits)


async def test_limits_of_the_request_are_applied(shared: Processes) -> None:
    limits = Limits(
        open_files=64,
        processes=1000,
        address_space_bytes=1 << 30,
        file_size_bytes=1 << 20,
        core_bytes=0,
        cpu_seconds=60,
        nice=7,
        oom_score_adj=500,
    )
    script = "cat /proc/self/limits; nice; cat /proc/self/oom_score_adj"
    text = (await shared.run(limited(limits, "sh", "-c", script))).stdout.decode()
    *_, nice, score = text.split()
    if os.geteuid() == 0:
        assert (nice, score) == ("7", "500")
    shown = limits_of(text)
    assert {name: shown[name][0] for name in shown if name in WANTED} == WANTED


WANTED = {
    "Max open files": "64",
    "Max processes": "1000",
    "Max address space": str(1 << 30),
    "Max file size": str(1 << 20),
    "Max core file size": "0",
    "Max cpu time": "60",
}


async def test_a_limit_holds(shared: Processes, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    command = ("dd", "if=/dev/zero", f"of={tmp_path}/big", "bs=64k", "count=64")
    end = (await shared.run(limited(Limits(file_size_bytes=1 << 20), *command))).end
    assert end.signal == signal.SIGXFSZ
    assert (tmp_path / "big").stat().st_size == 1 << 20


@pytest.mark.parametrize(
    "limits",
    [
        Limits(open_files=1 << 40),
        Limits(open_files=(1 << 63) - 1),
        Limits(open_files=1 << 63),
        Limits(open_files=(1 << 64) - 1),
        Limits(address_space_bytes=1 << 63),
        Limits(nice=20),
        Limits(nice=-21),
        Limits(oom_score_adj=1001),
        Limits(oom_score_adj=-1001),
    ],
    ids=str,
)
async def test_an_impossible_limit_is_refused_and_nothing_runs(
    shared: Processes, limits: Limits, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    with pytest.raises(ConnectError) as error:
        await shared.run(limited(limits, "touch", str(ran)))
    assert error.value.code == "invalid_argument"
    assert not ran.exists()


@pytest.mark.parametrize("value", [(1 << 63) - 1, (1 << 64) - 1])
async def test_a_limit_without_bound_is_possible_where_the_hard_one_has_none(shared: Processes, value: int) -> None:
    if resource.getrlimit(resource.RLIMIT_AS)[1] != resource.RLIM_INFINITY:
        pytest.skip("the address space of this test run is limited")
    outcome = await shared.run(limited(Limits(address_space_bytes=value), "cat", "/proc/self/limits"))
    assert outcome.end.exit_code == 0, outcome.end
    assert limits_of(outcome.stdout.decode())["Max address space"][0] in ("unlimited", str(value))


# Large command lines.


@asynccontextmanager
async def undisturbed(processes: Processes) -> AsyncIterator[None]:
    """A conversation that goes on before and after."""
    async with processes.start(start_request("cat")) as cat:
        await processes.send_input(pid(cat.pid), b"before\n")
        await cat.until(b"before\n")
        yield
        await processes.send_input(pid(cat.pid), b"after\n")
        await cat.until(b"after\n")


def total_bytes() -> int:
    """How much the kernel takes for arguments and environment together, with room for its own part."""
    soft = resource.getrlimit(resource.RLIMIT_STACK)[0]
    quarter = 6 << 20 if soft == resource.RLIM_INFINITY else min(soft // 4, 6 << 20)
    return quarter * 3 // 4


async def test_large_arguments_arrive_whole(shared: Processes) -> None:
    # More than one packet to the keeper, so they travel in a memfd.
    count, size = total_bytes() // (100 * KIB), 100 * KIB
    arguments = [f"{number:04}".ljust(size, "x") for number in range(count)]
    async with undisturbed(shared):
        script = 'for one; do printf "%.4s %s\\n" "$one" ${#one}; done'
        outcome = await shared.run(start_request("sh", "-c", script, "sh", *arguments))
    assert outcome.stdout.decode().splitlines() == [f"{number:04} {size}" for number in range(count)]


async def test_a_large_environment_arrives_whole(shared: Processes) -> None:
    envs = {f"LARGE_{number}": "ü" * (40 * KIB) for number in range(total_bytes() // (90 * KIB))}
    async with undisturbed(shared):
        outcome = await shared.run(start_request("env", envs=envs))
    lines = set(outcome.stdout.decode().splitlines())
    assert lines >= {f"{name}={value}" for name, value in envs.items()}


@pytest.mark.parametrize("packet", [-2 * KIB, -200, -100, -50, 0, 50, 100, 2 * KIB])
async def test_no_size_falls_between_a_packet_and_a_memfd(shared: Processes, packet: int) -> None:
    argument = "x" * (64 * KIB + packet - 300)
    outcome = await shared.run(start_request("sh", "-c", "echo ${#1}", "sh", argument))
    assert outcome.stdout.decode() == f"{len(argument)}\n"


async def test_the_largest_single_argument_runs_and_one_byte_more_is_refused(shared: Processes) -> None:
    longest = "x" * (ARGUMENT_BYTES - 1)
    async with undisturbed(shared):
        assert (await shared.run(start_request("true", longest))).end.exit_code == 0
        for too_long in (longest + "x", longest + "xx"):
            with pytest.raises(ConnectError) as error:
                await shared.run(start_request("true", too_long))
            assert error.value.code == "invalid_argument"
            assert "argument list too long" in error.value.message
        with pytest.raises(ConnectError) as error:
            await shared.run(start_request("true", envs={"LARGE": longest}))
        assert error.value.code == "invalid_argument"


@pytest.mark.parametrize("megabytes", [7, 9, 30])
async def test_more_than_the_kernel_takes_is_refused(shared: Processes, megabytes: int) -> None:
    arguments = ["x" * 100 * KIB] * (megabytes * 10)
    async with undisturbed(shared):
        with pytest.raises(ConnectError) as error:
            await shared.run(start_request("true", *arguments))
        assert error.value.code == "invalid_argument"


@pytest.mark.slow
async def test_more_than_the_keeper_takes_is_refused_also_while_the_keeper_is_behind(
    own_daemon: Daemon, own: Processes
) -> None:
    program = await launch(own.client, shell("exec sleep 1000"))
    os.kill(own_daemon.pid, signal.SIGSTOP)
    try:
        # Each is one message to the keeper: more than their socket holds.
        turn = asyncio.Semaphore(AT_ONCE)

        async def nudge() -> None:
            async with turn:
                await own.signal(pid(program), number=signal.SIGCONT, target=1)

        await asyncio.gather(*(nudge() for _ in range(3000)))
        request = start_request("true", *["x" * 100 * KIB] * 100)
        refused = asyncio.create_task(own.run(request))
        await own.list()
    finally:
        os.kill(own_daemon.pid, signal.SIGCONT)
    with pytest.raises(ConnectError) as error:
        await refused
    assert error.value.code == "invalid_argument"
    assert (await own.run(shell("exit 3"))).end.exit_code == 3


# Nothing left to start them with.


async def answer_to(processes: Processes, request: StartRequest) -> str:
    """The code a Start is refused with, or "ran"; it must come soon."""
    async with asyncio.timeout(60):
        try:
            await processes.run(request)
        except ConnectError as error:
            return error.code
    return "ran"


def room(process: int, free: int) -> None:
    """Leave a process that many descriptors."""
    highest = max(map(int, os.listdir(f"/proc/{process}/fd")))
    hard = resource.prlimit(process, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(process, resource.RLIMIT_NOFILE, (highest + 1 + free, hard))


@pytest.fixture
def restored(own_daemon: Daemon) -> Iterator[None]:
    """The limits of keeper and server, given back before they are stopped."""
    pids = (own_daemon.pid, own_daemon.server_pid())
    before = [resource.prlimit(process, resource.RLIMIT_NOFILE) for process in pids]
    yield
    for process, limits in zip(pids, before, strict=True):
        resource.prlimit(process, resource.RLIMIT_NOFILE, limits)


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("arguments", [[], ["x" * 100 * KIB]], ids=["small", "large"])
async def test_a_keeper_without_descriptors_refuses_a_start_and_nothing_else(
    own_daemon: Daemon, own: Processes, arguments: list[str]
) -> None:
    limits = resource.prlimit(own_daemon.pid, resource.RLIMIT_NOFILE)
    async with undisturbed(own):
        for free in range(14):
            room(own_daemon.pid, free)
            assert await answer_to(own, start_request("true", *arguments)) in ("ran", "resource_exhausted")
        resource.prlimit(own_daemon.pid, resource.RLIMIT_NOFILE, limits)
        assert (await own.run(shell("exit 3"))).end.exit_code == 3
    assert zombies(own_daemon.pid) == []


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("arguments", [[], ["x" * 100 * KIB]], ids=["small", "large"])
async def test_a_server_without_descriptors_refuses_a_start_and_nothing_else(
    own_daemon: Daemon, own: Processes, arguments: list[str]
) -> None:
    server = own_daemon.server_pid()
    limits = resource.prlimit(server, resource.RLIMIT_NOFILE)
    async with undisturbed(own):
        before = descriptors(own_daemon.pid)
        # Three are the connections of this test and what accepting one takes.
        for free in range(3, 16):
            room(server, free)
            request = start_request("true", *arguments, stdin=False)
            assert await answer_to(own, request) in ("ran", "resource_exhausted"), free
        resource.prlimit(server, resource.RLIMIT_NOFILE, limits)
        assert (await own.run(shell("exit 3"))).end.exit_code == 3
        assert descriptors(own_daemon.pid) <= before + 14 * KEPT_EACH + SLACK
    assert own_daemon.server_pid() == server


async def test_an_account_without_its_home_starts_in_the_root(daemon: Daemon) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root runs programs as others")
    homeless = next((entry for entry in pwd.getpwall() if entry.pw_uid and not os.path.exists(entry.pw_dir)), None)
    if homeless is None:
        pytest.skip("every account of this machine has its home")
    processes = Processes.on(daemon.port, Codec.PROTO, user=homeless.pw_name)
    assert (await processes.run(start_request("pwd"))).stdout == b"/\n"
    with pytest.raises(ConnectError, match="does not exist"):
        await processes.run(start_request("pwd", cwd="~"))


# What a program may open again.

REOPENS = """
echo out > /dev/stdout; echo err > /dev/stderr; echo appended >> /proc/self/fd/1; echo both | tee /dev/stderr
cat /dev/stdin
"""
REOPENED = (b"out\nappended\nboth\ninput", b"err\nboth\n")


async def reopened(processes: Processes, request: StartRequest) -> tuple[bytes, bytes]:
    request.stdin = True
    async with processes.start(request) as follower:
        await follower.next()
        await processes.send_input(pid(follower.pid), b"input")
        await processes.close_stdin(pid(follower.pid))
        outcome = await follower.rest()
    return outcome.stdout, outcome.stderr


async def test_a_program_of_another_user_can_open_its_standard_descriptors_again(
    daemon: Daemon, other_user: pwd.struct_passwd
) -> None:
    processes = Processes(Client(daemon.port, Codec.PROTO)).as_user(other_user.pw_name)
    assert await reopened(processes, shell(REOPENS)) == REOPENED


async def test_so_can_one_that_becomes_another_user_later(daemon: Daemon, other_user: pwd.struct_passwd) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("no setpriv to become another user with")
    ids = (f"--reuid={other_user.pw_uid}", f"--regid={other_user.pw_gid}", "--clear-groups")
    request = start_request("setpriv", *ids, "sh", "-c", REOPENS)
    assert await reopened(Processes(Client(daemon.port, Codec.PROTO)), request) == REOPENED


async def test_a_pipe_belongs_to_the_user_of_its_program(daemon: Daemon, other_user: pwd.struct_passwd) -> None:
    processes = Processes(Client(daemon.port, Codec.PROTO)).as_user(other_user.pw_name)
    outcome = await processes.run(shell("stat -L -c %u /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2", stdin=True))
    assert outcome.stdout.split() == [b"%d" % other_user.pw_uid] * 3
