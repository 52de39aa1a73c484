"""One object used by many at once, across forks, loops and interruptions."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from envd_sdk import AsyncSandbox, Sandbox, SandboxException
from tests.support.daemon import ROOT, Daemon
from tests.support.faults import descriptors, settled

TASKS = 500
THREADS = 32
# In its development mode asyncio tells of what took 100 ms, which on a busy machine anything may.
QUIET = """
import logging
logging.getLogger("asyncio").addFilter(lambda record: not record.getMessage().startswith("Executing "))
"""
CHILD_S = 60.0


def script(code: str, daemon: Daemon, *, interrupt_at: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python with the SDK and `address`; interrupted, as by Ctrl+C, when it prints a line."""
    process = subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", "-c", f"{QUIET}\naddress = {daemon.address!r}\n{code}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lines = ""
    if interrupt_at is not None:
        lines = process.stdout.readline()
        assert lines == interrupt_at
        process.send_signal(signal.SIGINT)
    try:
        stdout, stderr = process.communicate(timeout=CHILD_S)
    finally:
        process.kill()
        # Children of its may hold the other ends: only what is here is closed.
        process.stdout.close()
        assert process.stderr is not None
        process.stderr.close()
        process.wait()
    return subprocess.CompletedProcess([], process.returncode, lines + stdout, stderr)


async def test_one_object_is_used_by_many_tasks_at_once(daemon: Daemon, tmp_path):
    async with await AsyncSandbox.connect_local(daemon.address) as sandbox:

        async def one(number: int) -> str:
            path = str(tmp_path / str(number))
            await sandbox.files.write(path, f"{number}")
            # Some of them run commands: each is a login shell, which here has no profile of its own.
            if number % 5 == 0:
                return (await sandbox.commands.run(f"cat {path}", envs={"HOME": str(tmp_path)})).stdout
            return await sandbox.files.read(path)

        found = await asyncio.gather(*(one(number) for number in range(TASKS)))
    assert found == [str(number) for number in range(TASKS)]


def test_one_object_is_used_by_many_threads_at_once(daemon: Daemon, tmp_path):
    with Sandbox.connect_local(daemon.address) as sandbox, ThreadPoolExecutor(THREADS) as pool:

        def one(number: int) -> str:
            path = str(tmp_path / str(number))
            sandbox.files.write(path, f"{number}")
            printed = sandbox.commands.run(f"cat {path}", envs={"HOME": str(tmp_path)}).stdout
            return printed + sandbox.files.read(path)

        found = list(pool.map(one, range(THREADS * 4)))
    assert found == [f"{number}{number}" for number in range(THREADS * 4)]


FORK = """
import os, sys, threading
from envd_sdk import Sandbox
sandbox = Sandbox.connect_local(address)
{before}
for _ in range(3):
    child = os.fork()
    if child == 0:
        {inside}
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert sandbox.commands.run("echo parent").stdout == "parent\\n"
print("done")
"""


@pytest.mark.parametrize(
    "before",
    ["", "sandbox.commands.run('true')", "handle = sandbox.commands.run('sleep 100', background=True)"],
    ids=["unused", "used", "streaming"],
)
def test_a_forked_child_gets_a_connection_of_its_own(daemon: Daemon, before):
    done = script(FORK.format(before=before, inside="assert sandbox.commands.run('echo $$').stdout"), daemon)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def test_a_handle_goes_on_in_a_forked_child(daemon: Daemon):
    before = "handle = sandbox.commands.run('echo up; sleep 0.2; echo down', background=True); handle.wait_for('up')"
    done = script(FORK.format(before=before, inside="assert handle.wait().stdout == 'up\\ndown\\n'"), daemon)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


BUSY = """
import faulthandler, gc, os, sys, threading
from envd_sdk import Sandbox, SandboxException
sandbox = Sandbox.connect_local(address)
stop, quiet = threading.Event(), {{"HOME": "/nonexistent"}}
def again_and_again(work):
    while not stop.is_set():
        work()
works = [
    lambda: sandbox.files.exists("/"),
    lambda: sandbox.commands.run("seq 1 20000", envs=quiet),
    lambda: sandbox.files.write(path, (bytes(100_000) for _ in range(300))),
]
def told():
    try:
        sandbox.files.exists("/")
    except SandboxException as error:
        assert "another of its threads" in str(error), error
    else:
        os._exit(1)
threads = [threading.Thread(target=again_and_again, args=(work,), daemon=True) for work in works]
for thread in threads:
    thread.start()
for number in range(6):
    child = os.fork()
    if child == 0:
        # Whoever hangs says where, and fails.
        faulthandler.dump_traceback_later(20, exit=True)
        {inside}
    assert os.waitpid(child, 0)[1] == 0
stop.set()
for thread in threads:
    thread.join()
assert sandbox.commands.run("echo parent").stdout == "parent\\n"
print("done")
"""


@pytest.mark.parametrize(
    "inside",
    [
        "told(); os._exit(0)",
        "sandbox.close(); os._exit(0)",
        "told(); del sandbox, works, threads; gc.collect(); sys.exit(0)",
    ],
    ids=["used", "closed", "dropped"],
)
def test_a_fork_while_other_threads_are_inside_of_grpc(daemon: Daemon, tmp_path, inside):
    code = f"path = {str(tmp_path / 'file')!r}\n" + BUSY.format(inside=inside)
    done = script(code, daemon)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def test_a_child_forked_while_a_call_is_stuck_is_told_so(daemon: Daemon):
    """A program that does not read its input holds up who sends it; what that thread holds is held in the child."""
    before = """
import envd_sdk
handle = sandbox.commands.run("sleep 1000", background=True, stdin=True, envs={'HOME': '/nonexistent'})
stuck = threading.Thread(target=lambda: sandbox.commands.send_stdin(handle.pid, b'x' * 10_000_000, 0), daemon=True)
stuck.start()
while "grpc" not in sys._current_frames()[stuck.ident].f_code.co_filename: pass
"""
    inside = (
        "\n        try: sandbox.commands.list()"
        "\n        except envd_sdk.SandboxException as error: assert 'did not end in time' in str(error), error"
        "\n        else: os._exit(1)"
    )
    done = script(FORK.format(before=before, inside=inside), daemon)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def test_a_child_that_could_only_hang_is_told_so(daemon: Daemon):
    before = """
import asyncio, envd_sdk
async def use():
    async with await envd_sdk.AsyncSandbox.connect_local(address) as other:
        await other.commands.run('true')
asyncio.run(use())
"""
    inside = (
        "\n        try: sandbox.commands.run('true')"
        "\n        except envd_sdk.SandboxException as error: assert 'fork' in str(error), error"
        "\n        else: os._exit(1)"
    )
    code = FORK.format(before=before, inside=inside)
    done = script(code, daemon)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def test_a_keyboard_interrupt_ends_a_blocking_call_at_once(daemon: Daemon):
    code = """
from envd_sdk import Sandbox
with Sandbox.connect_local(address) as sandbox:
    try:
        sandbox.commands.run("sleep 1000", on_stdout=print)
    except KeyboardInterrupt:
        print("interrupted")
"""
    code = code.replace('"sleep 1000"', '"echo started; sleep 1000"').replace(
        "=print", "=lambda t: print(t, end='', flush=True)"
    )
    done = script(code, daemon, interrupt_at="started\n")
    assert (done.returncode, done.stdout) == (0, "started\ninterrupted\n"), done.stderr


def test_a_keyboard_interrupt_ends_a_large_upload_and_leaves_nothing_of_it(daemon: Daemon, tmp_path):
    code = f"""
import itertools
from envd_sdk import Sandbox
told = False
def progress(sent):
    global told
    if sent > 40_000_000 and not told:
        told = True
        print("sending", flush=True)
with Sandbox.connect_local(address) as sandbox:
    try:
        sandbox.files.write({str(tmp_path / "file")!r}, itertools.repeat(bytes(100_000)), on_progress=progress)
    except KeyboardInterrupt:
        print("interrupted")
"""
    done = script(code, daemon, interrupt_at="sending\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "sending\ninterrupted\n", "")
    assert not list(tmp_path.iterdir())


async def only(tasks: set[asyncio.Task]) -> None:
    """Wait until there are no others: the library ends its own when the cancellation has come through."""
    async with asyncio.timeout(60):
        while asyncio.all_tasks() != tasks:
            await asyncio.sleep(0.001)


async def test_a_cancelled_call_leaves_nothing_behind(daemon: Daemon):
    before = asyncio.all_tasks()
    async with await AsyncSandbox.connect_local(daemon.address) as sandbox:
        started = asyncio.Event()
        for work in (
            lambda: sandbox.commands.run("echo up; sleep 1000", on_stdout=lambda _: started.set()),
            lambda: sandbox.commands.run("echo up; sleep 1000", on_stdout=lambda _: started.set(), timeout=0),
        ):
            started.clear()
            task = asyncio.create_task(work())
            async with asyncio.timeout(60):
                await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await only(before)
    gc.collect()


async def test_a_cancelled_call_leaves_no_stream(daemon: Daemon, tmp_path):
    """A stream that nobody reads would hold the program up: it waits for its only reader."""
    count = tmp_path / "count"
    printing = (
        f"i=0; while :; do i=$((i+1)); echo $i > {count}.new; mv {count}.new {count}; head -c 1000000 /dev/zero; done"
    )

    def printed() -> int:
        return int(count.read_text()) if count.exists() else 0

    async with await AsyncSandbox.connect_local(daemon.address) as sandbox:
        running = asyncio.Event()
        task = asyncio.create_task(
            sandbox.commands.run(printing, on_stdout=lambda _: running.set(), tag="printing", retain_output=False)
        )
        async with asyncio.timeout(60):
            await running.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # Far more than windows, buffers and what is kept of a program's output together.
        enough = printed() + 100
        async with asyncio.timeout(60):
            while printed() < enough:
                await asyncio.sleep(0.01)
        (pid,) = [one.pid for one in await sandbox.commands.list() if one.tag == "printing"]
        assert await sandbox.commands.kill(pid)


async def test_cancelling_at_any_step_leaves_nothing_behind(daemon: Daemon, tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 3_000_000)
    path = str(tmp_path / "file")
    before = asyncio.all_tasks()
    async with await AsyncSandbox.connect_local(daemon.address) as sandbox:
        for make in (
            lambda: sandbox.commands.run("seq 1 100000"),
            lambda: sandbox.files.read(path),
            lambda: sandbox.files.write(path + "2", b"y" * 3_000_000),
            lambda: sandbox.files.list(str(tmp_path)),
        ):
            for steps in range(0, 40, 3):
                task = asyncio.create_task(make())
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
                assert task.cancelled() or task.exception() is None
        await only(before)
    gc.collect()


async def test_a_handle_that_is_left_alone_ends_with_the_loop(daemon: Daemon):
    code = """
import asyncio
from envd_sdk import AsyncSandbox
async def main():
    sandbox = await AsyncSandbox.connect_local(address)
    await sandbox.commands.run("sleep 1000", background=True)
    print("left")
asyncio.run(main())
"""
    done = await asyncio.to_thread(script, code, daemon)
    assert (done.returncode, done.stdout, done.stderr) == (0, "left\n", "")


def test_one_object_is_used_from_one_loop_after_the_other(daemon: Daemon):
    code = """
import asyncio
from envd_sdk import AsyncSandbox
sandbox = asyncio.run(AsyncSandbox.connect_local(address))
async def main():
    return (await sandbox.commands.run("echo again")).stdout
for _ in range(3):
    print(asyncio.run(main()), end="")
"""
    done = script(code, daemon)
    # On stderr may stand that grpc.aio has found the loop of before closed: the object was not, before that loop ended.
    assert (done.returncode, done.stdout) == (0, "again\n" * 3)


def test_closing_ends_what_other_threads_wait_for(daemon: Daemon):
    sandbox = Sandbox.connect_local(daemon.address)
    started, ended = threading.Event(), []

    def work() -> None:
        try:
            sandbox.commands.run("echo up; sleep 1000", on_stdout=lambda _: started.set())
        except SandboxException as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert started.wait(20)
    sandbox.close()
    thread.join(20)
    assert len(ended) == 1
    with pytest.raises(SandboxException, match="closed"):
        sandbox.commands.list()


async def test_closing_ends_what_other_tasks_wait_for(daemon: Daemon):
    sandbox = await AsyncSandbox.connect_local(daemon.address)
    started = asyncio.Event()
    task = asyncio.create_task(sandbox.commands.run("echo up; sleep 1000", on_stdout=lambda _: started.set()))
    async with asyncio.timeout(60):
        await started.wait()
        await sandbox.close()
        with pytest.raises(SandboxException):
            await task
    with pytest.raises(SandboxException, match="closed"):
        await sandbox.commands.list()


async def test_descriptors_are_given_back(daemon: Daemon):
    def use() -> None:
        with Sandbox.connect_local(daemon.address) as sandbox:
            sandbox.commands.run("true")
            sandbox.files.exists("/")

    await asyncio.to_thread(use)
    before = descriptors(os.getpid())
    for _ in range(20):
        await asyncio.to_thread(use)
    # The gRPC library closes those of a closed channel a moment later, in a thread of its own.
    assert await settled(lambda: descriptors(os.getpid()), lambda count: count <= before + 3) <= before + 3
