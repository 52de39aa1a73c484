"""What the README says to type for files and watches, typed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.support.daemon import Daemon, running_daemon
from tests.support.http1 import exchange

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("curl", "openssl", "sha256sum", "base64", "tar")


def lines(daemon: Daemon, directory: Path, heading: str = "Files") -> str:
    """The block under a heading, against this daemon and below this directory."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"^## {heading}\n+```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1].replace("127.0.0.1:49983", daemon.address).replace("/tmp/", f"{directory}/")


def typed(script: str) -> str:
    """What a shell prints that stops at the first line that fails."""
    done = subprocess.run(
        ["sh", "-eu", "-c", script],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.fixture(autouse=True)
def programs() -> None:
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        pytest.skip(f"not installed here: {missing}")


async def test_every_line_does_what_it_says(tmp_path: Path):
    async with running_daemon() as daemon:
        script = lines(daemon, tmp_path)
        first, link = script.split("# A link that reads", 1)
        printed = typed(first)
        assert (tmp_path / "hello.txt").read_text() == "hello there\n"
        for name in ("README.md", "LICENSE"):
            assert (tmp_path / "docs" / name).read_bytes() == (ROOT / name).read_bytes()
        assert (tmp_path / "docs" / "checked").read_bytes() == (ROOT / "README.md").read_bytes()
        for name in ("contract.md", "decisions/0001-one-port.md"):
            assert (tmp_path / "copy" / name).read_bytes() == (ROOT / "docs" / name).read_bytes()
        with tarfile.open(tmp_path / "docs.tar.gz") as archive:
            assert sorted(archive.getnames()) == [".", "LICENSE", "README.md", "checked"]
        assert '"synced":true' in printed
        assert "hello there\n" in printed
        assert "HTTP/1.1 200 OK" in printed

        token = json.dumps({"accessToken": "a-long-secret"}).encode()
        assert (await exchange(daemon.port, "POST", "/init", body=token)).status == 204
        url = next(line for line in script.splitlines() if line.startswith("url="))
        assert typed(f"{url}\n# {link}") == "hello there\n"
        refused = subprocess.run(["sh", "-c", first], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert "missing signature query parameter" in refused.stdout


async def test_a_watcher_says_what_the_readme_says(daemon: Daemon, tmp_path: Path):
    printed = typed(lines(daemon, tmp_path, "Watching"))
    events = json.loads(printed.partition("}{")[0] + "}" if "}{" in printed else printed)["events"]
    told = [(event["type"].removeprefix("EVENT_TYPE_"), event["name"]) for event in events]
    assert told[:4] == [("CREATE", "a"), ("CREATE", "a/b"), ("CREATE", "a/b/file"), ("WRITE", "a/b/file")]
