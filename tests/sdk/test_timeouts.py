"""Times that are up: for a command, for a request, and none at all."""

from __future__ import annotations

import asyncio
import os
import signal
import socket

import pytest

from envd_sdk import (
    CommandTimeoutException,
    InvalidArgumentException,
    SandboxUnreachableException,
    TimeoutException,
)
from tests.support.daemon import Daemon, running_daemon


async def test_a_command_that_takes_too_long_is_ended_and_its_output_kept(sandbox, concurrency):
    with pytest.raises(CommandTimeoutException) as raised:
        await concurrency.call(sandbox.commands.run, "echo out; echo err >&2; echo $$; sleep 1000", timeout=4)
    out, pid = raised.value.stdout.split()
    assert (out, raised.value.stderr) == ("out", "err\n")
    assert isinstance(raised.value, TimeoutException)
    # The daemon has ended it, with what it started.
    assert not os.path.exists(f"/proc/{pid}")


@pytest.mark.parametrize("none", [0, None])
async def test_a_command_may_take_as_long_as_it_likes(sandbox, concurrency, none):
    found = await concurrency.call(sandbox.commands.run, "sleep 0.3; echo there", timeout=none)
    assert found.stdout == "there\n"


async def test_following_a_command_has_a_time_of_its_own(sandbox, concurrency):
    started = await concurrency.call(sandbox.commands.run, "echo up; sleep 1000", background=True, timeout=0)
    await concurrency.call(started.wait_for, "up")
    following = await concurrency.call(sandbox.commands.connect, started.pid, timeout=3, replay=True)
    with pytest.raises(CommandTimeoutException) as raised:
        await concurrency.call(following.wait)
    assert raised.value.stdout == "up\n"
    # Which is not the command's.
    assert await concurrency.call(started.kill)


@pytest.fixture
async def frozen():
    """A daemon whose server does nothing any more, though connections to it are accepted."""
    async with running_daemon() as daemon:
        os.kill(daemon.server_pid(), signal.SIGSTOP)
        yield daemon
        os.kill(daemon.server_pid(), signal.SIGCONT)


@pytest.mark.parametrize("what", ["list", "run", "read", "write", "is_running"])
async def test_a_request_that_is_not_answered_times_out(frozen: Daemon, concurrency, what):
    sandbox = await concurrency.call(concurrency.sandbox.connect_local, frozen.address)
    calls = {
        "list": (sandbox.commands.list,),
        "run": (sandbox.commands.run, "true"),
        "read": (sandbox.files.read, "/etc/hosts"),
        "write": (sandbox.files.write, "/tmp/never", b"x"),
        "is_running": (sandbox.is_running,),
    }
    with pytest.raises(TimeoutException):
        await concurrency.call(*calls[what], request_timeout=0.5)
    await concurrency.call(sandbox.close)


async def test_the_time_of_a_request_can_be_said_once_for_all(frozen: Daemon, concurrency):
    sandbox = await concurrency.call(concurrency.sandbox.connect_local, frozen.address, request_timeout=0.5)
    with pytest.raises(TimeoutException):
        await concurrency.call(sandbox.commands.list)
    await concurrency.call(sandbox.close)


async def test_a_server_that_is_slow_is_waited_for_without_a_limit(frozen: Daemon, concurrency):
    sandbox = await concurrency.call(concurrency.sandbox.connect_local, frozen.address, request_timeout=0)
    listing = asyncio.create_task(concurrency.call(sandbox.commands.list))
    await asyncio.sleep(1)
    assert not listing.done()
    os.kill(frozen.server_pid(), signal.SIGCONT)
    assert await listing == []
    await concurrency.call(sandbox.close)


async def test_a_sandbox_that_is_not_there_is_unreachable(concurrency):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        sandbox = await concurrency.call(concurrency.sandbox.connect_local, f"127.0.0.1:{port}", reconnect_timeout=0.5)
        assert await concurrency.call(sandbox.is_running) is False
        with pytest.raises(SandboxUnreachableException, match="cannot be reached") as raised:
            await concurrency.call(sandbox.commands.run, "true")
        assert raised.value.code == "unavailable"
        await concurrency.call(sandbox.close)


async def test_times_are_never_negative(sandbox, concurrency):
    with pytest.raises(InvalidArgumentException, match="timeout is -1"):
        await concurrency.call(sandbox.commands.run, "true", timeout=-1)
    with pytest.raises(InvalidArgumentException, match="request_timeout is -1"):
        await concurrency.call(sandbox.commands.list, request_timeout=-1)
