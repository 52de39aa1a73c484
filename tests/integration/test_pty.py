"""pty.Pty: one stream both ways, several viewers, and coming back to what was missed."""

from __future__ import annotations

import asyncio
import hashlib
import pwd
import random
import signal
import time
from contextlib import AsyncExitStack, suppress

import pytest

from envd_proto.process.process_pb2 import (
    SIGNAL_SIGKILL,
    SIGNAL_TARGET_GROUP,
    SIGNAL_TARGET_TREE,
    Limits,
    OutputPosition,
    ProcessEvent,
    Timeouts,
    UpdateRequest,
)
from envd_proto.pty.pty_pb2 import Attachment, AttachRequest, Event, Input, OpenRequest
from tests.support.connect import Client, Codec, ConnectError
from tests.support.daemon import Daemon
from tests.support.faults import CUT_OFF, kill_server, launch, persist
from tests.support.kernel import exited, is_running
from tests.support.process import Processes, pid, shell, start_request, tag
from tests.support.ptys import ATTACH, OPEN, ConnectWire, GrpcWire, Screen, Terminals, opening, size
from tests.support.terminals import RAW, flood, flooded, printed, pty, resize, send_pty, terminal_shell
from tests.support.wires import RpcError

MIB = 1 << 20
KILLS = 10
FOREVER = shell("echo up; exec sleep 1000")
# Tells its size whenever it is asked.
TELLS_SIZE = shell("stty -echo; echo ready; while read _; do stty size; done")


@pytest.fixture
def processes(daemon: Daemon) -> Processes:
    return Processes(Client(daemon.port, Codec.PROTO))


@pytest.fixture(params=[*Codec, "grpc"], ids=lambda param: getattr(param, "value", param))
def terminals(daemon: Daemon, request: pytest.FixtureRequest) -> Terminals:
    if request.param == "grpc":
        return Terminals(Client(daemon.port, Codec.PROTO), GrpcWire(daemon.port))
    client = Client(daemon.port, request.param)
    return Terminals(client, ConnectWire(client))


@pytest.fixture(params=["connect", "grpc"])
def own_terminals(own_daemon: Daemon, request: pytest.FixtureRequest) -> Terminals:
    client = Client(own_daemon.port, Codec.PROTO)
    return Terminals(client, ConnectWire(client) if request.param == "connect" else GrpcWire(own_daemon.port))


def by_id(screen: Screen, **options: object) -> Attachment:
    return Attachment(id=screen.start.id, **options)  # type: ignore[arg-type]


# Opening.


async def test_a_terminal_is_one_stream_in_both_directions(terminals: Terminals) -> None:
    async with terminals.open(opening(shell("stty -echo; read line; echo got $line; exit 7"))) as screen:
        start = screen.start
        assert (start.size, start.driving, start.existing, start.offset, start.live_offset) == (
            size(80, 24),
            True,
            False,
            0,
            0,
        )
        await screen.type(b"it\r")
        assert (await screen.rest()).exit_code == 7
        assert screen.output.endswith(b"got it\r\n")
        assert screen.kinds[0] == "start"
        assert screen.kinds[-1] == "exit"


async def test_it_has_a_terminal_type_unless_the_caller_gives_one(terminals: Terminals) -> None:
    for envs, expected in (({}, b"xterm-256color"), ({"TERM": "vt100"}, b"vt100")):
        async with terminals.open(opening(start_request("env", envs=envs))) as screen:
            await screen.rest()
            assert b"TERM=" + expected + b"\r\n" in screen.output


async def test_the_list_of_programs_shows_it_as_it_was_asked_for(terminals: Terminals, processes: Processes) -> None:
    async with terminals.open(opening(FOREVER, tag="screen")) as screen:
        found = {info.pid: info for info in await processes.list()}[screen.start.pid]
        assert (found.config, found.tag) == (FOREVER.process, "screen")
        await send_pty(processes, tag("screen"), b"\x03")
        assert (await screen.rest()).signal == signal.SIGINT


async def test_a_terminal_started_as_a_process_is_listed_and_can_be_attached_to(
    terminals: Terminals, processes: Processes
) -> None:
    async with processes.start(terminal_shell("echo up; read _", cols=90, rows=20)) as program:
        found = [info for info in (await terminals.list()).values() if info.process.pid == program.pid]
        assert [(info.size, info.viewers, info.driven) for info in found] == [(size(90, 20), 0, False)]
        async with terminals.attach(Attachment(process=pid(program.pid))) as screen:
            assert screen.start.id == found[0].id
            await screen.until(b"up\r\n")
            info = (await terminals.list())[screen.start.id]
            assert (info.kept_from, info.output_end, info.viewers) == (0, 4, 1)


@pytest.mark.parametrize("user", ["nosuchuser", ""])
async def test_an_unknown_user_is_refused(terminals: Terminals, user: str) -> None:
    error = await terminals.refused(OPEN, OpenRequest(open=opening(FOREVER, user=user)))
    assert error.code == "unauthenticated"


async def test_it_runs_as_the_user_named(terminals: Terminals, other_user: pwd.struct_passwd) -> None:
    async with terminals.open(opening(shell("id -un; stat -c %U $(tty)"), user=other_user.pw_name)) as screen:
        await screen.rest()
        name = other_user.pw_name.encode()
        assert screen.output == name + b"\r\n" + name + b"\r\n"


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [OpenRequest()],
        [OpenRequest(input=Input(data=b"x"))],
        [OpenRequest(open=opening(FOREVER)), OpenRequest(open=opening(FOREVER))],
        [OpenRequest(open=opening(FOREVER)), OpenRequest()],
        [OpenRequest(open=opening(FOREVER)), OpenRequest(input=Input())],
        [OpenRequest(open=opening(FOREVER, size=size(80, 70000)))],
        [OpenRequest(open=opening(FOREVER)), OpenRequest(input=Input(resize=size(80, 70000)))],
    ],
)
async def test_what_makes_no_sense_is_an_invalid_argument(terminals: Terminals, messages: list[OpenRequest]) -> None:
    error = await terminals.refused(OPEN, *messages)
    assert error.code == "invalid_argument"
    for info in (await terminals.list()).values():
        await Processes(terminals.client).signal(pid(info.process.pid), SIGNAL_SIGKILL)


async def test_a_key_that_was_used_leads_to_the_same_terminal(terminals: Terminals, processes: Processes) -> None:
    what = opening(shell("echo up; read _"), idempotency_key=f"key-{time.time()}")
    async with terminals.open(what) as first:
        await first.until(b"up\r\n")
        async with terminals.open(what) as second:
            assert (second.start.id, second.start.existing, second.start.driving) == (first.start.id, True, False)
            await second.until(b"up\r\n")
        what.resume_offset = 2
        async with terminals.open(what) as third:
            await third.until(b"\r\n")
            assert (third.begin, bytes(third.output)) == (2, b"\r\n")
        what.resume_offset = 1000
        assert (await terminals.refused(OPEN, OpenRequest(open=what))).code == "out_of_range"
        what.size.cols = 81
        assert (await terminals.refused(OPEN, OpenRequest(open=what))).code == "already_exists"
        started = shell("echo up; read _")
        started.idempotency_key = what.idempotency_key
        with pytest.raises(RpcError) as conflict:
            await processes.run(started)
        assert conflict.value.code == "already_exists"


async def test_timeouts_and_limits_hold(terminals: Terminals) -> None:
    what = opening(shell("ulimit -n; exec sleep 1000"), timeouts=Timeouts(wall_ms=300), limits=Limits(open_files=77))
    async with terminals.open(what) as screen:
        assert (await screen.rest()).cause == ProcessEvent.CAUSE_WALL_TIMEOUT
        assert screen.output == b"77\r\n"


async def test_the_deadline_of_the_call_ends_the_whole_tree(terminals: Terminals) -> None:
    headers = {"Connect-Timeout-Ms": "500"}
    async with terminals.open(opening(shell("sleep 1000 & echo $!; wait")), headers=headers) as screen:
        await screen.until(b"\r\n")
        with suppress(ConnectError):
            await screen.rest()
    await exited(screen.start.pid, int(screen.output))


async def test_ending_the_input_hangs_nothing_up(terminals: Terminals) -> None:
    async with terminals.open(opening(shell("stty -echo; echo quiet; read line; echo $line; exit 3"))) as screen:
        await screen.until(b"quiet\r\n")
        await screen.end_input()
        async with terminals.attach(by_id(screen)) as other:
            await other.type(b"later\r")
            assert (await screen.rest()).exit_code == 3
            assert screen.output == b"quiet\r\nlater\r\n"


async def test_a_lost_client_leaves_the_terminal_as_it_is(terminals: Terminals) -> None:
    async with terminals.open(opening(FOREVER)) as screen:
        number, name = screen.start.pid, screen.start.id
        screen.events.append(Event(exit=ProcessEvent.EndEvent()))  # so that it is not killed on the way out
    assert is_running(number)
    async with terminals.attach(Attachment(id=name)) as other:
        await other.signal(signal.SIGKILL)
        assert (await other.rest()).signal == signal.SIGKILL


async def test_a_quiet_stream_carries_keepalives_of_both_sides(terminals: Terminals) -> None:
    async with terminals.open(opening(FOREVER), headers={"Keepalive-Ping-Interval": "1"}) as screen:
        await screen.until(b"up")
        await screen.keepalive()
        await screen.until_event("keepalive")


# Output.


@pytest.mark.slow
async def test_a_flood_arrives_in_events_of_at_most_32_kib(terminals: Terminals) -> None:
    async with terminals.open(opening(flood(300_000))) as screen:
        assert (await screen.rest()).exit_code == 3
    sizes = [len(event.output.data) for event in screen.events]
    assert max(sizes) <= 32 * 1024
    assert screen.output == flooded(300_000)


async def test_every_byte_passes_unchanged_both_ways(terminals: Terminals) -> None:
    data = bytes(range(256)) * 512 + "grüße ✓ 🚀".encode()
    async with terminals.open(opening(shell(f"{RAW} exec head -c {len(data)}"))) as screen:
        await screen.until(b"ready\n")
        await screen.type(data)
        assert (await screen.rest()).exit_code == 0
        assert screen.output.partition(b"ready\n")[2] == data


# Attaching.


@pytest.mark.parametrize(
    ("options", "begin"),
    [
        ({}, 0),
        ({"offset": 4}, 4),
        ({"offset": 10}, 10),
        ({"last_bytes": 3}, 7),
        ({"last_bytes": 300}, 0),
        ({"last_bytes": 0}, 10),
    ],
)
async def test_attaching_begins_at_the_oldest_byte_an_offset_or_so_many_bytes_back(
    terminals: Terminals, options: dict[str, int], begin: int
) -> None:
    async with terminals.open(opening(shell("stty -echo; printf 0123456789; read _; echo x"))) as first:
        await first.until(b"0123456789")
        async with terminals.attach(by_id(first, **options)) as screen:
            assert (screen.start.offset, screen.start.live_offset) == (begin, 10)
            await first.type(b"\r")
            await screen.rest()
            assert screen.output == b"0123456789x\r\n"[begin:]


async def test_attaching_beyond_the_end_is_out_of_range(terminals: Terminals) -> None:
    async with terminals.open(opening(FOREVER)) as first:
        error = await terminals.refused(ATTACH, AttachRequest(attach=by_id(first, offset=1000)))
    assert error.code == "out_of_range"


@pytest.mark.parametrize(("offset", "last_bytes", "begin"), [(4, None, 4), (10, None, 10), (None, 3, 7), (None, 0, 10)])
async def test_a_finished_terminal_can_be_attached_to(
    terminals: Terminals, offset: int | None, last_bytes: int | None, begin: int
) -> None:
    async with terminals.open(opening(shell("printf 0123456789; exit 5"), size=size(90, 20))) as first:
        await first.rest()
    async with terminals.attach(by_id(first, offset=offset, last_bytes=last_bytes)) as screen:
        assert (await screen.rest()).exit_code == 5
        assert (screen.begin, bytes(screen.output)) == (begin, b"0123456789"[begin:])
        assert (screen.start.size, screen.start.driving) == (size(90, 20), False)
    assert first.start.id not in await terminals.list()
    assert (await terminals.list(include_finished=True))[first.start.id].process.end.exit_code == 5


async def test_what_is_no_longer_kept_is_announced_as_a_gap(terminals: Terminals) -> None:
    async with terminals.open(opening(flood(800_000))) as first:
        await first.rest()
    # All of it stays for a moment in which that reader could come back.
    async with asyncio.timeout(60):
        while (await terminals.list(include_finished=True))[first.start.id].kept_from == 0:
            await asyncio.sleep(0.1)
    async with terminals.attach(by_id(first, offset=10)) as screen:
        await screen.rest()
        assert screen.kinds[1] == "gap"
        assert screen.events[1].gap.begin == 10
        assert screen.output == flooded(800_000)[screen.begin :]
    async with terminals.attach(by_id(first)) as screen:
        await screen.rest()
        assert "gap" not in screen.kinds


@pytest.mark.parametrize(
    ("what", "code"),
    [
        (Attachment(id="pty-1-0"), "not_found"),
        (Attachment(process=tag("nosuchtag")), "not_found"),
        (Attachment(), "invalid_argument"),
    ],
)
async def test_attaching_to_what_is_not_there_is_refused(terminals: Terminals, what: Attachment, code: str) -> None:
    assert (await terminals.refused(ATTACH, AttachRequest(attach=what))).code == code


async def test_attaching_to_a_program_with_pipes_is_refused(terminals: Terminals, processes: Processes) -> None:
    async with processes.start(start_request("sleep", "1000")) as program:
        error = await terminals.refused(ATTACH, AttachRequest(attach=Attachment(process=pid(program.pid))))
    assert error.code == "not_found"
    assert "no terminal" in error.message


async def test_who_only_looks_may_send_keepalives_and_nothing_else(terminals: Terminals) -> None:
    async with terminals.open(opening(FOREVER)) as screen:
        attach = AttachRequest(attach=by_id(screen, view_only=True, size=size(10, 10)))
        for forbidden in (Input(data=b"x"), Input(resize=size(9, 9)), Input(signal={"number": 9})):
            keepalive = AttachRequest(input=Input(keepalive=Input.KeepAlive()))
            error = await terminals.refused(ATTACH, attach, keepalive, AttachRequest(input=forbidden))
            assert (error.code, "view_only" in error.message) == ("failed_precondition", True)
        assert (await terminals.list())[screen.start.id].size == size(80, 24)
        assert is_running(screen.start.pid)


# Who drives.


async def test_the_opener_drives_until_another_stream_types(terminals: Terminals) -> None:
    async with (
        terminals.open(opening(TELLS_SIZE, size=size(80, 24))) as opener,
        terminals.attach(by_id(opener, size=size(100, 30))) as other,
    ):
        await opener.until(b"ready\r\n")
        assert (other.start.size, other.start.driving) == (size(80, 24), False)
        await other.type(b"\r")
        assert (await other.until_event("resized")).resized == Event.ResizedEvent(size=size(100, 30), driving=True)
        assert (await opener.until_event("resized")).resized == Event.ResizedEvent(size=size(100, 30), driving=False)
        await opener.until(b"30 100\r\n")
        await opener.resize(70, 20)  # does not drive: remembered
        await other.resize(101, 31)
        assert (await opener.until_event("resized")).resized == Event.ResizedEvent(size=size(101, 31), driving=False)
        await opener.type(b"\r")
        assert (await opener.until_event("resized")).resized == Event.ResizedEvent(size=size(70, 20), driving=True)
        await opener.until(b"20 70\r\n")


async def test_when_the_driver_leaves_the_size_stays_until_somebody_types_or_sizes(terminals: Terminals) -> None:
    async with terminals.open(opening(TELLS_SIZE, size=size(80, 24))) as opener:
        await opener.until(b"ready\r\n")
        async with terminals.attach(by_id(opener, size=size(100, 30))) as other:
            await other.type(b"\r")
            await opener.until(b"30 100\r\n")
        async with asyncio.timeout(60):
            while (info := (await terminals.list())[opener.start.id]).driven:
                await asyncio.sleep(0.01)
        assert (info.size, info.viewers) == (size(100, 30), 1)
        async with terminals.attach(by_id(opener)) as watcher:
            assert not watcher.start.driving
            async with terminals.attach(by_id(opener, size=size(60, 15))) as third:
                assert (third.start.size, third.start.driving) == (size(60, 15), True)
                assert (await watcher.until_event("resized")).resized == Event.ResizedEvent(
                    size=size(60, 15), driving=False
                )


async def test_update_and_the_program_itself_change_the_size_whoever_drives(
    terminals: Terminals, processes: Processes
) -> None:
    script = "stty -echo; read _; stty cols 55 rows 11; echo done; read _"
    async with terminals.open(opening(shell(script))) as screen:
        await resize(processes, pid(screen.start.pid), 99, 33)
        assert (await screen.until_event("resized")).resized == Event.ResizedEvent(size=size(99, 33), driving=True)
        await screen.type(b"\r")
        await screen.until(b"done")
        if not any(event.resized.size == size(55, 11) for event in screen.events):
            await screen.until_event("resized")
        assert (await terminals.list())[screen.start.id].size == size(55, 11)


async def test_many_viewers_all_see_everything(terminals: Terminals) -> None:
    async with AsyncExitStack() as stack:
        opener = await stack.enter_async_context(terminals.open(opening(shell(f"{RAW} exec cat"))))
        screens = [await stack.enter_async_context(terminals.attach(by_id(opener))) for _ in range(10)]
        await opener.until(b"ready\n")
        for number, screen in enumerate(screens):
            await screen.type(b"<%d>" % number)
            await opener.until(b"<%d>" % number)
        for screen in screens:
            await screen.until(b"<9>")
            assert screen.output == opener.output
        assert (await terminals.list())[opener.start.id].viewers == 11


async def test_five_hundred_resizes_in_a_flood_end_at_the_last(terminals: Terminals) -> None:
    async with terminals.open(opening(shell(f"{RAW} while :; do echo aaaaaaaaaaaaaaaa; done"))) as screen:
        reading = asyncio.create_task(screen.rest())
        for number in range(500):
            await screen.resize(81 + number, 25)
        async with asyncio.timeout(60):
            while (await terminals.list())[screen.start.id].size.cols != 580:
                await asyncio.sleep(0.01)
            await screen.signal(signal.SIGKILL)
            await reading
    assert [event.resized.size.cols for event in screen.events if event.HasField("resized")][-1] == 580


async def test_a_hundred_streams_type_at_once_into_terminals_of_their_own(terminals: Terminals) -> None:
    async def one(number: int) -> None:
        async with terminals.open(opening(shell("stty -echo; echo ready; read line; echo $line"))) as screen:
            await screen.until(b"ready\r\n")
            await screen.type(b"<%d>\r" % number)
            assert (await screen.rest()).exit_code == 0
            assert screen.output == b"ready\r\n<%d>\r\n" % number

    async with asyncio.TaskGroup() as group:
        for number in range(100):
            group.create_task(one(number))


async def test_a_driver_that_resizes_while_others_type_is_followed_by_all_of_them(terminals: Terminals) -> None:
    async with AsyncExitStack() as stack:
        opener = await stack.enter_async_context(terminals.open(opening(shell(f"{RAW} exec cat > /dev/null"))))
        screens = [
            await stack.enter_async_context(terminals.attach(by_id(opener, size=size(10 + n, 10 + n))))
            for n in range(5)
        ]
        for number, screen in enumerate(screens):
            await screen.type(b"x")
            for other in (opener, *screens):
                while not any(event.resized.size == size(10 + number, 10 + number) for event in other.events):
                    await other.next()
        # Exactly one of them drives, and each knows its part.
        for screen in (opener, *screens[:-1]):
            assert not [event for event in screen.events if event.HasField("resized")][-1].resized.driving
        assert [event for event in screens[-1].events if event.HasField("resized")][-1].resized.driving


# Input that has to wait.


async def test_signals_and_sizes_do_not_wait_behind_input_that_nobody_reads(terminals: Terminals) -> None:
    async with terminals.open(opening(shell(f"{RAW} exec sleep 1000"))) as screen:
        await screen.until(b"ready")
        await screen.type(bytes(MIB))
        await screen.resize(100, 30)
        assert (await screen.until_event("resized")).resized.size == size(100, 30)
        await screen.signal(signal.SIGTERM)
        assert (await screen.rest()).signal == signal.SIGTERM


async def test_a_group_or_the_whole_tree_can_be_signalled(terminals: Terminals) -> None:
    for target in (SIGNAL_TARGET_GROUP, SIGNAL_TARGET_TREE):
        async with terminals.open(opening(shell("sleep 1000 & echo $!; wait"))) as screen:
            await screen.until(b"\r\n")
            await screen.signal(signal.SIGKILL, target)
            assert (await screen.rest()).signal == signal.SIGKILL
            await exited(int(screen.output))


async def test_a_signal_that_does_not_exist_is_an_invalid_argument(terminals: Terminals) -> None:
    messages = [OpenRequest(open=opening(FOREVER)), OpenRequest(input=Input(signal={"number": 65}))]
    error = await terminals.refused(OPEN, *messages)
    assert error.code == "invalid_argument"
    for info in (await terminals.list()).values():
        await Processes(terminals.client).signal(pid(info.process.pid), SIGNAL_SIGKILL)


@pytest.mark.slow
async def test_many_megabytes_typed_arrive_whole(terminals: Terminals) -> None:
    data = random.Random(3).randbytes(5 * MIB)
    async with terminals.open(opening(shell(f"{RAW} head -c {len(data)} | sha256sum"))) as screen:
        await screen.until(b"ready")
        for at in range(0, len(data), 10_000):
            await screen.type(data[at : at + 10_000])
        await screen.until(hashlib.sha256(data).hexdigest().encode())


async def test_input_after_the_exit_is_no_error_of_the_stream(terminals: Terminals) -> None:
    async with terminals.open(opening(shell("trap '' HUP; sleep 0.4 & exit 4"))) as screen:
        await exited(screen.start.pid)
        await screen.type(b"x" * 100_000)
        assert (await screen.rest()).exit_code == 4


# Kills of the server.


@pytest.mark.slow
async def test_not_a_byte_is_missing_or_doubled_after_kills_of_the_server(
    own_daemon: Daemon, own_terminals: Terminals
) -> None:
    chance, lines, seen, kills = random.Random(1), 3_000_000, bytearray(), 0
    number = await launch(own_terminals.client, flood(lines))
    end = None
    while end is None:
        with suppress(*CUT_OFF):
            where = Attachment(process=pid(number), offset=len(seen))
            async with own_terminals.attach(where) as screen:
                pieces = chance.randrange(1, 60) if kills < KILLS else 1 << 30
                while end is None:
                    event = await screen.next()
                    assert not event.HasField("gap")
                    seen += event.output.data
                    end = event.exit if event.HasField("exit") else None
                    pieces -= 1
                    if pieces == 0:
                        # What had reached the client's kernel can still be read, and over HTTP/1.1 that is counted on.
                        kills += 1
                        await kill_server(own_daemon)
    assert kills == KILLS
    assert seen == flooded(lines)
    assert end.exit_code == 3


async def test_a_terminal_keeps_its_id_size_input_and_end_over_a_kill_of_the_server(
    own_daemon: Daemon, own_terminals: Terminals, own: Processes
) -> None:
    async with own_terminals.open(opening(TELLS_SIZE, size=size(90, 20))) as screen:
        await screen.until(b"ready\r\n")
        await screen.type(b"\r")
        await screen.until(b"20 90\r\n")
        await screen.resize(91, 21)
        await screen.until_event("resized")
        name, number = screen.start.id, screen.start.pid
        before = (await own_terminals.list())[name]
        await kill_server(own_daemon)
        after = (await persist(own_terminals.list))[name]
        assert (after.process, after.size) == (before.process, size(91, 21))
        assert (after.viewers, after.driven) == (0, False)
        async with own_terminals.attach(Attachment(id=name, size=size(92, 22))) as again:
            assert (again.start.pid, again.start.driving) == (number, True)
            await again.type(b"\r")
            await again.until(b"22 92\r\n")
            await own.update(UpdateRequest(process=pid(number), pty=pty(93, 23)))
            await again.signal(signal.SIGKILL)
            assert (await again.rest()).signal == signal.SIGKILL
            assert again.output == b"ready\r\n20 90\r\n22 92\r\n"


async def test_readers_of_both_services_see_the_same(terminals: Terminals, processes: Processes) -> None:
    async with terminals.open(opening(shell("echo one; read _; echo two"))) as screen:
        await screen.until(b"one")
        async with processes.connect(pid(screen.start.pid), resume=OutputPosition()) as follower:
            await screen.type(b"\r")
            outcome = await follower.rest()
            end = await screen.rest()
        assert (printed(outcome), outcome.end) == (bytes(screen.output), end)
