"""Operations on trees see what the user of the call may see, and no process of the daemon's."""

from __future__ import annotations

import os
import pwd
import uuid
from pathlib import Path

import pytest

from envd_proto.filesystem.search_pb2 import SKIP_REASON_UNREADABLE
from tests.support.archives import Archives
from tests.support.connect import Client, Codec
from tests.support.daemon import Daemon, running_daemon
from tests.support.filesystem import Files
from tests.support.kernel import children
from tests.support.searching import Search
from tests.support.watching import Watching
from tests.support.wires import RpcError, basic

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as others")


@pytest.fixture
def theirs(daemon: Daemon, other_user: pwd.struct_passwd) -> Client:
    return Client(daemon.port, Codec.PROTO).with_headers(basic(other_user.pw_name))


@pytest.fixture
def tree(other_user: pwd.struct_passwd) -> Path:
    """A user's directory with one of root's in it."""
    top = Path(other_user.pw_dir) / uuid.uuid4().hex
    (top / "open").mkdir(parents=True)
    (top / "open/file").write_text("needle\n")
    (top / "closed").mkdir()
    (top / "closed/file").write_text("needle in closed\n")
    (top / "closed").chmod(0o700)
    for path in (top, top / "open", top / "open/file"):
        os.chown(path, other_user.pw_uid, other_user.pw_gid)
    return top


async def refused(call, code: str) -> None:
    with pytest.raises(RpcError) as error:
        await call
    assert error.value.code == code, error.value


async def test_directories_that_may_not_be_read_are_told_and_passed_by(theirs: Client, tree: Path):
    search, files = Search(theirs), Files(theirs)
    seen = ["closed", "open", "open/file"]
    found = await search.find(tree)
    assert found.names(tree) == seen
    assert [(skip.path, skip.reason) for skip in found.skipped] == [(f"{tree}/closed", SKIP_REASON_UNREADABLE)]
    grepped = await search.grep(tree, "needle")
    assert [file.path for message in grepped.messages for file in message.files] == [f"{tree}/open/file"]
    assert [os.path.relpath(entry.path, tree) for entry in await files.list_dir(tree, depth=5)] == seen
    batches = await files.list_entries(tree, depth=5)
    assert [one.path for batch in batches for one in batch.unreadable] == [f"{tree}/closed"]
    archived = await Archives(theirs).archive(tree)
    assert archived.names == [".", "open", "open/file"]
    assert [one.name for one in archived.end.left_out] == ["closed"]


async def test_what_may_not_be_read_is_neither_copied_nor_replaced_nor_removed(theirs: Client, tree: Path):
    files, search = Files(theirs), Search(theirs)
    await refused(files.copy(tree, tree / "open/copy", recursive=True), "permission_denied")
    await refused(files.copy(tree / "closed", tree / "open/copy", recursive=True), "permission_denied")
    assert not (tree / "open/copy").exists()
    replaced = await search.replace(tree, "needle", "thread")
    assert [file.path for file in replaced.files] == [f"{tree}/open/file"]
    await refused(files.remove(tree / "closed"), "permission_denied")
    assert (tree / "closed/file").read_text() == "needle in closed\n"
    await refused(search.find(tree / "closed"), "permission_denied")
    await refused(Archives(theirs).archive(tree / "closed"), "permission_denied")


async def test_a_watch_is_told_nothing_of_what_may_not_be_read(theirs: Client, tree: Path):
    watcher = await Watching(theirs).create(tree, recursive=True)
    (tree / "closed/new").touch()
    (tree / "open/new").touch()
    said: list[str] = []
    while not any("open/new" in one for one in said):
        said += await watcher.said()
    assert not any("closed/" in one for one in said)


async def test_nothing_of_the_daemons_own_processes_is_in_a_tree_of_proc(tmp_path: Path):
    async with running_daemon() as own:
        wire = Client(own.port, Codec.PROTO)
        files, search, archives = Files(wire), Search(wire), Archives(wire)
        await search.grep(tmp_path, "so that there is a process that searches")
        keeper, server = own.pid, own.server_pid()
        workers = children(server)
        pids = {keeper, server, *workers}
        assert len(pids) > 2
        listed = {entry.path for entry in await files.list_dir("/proc", depth=2)}
        found = {entry.path for entry in (await search.find("/proc", max_depth=2)).entries}
        for paths in (listed, found):
            assert f"/proc/{os.getpid()}/status" in paths
            assert {f"/proc/{pid}" for pid in pids} <= paths, "that they are there is no secret"
            assert not [path for path in paths for pid in pids if path.startswith(f"/proc/{pid}/")]
        for pid in pids:
            for call in (
                files.list_dir(f"/proc/{pid}"),
                search.find(f"/proc/{pid}/task"),
                search.grep(f"/proc/{pid}/environ", "ENVD"),
                files.copy(f"/proc/{pid}/environ", tmp_path / "copy"),
                files.copy(f"/proc/{pid}/net", tmp_path / "copied", recursive=True),
                archives.archive(f"/proc/{pid}"),
                Watching(wire).create(f"/proc/{pid}", recursive=True),
            ):
                with pytest.raises(RpcError) as error:
                    await call
                assert error.value.code in ("permission_denied", "not_found"), (pid, error.value)
        assert os.listdir(tmp_path) == []
