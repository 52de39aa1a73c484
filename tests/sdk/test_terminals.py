"""Terminals: what the scenarios of the published package do not show."""

from __future__ import annotations

import pytest

from envd_sdk import CommandExitException, NotFoundException, PtySize

SIZE = PtySize(rows=30, cols=100)
# Prints without being typed: nothing is echoed.
PLAIN = {"cmd": "/bin/sh", "args": ("-c", "echo first; read line; echo got $line; stty size; exit 6")}


async def ended(concurrency, handle) -> bytes:
    """All its output, once it has ended with status 6."""
    pieces = await concurrency.all(handle)
    with pytest.raises(CommandExitException) as raised:
        await concurrency.call(handle.wait)
    assert raised.value.exit_code == 6
    return b"".join(pty for _, _, pty in pieces)


async def test_a_terminal_is_attached_to_with_what_was_on_it(sandbox, concurrency):
    handle = await concurrency.call(sandbox.pty.create, SIZE, timeout=0, **PLAIN)
    await concurrency.call(handle.wait_for, "first")
    again = await concurrency.call(sandbox.pty.attach, handle.pid)
    late = await concurrency.call(sandbox.pty.attach, handle.pid, scrollback=4)
    await concurrency.call(sandbox.pty.send_stdin, handle.pid, b"typed\n")
    assert b"first\r\n" in await ended(concurrency, again)
    found = await ended(concurrency, late)
    assert found.startswith(b"st\r\n")
    assert b"got typed\r\n30 100\r\n" in found
    assert (await concurrency.call(handle.disconnect)) is None


async def test_terminals_are_listed(sandbox, concurrency):
    handle = await concurrency.call(sandbox.pty.create, SIZE, **PLAIN)
    await concurrency.call(handle.wait_for, "first")
    (found,) = [one for one in await concurrency.call(sandbox.pty.list) if one.pid == handle.pid]
    assert (found.size, found.kept_from, found.output_end, found.exit_code) == (SIZE, 0, len(b"first\r\n"), None)
    await concurrency.call(sandbox.pty.resize, handle.pid, PtySize(rows=40, cols=50))
    (found,) = [one for one in await concurrency.call(sandbox.pty.list) if one.pid == handle.pid]
    assert found.size == PtySize(rows=40, cols=50)
    assert await concurrency.call(sandbox.pty.kill, handle.pid) is True
    await concurrency.call(handle.disconnect)


async def test_a_terminal_hands_its_bytes_to_a_callback(sandbox, concurrency):
    seen: list[bytes] = []
    handle = await concurrency.call(sandbox.pty.create, SIZE, seen.append, **PLAIN)
    await concurrency.call(sandbox.pty.send_stdin, handle.pid, "typed\n")
    with pytest.raises(CommandExitException):
        await concurrency.call(handle.wait)
    assert b"got typed\r\n" in b"".join(seen)


async def test_a_terminal_that_is_not_there(sandbox, concurrency):
    with pytest.raises(NotFoundException, match="no terminal"):
        await concurrency.call(sandbox.pty.attach, 2**22 + 1)
    with pytest.raises(NotFoundException):
        await concurrency.call(sandbox.pty.connect, 2**22 + 1)
    assert await concurrency.call(sandbox.pty.kill, 2**22 + 1) is False
