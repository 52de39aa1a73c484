"""On macOS and Windows the distribution is the SDK: what is installed there, and that this suffices."""

from __future__ import annotations

import ast
import email.message
import email.parser
import re
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import envd
import envd_sdk
from tests.support.daemon import ROOT, Daemon
from tests.support.wheel import INSTALL_S, finished, python_with, wheel_of_this

tools = [pytest.mark.timeout(INSTALL_S * 2), pytest.mark.tools]

SDK_NEEDS = {"grpcio", "protobuf"}
DAEMON_NEEDS = {"grpcio-health-checking", "grpcio-reflection", "httptools", "pathspec", "watchdog"}
OTHERS = ("darwin", "win32")
ELSEWHERE = str(ROOT / "tests" / "support" / "elsewhere.py")

USES = """
import asyncio, importlib.util, signal, sys
from envd_sdk import AsyncSandbox, Sandbox, SandboxException, __version__

absent = "grpc_health grpc_reflection httptools pathspec watchdog httpx".split()
assert not [name for name in absent if importlib.util.find_spec(name)], absent
with Sandbox.connect_local(sys.argv[1]) as sandbox:
    print(sandbox.commands.run("echo blocking").stdout, end="")
    with_path = sandbox.files.write(sys.argv[2], "written")
    print(with_path.name, sandbox.files.read(with_path))
    endless = sandbox.commands.run("sleep 1000", background=True)
    print(endless.kill(), sandbox.commands.kill(endless.pid), endless.pid in {it.pid for it in sandbox.commands.list()})
    endless = sandbox.commands.run("sleep 1000", background=True)
    print(sandbox.commands.send_signal(endless.pid, signal.SIGTERM))

async def main():
    async with await AsyncSandbox.connect_local(sys.argv[1]) as sandbox:
        print((await sandbox.commands.run("echo asyncio")).stdout, end="")

asyncio.run(main())
try:
    Sandbox.local()
except SandboxException as error:
    print(error)
"""
RUNS_THE_DAEMON = "from envd.__main__ import main; main()"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel_of_this(tmp_path_factory)


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as content:
        (name,) = (name for name in content.namelist() if name.endswith(".dist-info/METADATA"))
        return email.parser.Parser().parsestr(content.read(name).decode())


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory, metadata: email.message.Message) -> str:
    """The interpreter of an environment with the wheel and only what it asks for on macOS, which is as on Windows."""
    wanted = requirements(metadata, "darwin")
    assert wanted == requirements(metadata, "win32")
    return python_with(tmp_path_factory, "elsewhere", wanted)


def requirements(metadata: email.message.Message, platform: str, extra: str = "", python: str = "3.12") -> list[str]:
    """What pip installs there, without markers."""
    surroundings = {
        "sys_platform": platform,
        "platform_system": {"linux": "Linux", "darwin": "Darwin", "win32": "Windows"}[platform],
        "os_name": "nt" if platform == "win32" else "posix",
        "python_version": python,
        "python_full_version": f"{python}.0",
        "extra": extra,
    }
    wanted = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
    found = [one for one in wanted if one.marker is None or one.marker.evaluate(surroundings)]
    return [f"{one.name}{one.specifier}" for one in found]


def names(wanted: list[str]) -> set[str]:
    return {re.split(r"[<>=!~]", one)[0].lower() for one in wanted}


class TestMetadata:
    pytestmark = tools

    @pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
    def test_only_linux_installs_what_the_daemon_needs(self, metadata, python):
        assert names(requirements(metadata, "linux", python=python)) == SDK_NEEDS | DAEMON_NEEDS
        for platform in OTHERS:
            assert names(requirements(metadata, platform, python=python)) == SDK_NEEDS

    def test_extras_of_the_daemon_add_nothing_elsewhere(self, metadata):
        for platform in OTHERS:
            assert names(requirements(metadata, platform, "sdk")) == SDK_NEEDS | {"httpx"}
            assert names(requirements(metadata, platform, "zstd")) == SDK_NEEDS
        assert "backports.zstd" in names(requirements(metadata, "linux", "zstd"))
        assert "backports.zstd" not in names(requirements(metadata, "linux", "zstd", python="3.14"))

    def test_one_wheel_serves_every_system(self, wheel, metadata):
        assert wheel.name == f"sandbox_envd-{envd.__version__}-py3-none-any.whl"
        assert metadata["Version"] == envd.__version__
        assert metadata["Requires-Python"] == ">=3.11"

    def test_it_says_what_it_is(self, metadata):
        classifiers = metadata.get_all("Classifier", [])
        for wanted in ("POSIX :: Linux", "MacOS", "Microsoft :: Windows"):
            assert f"Operating System :: {wanted}" in classifiers
        for minor in (11, 12, 13, 14):
            assert f"Programming Language :: Python :: 3.{minor}" in classifiers
        assert "SDK" in metadata["Summary"]
        assert metadata["Keywords"]
        assert metadata.get_all("Project-URL")

    def test_packages_types_and_nothing_else_are_in_it(self, wheel):
        with zipfile.ZipFile(wheel) as content:
            inside = set(content.namelist())
        assert {name.split("/")[0] for name in inside if ".dist-info/" not in name} == {
            "envd",
            "envd_proto",
            "envd_sdk",
        }
        assert {"envd/py.typed", "envd_proto/py.typed", "envd_sdk/py.typed"} <= inside
        for package in ("envd", "envd_proto", "envd_sdk"):
            expected = {
                str(path.relative_to(ROOT)) for path in (ROOT / package).rglob("*.py*") if path.suffix != ".pyc"
            }
            assert expected <= inside


class TestThere:
    pytestmark = tools

    @pytest.mark.parametrize("platform", OTHERS)
    def test_the_sdk_runs_commands_with_what_is_installed_there(self, python, platform, daemon: Daemon, tmp_path):
        script = tmp_path / "uses.py"
        script.write_text(USES)
        arguments = ("-P", ELSEWHERE, platform, str(script), daemon.address, str(tmp_path / "file"))
        # Windows has no forks for grpc to look after.
        done = finished(python, *arguments, cwd=tmp_path, env={"GRPC_ENABLE_FORK_SUPPORT": "0"})
        assert done.returncode == 0, done.stderr
        *lines, last = done.stdout.splitlines()
        assert lines == ["blocking", "file written", "True False False", "True", "asyncio"]
        assert f"runs on Linux only, and this is {platform}" in last

    @pytest.mark.parametrize("platform", OTHERS)
    def test_the_daemons_command_says_that_it_is_for_linux(self, python, platform, tmp_path):
        script = tmp_path / "runs.py"
        script.write_text(RUNS_THE_DAEMON)
        done = finished(python, "-P", ELSEWHERE, platform, str(script), "--port", "0", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        (line,) = done.stderr.splitlines()
        assert line == f"envd: the daemon runs on Linux only, and this is {platform}; envd_sdk runs here"
        asked = finished(python, "-P", ELSEWHERE, platform, str(script), "--version", cwd=tmp_path)
        assert (asked.returncode, asked.stdout) == (0, f"{envd.__version__}\n")


class TestVersion:
    def test_the_sdk_knows_it_without_an_installation(self):
        assert envd_sdk.__version__ == envd.__version__

    def test_it_stands_in_one_place_which_imports_nothing(self):
        with (ROOT / "pyproject.toml").open("rb") as file:
            project = tomllib.load(file)
        assert "version" in project["project"]["dynamic"]
        assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "envd.__version__"}
        nodes = ast.parse((ROOT / "envd" / "__init__.py").read_text()).body
        assert [type(node) for node in nodes] == [ast.Expr, ast.Assign]

    def test_the_contract_of_the_rest_half_is_of_this_version(self):
        (said,) = re.findall(r"^  version: (.*)$", (ROOT / "proto" / "openapi.yaml").read_text(), re.MULTILINE)
        assert said == envd.__version__
