"""The daemon in gVisor, whose kernel lacks much of what Linux has: what clients see is the same."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.daemon import ROOT

SANDBOX = ("runsc", "--ignore-cgroups", "--network=none", "--platform=ptrace", "do", "--")


@functools.cache
def why_not() -> str:
    """Why nothing can be run in gVisor here, found out by doing it; empty if it can."""
    if shutil.which("runsc") is None:
        return "no runsc"
    try:
        done = subprocess.run([*SANDBOX, "/bin/true"], capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return "runsc hangs"
    return "" if done.returncode == 0 else f"runsc: {done.stderr[-200:]}"


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each call of tests/support/gvisor.py came to, in one sandbox for all of them."""
    if why_not():
        pytest.skip(why_not())
    answers = Path(tmp_path_factory.mktemp("gvisor")) / "answers"
    command = [*SANDBOX, sys.executable, "-m", "tests.support.gvisor"]
    with answers.open("wb") as output:
        done = subprocess.run(command, cwd=ROOT, stdout=output, stderr=subprocess.PIPE, timeout=600, check=False)
    lines = [json.loads(line) for line in answers.read_text().splitlines() if line.startswith("[")]
    assert lines, done.stderr.decode(errors="replace")[-2000:]
    return dict(lines)


@pytest.mark.slow
@pytest.mark.parametrize(
    "call",
    [
        "stat",
        "list",
        "write",
        "overwrite",
        "download",
        "upload",
        "upload in parts",
        "archive",
        "extract",
        "find",
        "grep",
        "replace",
        "watch",
        "run",
        "large output",
        "terminal",
        "input",
        "kill",
        "as a user",
        "output after a kill of the server",
        "memory of a program that prints much",
    ],
)
def test_it_does_in_gvisor_what_it_does_elsewhere(said: dict[str, str], call: str):
    assert said.get(call) == "good", said
