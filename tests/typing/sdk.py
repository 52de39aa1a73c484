"""The SDK as its users write it, for the type checker: nothing here is run."""

from __future__ import annotations

import io
import re
from collections.abc import AsyncIterator, Callable
from typing import Any, assert_type

from envd_sdk import (
    AsyncCommandHandle,
    AsyncFileStream,
    AsyncSandbox,
    AsyncWatchHandle,
    CommandExitException,
    CommandHandle,
    CommandResult,
    ConnectionConfig,
    EntryInfo,
    FileStream,
    FilesystemEvent,
    ProcessInfo,
    PtySize,
    Sandbox,
    SandboxException,
    SandboxInfo,
    WatchHandle,
    WriteEntry,
    WriteInfo,
)


def blocking() -> None:
    with Sandbox.local() as sandbox:
        assert_type(sandbox, Sandbox)
        assert_type(sandbox.commands.run("true"), CommandResult)
        assert_type(sandbox.commands.run("true", background=True), CommandHandle)
        assert_type(sandbox.commands.run("true", background=False), CommandResult)
        assert_type(sandbox.files.read("/a"), str)
        assert_type(sandbox.files.read("/a", format="bytes"), bytearray)
        assert_type(sandbox.files.read("/a", format="stream"), FileStream)
        assert_type(sandbox.files.write("/a", "text"), WriteInfo)
        assert_type(sandbox.files.write("/a", io.BytesIO()), WriteInfo)
        assert_type(sandbox.files.write("/a", (b"x" for _ in range(3))), WriteInfo)
        assert_type(sandbox.files.write([WriteEntry("/a", b"x")]), list[WriteInfo])
        assert_type(sandbox.files.write_files([{"path": "/a", "data": "x"}]), list[WriteInfo])
        assert_type(sandbox.files.list("/"), list[EntryInfo])
        assert_type(sandbox.files.watch_dir("/"), WatchHandle)
        assert_type(sandbox.commands.list(), list[ProcessInfo])
        handle = sandbox.commands.run("cat", background=True, stdin=True, on_stdout=lambda text: print(text.upper()))
        for stdout, stderr, pty in handle:
            assert_type(stdout, str | None)
            assert_type(stderr, str | None)
            assert_type(pty, bytes | None)
        assert_type(handle.wait_for("ready"), re.Match[str])
        sandbox.commands.stream_input(handle.pid, ["a", b"b"])
        terminal = sandbox.pty.create(PtySize(rows=24, cols=80))
        assert_type(terminal.pid, int)
    made = Sandbox(template="base", timeout=60, connection_config=ConnectionConfig(debug=True))
    assert_type(made.kill(), bool)
    assert_type(Sandbox.kill("id"), bool)
    assert_type(Sandbox.connect("id"), Sandbox)
    assert_type(made.get_info(), SandboxInfo)
    try:
        made.commands.run("false")
    except CommandExitException as error:
        assert_type(error.exit_code, int)
    except SandboxException as error:
        assert_type(error.code, str)


async def asynchronous() -> None:
    async with await AsyncSandbox.create() as sandbox:
        assert_type(sandbox, AsyncSandbox)
        assert_type(await sandbox.commands.run("true"), CommandResult)
        assert_type(await sandbox.commands.run("true", background=True), AsyncCommandHandle)
        assert_type(await sandbox.files.read("/a"), str)
        assert_type(await sandbox.files.read("/a", "bytes"), bytearray)
        stream = await sandbox.files.read("/a", format="stream")
        assert_type(stream, AsyncFileStream)
        async for chunk in stream:
            assert_type(chunk, bytes)
        await sandbox.files.write("/a", pieces())

        async def on_event(event: FilesystemEvent) -> None:
            print(event.name)

        assert_type(await sandbox.files.watch_dir("/", on_event=on_event), AsyncWatchHandle)
        assert_type(await AsyncSandbox.kill("id"), bool)
        assert_type(await sandbox.kill(), bool)
    async with AsyncSandbox(template="base") as other:
        assert_type(other, AsyncSandbox)


async def pieces() -> AsyncIterator[bytes]:
    yield b"x"


def refused(sandbox: Sandbox) -> None:
    sandbox.files.read("/a", format="blob")  # type: ignore[call-overload]
    sandbox.commands.run(["true"])  # type: ignore[call-overload]
    sandbox.files.write("/a", 5)  # type: ignore[call-overload]
    Sandbox.connect()  # type: ignore[call-arg]
    PtySize(24)  # type: ignore[call-arg]


TASKS: list[Callable[..., Any]] = [blocking, asynchronous, refused]
