"""@connectrpc/connect-node, unmodified, over each of its transports; the contract reaches it as descriptors only."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import ROOT, Daemon
from tests.support.process import NO_PID
from tests.support.tools import INSTALL_TIMEOUT_S, node, npm_packages, or_skip

SCRIPT = Path(__file__).parent / "node" / "connect.mjs"
PACKAGES = {"@bufbuild/protobuf": "2.17.0", "@connectrpc/connect": "2.2.0", "@connectrpc/connect-node": "2.2.0"}
WIRES = ["connect-json", "connect-proto", "grpc-web-json", "grpc-web-proto", "grpc", "grpc-gzip"]
RUN_TIMEOUT_S = 300

pytestmark = [pytest.mark.tools, pytest.mark.timeout(INSTALL_TIMEOUT_S + RUN_TIMEOUT_S)]


@pytest.fixture(scope="module")
def packages() -> Path:
    return or_skip(lambda: npm_packages(PACKAGES))


@pytest.fixture(scope="module")
def descriptors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The contract of programs and terminals, compiled."""
    path = tmp_path_factory.mktemp("contract") / "contract.binpb"
    protoc = [sys.executable, "-m", "grpc_tools.protoc", "-Ienvd_proto=proto", "--include_imports"]
    files = ["proto/process/process.proto", "proto/pty/pty.proto"]
    subprocess.run([*protoc, f"--descriptor_set_out={path}", *files], cwd=ROOT, check=True)
    return path


@pytest.fixture(scope="module", params=WIRES)
def seen(request: pytest.FixtureRequest, daemon: Daemon, packages: Path, descriptors: Path) -> dict[str, Any]:
    """What the package saw in every scenario of the script."""
    command = [node(), str(SCRIPT), str(packages), f"http://127.0.0.1:{daemon.port}", str(descriptors), request.param]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=RUN_TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_program_streams_its_output_and_its_end(seen):
    assert seen["start"] == {"stdout": "out\n", "stderr": "err\n", "exitCode": 3, "status": "exit status 3"}


def test_three_megabytes_arrive_whole(seen):
    assert seen["large"] == 3_000_000


def test_a_running_program_is_listed(seen):
    found = seen["list"]
    assert (found["cmd"], found["args"]) == ("/bin/sh", ["-c", "read -r line"])
    assert found["tag"].startswith("listed-")


def test_input_reaches_a_program_and_closing_ends_it(seen):
    assert (seen["input"]["stdout"], seen["input"]["exitCode"]) == ("got one\n", 4)


def test_input_reaches_a_program_while_its_stream_is_open(seen):
    assert (seen["streamInput"]["stdout"], seen["streamInput"]["exitCode"]) == ("got one\ngot two\n", 0)


def test_a_killed_program_ends(seen):
    assert (seen["kill"]["exitCode"], seen["kill"]["status"]) == (-1, "signal: killed")


def test_an_abandoned_program_is_found_again(seen):
    assert (seen["reconnect"]["stdout"], seen["reconnect"]["exitCode"]) == ("got later\n", 0)


@pytest.mark.parametrize("scenario", ["notFound", "notFoundStream"])
def test_a_pid_that_is_not_there_is_not_found(seen, scenario):
    assert seen[scenario]["code"] == "NotFound"
    assert str(NO_PID) in seen[scenario]["message"]


def test_a_deadline_ends_the_call(seen):
    assert seen["deadline"]["code"] == "DeadlineExceeded"


def test_a_conversation_with_a_terminal_goes_both_ways_on_one_stream(seen):
    assert seen["terminal"] == {"shown": "ready\r\ngot one\r\n40 100\r\n", "exitCode": 7}
