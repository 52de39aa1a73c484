"""Terminals through the published `e2b` packages, Python's and npm's, unmodified."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from tests.support.daemon import Daemon
from tests.support.once import once
from tests.support.sdk import RUN_TIMEOUT_S, run_node, run_ours, run_python
from tests.support.tools import INSTALL_TIMEOUT_S

PACKAGES = [
    pytest.param(("python-sync", partial(run_python, "sync-terminals")), id="python-sync"),
    pytest.param(("python-async", partial(run_python, "async-terminals")), id="python-async"),
    pytest.param(("ours-sync", partial(run_ours, "sync-terminals")), id="ours-sync"),
    pytest.param(("ours-async", partial(run_ours, "async-terminals")), id="ours-async"),
    pytest.param(("npm", partial(run_node, "terminals")), id="npm", marks=pytest.mark.tools),
]

pytestmark = pytest.mark.timeout(INSTALL_TIMEOUT_S + RUN_TIMEOUT_S)


@pytest.fixture(scope="module", params=PACKAGES)
def seen(request: pytest.FixtureRequest, daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the package saw in every scenario of its script."""
    name, run = request.param
    return once(tmp_path_factory, f"sdk-terminals-{name}", lambda directory: run(directory, daemon))[0]


def test_a_terminal_has_the_size_asked_for_and_takes_another(seen):
    before, after = seen["pty_size"]["text"].split("done-2")
    assert "24 80\r\n" in before
    assert "40 100\r\n" in after


def test_the_shell_in_a_terminal_ends_with_its_status(seen):
    assert (seen["pty_size"]["exit_code"], seen["pty_size"]["error"]) == (3, "exit status 3")


def test_a_terminal_has_the_environment_and_the_directory_asked_for(seen):
    assert "<xterm-256color|a b=c|/usr>\r\n" in seen["pty_environment"]["text"]


def test_a_shell_in_a_terminal_knows_its_terminal(seen):
    assert "/dev/pts/" in seen["pty_environment"]["text"]


def test_control_c_interrupts_what_runs_in_a_terminal_and_not_its_shell(seen):
    assert "status-130-2\r\n" in seen["pty_interrupt"]["text"]
    assert seen["pty_interrupt"]["exit_code"] == 0


def test_a_killed_terminal_ends_and_is_not_found_any_more(seen):
    killed = seen["pty_kill"]
    assert (killed["killed"], killed["again"]) == (True, False)
    assert (killed["exit_code"], killed["error"]) == (-1, "signal: killed")


def test_a_terminal_that_was_left_is_connected_to_again(seen):
    again = seen["pty_reconnect"]
    assert (again["same_pid"], again["exit_code"]) == (True, 5)
    assert "again-word\r\n" in again["text"]


def test_a_terminal_is_listed_as_its_shell(seen):
    assert seen["pty_list"] == {"cmd": "/bin/bash", "args": ["-i", "-l"]}
