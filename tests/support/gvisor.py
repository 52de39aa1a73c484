"""One call of each kind against a daemon of its own; prints what came of it. For sandboxes with another kernel."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from envd_proto.process.process_pb2 import PTY, ProcessConfig, Signal, StartRequest
from tests.support import files as rest
from tests.support.connect import Client, Codec
from tests.support.faults import Reader, launch, persist
from tests.support.filesystem import Files
from tests.support.http1 import exchange
from tests.support.process import Processes, input_data, input_for, pid, shell
from tests.support.searching import Search
from tests.support.uploads import Uploads
from tests.support.watching import Watching

_DEADLINE_S = 60
_MIB = 1 << 20


def resident_bytes() -> int:
    """What the whole sandbox uses, memory files too."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return (int(lines["MemTotal"].split()[0]) - int(lines["MemFree"].split()[0])) * 1024


class Calls:
    """The calls, by what they are called in the test."""

    def __init__(self, keeper: int, port: int, top: Path) -> None:
        self._keeper, self._port, self.top = keeper, port, top
        client = Client(port, Codec.PROTO)
        self.files, self.search, self.watching = Files(client), Search(client), Watching(client)
        self.processes = Processes(client)
        (top / "f").write_text("needle\n")
        (top / "large").write_bytes(os.urandom(3 * _MIB))

    def _server(self) -> int:
        """The keeper's child that serves; there is no list of children, and no pidfd."""
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or f"\nPPid:\t{self._keeper}\n" not in (entry / "status").read_text():
                continue
            if b"envd.server" in (entry / "cmdline").read_bytes():
                return int(entry.name)
        raise AssertionError("no server")

    async def stat(self) -> None:
        found = await self.files.stat(self.top / "f")
        assert (found.size, found.owner) == (7, "root")

    async def list(self) -> None:
        assert {"f", "large"} <= {entry.name for entry in await self.files.list_dir(self.top)}

    async def write(self) -> None:
        await self.files.write(self.top / "w", b"x")
        assert (await self.files.read(self.top / "w")).data == b"x"

    async def overwrite(self) -> None:
        await self.files.write(self.top / "w", b"other")
        assert (self.top / "w").read_bytes() == b"other"

    async def download(self) -> None:
        got = await rest.get(self._port, self.top / "large")
        assert got.body == (self.top / "large").read_bytes()

    async def upload(self) -> None:
        rest.answer(await rest.put(self._port, self.top / "up", bytes(3 * _MIB)))
        assert (self.top / "up").read_bytes() == bytes(3 * _MIB)

    async def upload_in_parts(self) -> None:
        uploads = Uploads(Client(self._port, Codec.PROTO))
        ident = await uploads.new(self.top / "parts")
        for offset in range(0, 3 * _MIB, _MIB):
            await uploads.part(ident, offset, bytes(_MIB))
        await uploads.commit(ident)
        assert (self.top / "parts").read_bytes() == bytes(3 * _MIB)

    async def archive(self) -> None:
        got = await exchange(self._port, "GET", rest.target(self.top, "/files/archive"))
        assert got.status == 200
        assert len(got.body) > 3 * _MIB

    async def extract(self) -> None:
        got = await exchange(self._port, "GET", rest.target(self.top, "/files/archive"))
        target = rest.target(self.top / "extracted", "/files/extract")
        headers = {"Content-Type": "application/x-tar"}
        rest.answer(await exchange(self._port, "POST", target, headers=headers, body=got.body))
        assert (self.top / "extracted" / "f").read_text() == "needle\n"

    async def find(self) -> None:
        found = await self.search.find(self.top, include=["f"])
        assert [(entry.name, entry.owner) for entry in found.entries][:1] == [("f", "root")]

    async def grep(self) -> None:
        assert "needle" in (await self.search.grep(self.top / "f", "needle")).texts

    async def replace(self) -> None:
        (self.top / "r").write_text("needle\n")
        await self.search.replace(self.top / "r", "needle", "pin")
        assert (self.top / "r").read_text() == "pin\n"

    async def watch(self) -> None:
        (self.top / "watched").mkdir()
        watcher = await self.watching.create(self.top / "watched", recursive=True)
        (self.top / "watched" / "new").mkdir()
        said: list[str] = []
        while "create new" not in said:
            said += await watcher.said()
        await watcher.remove()

    async def run(self) -> None:
        outcome = await self.processes.run(shell("echo out; echo err >&2; exit 3"))
        assert (outcome.stdout, outcome.stderr, outcome.end.exit_code) == (b"out\n", b"err\n", 3)

    async def large_output(self) -> None:
        assert len((await self.processes.run(shell("head -c 3000000 /dev/zero"))).stdout) == 3_000_000

    async def terminal(self) -> None:
        size = PTY(size=PTY.Size(cols=80, rows=24))
        process = ProcessConfig(cmd="/bin/sh", args=["-c", "stty size"])
        outcome = await self.processes.run(StartRequest(process=process, pty=size))
        assert b"".join(data.pty for data in outcome.data) == b"24 80\r\n"

    async def input(self) -> None:
        async with self.processes.start(StartRequest(process=ProcessConfig(cmd="cat"), stdin=True)) as program:
            await self.processes.stream_input([input_for(pid(program.pid)), input_data(b"typed")])
            await program.until(b"typed")
            await self.processes.close_stdin(pid(program.pid))
            assert (await program.rest()).end.exit_code == 0

    async def kill(self) -> None:
        async with self.processes.start(shell("sleep 100 & sleep 100")) as program:
            await self.processes.signal(pid(program.pid), Signal.SIGNAL_SIGKILL)
            assert (await program.rest()).end.signal == 9  # noqa: PLR2004

    async def as_a_user(self) -> None:
        assert (await self.processes.as_user("nobody").run(shell("id -un"))).stdout == b"nobody\n"

    async def output_after_a_kill_of_the_server(self) -> None:
        number = await launch(self.processes.client, shell("echo before; read line; echo after", stdin=True))
        os.kill(self._server(), signal.SIGKILL)
        await persist(lambda: self.processes.send_input(pid(number), b"go\n"))
        reader = Reader(self.processes.client, number)
        await reader.start()
        assert bytes(reader.out) == b"before\nafter\n", reader.out

    async def memory_of_a_program_that_prints_much(self) -> None:
        before = resident_bytes()
        script = f"head -c 200000000 /dev/zero; touch {self.top}/printed; read line"
        number = await launch(self.processes.client, shell(script, stdin=True))
        while not (self.top / "printed").exists():
            await asyncio.sleep(0.05)
        assert resident_bytes() - before < 100_000_000, (before, resident_bytes())
        await self.processes.signal(pid(number), Signal.SIGNAL_SIGKILL)


async def main() -> None:
    daemon = subprocess.Popen(
        [sys.executable, "-m", "envd", "--listen", "127.0.0.1", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert daemon.stdout is not None
    try:
        port = int(json.loads(daemon.stdout.readline())["addresses"][0].rpartition(":")[2])
        with tempfile.TemporaryDirectory() as top:
            calls = Calls(daemon.pid, port, Path(top))
            for name in [name for name in vars(Calls) if not name.startswith("_")]:
                print(json.dumps([name.replace("_", " "), await _said(getattr(calls, name))]), flush=True)
    finally:
        daemon.terminate()
        assert daemon.wait(_DEADLINE_S) == 0


async def _said(call: Callable[[], Awaitable[None]]) -> str:
    try:
        async with asyncio.timeout(_DEADLINE_S):
            await call()
    except Exception as exc:  # noqa: BLE001 - whatever it is, the test shows it
        return f"{type(exc).__name__}: {exc}"
    return "good"


if __name__ == "__main__":
    asyncio.run(main())
