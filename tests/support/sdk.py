"""Where tests get the published `e2b` packages from, and how their scripts are run.

They run in subprocesses: the Python package's generated stubs and ours cannot share one.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import Daemon
from tests.support.tools import CACHE, INSTALL_TIMEOUT_S, node, npm_packages, or_skip

SCRIPTS = Path(__file__).resolve().parents[1] / "integration"
NPM = {"e2b": "2.51.0"}
RUN_TIMEOUT_S = 300
GIGABYTE_TIMEOUT_S = 400  # a client takes half a minute for it when nothing else runs


def run_python(mode: str, directory: Path, daemon: Daemon) -> dict[str, Any]:
    """What the newest release of the Python package saw in every scenario of sdk_script.py."""
    return _run([_python(), str(SCRIPTS / "sdk_script.py"), mode, str(directory)], daemon)


def run_ours(mode: str, directory: Path, daemon: Daemon) -> dict[str, Any]:
    """What the SDK of this repository saw in the same scenarios: the script finds it by the published name."""
    as_published = f"import sys, envd_sdk; sys.modules['e2b'] = envd_sdk; sys.path.insert(0, {str(SCRIPTS)!r})"
    script = str(SCRIPTS / "sdk_script.py")
    run = f"{as_published}; import runpy; runpy.run_path({script!r}, run_name='__main__')"
    return _run([sys.executable, "-W", "error", "-X", "dev", "-c", run, mode, str(directory)], daemon)


def run_node(mode: str, directory: Path, daemon: Daemon) -> dict[str, Any]:
    """What the npm package saw in every scenario of e2b.mjs."""
    packages = or_skip(lambda: npm_packages(NPM))
    return _run([node(), str(SCRIPTS / "node" / "e2b.mjs"), str(packages), str(directory), mode], daemon)


def send_gigabyte(kind: str, path: Path, daemon: Daemon) -> dict[str, Any]:
    """The SHA-256 of what a package sent to a path, and of what it got back from there; kind: sync, async, node."""
    if kind == "node":
        packages = or_skip(lambda: npm_packages(NPM))
        command = [node(), str(SCRIPTS / "node" / "gigabyte.mjs"), str(packages)]
    else:
        command = [_python(), str(SCRIPTS / "sdk_gigabyte.py"), kind]
    return _run([*command, str(path)], daemon, GIGABYTE_TIMEOUT_S)


def _run(command: list[str], daemon: Daemon, timeout_s: float = RUN_TIMEOUT_S) -> dict[str, Any]:
    done = subprocess.run(
        command,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("E2B_")},
            "E2B_DEBUG": "true",
            "E2B_SANDBOX_URL": f"http://127.0.0.1:{daemon.port}",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, (done.returncode, done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _python() -> str:
    """An interpreter that has the package: this one, or a virtual environment's."""
    if importlib.util.find_spec("e2b") is not None:
        return sys.executable
    return _install(CACHE / "published-sdk" / "venv")


def _install(directory: Path) -> str:
    """The interpreter of a virtual environment with the newest release; skips where there is no way to get one."""
    python = str(directory / "bin" / "python")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with (directory.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in (
            [sys.executable, "-m", "venv", str(directory)],
            [python, "-m", "pip", "install", "--quiet", "--upgrade", "e2b"],
        ):
            done = _finished(*command)
            if done.returncode and not (
                os.path.exists(python) and _finished(python, "-c", "import e2b").returncode == 0
            ):
                last = (done.stderr or done.stdout).strip().splitlines()[-1:]
                pytest.skip(f"the e2b package cannot be installed here: {' '.join(command)}: {' '.join(last)}")
    return python


def _finished(*command: str) -> subprocess.CompletedProcess[str]:
    """A finished command; one that took too long counts as failed."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S / 4, check=False)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"not finished after {INSTALL_TIMEOUT_S / 4} s")
