"""The published npm `e2b` package, unmodified, against a daemon on a free port."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.daemon import Daemon
from tests.support.once import once
from tests.support.sdk import RUN_TIMEOUT_S, run_node
from tests.support.tools import INSTALL_TIMEOUT_S

pytestmark = [pytest.mark.tools, pytest.mark.timeout(INSTALL_TIMEOUT_S + RUN_TIMEOUT_S)]


@pytest.fixture(scope="module")
def seen(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the package saw in every scenario of the script."""
    return once(tmp_path_factory, "sdk-node", lambda directory: run_node("commands", directory, daemon))[0]


def test_the_sandbox_is_running(seen):
    assert seen["isRunning"] is True


def test_a_command_prints_to_both_streams(seen):
    assert seen["plain"] == {"stdout": "out\n", "stderr": "err\n", "exitCode": 0, "error": None}


def test_a_failing_command_throws_with_status_and_output(seen):
    failing = seen["failing"]
    assert failing["raised"] == "CommandExitError"
    assert (failing["exitCode"], failing["stdout"], failing["stderr"]) == (3, "out\n", "err\n")
    assert failing["error"] == "exit status 3"


def test_a_missing_command_is_the_shells_127(seen):
    assert (seen["missing"]["raised"], seen["missing"]["exitCode"]) == ("CommandExitError", 127)
    assert "no-such-command-here" in seen["missing"]["stderr"]


def test_three_megabytes_arrive(seen):
    assert seen["large"] == 3_000_000


def test_callbacks_are_called_while_the_command_runs(seen):
    expected = {"stdout": "one\ntwo\n", "stderr": "err\n", "exitCode": 0, "error": None}
    assert seen["background"] == {**expected, "onStdout": "one\ntwo\n", "onStderr": "err\n"}


def test_input_reaches_a_command_and_closing_ends_it(seen):
    assert seen["stdin"] == {"stdout": "by pid\nby handle\n", "stderr": "", "exitCode": 0, "error": None}


def test_a_command_has_no_input_unless_asked_for(seen):
    assert seen["noStdin"]["stdout"] == "end\n"


def test_a_killed_command_ends_and_is_not_found_any_more(seen):
    killed = seen["kill"]
    assert (killed["killed"], killed["again"]) == (True, False)
    assert (killed["raised"], killed["exitCode"], killed["error"]) == ("CommandExitError", -1, "signal: killed")


def test_a_running_command_is_listed_as_it_was_started(seen):
    found = seen["list"]
    assert (found["cmd"], found["args"]) == ("/bin/bash", ["-l", "-c", "sleep 1000"])
    assert (found["envs"], found["cwd"]) == ({"A": "b"}, "/tmp")


def test_connecting_to_a_background_command_follows_it(seen):
    assert [(found["stdout"], found["exitCode"]) for found in seen["connect"]] == [("later\n", 0)] * 2


def test_connecting_again_misses_nothing(seen):
    assert seen["reconnect"] == "meanwhile\n"


def test_connecting_to_nothing_is_not_found(seen):
    assert seen["connectToNothing"]["raised"] == "NotFoundError"


def test_a_command_that_takes_too_long_times_out(seen):
    assert seen["timeout"]["raised"] == "TimeoutError"


def test_the_working_directory_is_the_one_asked_for(seen):
    assert seen["cwd"] == "/usr\n"


def test_a_missing_working_directory_is_an_invalid_argument(seen):
    assert seen["missingCwd"]["raised"] == "InvalidArgumentError"
    assert "cwd '/no/such/directory' does not exist" in seen["missingCwd"]["text"]


def test_an_unknown_user_is_an_authentication_error(seen):
    assert seen["unknownUser"]["raised"] == "AuthenticationError"
