"""Drives a daemon with the published `e2b` package and prints what it saw as one JSON object.

Run by tests/support/sdk.py in an interpreter that has the package: `sdk_script.py MODE DIRECTORY`, with a mode from the
end of this file. The environment says where the daemon is. DIRECTORY is shared with the programs that are started. Only
the package's public names are used.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from e2b import AsyncSandbox, CommandExitException, CommandResult, Sandbox
from sdk_files import AsyncFiles, SyncFiles
from sdk_terminals import AsyncTerminals, SyncTerminals
from sdk_watching import AsyncWatching, SyncWatching

DIRECTORY = Path(sys.argv[2])

# Prints, waits until a file is there, and prints again.
WAIT_FOR = "until test -e {gate}; do sleep 0.02; done"
LIVE = "echo one; echo err >&2; " + WAIT_FOR + "; echo two"


def result(found: CommandResult) -> dict[str, Any]:
    return {"stdout": found.stdout, "stderr": found.stderr, "exit_code": found.exit_code, "error": found.error}


def exception(exc: BaseException) -> dict[str, Any]:
    """What a caller could tell from an exception."""
    found: dict[str, Any] = {"raised": type(exc).__name__, "text": str(exc)}
    if isinstance(exc, CommandExitException):
        found.update(result(exc))
    return found


class Live:
    """Callbacks that let the program go on only once they were called with its first lines."""

    def __init__(self, name: str) -> None:
        self.gate = DIRECTORY / name
        self.stdout: list[str] = []
        self.stderr: list[str] = []

    @property
    def command(self) -> str:
        return LIVE.format(gate=self.gate)

    def on_stdout(self, text: str) -> None:
        self.stdout.append(text)
        self._open()

    def on_stderr(self, text: str) -> None:
        self.stderr.append(text)
        self._open()

    def _open(self) -> None:
        if "one\n" in "".join(self.stdout) and "err\n" in "".join(self.stderr):
            self.gate.touch()

    def seen(self, found: CommandResult) -> dict[str, Any]:
        return {**result(found), "on_stdout": "".join(self.stdout), "on_stderr": "".join(self.stderr)}


class Sync:
    """Every scenario with the blocking classes."""

    def __init__(self) -> None:
        self.sandbox = Sandbox.create()
        self.commands = self.sandbox.commands

    def is_running(self) -> Any:
        return self.sandbox.is_running()

    def plain(self) -> Any:
        return result(self.commands.run("echo out; echo err >&2"))

    def failing(self) -> Any:
        return result(self.commands.run("echo out; echo err >&2; exit 3"))

    def missing(self) -> Any:
        return result(self.commands.run("no-such-command-here"))

    def large(self) -> Any:
        return len(self.commands.run("head -c 3000000 /dev/zero | tr '\\0' x").stdout)

    def split_characters(self) -> Any:
        return self.commands.run("printf '\\303'; sleep 0.1; printf '\\244'").stdout

    def streaming(self) -> Any:
        live = Live("sync-streaming")
        return live.seen(self.commands.run(live.command, on_stdout=live.on_stdout, on_stderr=live.on_stderr))

    def background(self) -> Any:
        live = Live("sync-background")
        handle = self.commands.run(live.command, background=True)
        return live.seen(handle.wait(on_stdout=live.on_stdout, on_stderr=live.on_stderr))

    def background_failing(self) -> Any:
        return result(self.commands.run("exit 4", background=True).wait())

    def stdin(self) -> Any:
        handle = self.commands.run("cat", background=True, stdin=True)
        self.commands.send_stdin(handle.pid, "by pid\n")
        handle.send_stdin("by handle\n")
        self.commands.close_stdin(handle.pid)
        return result(handle.wait())

    def stream_input(self) -> Any:
        handle = self.commands.run("cat", background=True, stdin=True)
        self.commands.stream_input(handle.pid, ["one ", "two ", "three"])
        handle.close_stdin()
        return result(handle.wait())

    def no_stdin(self) -> Any:
        return result(self.commands.run("cat; echo end"))

    def kill(self) -> Any:
        handle = self.commands.run("sleep 1000", background=True)
        killed = self.commands.kill(handle.pid)
        try:
            handle.wait()
        except CommandExitException as exc:
            return {"killed": killed, "again": self.commands.kill(handle.pid), **exception(exc)}
        return None

    def kill_by_handle(self) -> Any:
        handle = self.commands.run("sleep 1000", background=True)
        killed = handle.kill()
        try:
            handle.wait()
        except CommandExitException as exc:
            return {"killed": killed, **exception(exc)}
        return None

    def list(self) -> Any:
        handle = self.commands.run("sleep 1000", background=True, envs={"A": "b"}, cwd="/tmp")
        found = next(info for info in self.commands.list() if info.pid == handle.pid)
        handle.kill()
        return {"cmd": found.cmd, "args": found.args, "envs": found.envs, "cwd": found.cwd, "tag": found.tag}

    def connect(self) -> Any:
        live = Live("sync-connect")
        started = self.commands.run(WAIT_FOR.format(gate=live.gate) + "; echo later", background=True)
        connected = self.commands.connect(started.pid)
        live.gate.touch()
        return [result(connected.wait()), result(started.wait())]

    def reconnect(self) -> Any:
        ready, gate = DIRECTORY / "sync-ready", DIRECTORY / "sync-reconnect"
        command = f"{WAIT_FOR.format(gate=gate)}; echo meanwhile; touch {ready}; sleep 1000"
        started = self.commands.run(command, background=True)
        started.disconnect()
        gate.touch()
        # The file appears after the line was printed to nobody.
        self.commands.run(WAIT_FOR.format(gate=ready))
        found: list[str] = []
        for stdout, _, _ in self.commands.connect(started.pid):
            found.append(stdout or "")
            self.commands.kill(started.pid)
        return "".join(found)

    def connect_to_nothing(self) -> Any:
        return self.commands.connect(2**22 + 1).pid

    def timeout(self) -> Any:
        return result(self.commands.run("sleep 1000", timeout=0.5))

    def envs(self) -> Any:
        return self.commands.run('echo "$OWN"', envs={"OWN": "a b=c"}).stdout

    def cwd(self) -> Any:
        return self.commands.run("pwd", cwd="/usr").stdout

    def missing_cwd(self) -> Any:
        return self.commands.run("pwd", cwd="/no/such/directory").stdout

    def user(self) -> Any:
        return self.commands.run("id -un", user="root").stdout

    def unknown_user(self) -> Any:
        return self.commands.run("id -un", user="no-such-user").stdout


class Async:
    """Every scenario with the asynchronous classes."""

    sandbox: AsyncSandbox

    async def is_running(self) -> Any:
        return await self.sandbox.is_running()

    async def plain(self) -> Any:
        return result(await self.sandbox.commands.run("echo out; echo err >&2"))

    async def failing(self) -> Any:
        return result(await self.sandbox.commands.run("echo out; echo err >&2; exit 3"))

    async def missing(self) -> Any:
        return result(await self.sandbox.commands.run("no-such-command-here"))

    async def large(self) -> Any:
        return len((await self.sandbox.commands.run("head -c 3000000 /dev/zero | tr '\\0' x")).stdout)

    async def split_characters(self) -> Any:
        return (await self.sandbox.commands.run("printf '\\303'; sleep 0.1; printf '\\244'")).stdout

    async def streaming(self) -> Any:
        live = Live("async-streaming")
        run = self.sandbox.commands.run(live.command, on_stdout=live.on_stdout, on_stderr=live.on_stderr)
        return live.seen(await run)

    async def background(self) -> Any:
        live = Live("async-background")
        run = self.sandbox.commands.run(
            live.command, background=True, on_stdout=live.on_stdout, on_stderr=live.on_stderr
        )
        return live.seen(await (await run).wait())

    async def background_failing(self) -> Any:
        return result(await (await self.sandbox.commands.run("exit 4", background=True)).wait())

    async def stdin(self) -> Any:
        handle = await self.sandbox.commands.run("cat", background=True, stdin=True)
        await self.sandbox.commands.send_stdin(handle.pid, "by pid\n")
        await handle.send_stdin("by handle\n")
        await self.sandbox.commands.close_stdin(handle.pid)
        return result(await handle.wait())

    async def stream_input(self) -> Any:
        handle = await self.sandbox.commands.run("cat", background=True, stdin=True)
        stream = self.sandbox.commands.stream_input(handle.pid)
        for text in ("one ", "two ", "three"):
            await stream.send(text)
        await stream.close()
        await handle.close_stdin()
        return result(await handle.wait())

    async def no_stdin(self) -> Any:
        return result(await self.sandbox.commands.run("cat; echo end"))

    async def kill(self) -> Any:
        handle = await self.sandbox.commands.run("sleep 1000", background=True)
        killed = await self.sandbox.commands.kill(handle.pid)
        try:
            await handle.wait()
        except CommandExitException as exc:
            return {"killed": killed, "again": await self.sandbox.commands.kill(handle.pid), **exception(exc)}
        return None

    async def kill_by_handle(self) -> Any:
        handle = await self.sandbox.commands.run("sleep 1000", background=True)
        killed = await handle.kill()
        try:
            await handle.wait()
        except CommandExitException as exc:
            return {"killed": killed, **exception(exc)}
        return None

    async def list(self) -> Any:
        handle = await self.sandbox.commands.run("sleep 1000", background=True, envs={"A": "b"}, cwd="/tmp")
        found = next(info for info in await self.sandbox.commands.list() if info.pid == handle.pid)
        await handle.kill()
        return {"cmd": found.cmd, "args": found.args, "envs": found.envs, "cwd": found.cwd, "tag": found.tag}

    async def connect(self) -> Any:
        live = Live("async-connect")
        command = WAIT_FOR.format(gate=live.gate) + "; echo later"
        started = await self.sandbox.commands.run(command, background=True)
        connected = await self.sandbox.commands.connect(started.pid)
        live.gate.touch()
        return [result(await connected.wait()), result(await started.wait())]

    async def reconnect(self) -> Any:
        ready, gate = DIRECTORY / "async-ready", DIRECTORY / "async-reconnect"
        command = f"{WAIT_FOR.format(gate=gate)}; echo meanwhile; touch {ready}; sleep 1000"
        started = await self.sandbox.commands.run(command, background=True)
        await started.disconnect()
        gate.touch()
        await self.sandbox.commands.run(WAIT_FOR.format(gate=ready))
        found: asyncio.Queue[str] = asyncio.Queue()
        connected = await self.sandbox.commands.connect(started.pid, on_stdout=found.put_nowait)
        text = await asyncio.wait_for(found.get(), 20)
        await connected.kill()
        return text

    async def connect_to_nothing(self) -> Any:
        return (await self.sandbox.commands.connect(2**22 + 1)).pid

    async def timeout(self) -> Any:
        return result(await self.sandbox.commands.run("sleep 1000", timeout=0.5))

    async def envs(self) -> Any:
        return (await self.sandbox.commands.run('echo "$OWN"', envs={"OWN": "a b=c"})).stdout

    async def cwd(self) -> Any:
        return (await self.sandbox.commands.run("pwd", cwd="/usr")).stdout

    async def missing_cwd(self) -> Any:
        return (await self.sandbox.commands.run("pwd", cwd="/no/such/directory")).stdout

    async def user(self) -> Any:
        return (await self.sandbox.commands.run("id -un", user="root")).stdout

    async def unknown_user(self) -> Any:
        return (await self.sandbox.commands.run("id -un", user="no-such-user")).stdout


def scenarios(of: type) -> list[str]:
    return [name for name in vars(of) if not name.startswith("_") and callable(getattr(of, name))]


def run_sync(kind: type[Sync | SyncFiles | SyncTerminals | SyncWatching]) -> dict[str, Any]:
    driver = kind()
    seen = {}
    for name in scenarios(kind):
        scenario: Callable[[], Any] = getattr(driver, name)
        try:
            seen[name] = scenario()
        except Exception as exc:  # noqa: BLE001 - the test judges it
            seen[name] = exception(exc)
    return seen


async def run_async(kind: type[Async | AsyncFiles | AsyncTerminals | AsyncWatching]) -> dict[str, Any]:
    driver = kind()
    driver.sandbox = await AsyncSandbox.create()
    seen = {}
    for name in scenarios(kind):
        scenario: Callable[[], Awaitable[Any]] = getattr(driver, name)
        try:
            seen[name] = await scenario()
        except Exception as exc:  # noqa: BLE001 - the test judges it
            seen[name] = exception(exc)
    return seen


MODES: dict[str, Callable[[], dict[str, Any]]] = {
    "sync": lambda: run_sync(Sync),
    "async": lambda: asyncio.run(run_async(Async)),
    "sync-files": lambda: run_sync(SyncFiles),
    "async-files": lambda: asyncio.run(run_async(AsyncFiles)),
    "sync-terminals": lambda: run_sync(SyncTerminals),
    "async-terminals": lambda: asyncio.run(run_async(AsyncTerminals)),
    "sync-watching": lambda: run_sync(SyncWatching),
    "async-watching": lambda: asyncio.run(run_async(AsyncWatching)),
}

if __name__ == "__main__":
    print(json.dumps(MODES[sys.argv[1]]()), flush=True)
    # Release 2.63 now and then aborts (SIGABRT) while the interpreter shuts down its threads. Everything has been said.
    os._exit(0)
