"""What the README says to type to search, typed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.tools import INSTALL_TIMEOUT_S, or_skip

from .test_grpcurl import GRPCURL, messages

ROOT = Path(__file__).resolve().parents[2]


def lines(daemon: Daemon, directory: Path) -> tuple[str, str]:
    """The block under "Search", against this daemon and below this directory: what curl does, and what grpcurl does."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^## Search\n+```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert found is not None
    block = found[1].replace("127.0.0.1:49983", daemon.address).replace("/tmp/", f"{directory}/")
    curl, grpcurl = block.split("# The newest Markdown files")
    return curl, f"# {grpcurl}"


def typed(script: str, path: str = "") -> str:
    """What a shell prints that stops at the first line that fails."""
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment["PATH"] = f"{path}{os.pathsep}{environment['PATH']}" if path else environment["PATH"]
    done = subprocess.run(
        ["sh", "-eu", "-c", script],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.fixture
def readme(tmp_path: Path) -> Path:
    made = tmp_path / "docs/README.md"
    made.parent.mkdir()
    shutil.copy(ROOT / "README.md", made)
    return made


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_every_line_for_curl_does_what_it_says(daemon: Daemon, readme: Path, tmp_path: Path):
    answers = messages(typed(lines(daemon, tmp_path)[0]))
    original = (ROOT / "README.md").read_text()
    assert answers[0]["text"] == "".join(original.splitlines(keepends=True)[1:4])
    assert answers[1]["text"] == original.splitlines(keepends=True)[-1]
    assert "+It keeps its promises:" in json.dumps(answers[2]["files"])
    assert answers[3]["filesChanged"] == "1"
    assert readme.read_text() == original.replace("It keeps three promises", "It keeps its promises", 1)


@pytest.mark.tools
@pytest.mark.timeout(INSTALL_TIMEOUT_S + 60)
def test_every_line_for_grpcurl_does_what_it_says(daemon: Daemon, readme: Path, tmp_path: Path):
    grpcurl = or_skip(GRPCURL.install)
    answers = messages(typed(lines(daemon, tmp_path)[1], path=str(grpcurl.parent)))
    # What was found and the summary come together or one after the other.
    assert [entry["path"] for answer in answers for entry in answer.get("entries", ())] == [str(readme)]  # type: ignore[attr-defined]
    assert "promises" in json.dumps([answer["files"] for answer in answers if "files" in answer])
    assert answers[-1]["summary"]["files_searched"] == "1"  # type: ignore[index]
