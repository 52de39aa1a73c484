#!/usr/bin/env python3
"""The SDK beside the published `e2b` package: the same work against the same daemon, each package in its own process.

The packages take turns, and the best of all rounds counts: other work on the machine only ever makes it slower.

`python benchmarks/sdk.py` prints a table in Markdown; ratios above 1 mean that ours is quicker. Needs the package e2b.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.daemon import running

MB = 1_000_000
LARGE = 100 * MB
# A home without a profile: what a login shell reads is not what is measured.
ENVS = {"HOME": "/nonexistent"}
PRINT = f"head -c {LARGE} /dev/zero | tr '\\0' x"
PACKAGES = ("envd_sdk", "e2b")
KINDS = ("sync", "async")
ROUNDS = 2
TURNS = 3


class Sync:
    """The work with the blocking classes."""

    def __init__(self, package: Any, directory: str) -> None:
        self._sandbox = package.Sandbox.create()
        self._path = f"{directory}/large"
        self._small = f"{directory}/small"
        self._content = os.urandom(MB) * (LARGE // MB)

    def run_true(self) -> None:
        for _ in range(20):
            self._sandbox.commands.run("true", envs=ENVS)

    def up(self) -> None:
        self._sandbox.files.write(self._path, self._content)

    def down(self) -> None:
        assert len(self._sandbox.files.read(self._path, format="bytes")) == LARGE

    def stdout(self) -> None:
        assert len(self._sandbox.commands.run(PRINT, envs=ENVS).stdout) == LARGE

    def small_writes(self) -> None:
        for number in range(1000):
            self._sandbox.files.write(f"{self._small}{number % 10}", "some text")

    def lookups(self) -> None:
        for _ in range(300):
            self._sandbox.files.exists(self._path)


class Async:
    """The work with the asynchronous classes."""

    def __init__(self, package: Any, directory: str) -> None:
        self._package = package
        self._path = f"{directory}/large"
        self._small = f"{directory}/small"
        self._content = os.urandom(MB) * (LARGE // MB)

    async def begin(self) -> None:
        self._sandbox = await self._package.AsyncSandbox.create()

    async def run_true(self) -> None:
        for _ in range(20):
            await self._sandbox.commands.run("true", envs=ENVS)

    async def up(self) -> None:
        await self._sandbox.files.write(self._path, self._content)

    async def down(self) -> None:
        assert len(await self._sandbox.files.read(self._path, format="bytes")) == LARGE

    async def stdout(self) -> None:
        assert len((await self._sandbox.commands.run(PRINT, envs=ENVS)).stdout) == LARGE

    async def small_writes(self) -> None:
        for number in range(1000):
            await self._sandbox.files.write(f"{self._small}{number % 10}", "some text")

    async def lookups(self) -> None:
        for _ in range(300):
            await self._sandbox.files.exists(self._path)


WORK = {
    "run_true": '`run("true")`, ms each',
    "up": "100 MB up, s",
    "down": "100 MB down, s",
    "stdout": "100 MB of stdout, s",
    "small_writes": "1000 small writes, s",
    "lookups": "`exists`, ms each",
}
# How often a step does what its line speaks of, and what a second of it is in its unit.
SCALE = {"run_true": 1000 / 20, "lookups": 1000 / 300}


def work_sync(package: Any, directory: str) -> dict[str, float]:
    job = Sync(package, directory)
    found = {}
    for name in WORK:
        step: Callable[[], None] = getattr(job, name)
        step()
        times = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            step()
            times.append(time.perf_counter() - began)
        found[name] = min(times)
    return found


async def work_async(package: Any, directory: str) -> dict[str, float]:
    job = Async(package, directory)
    await job.begin()
    found = {}
    for name in WORK:
        step: Callable[[], Awaitable[None]] = getattr(job, name)
        await step()
        times = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            await step()
            times.append(time.perf_counter() - began)
        found[name] = min(times)
    return found


def worker(name: str, kind: str, directory: str) -> None:
    package = importlib.import_module(name)
    found = work_sync(package, directory) if kind == "sync" else asyncio.run(work_async(package, directory))
    print(json.dumps(found), flush=True)
    # Neither package's threads are waited for.
    os._exit(0)


def measured(name: str, kind: str, address: str) -> dict[str, float]:
    """Measure one package: seconds for each step."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        done = subprocess.run(
            [sys.executable, __file__, "--work", name, kind, directory],
            env={**os.environ, "E2B_DEBUG": "true", "E2B_SANDBOX_URL": f"http://{address}"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def best(address: str) -> dict[tuple[str, str], dict[str, float]]:
    """Measure in turns: the least time each package needed for each step."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for _ in range(TURNS):
        for kind in KINDS:
            for name in PACKAGES:
                now = measured(name, kind, address)
                before = found.get((name, kind), now)
                found[name, kind] = {step: min(now[step], before[step]) for step in WORK}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", nargs=3, metavar=("PACKAGE", "KIND", "DIRECTORY"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        worker(*args.work)
    with running() as daemon:
        address = f"127.0.0.1:{daemon.port}"
        found = best(address)
    print("| work | ours, sync | e2b, sync | ratio | ours, async | e2b, async | ratio |\n|---|---|---|---|---|---|---|")
    for step, title in WORK.items():
        cells = []
        for kind in KINDS:
            ours, theirs = (found[name, kind][step] * SCALE.get(step, 1) for name in PACKAGES)
            cells += [f"{ours:.2f}", f"{theirs:.2f}", f"{theirs / ours:.1f}"]
        print(f"| {title} | {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
