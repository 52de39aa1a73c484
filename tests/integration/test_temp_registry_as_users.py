"""What a killed server left is removed as the user whose call made it, and nothing that was put in its place."""

from __future__ import annotations

import asyncio
import os
import pwd
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.support.archives import entry
from tests.support.daemon import running_daemon
from tests.support.http1 import connection, request
from tests.support.readers import until
from tests.support.users import command_as
from tests.support.wires import basic

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as others")


@pytest.fixture
def home(other_user: pwd.struct_passwd) -> Path:
    """A directory of a user's own, with one of root's that only root can empty."""
    top = Path(other_user.pw_dir) / uuid.uuid4().hex
    (top / "roots").mkdir(parents=True, mode=0o755)
    (top / "roots/kept").write_bytes(b"root's")
    os.chown(top, other_user.pw_uid, other_user.pw_gid)
    return top


@asynccontextmanager
async def held_extract(port: int, path: Path, user: str) -> AsyncIterator[Path]:
    """An Extract that waits for the rest of its archive; its hidden tree, with a file in a closed directory."""
    before = hidden_in(path.parent)
    headers = {"Content-Type": "application/x-tar", "Content-Length": "9000000", **basic(user)}
    async with connection(port) as conn:
        await conn.send(request("POST", f"/files/extract?path={path}", headers=headers))
        # More than the daemon takes at once.
        await conn.send(entry("d/f", b"x") + entry("e/g", b"x") + entry("large", bytes(3_000_000)))
        await until(lambda: any((one / "large").exists() for one in hidden_in(path.parent) - before))
        (made,) = hidden_in(path.parent) - before
        yield made


def hidden_in(directory: Path) -> set[Path]:
    return set(directory.glob(".envd-*.tmp"))


async def run_as(user: str, *command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command_as(user, *command))
    assert await process.wait() == 0


@pytest.mark.parametrize("as_root", [False, True], ids=["a call of the user's", "a call of root's"])
async def test_root_s_directory_in_the_place_of_a_leftover_stays(
    other_user: pwd.struct_passwd, home: Path, *, as_root: bool
) -> None:
    user = other_user.pw_name
    async with AsyncExitStack() as held:
        daemon = await held.enter_async_context(running_daemon())
        planted = await held.enter_async_context(held_extract(daemon.port, home / "new", "root" if as_root else user))
        # Noted later, hence looked at later: when it is gone, the other one had its turn.
        last = await held.enter_async_context(held_extract(daemon.port, home / "last", user))
        await run_as(user, "/bin/mv", str(planted), str(home / "aside"))
        await run_as(user, "/bin/mv", str(home / "roots"), str(planted))
        await asyncio.to_thread(daemon.kill_server)
        await until(lambda: not last.exists())
        assert (planted / "kept").read_bytes() == b"root's"


async def test_root_s_directory_in_the_place_of_what_fails_stays(other_user: pwd.struct_passwd, home: Path) -> None:
    async with running_daemon() as daemon:
        async with held_extract(daemon.port, home / "new", "root") as planted:
            await run_as(other_user.pw_name, "/bin/mv", str(planted), str(home / "aside"))
            await run_as(other_user.pw_name, "/bin/mv", str(home / "roots"), str(planted))
        async with held_extract(daemon.port, home / "last", "root") as last:
            pass
        await until(lambda: not last.exists())
        await asyncio.to_thread(daemon.stop)
        assert (planted / "kept").read_bytes() == b"root's"


async def test_a_leftover_of_a_user_s_vanishes_with_directories_that_are_closed(
    other_user: pwd.struct_passwd, home: Path
) -> None:
    async with running_daemon() as daemon, held_extract(daemon.port, home / "new", other_user.pw_name) as left:
        (left / "d").chmod(0o555)
        (left / "e").chmod(0)
        await asyncio.to_thread(daemon.kill_server)
        await until(lambda: not left.exists())
    assert os.listdir(home) == ["roots"]
