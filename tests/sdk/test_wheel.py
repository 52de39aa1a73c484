"""The distribution, installed where nothing else is."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.daemon import ROOT

INSTALL_S = 300

pytestmark = [pytest.mark.timeout(INSTALL_S * 2), pytest.mark.tools]

COMMAND = "from envd_sdk import Sandbox; print(Sandbox.local().commands.run('echo installed').stdout, end='')"
FILE = (
    "from envd_sdk import Sandbox; files = Sandbox.local().files; "
    "print(files.write({path!r}, 'written').name, files.read({path!r}))"
)


def finished(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=INSTALL_S, check=False)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of an environment with the wheel and what it needs; skips where there is no index."""
    directory = tmp_path_factory.mktemp("wheel")
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
        pytest.skip(f"no wheel can be built here: {built.stderr.strip().splitlines()[-1:]}")
    (wheel,) = directory.glob("*.whl")
    assert finished(sys.executable, "-m", "venv", str(directory / "venv"), cwd=directory).returncode == 0
    made = str(directory / "venv" / "bin" / "python")
    done = finished(made, "-m", "pip", "install", "--quiet", str(wheel), cwd=directory)
    if done.returncode:
        pytest.skip(f"what the wheel needs cannot be installed here: {done.stderr.strip().splitlines()[-1:]}")
    return made


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
