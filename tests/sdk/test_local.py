"""A daemon of one's own: it lives as long as its owner, and not longer."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading

import pytest

from envd_sdk import AsyncSandbox, Sandbox, SandboxException
from envd_sdk.local import LocalDaemon
from tests.support.daemon import ROOT
from tests.support.kernel import has_exited, open_pidfds

GONE_S = 60
# In the whole interpreter; it was 329 at most on Python 3.11 to 3.13.
MODULES = 400


def daemon_of(sandbox) -> LocalDaemon:
    return sandbox._parts.owner._daemon


async def test_it_lives_as_long_as_its_object(concurrency):
    sandbox = await concurrency.call(concurrency.sandbox.local)
    daemon = daemon_of(sandbox)
    shell = int((await concurrency.call(sandbox.commands.run, "echo $PPID")).stdout)
    with open_pidfds([shell, daemon._process.pid]) as fds:
        assert os.path.isdir(daemon.directory)
        assert (await concurrency.call(sandbox.get_info)).sandbox_id == "local"
        assert await concurrency.call(sandbox.kill) is True
        assert await concurrency.call(sandbox.kill) is False
        assert all(has_exited(fd, timeout_s=GONE_S) for fd in fds)
    assert not os.path.exists(daemon.directory)
    assert await concurrency.call(sandbox.is_running) is False
    await concurrency.call(sandbox.close)


async def test_the_end_of_a_with_statement_ends_it(concurrency):
    if concurrency.name == "sync":
        with Sandbox.local() as sandbox:
            assert sandbox.commands.run("echo hello").stdout == "hello\n"
    else:
        async with await AsyncSandbox.local() as sandbox:
            assert (await sandbox.commands.run("echo hello")).stdout == "hello\n"
    assert not os.path.exists(daemon_of(sandbox).directory)


async def test_it_lives_as_long_as_any_part_of_it_is_used(concurrency):
    commands = (await concurrency.call(concurrency.sandbox.local)).commands
    gc.collect()
    printed = await concurrency.call(commands.run, "sleep 0.3; echo $PPID")
    with open_pidfds([int(printed.stdout)]) as fds:
        del commands
        gc.collect()
        assert all(has_exited(fd, timeout_s=GONE_S) for fd in fds)


def test_a_program_that_forgets_it_leaves_nothing():
    code = """
import os
from envd_sdk import Sandbox
sandbox = Sandbox.local()
print(sandbox._parts.owner._daemon.directory)
print(sandbox.commands.run("echo $PPID").stdout.strip(), flush=True)
if os.fork() == 0:
    raise SystemExit
os.wait()
assert sandbox.commands.run("echo still there").stdout
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    directory, keeper = done.stdout.split()
    assert not os.path.exists(directory)
    assert not os.path.exists(f"/proc/{keeper}")


def test_it_does_not_outlive_an_owner_that_was_killed():
    code = """
import os, signal
from envd_sdk import Sandbox
sandbox = Sandbox.local()
print(sandbox._parts.owner._daemon.directory)
print(sandbox.commands.run("echo $PPID").stdout.strip(), flush=True)
sandbox.commands.run("sleep 1000", background=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    owner = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    directory = owner.stdout.readline().strip()
    keeper = int(owner.stdout.readline())
    # What holds the lifeline's end, and removes the directory last of all.
    with open_pidfds([keeper, parent(keeper)]) as fds:
        owner.wait()
        assert len(fds) == 2
        assert all(has_exited(fd, timeout_s=GONE_S) for fd in fds)
    assert not os.path.exists(directory)
    owner.stdout.close()


def parent(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as stat:
        return int(stat.read().rpartition(")")[2].split()[1])


async def test_one_that_does_not_start_says_why(concurrency):
    failing = ["/bin/sh", "-c", "echo the reason >&2; exit 1"]
    with pytest.raises(SandboxException, match="the reason"):
        await concurrency.call(concurrency.sandbox.local, command=failing)
    with pytest.raises(SandboxException, match="did not come up"):
        await concurrency.call(concurrency.sandbox.local, command=["/bin/sh", "-c", "echo nonsense"])


async def test_cancelling_its_start_leaves_nothing(tmp_path):
    pid_file = tmp_path / "pid"
    task = asyncio.create_task(AsyncSandbox.local(command=["/bin/sh", "-c", f"echo $$ > {pid_file}; exec sleep 1000"]))
    async with asyncio.timeout(60):
        while not (pid_file.exists() and pid_file.read_text().strip()):
            await asyncio.sleep(0.01)
    with open_pidfds([int(pid_file.read_text())]) as fds:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert all(has_exited(fd, timeout_s=GONE_S) for fd in fds)


def test_one_stopped_from_elsewhere_while_it_starts():
    daemon = LocalDaemon(["/bin/sleep", "1000"])
    threading.Timer(0.3, daemon.stop).start()
    with pytest.raises(SandboxException):
        daemon.start()
    with pytest.raises(SandboxException, match="stopped before"):
        daemon.start()


IMPORT = """
import sys
import envd_sdk
daemon = [name for name in sys.modules if name == "envd" or name.startswith("envd.")]
print(len(sys.modules), daemon, "grpc" in sys.modules, "httpx" in sys.modules)
"""


def test_importing_loads_little_and_neither_daemon_nor_libraries():
    done = subprocess.run(
        [sys.executable, "-c", IMPORT], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    count, rest = done.stdout.strip().split(" ", 1)
    assert rest == "[] False False"
    # What an import costs is what it loads, however busy the machine is.
    assert int(count) <= MODULES


def test_ctrl_c_is_the_owners_to_decide_about():
    code = """
import sys
from envd_sdk import Sandbox
with Sandbox.local() as sandbox:
    try:
        sandbox.commands.run("echo up; sleep 1000", on_stdout=lambda text: print(text, end="", flush=True))
    except KeyboardInterrupt:
        print(sandbox.commands.run("echo still there").stdout, end="", flush=True)
"""
    owner = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == "up\n"
    # To the whole group, as a terminal sends it.
    os.killpg(owner.pid, signal.SIGINT)
    assert owner.communicate(timeout=GONE_S)[0] == "still there\n"
    assert owner.returncode == 0
