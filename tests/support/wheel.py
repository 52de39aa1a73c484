"""The distribution as a wheel, built once in a run, and environments to install it in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import ROOT
from tests.support.home import real_home
from tests.support.once import once

INSTALL_S = 300
# What stands in the repository and goes into a wheel.
SOURCES = ("envd", "envd_proto", "envd_sdk", "pyproject.toml", "README.md", "LICENSE")


def finished(*command: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd,
        # pip's settings and cache are those of whoever runs the tests.
        env={**os.environ, "HOME": real_home(), **(env or {})},
        capture_output=True,
        text=True,
        timeout=INSTALL_S,
        check=False,
    )


def wheel_of_this(factory: pytest.TempPathFactory) -> Path:
    """The wheel; skips where none can be built because there is no package index."""
    found, _ = once(factory, "wheel", _built)
    return Path(_value(found))


def python_with(factory: pytest.TempPathFactory, name: str, requirements: Sequence[str] | None = None) -> str:
    """The interpreter of an environment with the wheel and what it needs; skips where there is no package index.

    Args:
        factory: of the directory it is in.
        name: tells environments of one run apart.
        requirements: what is installed beside the wheel, not what the wheel asks for here.
    """
    wheel = wheel_of_this(factory)
    found, _ = once(factory, name, lambda directory: _installed(directory, wheel, requirements))
    return _value(found)


def _value(found: dict[str, Any]) -> str:
    if "why_not" in found:
        pytest.skip(found["why_not"])
    return str(found["path"])


def _built(directory: Path) -> dict[str, Any]:
    source = directory / "source"
    # Building leaves things beside the sources.
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    pip = (sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(directory), str(source))
    built = finished(*pip, cwd=directory)
    if built.returncode:
        return {"why_not": f"no wheel can be built here: {built.stderr.strip().splitlines()[-1:]}"}
    (wheel,) = directory.glob("*.whl")
    return {"path": str(wheel)}


def _installed(directory: Path, wheel: Path, requirements: Sequence[str] | None) -> dict[str, Any]:
    assert finished(sys.executable, "-m", "venv", "--without-pip", "venv", cwd=directory).returncode == 0
    made = str(directory / "venv" / "bin" / "python")
    install = (sys.executable, "-m", "pip", "--python", made, "install", "--quiet", "--no-compile")
    done = finished(*install, *(("--no-deps",) if requirements is not None else ()), str(wheel), cwd=directory)
    if requirements and not done.returncode:
        done = finished(*install, *requirements, cwd=directory)
    if done.returncode:
        return {"why_not": f"what the wheel needs cannot be installed here: {done.stderr.strip().splitlines()[-1:]}"}
    return {"path": made}
