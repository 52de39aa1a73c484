"""The distribution, installed where nothing else is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import ROOT
from tests.support.home import real_home
from tests.support.once import once

INSTALL_S = 300

pytestmark = [pytest.mark.timeout(INSTALL_S * 2), pytest.mark.tools]

COMMAND = "from envd_sdk import Sandbox; print(Sandbox.local().commands.run('echo installed').stdout, end='')"
FILE = (
    "from envd_sdk import Sandbox; files = Sandbox.local().files; "
    "print(files.write({path!r}, 'written').name, files.read({path!r}))"
)


def finished(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd,
        # pip's settings and cache are those of whoever runs the tests.
        env={**os.environ, "HOME": real_home()},
        capture_output=True,
        text=True,
        timeout=INSTALL_S,
        check=False,
    )


def installed(directory: Path) -> dict[str, Any]:
    """Install the wheel, and what it needs, into an environment below a directory: its interpreter, or why not."""
    source = directory / "source"
    # Building leaves things beside the sources.
    source.mkdir()
    for name in ("envd", "envd_proto", "envd_sdk"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    built = finished(
        sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(directory), str(source), cwd=directory
    )
    if built.returncode:
        return {"why_not": f"no wheel can be built here: {built.stderr.strip().splitlines()[-1:]}"}
    (wheel,) = directory.glob("*.whl")
    assert finished(sys.executable, "-m", "venv", "--without-pip", "venv", cwd=directory).returncode == 0
    made = str(directory / "venv" / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", made]
    done = finished(*pip, "install", "--quiet", "--no-compile", str(wheel), cwd=directory)
    if done.returncode:
        return {"why_not": f"what the wheel needs cannot be installed here: {done.stderr.strip().splitlines()[-1:]}"}
    return {"python": made}


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of an environment with the wheel and what it needs; skips where there is no index."""
    found, _ = once(tmp_path_factory, "wheel", installed)
    if "why_not" in found:
        pytest.skip(found["why_not"])
    return str(found["python"])


def test_a_command_runs_in_one_line(python: str, tmp_path: Path):
    done = finished(python, "-c", COMMAND, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "installed\n"), done.stderr


def test_a_file_is_written_and_read_in_one_line(python: str, tmp_path: Path):
    done = finished(python, "-c", FILE.format(path=str(tmp_path / "file")), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "file written\n"), done.stderr


def test_a_control_plane_needs_an_extra_and_says_so(python: str, tmp_path: Path):
    line = "from envd_sdk import Sandbox; Sandbox.create(api_key='e2b_0', api_url='http://127.0.0.1:9')"
    done = finished(python, "-c", line, cwd=tmp_path)
    assert done.returncode == 1
    assert "pip install 'sandbox-envd[sdk]'" in done.stderr


def test_types_are_there_for_whoever_checks_them(python: str, tmp_path: Path):
    where = finished(python, "-c", "import envd_sdk; print(envd_sdk.__path__[0])", cwd=tmp_path).stdout.strip()
    assert (Path(where) / "py.typed").exists()
    assert tmp_path not in Path(where).parents
