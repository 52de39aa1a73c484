"""Commands: what the scenarios of the published package do not show."""

from __future__ import annotations

import asyncio
import inspect
import re
import signal
import uuid

import pytest

from envd_sdk import (
    AsyncSandbox,
    CommandExitException,
    CommandResult,
    ConflictException,
    NotFoundException,
    NotYetException,
    OutputGap,
    Sandbox,
    SandboxException,
    TimeoutException,
)
from tests.support.concurrency import Concurrency
from tests.support.daemon import Daemon

# Prints three characters of three bytes each, byte by byte.
SLOW_EURO = r"for n in 1 2 3; do printf '\342'; sleep 0.05; printf '\202'; sleep 0.05; printf '\254'; done"


async def test_a_result_is_told_from_a_failure(sandbox, concurrency: Concurrency):
    found = await concurrency.call(sandbox.commands.run, "echo out; echo err >&2")
    assert found == CommandResult(stderr="err\n", stdout="out\n", exit_code=0)
    with pytest.raises(CommandExitException) as raised:
        await concurrency.call(sandbox.commands.run, "echo out; echo err >&2; exit 3")
    error = raised.value
    assert isinstance(error, CommandResult)
    assert (error.stdout, error.stderr, error.exit_code, error.error) == ("out\n", "err\n", 3, "exit status 3")
    assert str(error) == "command ended with status 3: exit status 3\nerr"


async def test_no_character_is_cut_in_two(sandbox, concurrency):
    pieces: list[str] = []
    found = await concurrency.call(sandbox.commands.run, SLOW_EURO, on_stdout=pieces.append)
    assert found.stdout == "€€€"
    assert set("".join(pieces)) == {"€"}
    broken = await concurrency.call(sandbox.commands.run, r"printf 'a\342\202'")
    assert broken.stdout == "a\N{REPLACEMENT CHARACTER}"


async def test_callbacks_may_be_coroutine_functions(sandbox, concurrency):
    if concurrency.name == "sync":
        pytest.skip("that is what asyncio has them for")
    seen: list[str] = []

    async def keep(text: str) -> None:
        await asyncio.sleep(0)
        seen.append(text)

    await sandbox.commands.run("echo one; echo two >&2", on_stdout=keep, on_stderr=keep)
    assert sorted(seen) == ["one\n", "two\n"]


async def test_what_a_callback_raises_reaches_the_caller(sandbox, concurrency):
    def refuse(text: str) -> None:
        raise ValueError(text)

    with pytest.raises(ValueError, match="out"):
        await concurrency.call(sandbox.commands.run, "echo out; sleep 1000", on_stdout=refuse)


async def test_a_key_starts_a_program_once(sandbox, concurrency, tmp_path):
    key, marks = uuid.uuid4().hex, tmp_path / "marks"
    for _ in range(3):
        found = await concurrency.call(sandbox.commands.run, f"echo ran >> {marks}; echo out", idempotency_key=key)
        assert found.stdout == "out\n"
    assert marks.read_text() == "ran\n"
    with pytest.raises(ConflictException, match="idempotency_key was used for process"):
        await concurrency.call(sandbox.commands.run, "echo another", idempotency_key=key)


async def test_output_need_not_be_kept(sandbox, concurrency):
    lengths: list[int] = []
    found = await concurrency.call(
        sandbox.commands.run, "seq 1 200000", on_stdout=lambda text: lengths.append(len(text)), retain_output=False
    )
    assert (found.stdout, sum(lengths)) == ("", 1_288_895)
    handle = await concurrency.call(sandbox.commands.run, "seq 1 200000", background=True, retain_output=False)
    pieces = await concurrency.all(handle)
    assert sum(len(stdout) for stdout, _, _ in pieces) == 1_288_895
    assert handle.stdout == ""


async def test_a_handle_tells_what_it_knows(sandbox, concurrency):
    async def known() -> tuple:
        return handle.stdout, handle.exit_code, handle.error

    handle = await concurrency.call(sandbox.commands.run, "echo out; exit 5", background=True)
    assert handle.pid > 0
    with pytest.raises(CommandExitException):
        await concurrency.call(handle.wait)
    assert await known() == ("out\n", 5, "exit status 5")
    # As often as one likes.
    with pytest.raises(CommandExitException):
        await concurrency.call(handle.wait)


async def test_output_is_waited_for(sandbox, concurrency):
    handle = await concurrency.call(
        sandbox.commands.run,
        "echo booting >&2; echo port 8080; read go; echo ready; sleep 1000",
        background=True,
        stdin=True,
    )
    match = await concurrency.call(handle.wait_for, r"port (\d+)")
    assert match.group(1) == "8080"
    with pytest.raises(TimeoutException):
        await concurrency.call(handle.wait_for, "never", timeout=0.1)
    await concurrency.call(handle.send_stdin, "\n")
    assert await concurrency.call(handle.wait_for, re.compile("READY", re.IGNORECASE), stream="stdout")
    assert await concurrency.call(handle.kill) is True
    with pytest.raises(CommandExitException):
        await concurrency.call(handle.wait_for, "never")


@pytest.mark.parametrize("kept", [True, False])
async def test_what_a_wait_has_read_in_vain_is_there_for_the_next_one(sandbox, concurrency, kept):
    handle = await concurrency.call(
        sandbox.commands.run,
        "echo one two >&2; echo three four; read go; echo five; sleep 1000",
        background=True,
        stdin=True,
        on_stderr=None if kept else lambda _: None,
        retain_output=kept,
    )
    for wait in ((handle.wait_for, "five"), (handle.wait,)):
        with pytest.raises(NotYetException):
            await concurrency.call(*wait, timeout=0.5)
    for pattern in ("three", "one", "four", "two"):
        assert await concurrency.call(handle.wait_for, pattern, timeout=20)
    with pytest.raises(NotYetException):
        await concurrency.call(handle.wait_for, "three", timeout=0.1)
    await concurrency.call(handle.send_stdin, "\n")
    assert await concurrency.call(handle.wait_for, "five", timeout=20)
    await concurrency.call(handle.kill)


async def test_an_iteration_takes_what_it_reads_from_the_next_wait(sandbox, concurrency):
    handle = await concurrency.call(
        sandbox.commands.run, "echo one; read go; echo two; read go; echo three", background=True, stdin=True
    )
    await concurrency.call(handle.wait_for, "one", timeout=20)
    await concurrency.call(handle.send_stdin, "\n")
    assert (await concurrency.first(handle))[0] == "two\n"
    await concurrency.call(handle.send_stdin, "\n")
    with pytest.raises(SandboxException, match="without it"):
        await concurrency.call(handle.wait_for, "two", timeout=20)


async def test_an_end_is_waited_for_as_long_as_asked(sandbox, concurrency):
    handle = await concurrency.call(sandbox.commands.run, "echo up; read line; echo $line", background=True, stdin=True)
    await concurrency.call(handle.wait_for, "up")
    with pytest.raises(TimeoutException):
        await concurrency.call(handle.wait, timeout=0.1)
    await concurrency.call(handle.send_stdin, "down\n")
    assert (await concurrency.call(handle.wait, timeout=60)).stdout == "up\ndown\n"


async def test_what_never_stops_printing_is_not_waited_for_either(sandbox, concurrency):
    handle = await concurrency.call(sandbox.commands.run, "yes", background=True, timeout=0)
    for wait in (
        lambda: concurrency.call(handle.wait_for, "no", timeout=0.2),
        lambda: concurrency.call(handle.wait, timeout=0.2),
    ):
        with pytest.raises(TimeoutException):
            await wait()
    assert await concurrency.call(handle.kill) is True
    await concurrency.call(handle.disconnect)


async def test_output_that_never_comes_is_not_waited_for(sandbox, concurrency):
    handle = await concurrency.call(sandbox.commands.run, "echo other", background=True)
    with pytest.raises(SandboxException, match="without it"):
        await concurrency.call(handle.wait_for, "never")
    assert (await concurrency.call(handle.wait)).stdout == "other\n"


async def test_a_handle_that_was_left_says_so(sandbox, concurrency):
    handle = await concurrency.call(sandbox.commands.run, "sleep 1000", background=True)
    await concurrency.call(handle.disconnect)
    with pytest.raises(SandboxException, match="disconnected"):
        await concurrency.call(handle.wait)
    again = await concurrency.call(sandbox.commands.connect, handle.pid)
    assert await concurrency.call(again.kill) is True


async def test_everything_kept_can_be_had_again(sandbox, concurrency):
    started = await concurrency.call(sandbox.commands.run, "echo first; echo second", background=True)
    await concurrency.call(started.wait)
    again = await concurrency.call(sandbox.commands.connect, started.pid, replay=True)
    assert (await concurrency.call(again.wait)).stdout == "first\nsecond\n"
    new = await concurrency.call(sandbox.commands.connect, started.pid)
    assert (await concurrency.call(new.wait)).stdout == ""


async def test_output_that_is_gone_is_announced(sandbox, concurrency):
    # The newest 1 MiB of a finished program is kept, up to 4 of what nobody has taken.
    started = await concurrency.call(sandbox.commands.run, "head -c 9000000 /dev/zero | tr '\\0' x", background=True)
    await concurrency.call(started.wait)
    again = await concurrency.call(sandbox.commands.connect, started.pid, replay=True)
    found = await concurrency.call(again.wait)
    (gap,) = found.gaps
    assert gap == OutputGap("stdout", 0, 9_000_000 - len(found.stdout))
    assert 0 < len(found.stdout) < 9_000_000


async def test_commands_are_listed_with_tag_and_end(sandbox, concurrency):
    tag = uuid.uuid4().hex
    handle = await concurrency.call(sandbox.commands.run, "exit 4", background=True, tag=tag)
    with pytest.raises(CommandExitException):
        await concurrency.call(handle.wait)
    listed = await concurrency.call(sandbox.commands.list, include_finished=True)
    (found,) = [one for one in listed if one.tag == tag]
    assert (found.pid, found.exit_code, found.user != "") == (handle.pid, 4, True)


async def test_any_signal_can_be_sent(sandbox, concurrency):
    handle = await concurrency.call(
        sandbox.commands.run, "trap 'echo got it; exit 9' USR1; echo up; while :; do sleep 0.02; done", background=True
    )
    await concurrency.call(handle.wait_for, "up")
    assert await concurrency.call(sandbox.commands.send_signal, handle.pid, signal.SIGUSR1) is True
    with pytest.raises(CommandExitException) as raised:
        await concurrency.call(handle.wait)
    assert (raised.value.stdout, raised.value.exit_code) == ("up\ngot it\n", 9)


async def test_input_for_what_is_not_there(sandbox, concurrency):
    with pytest.raises(NotFoundException, match="not found"):
        await concurrency.call(sandbox.commands.send_stdin, 2**22 + 1, "x")
    assert await concurrency.call(sandbox.commands.kill, 2**22 + 1) is False


async def test_a_background_command_is_used_in_a_with_statement(sandbox, concurrency, daemon: Daemon):
    if concurrency.name == "sync":
        with sandbox.commands.run("sleep 1000", background=True) as handle:
            pid = handle.pid
    else:
        async with await sandbox.commands.run("sleep 1000", background=True) as handle:
            pid = handle.pid
    # It was left, not ended.
    assert await concurrency.call(sandbox.commands.kill, pid) is True


def test_the_halves_have_the_same_methods() -> None:
    def public(kind: type) -> set[str]:
        return {name for name, _ in inspect.getmembers(kind) if not name.startswith("_")}

    assert public(Sandbox) == public(AsyncSandbox)
