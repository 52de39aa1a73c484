"""A test run that is interrupted leaves no daemons and no programs behind, and no developer's start file is read."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import ROOT
from tests.support.home import HAS_HOME
from tests.support.kernel import has_exited, open_pidfds
from tests.support.readers import until

# A test process: it starts a daemon, which starts a program, says so, and never ends by itself.
RUN = """
import asyncio
from tests.support.connect import Client, Codec
from tests.support.daemon import Daemon
from tests.support.process import Processes, shell
from tests.support.home import own_home
from tests.support.reaper import no_leftovers

async def main(daemon, home):
    async with Processes(Client(daemon.port, Codec.PROTO)).start(shell("exec sleep 1000")) as started:
        print(home, daemon.pid, daemon.server_pid(), started.pid, flush=True)
        await asyncio.Event().wait()

with own_home() as home, no_leftovers(home):
    asyncio.run(main(Daemon.start(), home))
"""
GONE_S = 60


@pytest.fixture
def run() -> Iterator[subprocess.Popen[str]]:
    env = {name: value for name, value in os.environ.items() if name != HAS_HOME}
    with subprocess.Popen(
        [sys.executable, "-c", RUN], cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_a_run_that_is_ended_leaves_nothing_behind(run: subprocess.Popen[str], how: signal.Signals):
    assert run.stdout is not None
    home, *words = run.stdout.readline().split()
    pids = [int(word) for word in words]
    assert Path(home).is_dir()
    with open_pidfds(pids) as below:
        assert len(below) == 3
        run.send_signal(how)
        assert all(has_exited(fd, timeout_s=GONE_S) for fd in below)
    await until(lambda: not Path(home).exists(), timeout_s=GONE_S)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can cover the start files of a home")
def test_the_start_files_of_the_home_are_empty_for_the_tests():
    home = Path(pwd.getpwuid(os.geteuid()).pw_dir)
    found = [path for name in (".profile", ".bash_profile", ".bash_login", ".bashrc") if (path := home / name).exists()]
    assert all(not path.read_bytes() for path in found)
    assert os.environ["HOME"] != str(home)
