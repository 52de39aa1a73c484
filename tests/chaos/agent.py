"""An agent that does what agents do over the SDK, each thing checking what it got."""

from __future__ import annotations

import asyncio
import hashlib
import io
import itertools
import random
import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from envd_sdk import AsyncSandbox, CommandExitException, ConflictException, PtySize, SandboxUnreachableException
from tests.support.faults import settled

FILES = 300


class Agent:
    """What is done again and again.

    Args:
        root: a directory of its own.
        home: an empty one: what is in login scripts is not what is tested.
    """

    def __init__(self, sandbox: AsyncSandbox, root: Path, home: Path, seed: int) -> None:
        self._commands, self._files, self._pty = sandbox.commands, sandbox.files, sandbox.pty
        self._root = root
        self._envs = {"HOME": str(home)}
        self._numbers = itertools.count()
        self._chance = random.Random(seed)
        self._tree = root / "tree"
        for number in range(FILES):
            path = self._tree / f"d{number % 10}" / f"{number}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"line {number}\nneedle{number}\n" * 20)

    def tasks(self) -> list[Callable[[], Awaitable[None]]]:
        return [
            self.prints,
            self.fails,
            self.types,
            self.kills,
            self.opens_a_terminal,
            self.works_with_a_file,
            self.replaces_what_others_read,
            self.watches,
            self.searches,
            self.moves_a_directory,
            self.uploads_in_parts,
            self.gives_up,
        ]

    async def prints(self) -> None:
        size = self._chance.randint(1, 200_000)
        found = await self._run(f"head -c {size} /dev/zero | tr '\\0' x; echo complaint >&2")
        assert (found.stdout == "x" * size, found.stderr) == (True, "complaint\n")

    async def fails(self) -> None:
        with pytest.raises(CommandExitException) as ended:
            await self._run("exit 7")
        assert ended.value.exit_code == 7

    async def types(self) -> None:
        handle = await self._run("cat", background=True, stdin=True)
        lines = [f"{number}\n" * 500 for number in range(4)]
        try:
            for line in lines:
                await handle.send_stdin(line)
        except ConflictException:
            # The server was killed between giving it to the kernel and noting that, and says so.
            await handle.kill()
            return
        await handle.close_stdin()
        assert (await handle.wait()).stdout == "".join(lines)

    async def kills(self) -> None:
        handle = await self._run("exec sleep 1000", background=True)
        assert await handle.kill()

    async def opens_a_terminal(self) -> None:
        shown = bytearray()
        size = PtySize(cols=80, rows=24)
        handle = await self._pty.create(size=size, on_data=shown.extend, envs=self._envs)
        with suppress(ConflictException):  # as above: it was written, or the program would still be there
            await self._pty.send_stdin(handle.pid, b"echo $((40 + 2)); exit 3\n")
        with pytest.raises(CommandExitException) as ended:
            await handle.wait()
        assert (ended.value.exit_code, b"42" in shown) == (3, True)

    async def works_with_a_file(self) -> None:
        path = str(self._root / f"file{next(self._numbers)}")
        content = self._chance.randbytes(self._chance.randint(0, 300_000))
        await self._files.write(path, content)
        assert await self._files.read(path, "bytes") == content
        # The one thing here that cannot be done twice: if its answer is lost, nobody knows.
        with suppress(SandboxUnreachableException):
            await self._files.rename(path, f"{path}.new")
        assert await self._files.exists(path) != await self._files.exists(f"{path}.new")
        for name in (path, f"{path}.new"):
            await self._files.remove(name)

    async def replaces_what_others_read(self) -> None:
        path = str(self._root / "shared")
        await self._files.write(path, self._chance.choice("abcdef") * 100_000)
        text = await self._files.read(path)
        assert text == text[0] * 100_000

    async def watches(self) -> None:
        root = self._root / f"watched{next(self._numbers)}"
        root.mkdir()
        seen: set[str] = set()
        last = asyncio.Event()

        def hear(event: Any) -> None:
            seen.add(event.name)
            if event.name == "last":
                last.set()

        handle = await self._files.watch_dir(str(root), hear, recursive=True)
        made = {f"d{number % 5}/s{number}/f" for number in range(self._chance.randint(1, 60))}
        for name in made:
            (root / name).parent.mkdir(parents=True)
            (root / name).touch()
        # After a kill differences come in any order, so the last may come before others.
        (root / "last").touch()
        await last.wait()
        assert await settled(lambda: made - seen, lambda missing: not missing) == set()
        await handle.stop()
        shutil.rmtree(root)

    async def searches(self) -> None:
        number = self._chance.randrange(FILES)
        assert (await self._files.grep(f"needle{number}$", str(self._tree))).count == 20
        assert len(await self._files.list(str(self._tree), depth=2)) == FILES + 10

    async def moves_a_directory(self) -> None:
        number = next(self._numbers)
        local, back = self._root / f"down{number}", self._root / f"up{number}"
        await self._files.download_dir(str(self._tree), str(local))
        await self._files.upload_dir(str(local), str(back))
        assert len(list(back.rglob("*.txt"))) == FILES
        shutil.rmtree(local)
        shutil.rmtree(back)

    async def uploads_in_parts(self) -> None:
        path = self._root / f"parts{next(self._numbers)}"
        content = self._chance.randbytes(self._chance.randint(9 << 20, 24 << 20))
        await self._files.write(str(path), io.BytesIO(content))
        assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(content).digest()
        path.unlink()

    async def gives_up(self) -> None:
        step = self._chance.choice([self.prints, self.replaces_what_others_read, self.searches])
        task = asyncio.ensure_future(step())
        await asyncio.wait([task], timeout=self._chance.random() * 0.2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _run(self, command: str, **options: Any) -> Any:
        return await self._commands.run(command, envs=self._envs, **options)
