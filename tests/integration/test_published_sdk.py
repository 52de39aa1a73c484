"""The newest published `e2b` package, unmodified, against a daemon on a free port; and our SDK in its place."""

from __future__ import annotations

import os
import pwd
from typing import Any

import pytest

from tests.support.daemon import Daemon
from tests.support.once import once
from tests.support.sdk import RUN_TIMEOUT_S, run_ours, run_python
from tests.support.tools import INSTALL_TIMEOUT_S

OWN_NAME = pwd.getpwuid(os.geteuid()).pw_name

pytestmark = pytest.mark.timeout(INSTALL_TIMEOUT_S + RUN_TIMEOUT_S)


@pytest.fixture(scope="module", params=["sync", "async", "ours-sync", "ours-async"])
def seen(request: pytest.FixtureRequest, daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the package saw in every scenario of the script."""
    kind = str(request.param)
    run = run_ours if kind.startswith("ours-") else run_python
    mode = kind.removeprefix("ours-")
    return once(tmp_path_factory, f"sdk-{kind}", lambda directory: run(mode, directory, daemon))[0]


def test_the_sandbox_is_running(seen):
    assert seen["is_running"] is True


def test_a_command_prints_to_both_streams(seen):
    assert seen["plain"] == {"stdout": "out\n", "stderr": "err\n", "exit_code": 0, "error": None}


def test_a_failing_command_raises_with_status_and_output(seen):
    failing = seen["failing"]
    assert failing["raised"] == "CommandExitException"
    assert (failing["exit_code"], failing["stdout"], failing["stderr"]) == (3, "out\n", "err\n")
    assert failing["error"] == "exit status 3"


def test_a_missing_command_is_the_shells_127(seen):
    missing = seen["missing"]
    assert (missing["raised"], missing["exit_code"]) == ("CommandExitException", 127)
    assert "no-such-command-here" in missing["stderr"]


def test_three_megabytes_arrive(seen):
    assert seen["large"] == 3_000_000


def test_a_character_cut_in_two_arrives_whole(seen):
    assert seen["split_characters"] == "ä"


@pytest.mark.parametrize("scenario", ["streaming", "background"])
def test_callbacks_are_called_while_the_command_runs(seen, scenario):
    expected = {"stdout": "one\ntwo\n", "stderr": "err\n", "exit_code": 0, "error": None}
    assert seen[scenario] == {**expected, "on_stdout": "one\ntwo\n", "on_stderr": "err\n"}


def test_waiting_for_a_failing_background_command_raises(seen):
    failing = seen["background_failing"]
    assert (failing["raised"], failing["exit_code"]) == ("CommandExitException", 4)


def test_input_reaches_a_command_and_closing_ends_it(seen):
    assert seen["stdin"] == {"stdout": "by pid\nby handle\n", "stderr": "", "exit_code": 0, "error": None}


def test_streamed_input_reaches_a_command(seen):
    assert seen["stream_input"]["stdout"] == "one two three"


def test_a_command_has_no_input_unless_asked_for(seen):
    assert seen["no_stdin"]["stdout"] == "end\n"


def test_a_killed_command_ends_and_is_not_found_any_more(seen):
    killed = seen["kill"]
    assert (killed["killed"], killed["again"]) == (True, False)
    assert (killed["raised"], killed["exit_code"], killed["error"]) == ("CommandExitException", -1, "signal: killed")


def test_a_handle_kills_its_command(seen):
    assert (seen["kill_by_handle"]["killed"], seen["kill_by_handle"]["exit_code"]) == (True, -1)


def test_a_running_command_is_listed_as_it_was_started(seen):
    expected = {"cmd": "/bin/bash", "args": ["-l", "-c", "sleep 1000"], "envs": {"A": "b"}, "cwd": "/tmp", "tag": None}
    assert seen["list"] == expected


def test_connecting_to_a_background_command_follows_it(seen):
    assert [(found["stdout"], found["exit_code"]) for found in seen["connect"]] == [("later\n", 0)] * 2


def test_connecting_again_misses_nothing(seen):
    assert seen["reconnect"] == "meanwhile\n"


def test_connecting_to_nothing_is_not_found(seen):
    assert seen["connect_to_nothing"]["raised"] == "NotFoundException"


def test_a_command_that_takes_too_long_times_out(seen):
    # Ours is a kind of TimeoutException that has the output until then.
    assert seen["timeout"]["raised"] in ("TimeoutException", "CommandTimeoutException")


def test_variables_reach_the_command(seen):
    assert seen["envs"] == "a b=c\n"


def test_the_working_directory_is_the_one_asked_for(seen):
    assert seen["cwd"] == "/usr\n"


def test_a_missing_working_directory_is_an_invalid_argument(seen):
    assert seen["missing_cwd"]["raised"] == "InvalidArgumentException"
    assert "cwd '/no/such/directory' does not exist" in seen["missing_cwd"]["text"]


@pytest.mark.skipif(OWN_NAME != "root", reason="only root starts programs as root")
def test_the_user_is_the_one_asked_for(seen):
    assert seen["user"] == "root\n"


def test_an_unknown_user_is_an_authentication_error(seen):
    assert seen["unknown_user"]["raised"] == "AuthenticationException"
