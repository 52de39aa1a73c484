"""What is called wrongly says what is wrong, and does nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from envd_sdk import AsyncSandbox, InvalidArgumentException, NotYetException, Sandbox, SandboxException
from tests.support.daemon import Daemon

QUIET = {"HOME": "/nonexistent"}

CALLS = {
    "content-int": (lambda box, path: box.files.write(path, 5), "content is int"),
    "content-none": (lambda box, path: box.files.write(path, None), "content is NoneType"),
    "content-mapping": (lambda box, path: box.files.write(path, {"a": 1}), "content is dict"),
    "content-of-ints": (lambda box, path: box.files.write(path, [1, 2]), "piece of content is int"),
    "entry-tuple": (lambda box, path: box.files.write([(path, "x")]), "no WriteEntry"),
    "entry-keys": (lambda box, path: box.files.write_files([{"path": path, "content": "x"}]), "no WriteEntry"),
    "path-of-write": (lambda box, path: box.files.write(Path(path), "x"), "path is PosixPath"),
    "path-of-read": (lambda box, path: box.files.read(Path(path)), "path is PosixPath"),
    "path-of-list": (lambda box, _: box.files.list(None), "path is NoneType"),
    "path-of-rename": (lambda box, path: box.files.rename(path, 5), "new_path is int"),
    "command-list": (lambda box, _: box.commands.run(["ls", "-l"]), "command is list"),
    "variable": (lambda box, _: box.commands.run("true", envs={"A": 1}), "variable A is int"),
    "timeout": (lambda box, _: box.commands.run("true", timeout="5"), "timeout is '5'"),
    "input": (lambda box, _: box.commands.send_stdin(1, 5), "input is int"),
}


@pytest.mark.parametrize("name", list(CALLS))
async def test_an_argument_of_the_wrong_kind_is_named(concurrency, sandbox, tmp_path, name):
    call, text = CALLS[name]
    with pytest.raises(InvalidArgumentException, match=text):
        await concurrency.call(call, sandbox, str(tmp_path / "file"))
    assert not list(tmp_path.iterdir())


async def test_who_waits_too_short_is_told_for_what(concurrency, sandbox):
    handle = await concurrency.call(sandbox.commands.run, "sleep 100", background=True, envs=QUIET)
    with pytest.raises(NotYetException, match=rf"wait for {handle.pid}: it has not ended in 0.1 s"):
        await concurrency.call(handle.wait, timeout=0.1)
    with pytest.raises(NotYetException, match=rf"wait for 'x' in the output of {handle.pid}: it has not come in 0.1 s"):
        await concurrency.call(handle.wait_for, "x", timeout=0.1)
    assert repr(handle).endswith(f"CommandHandle: {handle.pid}, running>")
    await concurrency.call(handle.kill)
    with pytest.raises(SandboxException, match="signal: killed"):
        await concurrency.call(handle.wait)
    assert repr(handle).endswith("ended with -1>")


async def test_an_address_without_a_port_is_none(concurrency):
    with pytest.raises(InvalidArgumentException, match="the port is missing"):
        await concurrency.call(concurrency.sandbox.connect_local, "localhost")


def test_an_object_says_what_it_is(daemon: Daemon):
    with Sandbox.connect_local(daemon.address) as sandbox:
        assert repr(sandbox) == "<Sandbox: local>"
    assert repr(AsyncSandbox()) == "<AsyncSandbox: not made yet>"


def test_what_was_not_awaited_says_so():
    with pytest.raises(SandboxException, match=r"await AsyncSandbox.create\(...\), or enter it"):
        _ = AsyncSandbox().commands
    assert not hasattr(AsyncSandbox(), "__length_hint__")
