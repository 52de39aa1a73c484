"""Programs and packages of other ecosystems that tests run: pinned, installed once into .venv, shared by all workers.

Nothing here is needed to use envd. Where a program or its registry cannot be reached, `UnavailableError` says so and
the tests are skipped; an installation that fails although they can be reached is an error.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from tests.support.home import real_home

CACHE = Path(__file__).resolve().parents[2] / ".venv" / "tools"
# A cold build of the largest tool takes half a minute of two idle cores.
INSTALL_TIMEOUT_S = 420

T = TypeVar("T")


class UnavailableError(Exception):
    """A tool that this machine does not have and cannot install; the message says what is missing."""


class InstallError(Exception):
    """A tool whose installation failed, although all it needs is there."""


@dataclass(frozen=True, slots=True)
class GoTool:
    """A command of a Go module, at one version."""

    module: str
    version: str
    package: str

    def install(self) -> Path:
        """Return the path of the command, built now if it was not before."""
        name = self.package.rpartition("/")[2]
        folder = CACHE / f"{name}@{self.version}"
        with _once(folder) as missing:
            if missing:
                self.sources()
                _install("go", "install", f"{self.module}/{self.package}@{self.version}", env={"GOBIN": str(folder)})
        return folder / name

    def sources(self) -> Path:
        """Return the folder in Go's own cache that holds the module's sources."""
        told = _probe(_path_of("go"), "mod", "download", "-json", f"{self.module}@{self.version}")
        return Path(json.loads(told)["Dir"])


def npm_packages(versions: Mapping[str, str]) -> Path:
    """Return a folder whose node_modules has these packages, at these versions."""
    node()
    manifest = json.dumps({"private": True, "dependencies": dict(versions)}, sort_keys=True)
    folder = CACHE / f"npm-{hashlib.sha256(manifest.encode()).hexdigest()[:12]}"
    with _once(folder) as missing:
        if missing:
            for name, version in versions.items():
                _probe(_path_of("npm"), "view", "--fetch-retries=0", f"{name}@{version}", "version")
            (folder / "package.json").write_text(manifest)
            _install("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error", cwd=folder)
    return folder


def node() -> str:
    """Return the path of Node; version 20 is the oldest the packages support."""
    path = _path_of("node")
    version = _probe(path, "--version").strip()
    if int(version.removeprefix("v").split(".")[0]) < 20:
        raise UnavailableError(f"{path} is {version}, and the packages need 20 or newer")
    return path


def or_skip(wanted: Callable[[], T]) -> T:
    """Return what a function installs, or skip the test with the reason why it cannot."""
    try:
        return wanted()
    except UnavailableError as exc:
        pytest.skip(str(exc))


def _path_of(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise UnavailableError(f"{name} is not on the path")
    return path


def _probe(*command: str) -> str:
    """Return what a command prints that only works where the tool and its registry are there."""
    done = _run(command)
    if done.returncode:
        raise UnavailableError(_complaint(command, done))
    return done.stdout


def _install(*command: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> None:
    done = _run(command, env=env, cwd=cwd)
    if done.returncode:
        kind = UnavailableError if "requires go >=" in done.stderr else InstallError
        raise kind(_complaint(command, done))


def _run(
    command: tuple[str, ...], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    CACHE.mkdir(parents=True, exist_ok=True)
    try:
        return subprocess.run(
            command,
            env={**os.environ, "HOME": real_home(), **(env or {})},
            cwd=cwd or CACHE,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"not finished after {INSTALL_TIMEOUT_S} s")


def _complaint(command: tuple[str, ...], done: subprocess.CompletedProcess[str]) -> str:
    said = [line.strip() for line in (done.stderr or done.stdout).splitlines()]
    told = [line for line in said if line and not line.startswith("go: downloading")]
    return f"{' '.join(command)}: {' / '.join(told[:4])}"


@contextmanager
def _once(folder: Path) -> Iterator[bool]:
    """Hold the folder's lock; say whether it still has to be filled. It counts as filled when the block ends well."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        complete = folder / ".complete"
        missing = not complete.exists()
        yield missing
        complete.touch()
