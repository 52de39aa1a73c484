"""Resumable uploads over what goes wrong: kills, full disks, clients that never come back."""

from __future__ import annotations

import asyncio
import hashlib
import os
import pwd
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from envd.config import Config, Limits
from envd.config import Uploads as Bounds
from envd.filesystem.access import born_ns
from envd.filesystem.uploads.placing import placed_before
from envd.filesystem.uploads.state import Kept, UploadOptions, UploadState
from tests.integration.test_uploads import peak_bytes
from tests.support.connect import Client, Codec
from tests.support.daemon import ROOT, Daemon, running_daemon
from tests.support.disks import small_disk, small_ext4
from tests.support.faults import descriptors, settled
from tests.support.files import refusal
from tests.support.http1 import connection, request
from tests.support.readers import configured
from tests.support.trusted_directories import trusted_directory
from tests.support.uploads import Uploads, fields, missing, persist, rest, upload
from tests.support.wires import OpenWire, RpcError

CONTENT = random.Random(1).randbytes(12_000_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(scope="module")
def hasty() -> Iterator[Daemon]:
    """A daemon that forgets soon, and has room for little."""
    bounds = Bounds(at_once=4, expiry_s=1.0, committed_s=1.0, ranges=5, parts=2, parts_of_all=3)
    with configured(Config(uploads=bounds, limits=Limits(body_idle_s=1.0))) as started:
        yield started


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


async def begun(port: int, path: Path, **wish: object) -> str:
    return str(fields(await rest(port, "POST", "", {"path": path, **wish}), 201)["id"])


async def put(port: int, ident: str, offset: int, content: bytes):
    return await rest(port, "PUT", f"/{ident}?offset={offset}", content)


async def gone(directory: Path, *left: str) -> None:
    """Wait until nothing else is in a directory."""
    assert await settled(lambda: names(directory), lambda found: found == sorted(left)) == sorted(left)


async def killing(daemon: Daemon, chance: random.Random, *, every_s: float) -> None:
    """Kill the server again and again, at any instant once it serves; the keeper is slower after one that never did."""
    while True:
        await persist(daemon.port, "GET", "")
        await asyncio.sleep(every_s * (0.3 + chance.random()))
        with suppress(AssertionError):  # none is there at the moment
            await asyncio.to_thread(daemon.kill_server)


# The server is killed.


@pytest.mark.slow
async def test_a_server_that_is_killed_at_any_instant_loses_no_part(tmp_path: Path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    chance = random.Random(5)
    async with running_daemon() as daemon:
        for _ in range(4):
            kills = asyncio.create_task(killing(daemon, chance, every_s=0.25))
            try:
                await upload(daemon.port, path, memoryview(CONTENT), part_bytes=150_000)
            finally:
                kills.cancel()
                await asyncio.gather(kills, return_exceptions=True)
            assert hashlib.sha256(path.read_bytes()).hexdigest() == DIGEST
            assert names(tmp_path) == ["file"]
            path.unlink()
            await persist(daemon.port, "GET", "")
        assert not [line for line in daemon.stderr if '"level": "error"' in line and "handler failed" in line]


async def test_what_was_acknowledged_is_there_after_a_kill(tmp_path: Path, open_wire: OpenWire):
    async with running_daemon() as daemon:
        async with open_wire(daemon.port) as wire:
            uploads = Uploads(wire)
            created = await uploads.create(tmp_path / "file", size=30, metadata={"a": "1"}, idempotency_key="key")
            ident = created.upload.id
            await uploads.part(ident, 20, b"c" * 10)
        await asyncio.to_thread(daemon.kill_server)
        await persist(daemon.port, "GET", "")
        async with open_wire(daemon.port) as wire:
            uploads = Uploads(wire)
            again = await uploads.create(tmp_path / "file", size=30, metadata={"a": "1"}, idempotency_key="key")
            assert (again.existing, again.upload.id) == (True, ident)
            assert await uploads.ranges(ident) == [(20, 30)]
            assert again.upload.expire_time.ToMilliseconds() - created.upload.expire_time.ToMilliseconds() < 60_000
            await uploads.part(ident, 0, b"a" * 20)
            done = await uploads.commit(ident)
        await asyncio.to_thread(daemon.kill_server)
        await persist(daemon.port, "GET", "")
        async with open_wire(daemon.port) as wire:
            assert await Uploads(wire).commit(ident) == done
    assert (tmp_path / "file").read_bytes() == b"a" * 20 + b"c" * 10
    assert os.getxattr(tmp_path / "file", "user.e2b.a") == b"1"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("existing", ["new", "old", "linked"])
@pytest.mark.slow
async def test_a_commit_that_is_killed_can_be_repeated(tmp_path: Path, existing):
    chance = random.Random(9)
    path = tmp_path / "file"
    async with running_daemon() as daemon:
        for round_ in range(12):
            content = b"%d" % round_ * 200_000
            for name in names(tmp_path):
                (tmp_path / name).unlink()
            if existing != "new":
                path.write_bytes(b"old")
            if existing == "linked":
                os.link(path, tmp_path / "other")
            condition = {"if_absent": True} if existing == "new" else {}
            answer = await persist(daemon.port, "POST", "", {"path": path, "size": len(content), **condition})
            ident = fields(answer, 201)["id"]
            fields(await put(daemon.port, ident, 0, content))
            commit = asyncio.create_task(persist(daemon.port, "POST", f"/{ident}/commit"))
            await asyncio.sleep(chance.random() * 0.004)
            await asyncio.to_thread(daemon.kill_server)
            done = fields(await commit)
            assert (done["size"], done["created"]) == (len(content), existing == "new")
            assert fields(await persist(daemon.port, "POST", f"/{ident}/commit")) == done
            assert path.read_bytes() == content
            await gone(tmp_path, *(["file", "other"] if existing == "linked" else ["file"]))


@pytest.mark.slow
async def test_a_creation_that_is_killed_leaves_nothing_that_is_not_known(tmp_path: Path):
    chance = random.Random(3)
    async with running_daemon() as daemon:
        for round_ in range(12):
            wish = {"path": tmp_path / "file", "idempotency_key": f"key {round_}"}
            creation = asyncio.create_task(persist(daemon.port, "POST", "", wish))
            await asyncio.sleep(chance.random() * 0.003)
            await asyncio.to_thread(daemon.kill_server)
            ident = fields(await creation, (await creation).status)["id"]
            fields(await put(daemon.port, ident, 0, b"x"))
            if round_ % 2:
                assert (await rest(daemon.port, "DELETE", f"/{ident}")).status == 204
            else:
                fields(await rest(daemon.port, "POST", f"/{ident}/commit"))
                (tmp_path / "file").unlink()
            assert names(tmp_path) == []


# Clients that disagree.


async def test_no_order_of_good_bad_and_broken_parts_mixes_contents(daemon: Daemon, tmp_path: Path):
    chance = random.Random(13)
    content = CONTENT[:6_000_000]
    ident = await begun(daemon.port, tmp_path / "file", size=len(content))
    answers: dict[int, int] = {}

    async def one() -> None:
        begin = chance.randrange(len(content))
        end = min(begin + chance.randrange(1, 2_500_000), len(content))
        part, kind = content[begin:end], chance.choice(["good", "good", "bad", "broken"])
        digest = hashlib.sha256(part).hexdigest()
        target = f"/files/uploads/{ident}?offset={begin}"
        headers = {"Content-Length": str(end - begin), "X-Envd-Sha256": digest}
        if kind != "good":
            part = bytes(end - begin)
        async with connection(daemon.port) as conn:
            with suppress(ConnectionError):
                await conn.send(request("PUT", target, headers=headers))
                if kind == "broken":
                    await conn.send(part[: chance.randrange(end - begin)])
                    conn.reset()
                    return
                await conn.send(part)
            status = (await conn.read_response()).status
        answers[status] = answers.get(status, 0) + 1
        assert status in ({200, 409} if kind == "good" else {400, 409})

    async def worker() -> None:
        for _ in range(20):
            await one()

    await asyncio.gather(*(worker() for _ in range(6)))
    assert answers.get(200, 0) > 5
    for begin, end in await missing(daemon.port, ident, len(content), 1 << 20):
        fields(await put(daemon.port, ident, begin, content[begin:end]))
    digest = hashlib.sha256(content).hexdigest()
    fields(await rest(daemon.port, "POST", f"/{ident}/commit", {"sha256": digest}))
    assert names(tmp_path) == ["file"]


# Daemons and machines that can do less.


async def test_a_daemon_without_root_uploads_for_its_own_user(tmp_path: Path, other_user):
    name, home = other_user.pw_name, Path(other_user.pw_dir)
    async with running_daemon("--port", "0", "--listen", "127.0.0.1", user=name) as daemon:
        told = fields(await rest(daemon.port, "POST", "", {"path": "its-own/file"}), 201)
        fields(await put(daemon.port, told["id"], 0, b"x"))
        fields(await rest(daemon.port, "POST", f"/{told['id']}/commit"))
        assert (home / "its-own/file").read_bytes() == b"x"
        assert (home / "its-own/file").owner() == name
        for path in ("/root/file", "/etc/passwd", "/etc/x/file"):
            refusal(await rest(daemon.port, "POST", "", {"path": path}), 403)
        refusal(await rest(daemon.port, "GET", "?username=root"), 403)


def test_it_works_where_no_file_can_be_without_a_name(tmp_path: Path):
    """Without /proc a file cannot be given a name later, so it has one from the beginning."""
    script = """
import os, sys
from contextlib import closing
from envd.filesystem.writing.temp_registry import TempRegistry
from envd.filesystem.writing.temporary import Temporaries
from envd.filesystem.writing.own_writes import OwnWrites
from envd.filesystem.uploads import gathering, placing
from envd.filesystem.uploads.state import UploadState, UploadOptions
from envd.host.users import own_user
assert not os.path.exists("/proc/self")
directory, owner = sys.argv[1], own_user()
(old,) = os.listdir(directory)
temporaries = Temporaries(TempRegistry(os.memfd_create("leftovers")), OwnWrites())
for name, absent in (("old", False), ("new", False), ("newer", True)):
    terms = UploadOptions("x", os.path.join(directory, name), if_absent=absent)
    with closing(gathering.begin(terms.path, terms.intent(owner, helped=False), temporaries)):
        assert len(os.listdir(directory)) > 1
    left = os.listdir(directory)
    with closing(gathering.begin(terms.path, terms.intent(owner, helped=False), temporaries)) as beginning:
        beginning.name()
    assert set(os.listdir(directory)) == {*left, beginning.kept.name}, os.listdir(directory)
    state = UploadState(terms, beginning.kept, 0.0)
    with closing(gathering.Gathered(state.kept)) as gathered:
        os.write(gathered.fd, b"content and more")
    done = placing.put_in_place(state, terms.intent(owner, helped=False), 7, lambda created: None, temporaries)
    gathering.remove(state.kept)
    assert done.created == (name != "old")
"""
    (tmp_path / "old").write_bytes(b"old")
    command = ["unshare", "--mount", "sh", "-c", 'umount -l /proc && exec "$@"', "sh", sys.executable, "-c", script]
    probe = subprocess.run([*command[:3], "-c", "umount -l /proc"], check=False, capture_output=True)
    if probe.returncode:
        pytest.skip("no mount namespace to take /proc away in")
    done = subprocess.run([*command, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == dict.fromkeys(
        ("old", "new", "newer"), b"content"
    )


# Disks.


async def test_a_full_disk_is_told_and_what_was_received_stays(daemon: Daemon, tmp_path: Path):
    with small_disk(tmp_path / "disk", "size=8m") as disk:
        (disk / "ballast").write_bytes(bytes(3_000_000))
        ident = await begun(daemon.port, disk / "file", size=7_000_000)
        fields(await put(daemon.port, ident, 0, CONTENT[:3_000_000]))
        for _ in range(2):
            message = refusal(await put(daemon.port, ident, 3_000_000, CONTENT[3_000_000:7_000_000]), 507)
            assert message.startswith("not enough disk space available")
            assert await missing(daemon.port, ident, 7_000_000, 7_000_000) == [(3_000_000, 7_000_000)]
        (disk / "ballast").unlink()
        fields(await put(daemon.port, ident, 3_000_000, CONTENT[3_000_000:7_000_000]))
        fields(await rest(daemon.port, "POST", f"/{ident}/commit"))
        assert (disk / "file").read_bytes() == CONTENT[:7_000_000]
        assert names(disk) == ["file"]


async def test_a_disk_without_inodes_is_told(daemon: Daemon, tmp_path: Path):
    with small_disk(tmp_path / "disk", "size=8m,nr_inodes=2") as disk:
        (disk / "a").touch()
        refusal(await rest(daemon.port, "POST", "", {"path": disk / "file"}), 507)
        (disk / "a").unlink()
        ident = await begun(daemon.port, disk / "file")
        fields(await rest(daemon.port, "POST", f"/{ident}/commit"))
        assert names(disk) == ["file"]


async def test_another_disk_in_the_way_is_told(daemon: Daemon, tmp_path: Path):
    ident = await begun(daemon.port, tmp_path / "disk/file")
    fields(await put(daemon.port, ident, 0, b"x"))
    with small_disk(tmp_path / "disk", "size=8m") as disk:
        assert "another file system" in refusal(await rest(daemon.port, "POST", f"/{ident}/commit"), 400)
        assert names(disk) == []
    fields(await rest(daemon.port, "POST", f"/{ident}/commit"))
    assert ((tmp_path / "disk/file").read_bytes(), names(tmp_path)) == (b"x", ["disk"])


# Ends.


async def test_an_upload_nobody_goes_on_with_expires(hasty: Daemon, tmp_path: Path):
    (tmp_path / "file").write_bytes(b"old")
    ident = await begun(hasty.port, tmp_path / "file")
    fields(await put(hasty.port, ident, 0, b"new"))
    await gone(tmp_path, "file")
    refusal(await rest(hasty.port, "GET", f"/{ident}"), 404)
    assert (tmp_path / "file").read_bytes() == b"old"


async def test_it_expires_also_after_the_server_was_killed(hasty: Daemon, tmp_path: Path):
    ident = await begun(hasty.port, tmp_path / "a/file")
    assert len(names(tmp_path)) == 1
    await asyncio.to_thread(hasty.kill_server)
    await gone(tmp_path)
    refusal(await persist(hasty.port, "GET", f"/{ident}"), 404)


async def test_a_commit_is_remembered_for_a_while(hasty: Daemon, tmp_path: Path):
    ident = await begun(hasty.port, tmp_path / "file")
    done = fields(await rest(hasty.port, "POST", f"/{ident}/commit"))
    assert fields(await rest(hasty.port, "POST", f"/{ident}/commit")) == done
    async with asyncio.timeout(60):
        while (await rest(hasty.port, "GET", f"/{ident}")).status != 404:
            await asyncio.sleep(0.05)
    assert names(tmp_path) == ["file"]


async def test_a_part_under_way_keeps_an_upload_and_ends_when_it_falls_silent(hasty: Daemon, tmp_path: Path):
    ident = await begun(hasty.port, tmp_path / "file", size=100)
    async with connection(hasty.port) as conn:
        head = request("PUT", f"/files/uploads/{ident}?offset=0", headers={"Content-Length": "100"})
        await conn.send(head)
        for _ in range(15):
            await conn.send(b"x")
            await asyncio.sleep(0.1)  # longer in all than an upload without parts is kept
        assert "no byte of the" in refusal(await conn.read_response(), 504)
    await gone(tmp_path)


def test_another_file_with_the_number_of_the_hidden_one_is_no_commit(tmp_path: Path):
    target = tmp_path / "target"
    target.write_bytes(b"somebody else's")
    st = target.stat()
    kept = Kept(str(tmp_path), ".envd-0.tmp", st.st_dev, st.st_ino, 0o644, st.st_uid, born_ns=1)
    with target.open() as file:
        if not born_ns(file.fileno()):
            pytest.skip("this file system does not say when a file was made")
    state = UploadState(UploadOptions("user", str(target)), kept, 0.0, placing=True)
    assert placed_before(state) is None
    assert target.read_bytes() == b"somebody else's"


@pytest.mark.parametrize("as_root", [False, True])
async def test_another_file_with_the_number_of_the_hidden_one_is_not_taken_for_it(
    daemon: Daemon, other_user: pwd.struct_passwd, *, as_root: bool
):
    """Whose directory it is may remove the hidden file, and put one there that got its inode."""
    uploads = Uploads(Client(daemon.port, Codec.PROTO))
    uploads = uploads if as_root else uploads.as_user(other_user.pw_name)
    with trusted_directory() as top, small_ext4(top / "disk", 4 << 20) as disk:
        os.chown(disk, other_user.pw_uid, other_user.pw_gid)
        ident = await uploads.new(disk / "target")
        await uploads.part(ident, 0, b"theirs")
        (hidden,) = disk.glob(".envd-*.tmp")
        number = hidden.stat().st_ino
        hidden.unlink()
        secret = disk / "secret"
        secret.write_bytes(b"secret")
        secret.chmod(0o600)
        if secret.stat().st_ino != number:
            pytest.skip("this kernel gives the number to another file")
        secret.rename(hidden)
        for call in (uploads.commit(ident), uploads.part(ident, 6, b"more")):
            with pytest.raises(RpcError) as error:
                await call
            assert error.value.code == "not_found"
        assert (hidden.read_bytes(), hidden.stat().st_mode & 0o777) == (b"secret", 0o600)
        assert not (disk / "target").exists()


async def test_when_the_daemon_ends_nothing_is_left(tmp_path: Path):
    async with running_daemon() as daemon:
        for number in range(20):
            ident = await begun(daemon.port, tmp_path / str(number))
            fields(await put(daemon.port, ident, 0, b"x"))
        kept = await begun(daemon.port, tmp_path / "kept")
        fields(await rest(daemon.port, "POST", f"/{kept}/commit"))
        assert len(names(tmp_path)) == 21
        async with connection(daemon.port) as conn:
            await conn.send(request("PUT", f"/files/uploads/{ident}?offset=1", headers={"Content-Length": "9"}))
            await asyncio.to_thread(daemon.stop)
    assert names(tmp_path) == ["kept"]


# Bounds.


async def test_there_are_only_so_many(hasty: Daemon, tmp_path: Path):
    async with asyncio.timeout(60):
        while fields(await rest(hasty.port, "GET", ""))["uploads"]:  # those of other tests
            await asyncio.sleep(0.05)
    committed = await begun(hasty.port, tmp_path / "file")
    fields(await rest(hasty.port, "POST", f"/{committed}/commit"))
    idents = [await begun(hasty.port, tmp_path / str(number)) for number in range(4)]
    refusal(await rest(hasty.port, "GET", f"/{committed}"), 404)
    assert "4 uploads already" in refusal(await rest(hasty.port, "POST", "", {"path": tmp_path / "x"}), 429)
    for ident in idents:
        assert (await rest(hasty.port, "DELETE", f"/{ident}")).status == 204
    assert names(tmp_path) == ["file"]


async def test_an_upload_has_only_so_many_ranges(hasty: Daemon, tmp_path: Path):
    ident = await begun(hasty.port, tmp_path / "file")
    for offset in range(0, 10, 2):
        fields(await put(hasty.port, ident, offset, b"x"))
    assert "5 ranges" in refusal(await put(hasty.port, ident, 10, b"x"), 429)
    fields(await put(hasty.port, ident, 1, b"x"))
    fields(await put(hasty.port, ident, 10, b"x"))
    assert (await rest(hasty.port, "DELETE", f"/{ident}")).status == 204


async def test_only_so_many_parts_arrive_at_once(hasty: Daemon, tmp_path: Path):
    idents = [await begun(hasty.port, tmp_path / str(number)) for number in range(2)]
    async with connection(hasty.port) as a, connection(hasty.port) as b, connection(hasty.port) as c:
        for conn, ident, offset in ((a, 0, 0), (b, 0, 1), (c, 1, 0)):
            target = f"/files/uploads/{idents[ident]}?offset={offset}"
            await conn.send(request("PUT", target, headers={"Content-Length": "1"}))
        for ident, count in ((0, 2), (1, 1)):
            async with asyncio.timeout(60):
                while fields(await rest(hasty.port, "GET", f"/{idents[ident]}"))["parts_under_way"] != count:
                    await asyncio.sleep(0.01)
        assert "2 parts of this upload" in refusal(await put(hasty.port, idents[0], 5, b"x"), 429)
        assert "3 parts are under way" in refusal(await put(hasty.port, idents[1], 5, b"x"), 429)
        for conn in (a, b, c):
            await conn.send(b"x")
            fields(await conn.read_response())
    for ident in idents:
        assert (await rest(hasty.port, "DELETE", f"/{ident}")).status == 204


@pytest.mark.slow
async def test_neither_memory_nor_descriptors_grow(tmp_path: Path):
    piece = os.urandom(1 << 20)
    size = 200 << 20
    async with running_daemon() as daemon:
        ident = await begun(daemon.port, tmp_path / "large", size=size)
        fields(await put(daemon.port, ident, 0, b"x"))
        assert (await rest(daemon.port, "DELETE", f"/{ident}")).status == 204
        pid = daemon.server_pid()
        before, open_before = peak_bytes(pid), descriptors(pid)
        ident = await begun(daemon.port, tmp_path / "large", size=size)
        async with connection(daemon.port) as conn:
            headers = {"Content-Length": str(size)}
            await conn.send(request("PUT", f"/files/uploads/{ident}?offset=0", headers=headers))
            for _ in range(size >> 20):
                await conn.send(piece)
            fields(await conn.read_response())
        for _ in range(20):  # repeated parts that are cut off
            async with connection(daemon.port) as conn:
                await conn.send(request("PUT", f"/files/uploads/{ident}?offset=0", headers=headers) + piece)
                conn.reset()
        digest = hashlib.sha256(piece * (size >> 20)).hexdigest()
        for _ in range(3):  # commits whose client does not wait
            async with connection(daemon.port) as conn:
                body = b'{"sha256": "%s"}' % digest.encode()
                await conn.send(request("POST", f"/files/uploads/{ident}/commit", body=body))
                conn.reset()
        fields(await rest(daemon.port, "POST", f"/{ident}/commit", {"sha256": digest}))
        assert peak_bytes(pid) - before < 32 << 20
        assert await settled(lambda: descriptors(pid), lambda count: count <= open_before) <= open_before
        assert names(tmp_path) == ["large"]
