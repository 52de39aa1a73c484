"""Where one is in the output of a command: leaving, coming back, as another process too, and being told of gaps."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from envd.config import Config, Output
from envd_sdk import (
    InvalidArgumentException,
    NotFoundException,
    OutputPosition,
    PtySize,
)
from tests.support.concurrency import Concurrency
from tests.support.daemon import ROOT, Daemon
from tests.support.readers import configured

LINES = 2_000_000
# Each number has a line feed, and a digit for each power of ten up to it.
TOTAL = LINES + sum(LINES - 10**power + 1 for power in range(len(str(LINES))))

# A client that notes where it is after each piece it has dealt with, and can be killed at any moment.
CLIENT = """
import os, sys
from envd_sdk import OutputPosition, Sandbox
address, key, place, content = sys.argv[1:]
sandbox = Sandbox.connect_local(address)
try:
    resume = OutputPosition.from_json(open(place).read())
    handle = sandbox.commands.connect(idempotency_key=key, resume=resume, timeout=0)
except FileNotFoundError:
    handle = sandbox.commands.run("seq 1 %d", background=True, idempotency_key=key, timeout=0)
with open(content, "a") as file:
    for stdout, _, _ in handle:
        file.write(stdout)
        file.flush()
        with open(place + ".new", "w") as note:
            note.write(handle.position.to_json() + " " + str(file.tell()))
        os.replace(place + ".new", place)
print("done", handle.exit_code, handle.gaps, flush=True)
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """One that waits only briefly for readers that have left."""
    with configured(Config(output=Output(return_s=0.2))) as made:
        yield made


@pytest.fixture
async def sandbox(daemon: Daemon, concurrency: Concurrency) -> AsyncIterator[object]:
    made = await concurrency.call(concurrency.sandbox.connect_local, f"127.0.0.1:{daemon.port}")
    try:
        yield made
    finally:
        await concurrency.call(made.close)


async def read(concurrency: Concurrency, handle, size: int) -> str:
    """Iterate until there are so many characters."""
    pieces: list[str] = []

    def add(stdout: str) -> bool:
        pieces.append(stdout)
        return sum(map(len, pieces)) >= size

    def from_threads() -> None:
        any(add(stdout) for stdout, _, _ in handle)

    if concurrency.name == "sync":
        await asyncio.to_thread(from_threads)
    else:
        async for stdout, _, _ in handle:
            if add(stdout):
                break
    return "".join(pieces)


def numbers(begin: int, end: int) -> str:
    """Characters [begin, end) of what `seq` prints."""
    return "".join(f"{number}\n" for number in range(1, LINES + 1))[begin:end]


async def test_who_disconnects_and_connects_again_goes_on_where_it_was(sandbox, concurrency: Concurrency):
    handle = await concurrency.call(
        sandbox.commands.run, f"seq 1 {LINES}", background=True, timeout=0, retain_output=False
    )
    text = await read(concurrency, handle, 300_000)
    assert handle.position.stdout == len(text)
    await concurrency.call(handle.disconnect)
    again = await concurrency.call(sandbox.commands.connect, handle.pid, timeout=0)
    result = await concurrency.call(again.wait)
    missing = sum(gap.end - gap.begin for gap in result.gaps)
    assert len(text) + missing + len(result.stdout) == TOTAL
    if not result.gaps:
        assert text + result.stdout == numbers(0, TOTAL)
    assert again.position.stdout == TOTAL


async def test_what_is_gone_when_one_comes_back_late_is_told(sandbox, concurrency: Concurrency):
    handle = await concurrency.call(
        sandbox.commands.run, f"seq 1 {LINES}", background=True, timeout=0, retain_output=False
    )
    text = await read(concurrency, handle, 300_000)
    await concurrency.call(handle.disconnect)
    await ended(sandbox, concurrency, handle.pid)
    again = await concurrency.call(sandbox.commands.connect, handle.pid)
    result = await concurrency.call(again.wait)
    [gap] = result.gaps
    assert again.gaps == result.gaps
    assert (gap.stream, gap.begin) == ("stdout", len(text))
    assert result.stdout == numbers(gap.end, TOTAL)


async def test_a_client_that_knows_no_place_is_told_what_nobody_has_read_and_is_gone(
    sandbox, daemon, concurrency: Concurrency
):
    handle = await concurrency.call(
        sandbox.commands.run, f"seq 1 {LINES}", background=True, timeout=0, retain_output=False
    )
    await read(concurrency, handle, 300_000)
    await concurrency.call(handle.disconnect)
    await ended(sandbox, concurrency, handle.pid)
    other = await concurrency.call(concurrency.sandbox.connect_local, f"127.0.0.1:{daemon.port}")
    again = await concurrency.call(other.commands.connect, handle.pid)
    begin = again.position.stdout
    result = await concurrency.call(again.wait)
    [gap] = result.gaps
    assert gap.begin == begin
    assert result.stdout == numbers(gap.end, TOTAL)
    await concurrency.call(other.close)


async def ended(sandbox, concurrency: Concurrency, pid: int) -> None:
    async with asyncio.timeout(60):
        while pid in {one.pid for one in await concurrency.call(sandbox.commands.list)}:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("by", ["pid", "tag", "key"])
async def test_a_command_is_followed_from_a_place_by_any_of_its_names(sandbox, daemon, concurrency: Concurrency, by):
    name = uuid.uuid4().hex
    handle = await concurrency.call(
        sandbox.commands.run, "seq 1 1000; read _", background=True, stdin=True, tag=name, idempotency_key=name
    )
    await read(concurrency, handle, 3893)
    place = OutputPosition.from_json(handle.position.to_json())
    assert place == handle.position
    assert place.stdout == 3893
    await concurrency.call(handle.disconnect)
    other = await concurrency.call(concurrency.sandbox.connect_local, f"127.0.0.1:{daemon.port}")
    names = {"pid": {"pid": handle.pid}, "tag": {"tag": name}, "key": {"idempotency_key": name}}[by]
    earlier = OutputPosition(stdout=3888, started_at_us=place.started_at_us)
    again = await concurrency.call(other.commands.connect, **names, resume=earlier)
    await concurrency.call(other.commands.send_stdin, again.pid, "\n")
    assert (await concurrency.call(again.wait)).stdout == "1000\n"
    await concurrency.call(other.close)


async def test_a_place_of_an_earlier_command_with_the_same_pid_is_not_found(sandbox, concurrency: Concurrency):
    handle = await concurrency.call(sandbox.commands.run, "echo out; sleep 1000", background=True)
    assert await read(concurrency, handle, 4) == "out\n"
    place = handle.position
    earlier = OutputPosition(stdout=1, started_at_us=place.started_at_us - 1)
    with pytest.raises(NotFoundException, match="another command has its pid now"):
        await concurrency.call(sandbox.commands.connect, handle.pid, resume=earlier)
    with pytest.raises(InvalidArgumentException):
        await concurrency.call(sandbox.commands.connect, handle.pid, resume=OutputPosition(stdout=1000))
    with pytest.raises(InvalidArgumentException, match="one of pid, tag and idempotency_key"):
        await concurrency.call(sandbox.commands.connect)
    await concurrency.call(handle.kill)


async def test_what_callbacks_had_is_where_one_is(sandbox, concurrency: Concurrency):
    had = ""

    def take(text: str) -> None:
        nonlocal had
        had += text

    handle = await concurrency.call(
        sandbox.commands.run, "seq 1 1000; read _", background=True, stdin=True, on_stdout=take
    )
    assert handle.position.stdout == 0 or concurrency.name == "async"
    await concurrency.call(handle.wait_for, "1000\n", timeout=60)
    assert handle.position.stdout == len(had) == 3893
    await concurrency.call(handle.disconnect)
    again = await concurrency.call(sandbox.commands.connect, handle.pid)
    await concurrency.call(sandbox.commands.send_stdin, handle.pid, "\n")
    assert (await concurrency.call(again.wait)).stdout == ""


async def test_a_terminal_is_gone_on_with_where_one_was(sandbox, concurrency: Concurrency):
    terminal = await concurrency.call(
        sandbox.pty.create, PtySize(24, 80), cmd="/bin/sh", args=("-c", "seq 1 5; read _; echo x")
    )
    await concurrency.call(terminal.wait_for, "5\r\n", timeout=60)
    place = terminal.position
    assert place.pty == len("1\r\n") * 5
    await concurrency.call(terminal.disconnect)
    for resume in (None, OutputPosition(pty=place.pty - 3, started_at_us=place.started_at_us)):
        again = await concurrency.call(sandbox.pty.connect, terminal.pid, resume=resume)
        if resume is not None:
            await concurrency.call(again.wait_for, "5\r\n", timeout=60)
        assert again.position == place
        await concurrency.call(again.disconnect)
    await concurrency.call(sandbox.pty.kill, terminal.pid)


@pytest.fixture(scope="module")
def patient_daemon() -> Iterator[Daemon]:
    """One that waits until a client has started anew, on a busy machine too."""
    with configured(Config(output=Output(stall_s=60.0, return_s=60.0))) as made:
        yield made


def test_a_client_process_that_is_killed_goes_on_where_it_was(patient_daemon: Daemon, tmp_path):
    key, place, content = uuid.uuid4().hex, tmp_path / "place", tmp_path / "content"
    command = [sys.executable, "-c", CLIENT % LINES, f"127.0.0.1:{patient_daemon.port}", key, str(place), str(content)]
    kept = ""
    for kill_at in (1_000_000, 5_000_000, None):
        client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        if kill_at is not None:
            while not content.exists() or content.stat().st_size < kill_at:
                assert client.poll() is None
            client.send_signal(signal.SIGKILL)
        out, _ = client.communicate(timeout=60)
        noted, _, size = place.read_text().partition("} ")
        place.write_text(noted + "}")
        kept = content.read_text()[: int(size)]
        content.write_text(kept)
    assert out == "done 0 ()\n"
    assert kept == numbers(0, TOTAL)


def test_a_place_is_kept_as_text():
    place = OutputPosition(stdout=1, stderr=2, pty=3, started_at_us=1_700_000_000_000_001)
    assert OutputPosition.from_json(place.to_json()) == place
    assert OutputPosition.from_json('{"stdout": 5, "of a later version": 1}') == OutputPosition(stdout=5)
    for text in ("[]", '{"stdout": "5"}', "nothing"):
        with pytest.raises(ValueError, match=r".+"):
            OutputPosition.from_json(text)
