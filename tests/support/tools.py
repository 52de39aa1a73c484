"""Programs and packages of other ecosystems that tests run: pinned, installed once into .venv, shared by all workers.

Nothing here is needed to use envd. Where a tool cannot be had, `UnavailableError` says why and its tests are skipped.
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

CACHE = Path(__file__).resolve().parents[2] / ".venv" / "tools"
# A cold build of the largest tool takes a minute of two cores.
INSTALL_TIMEOUT_S = 420

T = TypeVar("T")


class UnavailableError(Exception):
    """A tool that this machine does not have and could not install; the message says what was missing."""


@dataclass(frozen=True, slots=True)
class GoTool:
    """A command of a Go module, at one version."""

    module: str
    version: str
    package: str

    def install(self) -> Path:
        """Return the path of the command, built now if it was not before."""
        folder = CACHE / f"{self.package.rpartition('/')[2]}@{self.version}"
        command = folder / self.package.rpartition("/")[2]
        with _once(folder) as missing:
            if missing:
                run("go", "install", f"{self.module}/{self.package}@{self.version}", env={"GOBIN": str(folder)})
        return command

    def sources(self) -> Path:
        """Return the folder in Go's own cache that holds the module's sources."""
        told = run("go", "mod", "download", "-json", f"{self.module}@{self.version}", env={"GOFLAGS": "-mod=mod"})
        return Path(json.loads(told)["Dir"])


def npm_packages(versions: Mapping[str, str]) -> Path:
    """Return a folder whose node_modules has these packages, at these versions."""
    manifest = json.dumps({"private": True, "type": "module", "dependencies": dict(versions)}, sort_keys=True)
    folder = CACHE / f"npm-{hashlib.sha256(manifest.encode()).hexdigest()[:12]}"
    node()
    with _once(folder) as missing:
        if missing:
            (folder / "package.json").write_text(manifest)
            run("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error", cwd=folder)
    return folder


def node() -> str:
    """Return the path of Node; version 20 is the oldest the packages support."""
    path = _path_of("node")
    version = run(path, "--version").strip()
    if int(version.removeprefix("v").split(".")[0]) < 20:
        raise UnavailableError(f"{path} is {version}, and the packages need 20 or newer")
    return path


def run(*command: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Return what a command of an ecosystem prints.

    Raises:
        UnavailableError: it is not on the path, failed, or did not finish in seven minutes.
    """
    try:
        done = subprocess.run(
            [_path_of(command[0]), *command[1:]],
            env={**os.environ, **(env or {})},
            cwd=cwd or CACHE,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"{' '.join(command)} did not finish in {INSTALL_TIMEOUT_S} s") from None
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise UnavailableError(f"{' '.join(command)}: {' / '.join(last)}")
    return done.stdout


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
    CACHE.mkdir(parents=True, exist_ok=True)
    return path


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
