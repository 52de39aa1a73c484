"""Scenarios of the published `e2b` package with terminals; run by sdk_script.py."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from e2b import AsyncSandbox, CommandExitException, PtySize, Sandbox

SIZE = PtySize(rows=24, cols=80)
LARGER = PtySize(rows=40, cols=100)
TIMEOUT_S = 60.0

# What is waited for is never in what was typed, which a terminal echoes.
ASK_SIZE = b"stty size; echo done-$((1+1))\n"
ASK_SIZE_AGAIN = b"stty size; echo resized-$((1+1))\n"
SLEEP = b"sh -c 'echo up-$((1+1)); exec sleep 1000'\n"
ASK_STATUS = b'echo "status-$?-$((1+1))"; exit\n'


def ended(exc: CommandExitException) -> dict[str, Any]:
    return {"exit_code": exc.exit_code, "error": exc.error}


class SyncTerminal:
    """A handle, and what was read of it."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.pid = handle.pid
        self.text = b""
        self._output = iter(handle)

    def until(self, text: bytes) -> None:
        while text not in self.text:
            self.text += next(self._output)[2] or b""

    def end(self) -> dict[str, Any]:
        try:
            for _, _, data in self._output:
                self.text += data or b""
            status: dict[str, Any] = {"exit_code": self.handle.wait().exit_code}
        except CommandExitException as exc:
            status = ended(exc)
        return {**status, "text": self.text.decode()}


class SyncTerminals:
    """Every scenario with the blocking classes."""

    def __init__(self) -> None:
        self.sandbox = Sandbox.create()

    def pty_size(self) -> Any:
        terminal = SyncTerminal(self.sandbox.pty.create(SIZE))
        self.sandbox.pty.send_stdin(terminal.pid, ASK_SIZE)
        terminal.until(b"done-2")
        self.sandbox.pty.resize(terminal.pid, LARGER)
        self.sandbox.pty.send_stdin(terminal.pid, ASK_SIZE_AGAIN)
        terminal.until(b"resized-2")
        self.sandbox.pty.send_stdin(terminal.pid, b"exit 3\n")
        return terminal.end()

    def pty_environment(self) -> Any:
        terminal = SyncTerminal(self.sandbox.pty.create(SIZE, cwd="/usr", envs={"OWN": "a b=c"}))
        self.sandbox.pty.send_stdin(terminal.pid, b'echo "<$TERM|$OWN|$PWD>"; tty; exit\n')
        return terminal.end()

    def pty_interrupt(self) -> Any:
        terminal = SyncTerminal(self.sandbox.pty.create(SIZE))
        self.sandbox.pty.send_stdin(terminal.pid, SLEEP)
        terminal.until(b"up-2")
        self.sandbox.pty.stream_input(terminal.pid, [b"\x03", ASK_STATUS])
        return terminal.end()

    def pty_kill(self) -> Any:
        terminal = SyncTerminal(self.sandbox.pty.create(SIZE))
        killed = self.sandbox.pty.kill(terminal.pid)
        return {"killed": killed, **terminal.end(), "again": self.sandbox.pty.kill(terminal.pid)}

    def pty_reconnect(self) -> Any:
        first = SyncTerminal(self.sandbox.pty.create(SIZE))
        self.sandbox.pty.send_stdin(first.pid, b"kept=word; echo first-$((1+1))\n")
        first.until(b"first-2")
        first.handle.disconnect()
        second = SyncTerminal(self.sandbox.pty.connect(first.pid))
        self.sandbox.pty.send_stdin(second.pid, b'echo "again-$kept"; exit 5\n')
        return {"same_pid": second.pid == first.pid, **second.end()}

    def pty_list(self) -> Any:
        terminal = SyncTerminal(self.sandbox.pty.create(SIZE))
        found = next(info for info in self.sandbox.commands.list() if info.pid == terminal.pid)
        self.sandbox.pty.kill(terminal.pid)
        terminal.end()
        return {"cmd": found.cmd, "args": found.args}


class AsyncTerminal:
    """A handle, and what its callback was given."""

    def __init__(self) -> None:
        self.handle: Any = None
        self.text = b""
        self._more = asyncio.Event()

    def on_data(self, data: bytes) -> None:
        self.text += data
        self._more.set()

    async def until(self, text: bytes) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while text not in self.text:
                self._more.clear()
                await self._more.wait()

    async def end(self) -> dict[str, Any]:
        try:
            status: dict[str, Any] = {"exit_code": (await self.handle.wait()).exit_code}
        except CommandExitException as exc:
            status = ended(exc)
        return {**status, "text": self.text.decode()}


class AsyncTerminals:
    """Every scenario with the asynchronous classes."""

    sandbox: AsyncSandbox

    async def _create(self, **options: Any) -> AsyncTerminal:
        terminal = AsyncTerminal()
        terminal.handle = await self.sandbox.pty.create(SIZE, terminal.on_data, **options)
        return terminal

    def _type(self, terminal: AsyncTerminal) -> Callable[[bytes], Any]:
        return lambda data: self.sandbox.pty.send_stdin(terminal.handle.pid, data)

    async def pty_size(self) -> Any:
        terminal = await self._create()
        type_ = self._type(terminal)
        await type_(ASK_SIZE)
        await terminal.until(b"done-2")
        await self.sandbox.pty.resize(terminal.handle.pid, LARGER)
        await type_(ASK_SIZE_AGAIN)
        await terminal.until(b"resized-2")
        await type_(b"exit 3\n")
        return await terminal.end()

    async def pty_environment(self) -> Any:
        terminal = await self._create(cwd="/usr", envs={"OWN": "a b=c"})
        await self._type(terminal)(b'echo "<$TERM|$OWN|$PWD>"; tty; exit\n')
        return await terminal.end()

    async def pty_interrupt(self) -> Any:
        terminal = await self._create()
        await self._type(terminal)(SLEEP)
        await terminal.until(b"up-2")
        stream = self.sandbox.pty.stream_input(terminal.handle.pid)
        await stream.send(b"\x03")
        await stream.send(ASK_STATUS)
        await stream.close()
        return await terminal.end()

    async def pty_kill(self) -> Any:
        terminal = await self._create()
        killed = await self.sandbox.pty.kill(terminal.handle.pid)
        return {"killed": killed, **await terminal.end(), "again": await self.sandbox.pty.kill(terminal.handle.pid)}

    async def pty_reconnect(self) -> Any:
        first = await self._create()
        await self._type(first)(b"kept=word; echo first-$((1+1))\n")
        await first.until(b"first-2")
        await first.handle.disconnect()
        second = AsyncTerminal()
        second.handle = await self.sandbox.pty.connect(first.handle.pid, second.on_data)
        await self._type(second)(b'echo "again-$kept"; exit 5\n')
        return {"same_pid": second.handle.pid == first.handle.pid, **await second.end()}

    async def pty_list(self) -> Any:
        terminal = await self._create()
        found = next(info for info in await self.sandbox.commands.list() if info.pid == terminal.handle.pid)
        await self.sandbox.pty.kill(terminal.handle.pid)
        await terminal.end()
        return {"cmd": found.cmd, "args": found.args}
