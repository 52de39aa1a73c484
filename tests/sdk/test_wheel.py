"""The distribution, installed where nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from envd import __version__
from tests.support.wheel import INSTALL_S, finished, python_with

pytestmark = [pytest.mark.timeout(INSTALL_S * 2), pytest.mark.tools]

COMMAND = "from envd_sdk import Sandbox; print(Sandbox.local().commands.run('echo installed').stdout, end='')"
FILE = (
    "from envd_sdk import Sandbox; files = Sandbox.local().files; "
    "print(files.write({path!r}, 'written').name, files.read({path!r}))"
)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of an environment with the wheel and what it needs here."""
    return python_with(tmp_path_factory, "installed")


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
    line = "import envd, envd_proto, envd_sdk; print(envd.__path__[0], envd_proto.__path__[0], envd_sdk.__path__[0])"
    folders = finished(python, "-c", line, cwd=tmp_path).stdout.split()
    assert [(Path(folder) / "py.typed").exists() for folder in folders] == [True] * 3
    assert not [folder for folder in folders if tmp_path in Path(folder).parents]


def test_daemon_sdk_and_metadata_have_one_version(python: str, tmp_path: Path):
    line = (
        "import envd_sdk, importlib.metadata; from envd_sdk.client.client import _identity; "
        "print(envd_sdk.__version__, importlib.metadata.version('sandbox-envd'), _identity()['User-Agent'])"
    )
    done = finished(python, "-c", line, cwd=tmp_path)
    assert done.stdout.split() == [__version__, __version__, f"envd-python-sdk/{__version__}"], done.stderr
    said = finished(str(Path(python).with_name("envd")), "--version", cwd=tmp_path)
    assert (said.returncode, said.stdout) == (0, f"{__version__}\n"), said.stderr
