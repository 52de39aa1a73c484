"""Searching, when things go wrong: clients that leave or stall, workers and servers that die, hostile expressions."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from envd_proto.filesystem.search_pb2 import SKIP_REASON_TOO_SLOW
from tests.conftest import WIRES
from tests.support.connect import Client, Codec
from tests.support.daemon import Daemon, running_daemon
from tests.support.faults import settled
from tests.support.filesystem import Files
from tests.support.http1 import connection, request
from tests.support.kernel import has_exited, open_pidfds
from tests.support.searching import SERVICE, Search, workers
from tests.support.users import let_through
from tests.support.wires import RpcError

FOREVER = "(a+)+$"


@pytest.fixture(scope="module")
def own_daemon() -> Iterator[Daemon]:
    started = Daemon.start()
    yield started
    started.stop()


@pytest.fixture
def search(own_daemon: Daemon) -> Search:
    return Search(Client(own_daemon.port, Codec.PROTO))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that take a second or two to search by an expression, with few matches."""
    top = tmp_path_factory.mktemp("tree")
    line = b"the quick brown fox jumps over the lazy dog 0123456789\n"
    for number in range(30):
        (top / f"{number:03d}").write_bytes(line * 20_000 + b"needle\n")
    return top


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A file on which FOREVER takes forever."""
    made = tmp_path / "trap"
    made.write_bytes(b"a" * 100_000 + b"b\n")
    return made


SLOW = r"[a-z]+ [0-9]+x|needle"


async def busy(daemon: Daemon, count: int = 1) -> list[int]:
    """The workers of a daemon once there are so many."""
    server = daemon.server_pid()
    async with asyncio.timeout(60):
        while len(found := workers(server)) < count:
            await asyncio.sleep(0.005)
    return found


async def gone(pids: list[int]) -> None:
    """Wait until processes have exited; one that has nothing to do would stay for a minute."""
    with open_pidfds(pids) as fds:
        for fd in fds:
            assert await asyncio.to_thread(has_exited, fd)


def processor_s(pids: list[int]) -> float:
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("kind", list(WIRES))
async def test_a_client_that_leaves_ends_its_search(tree: Path, kind: str):
    async with running_daemon() as daemon, WIRES[kind](daemon.port) as wire:
        async with Search(wire).grepping(tree, SLOW) as messages:
            await anext(messages)
            pids = await busy(daemon)
            messages.leave()
        await gone(pids)
        assert (await Search(wire).grep(tree / "000", "needle")).summary.matches == 1


async def matching(daemon: Daemon) -> list[int]:
    """The workers of a daemon once they are in the middle of a match."""
    pids = await busy(daemon)
    async with asyncio.timeout(60):
        while processor_s(pids) < 0.3:
            await asyncio.sleep(0.01)
    return pids


async def spent_s(pids: list[int]) -> float:
    """The processor time of processes when they end."""
    seconds = 0.0
    async with asyncio.timeout(60):
        while True:
            try:
                seconds = processor_s(pids)
            except (FileNotFoundError, ProcessLookupError):
                return seconds
            await asyncio.sleep(0.01)


@pytest.fixture
def deep_trap(tmp_path: Path) -> Path:
    """A file on which FOREVER, of many lines, may take its 20 seconds of processor time."""
    made = tmp_path / "trap"
    made.write_bytes(b"a" * 1000 + b"b" * 24_000_000 + b"\n")
    return made


LEAVING = [("connect-json", "grep"), ("connect-json", "replace"), ("grpc-web", "grep"), ("grpc", "replace")]


@pytest.mark.parametrize(("kind", "call"), LEAVING)
async def test_a_client_that_leaves_during_an_endless_match_ends_it(kind: str, call: str, deep_trap: Path):
    """Also one over HTTP/1.1 that closes with nothing unread, and to which nothing has been sent yet."""
    before = deep_trap.stat()
    async with running_daemon() as daemon, WIRES[kind](daemon.port) as wire:
        more = ["x"] if call == "replace" else []
        calling = asyncio.ensure_future(getattr(Search(wire), call)(deep_trap, FOREVER, *more, multiline=True))
        pids = await matching(daemon)
        calling.cancel()
        assert await spent_s(pids) < 15
    assert deep_trap.stat().st_mtime_ns == before.st_mtime_ns


async def test_a_unary_call_over_http1_ends_with_the_reset_of_its_client(deep_trap: Path):
    before = deep_trap.stat()
    async with running_daemon() as daemon, connection(daemon.port) as conn:
        pattern = {"text": FOREVER, "multiline": True}
        body = json.dumps({"selection": {"path": str(deep_trap)}, "pattern": pattern, "replacement": "x"})
        client = Client(daemon.port, Codec.JSON)
        await conn.send(client.request(f"{SERVICE}/Replace", body.encode(), streaming=False))
        pids = await matching(daemon)
        conn.half_close()
        conn.reset()
        assert await spent_s(pids) < 15
    assert deep_trap.stat().st_mtime_ns == before.st_mtime_ns


async def test_who_still_reads_has_an_interim_response_and_then_the_answer(own_daemon: Daemon, tmp_path: Path):
    trap = tmp_path / "trap"
    trap.write_bytes(b"a" * 1000 + b"b" * 4_000_000 + b"\n")  # it has four seconds of processor time
    wish = {"selection": {"path": str(trap)}, "pattern": {"text": FOREVER, "multiline": True}, "replacement": "x"}
    headers = {"Content-Type": "application/json"}
    async with connection(own_daemon.port) as conn:
        await conn.send(
            request("POST", "/filesystem.Filesystem/Replace", headers=headers, body=json.dumps(wish).encode())
        )
        conn.half_close()
        interim = await conn.read_head()
        assert interim.status == 100
        response = await conn.read_response()
    assert response.status == 429
    assert b"takes too long" in response.body


async def test_an_expression_that_takes_forever_costs_only_its_file(search: Search, trap: Path):
    (trap.parent / "z").write_text("aaa\n")
    asking = asyncio.create_task(asked(search, trap, 100))
    answer = await search.grep(trap.parent, FOREVER)
    assert asking.done()  # others were answered meanwhile
    assert [line.text for line in answer.lines] == ["aaa"]
    assert answer.skipped[str(trap)].reason == SKIP_REASON_TOO_SLOW
    with pytest.raises(RpcError) as error:
        await search.replace(trap, FOREVER, "x")
    assert (error.value.code, "simpler" in error.value.message) == ("resource_exhausted", True)
    assert trap.stat().st_size == 100_002


async def test_rules_of_git_that_take_forever_fail_the_call(search: Search, tmp_path: Path):
    (tmp_path / ".gitignore").write_text("*a" * 30 + "b\n")
    (tmp_path / ("a" * 200)).touch()
    with pytest.raises(RpcError) as error:
        await search.find(tmp_path, gitignore=True)
    assert (error.value.code, "gitignore" in error.value.message) == ("resource_exhausted", True)


async def asked(search: Search, path: Path, count: int) -> None:
    """Call Stat some times, one after the other."""
    files = Files(search.wire)
    for _ in range(count):
        await files.stat(path)


async def test_other_calls_are_answered_during_searches(search: Search, tree: Path):
    searching = [asyncio.create_task(search.grep(tree, SLOW)) for _ in range(3)]
    await asked(search, tree, 20)
    assert not any(task.done() for task in searching)
    for task in searching:
        task.cancel()
    await asyncio.gather(*searching, return_exceptions=True)


async def test_a_worker_that_is_killed_fails_its_call_and_no_other(own_daemon: Daemon, search: Search, tree: Path):
    async with search.grepping(tree, SLOW) as messages:
        await anext(messages)
        pids = await busy(own_daemon)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(RpcError) as error:
            async for _ in messages:
                pass
    assert error.value.code == "unavailable"
    assert "signal 9" in error.value.message
    await gone(pids)  # with those that were idle
    assert (await search.grep(tree / "000", "needle")).summary.matches == 1
    (idle,) = await busy(own_daemon)
    os.kill(idle, signal.SIGKILL)
    await gone([idle])
    assert (await search.grep(tree / "000", "needle")).summary.matches == 1


@pytest.mark.parametrize("at_work", [3, 0], ids=["at work", "idle"])
async def test_no_worker_outlives_its_server(trap: Path, at_work: int):
    async with running_daemon() as daemon:
        search = Search(Client(daemon.port, Codec.JSON))
        await search.grep(trap, "b")
        calls = [asyncio.ensure_future(search.grep(trap, FOREVER)) for _ in range(at_work)]
        pids = await busy(daemon, max(at_work, 1))
        async with asyncio.timeout(60):
            while at_work and processor_s(pids) < 1:
                await asyncio.sleep(0.01)
        await asyncio.to_thread(daemon.kill_server)
        await gone(pids)
        for result in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(result, Exception)


async def test_a_stopped_daemon_leaves_no_worker(trap: Path):
    async with running_daemon() as daemon:
        await Search(Client(daemon.port, Codec.JSON)).grep(trap, "b")
        pids = await busy(daemon)
    await gone(pids)


async def test_idle_workers_are_used_again(own_daemon: Daemon, search: Search, tree: Path):
    await search.grep(tree / "000", "needle")
    before = await busy(own_daemon)
    for _ in range(20):
        await search.grep(tree / "000", "needle")
        await search.find(tree)
    assert await busy(own_daemon) == before


async def test_more_searches_than_processes_take_turns(own_daemon: Daemon, search: Search, tree: Path):
    answers = await asyncio.gather(*(search.grep(tree / f"{number:03d}", "needle") for number in range(30)))
    assert [answer.summary.matches for answer in answers] == [1] * 30
    assert len(workers(own_daemon.server_pid())) <= 16


@pytest.mark.slow
async def test_files_that_come_and_go_do_not_stop_a_search(search: Search, tmp_path: Path):
    for number in range(300):
        (tmp_path / f"{number:03d}").write_text("needle\n" * 10)
    stop = asyncio.Event()

    def churn() -> None:
        for number in range(300):
            path = tmp_path / f"{number:03d}"
            path.unlink()
            path.mkdir()
            path.rmdir()
            path.write_text("needle\n" * number)
            os.truncate(path, 3)
            path.unlink()

    async def churning() -> None:
        await asyncio.to_thread(churn)
        stop.set()

    task = asyncio.create_task(churning())
    while not stop.is_set():
        await search.grep(tmp_path, "needle")
        await search.find(tmp_path)
    await task
    assert (await search.grep(tmp_path, "needle")).summary.files_searched == 0


@pytest.mark.slow
async def test_a_search_does_not_grow_with_what_it_searches(own_daemon: Daemon, search: Search, tmp_path: Path):
    path = tmp_path / "large"
    piece = (b"x" * 63 + b"\n") * (1 << 14)
    with path.open("wb") as file:
        for _ in range(300):
            file.write(piece)
        file.write(b"y" * (40 << 20))  # one line
    before = max(peak_kib(pid) for pid in [own_daemon.server_pid(), *workers(own_daemon.server_pid())])
    assert (await search.grep(path, "[z]$")).summary.bytes_searched == path.stat().st_size
    assert (await search.read_lines(path, -1, max_bytes=1000, count=True)).total_lines == 300 * (1 << 14) + 1
    assert peak_kib(own_daemon.server_pid()) - before < 32 * 1024
    assert all(peak_kib(pid) < 160 * 1024 for pid in workers(own_daemon.server_pid()))


def peak_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


# Replacing.


async def test_of_several_who_replace_the_same_each_change_is_there(search: Search, tmp_path: Path):
    path = tmp_path / "f"
    path.write_text("".join(f"<{number}>\n" for number in range(8)))

    async def replace(number: int) -> None:
        while True:
            try:
                answer = await search.replace(path, f"<{number}>", f"[{number}]", expected_matches=1)
            except RpcError as error:
                if error.code not in ("failed_precondition", "aborted"):
                    raise
            else:
                assert answer.files_changed == 1
                return

    async with asyncio.timeout(60):
        await asyncio.gather(*(replace(number) for number in range(8)))
    assert path.read_text() == "".join(f"[{number}]\n" for number in range(8))
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.slow
async def test_a_server_killed_while_it_replaces_leaves_each_file_old_or_new(tmp_path: Path):
    old, new = b"old\n" + b"x" * 200_000, b"NEW\n" + b"x" * 200_000
    async with running_daemon() as daemon:
        for attempt in range(3):
            for number in range(50):
                (tmp_path / f"{number:02d}").write_bytes(old)
            calling = asyncio.ensure_future(
                Search(Client(daemon.port, Codec.JSON)).replace(tmp_path, "old", "NEW", fixed=True)
            )
            first = tmp_path / f"{attempt * 10:02d}"
            inode = first.stat().st_ino
            async with asyncio.timeout(60):
                while first.stat().st_ino == inode:
                    await asyncio.sleep(0)
            await asyncio.to_thread(daemon.kill_server)
            await asyncio.gather(calling, return_exceptions=True)
            # Killed between giving the content a hidden name and giving it its own, the successor clears up.
            names = await settled(lambda: sorted(os.listdir(tmp_path)), lambda names: len(names) == 50)
            assert names == [f"{number:02d}" for number in range(50)]
            contents = [(tmp_path / name).read_bytes() for name in names]
            assert set(contents) <= {old, new}
            assert contents[0] == new


async def test_a_file_that_cannot_be_written_is_told_and_others_go_on(tmp_path: Path, other_user: pwd.struct_passwd):
    let_through(tmp_path)
    tmp_path.chmod(0o777)
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text("old\n")
        (tmp_path / name).chmod(0o644 if name == "b" else 0o666)
    async with running_daemon(user=other_user.pw_name) as daemon:
        search = Search(Client(daemon.port, Codec.JSON))
        answer = await search.replace(tmp_path, "old", "new")
        assert [(Path(one.path).name, bool(one.error)) for one in answer.files] == [
            ("a", False),
            ("b", True),
            ("c", False),
        ]
        assert answer.files_changed == 2
        with pytest.raises(RpcError) as error:
            await search.replace(tmp_path / "b", "old", "new")
        assert error.value.code == "permission_denied"
    assert [(tmp_path / name).read_text() for name in "abc"] == ["new\n", "old\n", "new\n"]
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c"]
