"""Terminals: what the scenarios of the published package do not show."""

from __future__ import annotations

import pytest

from envd_sdk import CommandExitException, NotFoundException, PtySize

SIZE = PtySize(rows=30, cols=100)
# Prints without being typed: nothing is echoed.
PLAIN = {"cmd": "/bin/sh", "args": ("-c", "echo first; read line; echo got $line; stty size; exit 6")}


async def ended(colour, handle) -> bytes:
    """All its output, once it has ended with status 6."""
    pieces = await colour.all(handle)
    with pytest.raises(CommandExitException) as raised:
        await colour.call(handle.wait)
    assert raised.value.exit_code == 6
    return b"".join(pty for _, _, pty in pieces)


async def test_a_terminal_is_attached_to_with_what_was_on_it(sandbox, colour):
    handle = await colour.call(sandbox.pty.create, SIZE, timeout=0, **PLAIN)
    await colour.call(handle.wait_for, "first")
    again = await colour.call(sandbox.pty.attach, handle.pid)
    late = await colour.call(sandbox.pty.attach, handle.pid, scrollback=4)
    await colour.call(sandbox.pty.send_stdin, handle.pid, b"typed\n")
    assert b"first\r\n" in await ended(colour, again)
    found = await ended(colour, late)
    assert found.startswith(b"st\r\n")
    assert b"got typed\r\n30 100\r\n" in found
    assert (await colour.call(handle.disconnect)) is None


async def test_terminals_are_listed(sandbox, colour):
    handle = await colour.call(sandbox.pty.create, SIZE, **PLAIN)
    await colour.call(handle.wait_for, "first")
    (found,) = [one for one in await colour.call(sandbox.pty.list) if one.pid == handle.pid]
    assert (found.size, found.kept_from, found.output_end, found.exit_code) == (SIZE, 0, len(b"first\r\n"), None)
    await colour.call(sandbox.pty.resize, handle.pid, PtySize(rows=40, cols=50))
    (found,) = [one for one in await colour.call(sandbox.pty.list) if one.pid == handle.pid]
    assert found.size == PtySize(rows=40, cols=50)
    assert await colour.call(sandbox.pty.kill, handle.pid) is True
    await colour.call(handle.disconnect)


async def test_a_terminal_hands_its_bytes_to_a_callback(sandbox, colour):
    seen: list[bytes] = []
    handle = await colour.call(sandbox.pty.create, SIZE, seen.append, **PLAIN)
    await colour.call(sandbox.pty.send_stdin, handle.pid, "typed\n")
    with pytest.raises(CommandExitException):
        await colour.call(handle.wait)
    assert b"got typed\r\n" in b"".join(seen)


async def test_a_terminal_that_is_not_there(sandbox, colour):
    with pytest.raises(NotFoundException, match="no terminal"):
        await colour.call(sandbox.pty.attach, 2**22 + 1)
    with pytest.raises(NotFoundException):
        await colour.call(sandbox.pty.connect, 2**22 + 1)
    assert await colour.call(sandbox.pty.kill, 2**22 + 1) is False
