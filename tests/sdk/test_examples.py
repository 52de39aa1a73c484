"""The examples and the pages about the SDK run as they stand there."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.daemon import ROOT, Daemon

EXAMPLES = {
    "quickstart": ["hello from Linux", "1 2 3", "'3\\n1\\n2\\n'", "status 2: ls: "],
    "streaming": [
        "lines: [3, 3, 3]",
        "port: 8080",
        "then: echoed by cat",
        "status: 0",
        "until the time was up: half",
    ],
    "files": [
        "listed: ['one.txt', 'two.txt']",
        "up and down: 8 MiB, 8 MiB",
        "a range: b'\\x02\\x03'",
        "somebody else was quicker: changed",
        "appeared: report",
    ],
    "terminal": ["size and echo seen: True", "missed: while-nobody-looked-42", "now: 50 120", "status: 0"],
    "agent": [
        "read_file: ",
        "write_file: ",
        "run: AssertionError: 1",
        "write_file: ",
        "run: status 0",
        "answer: fib is",
    ],
    "watch_and_test": ["tests: AssertionError: 0", "tests: all well"],
}


async def run(*arguments: str) -> str:
    """What a program prints; it has to end well, and without warnings."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-W", "error", *arguments],
        cwd=ROOT,
        # Of this tree, wherever the environment has another one from.
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_run():
    assert {path.stem for path in (ROOT / "examples" / "sdk").glob("*.py")} == set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
async def test_an_example_prints_what_it_shows(name: str):
    lines = (await run(f"examples/sdk/{name}.py")).splitlines()
    assert len(lines) == len(EXAMPLES[name]), lines
    for line, begin in zip(lines, EXAMPLES[name], strict=True):
        assert line.startswith(begin)


async def test_the_page_about_the_sdk_is_a_program(tmp_path: Path):
    pieces = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "sdk.md").read_text(), re.MULTILINE | re.DOTALL)
    program = tmp_path / "page.py"
    program.write_text("\n".join(pieces).replace("/tmp/", f"{tmp_path}/"))
    assert (await run(str(program))).startswith("hello\n")


def readme() -> str:
    text = (ROOT / "README.md").read_text()
    return text[text.index("\n## Python\n") : text.index("\n## Files\n")]


async def test_the_one_liners_of_the_readme(tmp_path: Path):
    lines = re.findall(r"^python -c '(.*)'$", readme(), re.MULTILINE)
    printed = [await run("-c", line.replace("/tmp/", f"{tmp_path}/")) for line in lines]
    assert printed == ["hello\n\n", "hi\n"]


async def test_the_program_of_the_readme(daemon: Daemon):
    (program,) = re.findall(r"^```python\n(.*?)^```", readme(), re.MULTILINE | re.DOTALL)
    printed = await run("-c", program.replace("127.0.0.1:49983", daemon.address).replace("sleep 1;", "sleep 0.1;"))
    assert printed.split() == ["1", "2", "3"]
