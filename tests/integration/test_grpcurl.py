"""grpcurl, unmodified, finds its way around by reflection alone: no contract file is given to it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.process import NO_PID
from tests.support.tools import INSTALL_TIMEOUT_S, GoTool, or_skip

GRPCURL = GoTool("github.com/fullstorydev/grpcurl", "v1.9.4", "cmd/grpcurl")
CALL_TIMEOUT_S = 60.0
NOT_FOUND = 64 + 5  # grpcurl's exit status of a call that failed: 64 and the code

pytestmark = [pytest.mark.tools, pytest.mark.timeout(INSTALL_TIMEOUT_S + 60)]


@pytest.fixture(scope="module")
def grpcurl() -> Path:
    return or_skip(GRPCURL.install)


def call(grpcurl: Path, daemon: Daemon, *arguments: str, data: object = None) -> subprocess.CompletedProcess[str]:
    options = () if data is None else ("-d", json.dumps(data))
    command = [str(grpcurl), "-plaintext", "-connect-timeout", "5", *options, f"127.0.0.1:{daemon.port}", *arguments]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=CALL_TIMEOUT_S, check=False
    )


def answer(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def messages(text: str) -> list[dict[str, object]]:
    """The JSON objects it printed one after the other."""
    found, decoder = [], json.JSONDecoder()
    while text := text.lstrip():
        message, end = decoder.raw_decode(text)
        found.append(message)
        text = text[end:]
    return found


def test_it_lists_the_services(grpcurl, daemon):
    listed = answer(call(grpcurl, daemon, "list")).splitlines()
    assert {"process.Process", "grpc.health.v1.Health"} <= set(listed)
    assert any(name.startswith("grpc.reflection.") for name in listed)


def test_it_lists_the_methods_of_a_service(grpcurl, daemon):
    listed = answer(call(grpcurl, daemon, "list", "process.Process")).splitlines()
    assert {"process.Process.Start", "process.Process.StreamInput"} <= set(listed)


def test_it_describes_the_service(grpcurl, daemon):
    described = answer(call(grpcurl, daemon, "describe", "process.Process"))
    assert "rpc Start ( .process.StartRequest ) returns ( stream .process.StartResponse );" in described
    assert "rpc StreamInput ( stream .process.StreamInputRequest )" in described


def test_it_describes_a_message(grpcurl, daemon):
    described = answer(call(grpcurl, daemon, "describe", "process.StartRequest"))
    assert ".process.ProcessConfig process = 1;" in described


def test_it_starts_a_program_and_prints_what_it_does(grpcurl, daemon):
    request = {"process": {"cmd": "ls", "args": ["-l", "/"]}}
    events = [
        message["event"] for message in messages(answer(call(grpcurl, daemon, "process.Process/Start", data=request)))
    ]
    assert events[0]["start"]["pid"] > 0
    assert "stdout" in events[1]["data"]
    assert (events[-1]["end"]["exited"], events[-1]["end"]["status"]) == (True, "exit status 0")


def test_the_daemon_is_healthy(grpcurl, daemon):
    health = answer(call(grpcurl, daemon, "grpc.health.v1.Health/Check"))
    assert json.loads(health) == {"status": "SERVING"}


def test_an_error_has_its_code_and_message(grpcurl, daemon):
    request = {"process": {"pid": NO_PID}, "signal": "SIGNAL_SIGTERM"}
    done = call(grpcurl, daemon, "process.Process/SendSignal", data=request)
    assert done.returncode == NOT_FOUND
    assert "Code: NotFound" in done.stderr
    assert str(NO_PID) in done.stderr
