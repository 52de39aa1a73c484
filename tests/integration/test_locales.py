"""The daemon speaks UTF-8 whatever the locale of its environment says, and the locale is nothing to programs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.connect import Client, Codec
from tests.support.daemon import Daemon, running_daemon
from tests.support.filesystem import Files
from tests.support.process import Processes, shell, start_request
from tests.support.searching import Search

TEXT = "\u20ac \u4e16 \u00e4"
NAME = "gr\u00fc\u00dfe-\u20ac"
NOT_UTF8 = b"/nowhere/\xff\xe4"


@pytest.fixture(scope="module")
def legacy_locale(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment with a locale of 8-bit characters."""
    if shutil.which("localedef") is None:
        pytest.skip("no localedef to make a locale with")
    folder = tmp_path_factory.mktemp("locales")
    subprocess.run(
        ["localedef", "-i", "en_US", "-f", "ISO-8859-1", str(folder / "en_US")],
        capture_output=True,
        check=False,
        timeout=60,
    )
    if not (folder / "en_US").exists():
        pytest.skip("localedef has no sources of locales here")
    return {"LC_ALL": "en_US", "LOCPATH": str(folder)}


@pytest.fixture(params=["8-bit", "C", "POSIX", "unknown", "encoding of its own"])
def environment(request: pytest.FixtureRequest) -> dict[str, str]:
    own = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    return {
        "8-bit": lambda: request.getfixturevalue("legacy_locale"),
        "C": lambda: {"LC_ALL": "C", **own},
        "POSIX": lambda: {"LC_ALL": "POSIX", **own},
        "unknown": lambda: {"LC_ALL": "xx_YY.ISO-8859-15", **own},
        "encoding of its own": lambda: {"LC_ALL": "C", "PYTHONIOENCODING": "latin-1", **own},
    }[request.param]()


async def test_names_arguments_and_output_are_utf8_in_every_locale(environment: dict[str, str], tmp_path: Path) -> None:
    async with running_daemon(env=environment) as daemon:
        wire = Client(daemon.port, Codec.JSON)
        processes, files = Processes(wire), Files(wire)
        assert (await processes.run(start_request("echo", TEXT))).stdout == f"{TEXT}\n".encode()
        (outcome,) = [await processes.run(start_request("sh", "-c", "echo $V", envs={"V": TEXT}))]
        assert outcome.stdout == f"{TEXT}\n".encode()
        await files.make_dir(tmp_path / NAME)
        assert os.listdir(os.fsencode(tmp_path)) == [NAME.encode()]
        assert [entry.name for entry in await files.list_dir(tmp_path)] == [NAME]
        assert (await processes.run(start_request("pwd", cwd=str(tmp_path / NAME)))).stdout.endswith(
            NAME.encode() + b"\n"
        )
        (tmp_path / NAME / "file").write_text(f"{TEXT}\n")
        assert (await Search(wire).grep(tmp_path, TEXT)).texts == [TEXT]
        assert not [line for line in daemon.stderr if '"level": "error"' in line]


async def test_bytes_of_the_environment_that_are_not_utf8_arrive_in_programs_as_they_were() -> None:
    path = os.fsdecode(os.environb[b"PATH"] + b":" + NOT_UTF8)
    async with running_daemon(env={"PATH": path, "LC_ALL": "C"}) as daemon:
        outcome = await Processes(Client(daemon.port, Codec.PROTO)).run(shell('printf %s "$PATH"'))
        assert outcome.stdout == os.fsencode(path)


def test_names_of_sockets_are_utf8_in_every_locale(environment: dict[str, str], tmp_path: Path) -> None:
    address = tmp_path / f"{NAME}.sock"
    daemon = Daemon.start("--listen", f"unix:{address}", env=environment)
    try:
        assert address.is_socket()
        assert daemon.ready["addresses"] == [f"unix:{address}"]
    finally:
        daemon.stop()
    assert not address.exists()
