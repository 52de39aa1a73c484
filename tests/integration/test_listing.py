"""Lists of programs with much in their configuration: the same in every encoding, bounded, and no burden for others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from envd.process.command import Command
from envd.process.process import ProcessIdentity
from envd.rpc import Call
from envd.services.process.list_encoding import Listed, encoded
from envd_proto.process.process_pb2 import PTY, ListRequest, ListResponse, ProcessInfo, StartRequest
from envd_proto.pty import pty_pb2
from tests.support.connect import Codec
from tests.support.daemon import Daemon, running_daemon
from tests.support.process import Processes, shell, start_request

CODECS = [Codec.JSON, Codec.PROTO]
# As much as the kernel takes in one execve(2) where the limit of the stack is 8 MiB, less what everybody gets.
LARGE = {f"NAME_{number:05}": "x" * 90 for number in range(14_000)}
MOST = 32 << 20


@pytest.fixture
async def own_daemon() -> AsyncIterator[Daemon]:
    async with running_daemon() as daemon:
        yield daemon


class Standing:
    """As much of a program as a list reads."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.identity = ProcessIdentity(1, 1, 0, "root", 0.0, 0.0)


def requests() -> Iterator[StartRequest]:
    yield start_request("sleep", "1000")
    yield shell("exec sleep 1000", tag="tag \u20ac", cwd="/")
    yield start_request("/bin/sh", "-c", "exec sleep 1000", "", '\u20ac "\\\n', envs={"EMPTY": "", "EURO": "\u20ac"})
    yield start_request("sleep", "1000", envs=LARGE)


@pytest.mark.parametrize("codec", CODECS)
async def test_what_was_started_is_listed_as_it_was_asked_for(own_daemon: Daemon, codec: Codec) -> None:
    processes = Processes.on(own_daemon.port, codec)
    for request in requests():
        async with processes.start(request) as program:
            [info] = [info for info in await processes.list() if info.pid == program.pid]
            assert info.config == request.process
            assert (info.tag, info.HasField("tag"), info.abridged) == (request.tag, request.HasField("tag"), False)


@pytest.mark.parametrize("codec", CODECS)
async def test_a_terminal_is_listed_as_it_was_asked_for(own_daemon: Daemon, codec: Codec) -> None:
    processes = Processes.on(own_daemon.port, codec)
    request = start_request("sleep", "1000", envs={"NAME": "value"})
    request.pty.CopyFrom(PTY(size=PTY.Size(cols=81, rows=25)))
    async with processes.start(request) as program:
        listed = await processes.client.unary("pty.Pty/List", pty_pb2.ListRequest(), pty_pb2.ListResponse)
        [terminal] = listed.terminals
        assert (terminal.process.pid, terminal.size.cols, terminal.viewers) == (program.pid, 81, 0)
        assert terminal.process.config == request.process
    async with asyncio.timeout(60):  # it was killed on the way out, and ends when the kernel says so
        while (await processes.client.unary("pty.Pty/List", pty_pb2.ListRequest(), pty_pb2.ListResponse)).terminals:
            await asyncio.sleep(0.02)


async def test_a_list_has_room_for_32_mib_of_configuration_and_shows_every_program() -> None:
    async with running_daemon() as daemon:
        processes = Processes.on(daemon.port, Codec.PROTO)
        async with asyncio.TaskGroup() as group:
            for _ in range(24):
                group.create_task(_start(processes, start_request("sleep", "1000", envs=LARGE)))
        await _start(processes, start_request("sleep", "1000", envs={"NAME": "value"}))
        answer = await processes.client.unary("process.Process/List", ListRequest(), ListResponse)
    assert len(answer.processes) == 25
    assert MOST // 2 < answer.ByteSize() <= MOST
    for info in answer.processes:
        assert info.config.cmd == "sleep"
        assert bool(info.config.envs) == bool(info.config.args) == (not info.abridged)
    assert [info.abridged for info in answer.processes if "NAME" in info.config.envs] == [False]
    assert any(info.abridged for info in answer.processes)


async def _start(processes: Processes, request: StartRequest) -> None:
    """Start a program and leave it running."""
    async with processes.client.stream_raw("process.Process/Start", _frame(request), headers={}) as stream:
        async for _ in stream.frames():
            return


def _frame(request: StartRequest) -> bytes:
    data = request.SerializeToString()
    return b"\0" + len(data).to_bytes(4, "big") + data


@pytest.mark.parametrize("content_type", ["application/json", "application/proto"])
async def test_others_have_their_turns_while_a_list_is_written(content_type: str) -> None:
    running = Standing(Command("sleep", envs={f"NAME_{number:06}": "x" * 60 for number in range(100_000)}))
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    task = asyncio.create_task(others())
    listed = [Listed(running, ProcessInfo(pid=1))]  # type: ignore[arg-type]
    answer = await encoded(ListResponse, listed, set(), Call(headers={"content-type": content_type}))
    task.cancel()
    assert turns >= 10
    [info] = ListResponse.FromString(answer.proto()[0]).processes
    assert (info.pid, dict(info.config.envs)) == (1, running.command.envs)
