"""What the daemon's own processes are called: an agent that ends its Python programs must not end the daemon."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.connect import Client, Codec
from tests.support.daemon import Daemon
from tests.support.kernel import descendants
from tests.support.process import Processes, shell, start_request
from tests.support.searching import Search

WORD = b"python"
_ISOLATED = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
# Finds the word everywhere a tool does, in the process itself and all below it but the programs.
_KILLS = {
    "pkill python": "pkill",
    "pkill -x python3; pkill -x python": "pkill",
    "pkill -f python": "pkill",
    "killall -q python python3": "killall",
    "kill $(pidof python3 python)": "pidof",
    "kill $(pgrep -f python)": "pgrep",
}


def names(pid: int) -> tuple[bytes, bytes]:
    return Path(f"/proc/{pid}/comm").read_bytes().strip(), Path(f"/proc/{pid}/cmdline").read_bytes().strip(b"\0")


def test_keeper_and_server_have_names_of_their_own(daemon: Daemon) -> None:
    assert names(daemon.pid) == (b"envd", b"envd")
    assert names(daemon.server_pid()) == (b"envd-server", b"envd-server")


def test_threads_of_the_daemon_are_not_called_by_the_interpreters_name(daemon: Daemon) -> None:
    for pid in (daemon.pid, *descendants(daemon.pid)):
        if names(pid)[0].startswith(b"envd"):
            threads = [path.read_bytes() for path in Path(f"/proc/{pid}/task").glob("*/comm")]
            assert threads
            assert not [name for name in threads if WORD in name]


async def test_a_process_that_searches_has_a_name_of_its_own(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("needle\n")
    found_lines = await Search(Client(daemon.port, Codec.JSON)).grep(tmp_path, "needle")
    assert found_lines.summary.files_matched == 1
    found = [names(pid) for pid in descendants(daemon.server_pid())]
    assert (b"envd-search", b"envd-search") in found


@pytest.fixture
def isolated(request: pytest.FixtureRequest) -> list[str]:
    """A command that runs another one where it sees no process but its own."""
    probe = subprocess.run([*_ISOLATED, "true"], capture_output=True, check=False, timeout=60)
    if probe.returncode:
        pytest.skip("cannot make a pid namespace")
    return _ISOLATED


@pytest.mark.parametrize("kill", _KILLS)
async def test_ending_all_python_programs_leaves_the_daemon_alone(isolated: list[str], kill: str) -> None:
    if shutil.which(_KILLS[kill]) is None:
        pytest.skip(f"no {_KILLS[kill]} here")
    command = [*isolated, sys.executable, "-m", "envd", "--port", "0", "--listen", "127.0.0.1"]
    daemon = Daemon.run(command)
    try:
        processes = Processes(Client(daemon.port, Codec.PROTO))
        victim = start_request(sys.executable, "-c", "print('ready', flush=True); input()", stdin=True)
        async with processes.start(victim) as follower:
            await follower.until(b"ready\n")
            await processes.run(shell(kill))  # which some of them hit as well
            # The agent's own program ends, so the command did look.
            assert (await follower.rest()).end.signal == signal.SIGTERM
        assert (await processes.run(shell("echo alive"))).stdout == b"alive\n"
        assert not [line for line in daemon.stderr if "restarting" in line]
    finally:
        daemon.stop(force=True)
