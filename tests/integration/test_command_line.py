"""The command line: this daemon's options and those of the reference, in the reference's spellings."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from envd import __version__
from tests.support.daemon import running_daemon


def envd(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A command line that does not start a daemon."""
    command = [sys.executable, "-m", "envd", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("flag", ["--version", "-version", "--commit", "-commit"])
def test_the_version_is_printed(flag: str) -> None:
    done = envd(flag)
    assert (done.returncode, done.stdout) == (0, f"{__version__}\n")


@pytest.mark.parametrize("arguments", [["-nope"], ["--port", "70000"], ["--port", "x"], ["-isnotfc=maybe"], ["extra"]])
def test_a_wrong_command_line_exits_with_2_and_says_why(arguments: list[str]) -> None:
    done = envd(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: envd" in done.stderr


def test_an_address_that_cannot_be_bound_exits_with_1_and_says_which() -> None:
    done = envd("--listen", "203.0.113.1", "--port", "0")
    assert (done.returncode, done.stdout) == (1, "")
    assert "203.0.113.1" in done.stderr


def test_a_file_is_not_mistaken_for_an_old_socket(tmp_path) -> None:
    path = tmp_path / "precious"
    path.write_text("kept")
    assert envd("--listen", f"unix:{path}").returncode == 1
    assert path.read_text() == "kept"


@pytest.mark.parametrize(
    "arguments",
    [
        ["-isnotfc", "-no-cgroups", "-verbose", "-cgroup-root", "/sys/fs/cgroup"],
        ["--isnotfc=true", "--no-cgroups=false", "--verbose=false", "--cgroup-root=/x", "--resume-handover"],
    ],
)
async def test_the_flags_of_the_reference_are_accepted(arguments: list[str]) -> None:
    async with running_daemon(*arguments) as daemon:
        assert daemon.ready["version"] == __version__


def test_every_option_may_have_one_dash_or_two() -> None:
    text = envd("--help").stdout
    options = set(re.findall(r"^  --([a-z-]+)", text, re.MULTILINE))
    assert {option for option in options if not re.search(rf"(?<!-)-{option}\b", text)} == set()
    assert "strict-users" in options


async def test_options_of_our_own_take_one_dash(tmp_path) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    token.chmod(0o600)
    arguments = ("-access-token-file", str(token), "-allow-origin=*", "-allow-host", "box.example", "-strict-users")
    async with running_daemon(*arguments) as daemon:
        assert daemon.ready["version"] == __version__
