"""The token the operator gives at the start: it holds from the first connection on, and nothing shows it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.connect import basic
from tests.support.daemon import ROOT, Daemon
from tests.support.http1 import exchange
from tests.support.kernel import descendants
from tests.support.system import post_init, token_header

TOKEN = "a-token-given-at-the-start"
LOOPBACK = ("--port", "0", "--listen", "127.0.0.1")


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    return path


@pytest.fixture(params=["file", "environment"])
def guarded(request: pytest.FixtureRequest, token_file: Path) -> Iterator[Daemon]:
    if request.param == "file":
        started = Daemon.start(*LOOPBACK, "--access-token-file", str(token_file))
    else:
        started = Daemon.start(*LOOPBACK, env={"ENVD_ACCESS_TOKEN": TOKEN})
    yield started
    started.stop()
    assert TOKEN not in started.log(lines=5000)


async def status_of_envs(port: int, *headers: dict[str, str]) -> int:
    merged = {name: value for some in headers for name, value in some.items()}
    return (await exchange(port, "GET", "/envs", headers=merged)).status


async def test_it_holds_from_the_first_call_on_and_across_servers(guarded: Daemon):
    assert await status_of_envs(guarded.port) == 401
    assert await status_of_envs(guarded.port, token_header(TOKEN)) == 200
    guarded.kill_server()
    assert await status_of_envs(guarded.port) == 401
    assert await status_of_envs(guarded.port, token_header(TOKEN)) == 200


async def test_init_repeats_it_and_sets_no_other(guarded: Daemon):
    assert (await post_init(guarded.port, {"accessToken": "another"})).status == 401
    assert (await post_init(guarded.port, {})).status == 401
    assert (await post_init(guarded.port, {"accessToken": TOKEN})).status == 204


async def test_no_environment_and_no_command_line_has_it(guarded: Daemon):
    assert await status_of_envs(guarded.port, token_header(TOKEN)) == 200
    for pid in (guarded.pid, *descendants(guarded.pid)):
        for name in ("environ", "cmdline"):
            assert TOKEN.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()
    variables = await exchange(guarded.port, "GET", "/envs", headers=token_header(TOKEN))
    assert "ENVD_ACCESS_TOKEN" not in variables.body.decode()


def refusal(*arguments: str, env: dict[str, str] | None = None) -> str:
    """What the command says as it ends without having bound anything."""
    command = [sys.executable, "-m", "envd", *LOOPBACK, *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **(env or {})}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert TOKEN not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        ("", 0o600, "is empty"),
        ("\n", 0o600, "is empty"),
        (TOKEN, 0o644, "chmod o-rw"),
        (TOKEN, 0o602, "chmod o-rw"),
        ('with "quotes"', 0o600, "cannot be an access token"),
        (" in front", 0o600, "cannot be an access token"),
        (f"{TOKEN}\nand a line more", 0o600, "cannot be an access token"),
        ("x" * 70_000, 0o600, "larger than"),
    ],
)
def test_a_file_that_cannot_hold_a_token_is_told(token_file: Path, content: str, mode: int, said: str):
    token_file.write_text(content)
    token_file.chmod(mode)
    assert said in refusal("--access-token-file", str(token_file))


def test_a_file_that_is_not_there_is_told(tmp_path: Path):
    assert "no such file" in refusal("--access-token-file", str(tmp_path / "none")).lower()
    assert "is a directory" in refusal("--access-token-file", str(tmp_path)).lower()


def test_an_empty_variable_is_no_open_daemon():
    assert "ENVD_ACCESS_TOKEN is empty" in refusal(env={"ENVD_ACCESS_TOKEN": ""})


def test_two_tokens_are_one_too_many(token_file: Path):
    said = refusal("--access-token-file", str(token_file), env={"ENVD_ACCESS_TOKEN": TOKEN})
    assert "both given" in said


def test_a_group_may_share_the_file_and_a_link_may_lead_to_it(token_file: Path, tmp_path: Path):
    token_file.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(token_file)
    started = Daemon.start(*LOOPBACK, "--access-token-file", str(link))
    started.stop()


@pytest.mark.parametrize(("given", "warned"), [({}, True), ({"ENVD_ACCESS_TOKEN": TOKEN}, False)])
def test_the_warning_at_the_start_says_how(given: dict[str, str], warned: bool):  # noqa: FBT001 - a parameter
    started = Daemon.start("--port", "0", "--listen", "0.0.0.0", env=given)
    started.stop()
    assert ("--access-token-file" in started.log(lines=5000)) is warned


async def test_a_user_without_it_is_refused_before_the_user_is_looked_at(guarded: Daemon):
    assert await status_of_envs(guarded.port, basic("no-such-user")) == 401
