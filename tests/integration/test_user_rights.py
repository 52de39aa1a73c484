"""A user named in a call is a boundary: what the kernel keeps from that user, no call hands out, changes or removes."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path

import pytest

from tests.support.archives import Archives
from tests.support.connect import Client, Codec, basic
from tests.support.daemon import Daemon, running_daemon
from tests.support.files import compose, get, put, target
from tests.support.filesystem import Files
from tests.support.http1 import Response, exchange
from tests.support.kernel import children
from tests.support.searching import Search
from tests.support.uploads import Uploads
from tests.support.wires import RpcError

SECRET = b"nobody else's business\n"


def _archive() -> bytes:
    made = BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        member = tarfile.TarInfo("shadow")
        member.size = 5
        tar.addfile(member, BytesIO(b"pwned"))
    return made.getvalue()


class Theirs:
    """What a client does as one user."""

    def __init__(self, daemon: Daemon, user: pwd.struct_passwd) -> None:
        self.port = daemon.port
        self.name = user.pw_name
        wire = Client(daemon.port, Codec.PROTO).with_headers(basic(user.pw_name))
        self.files, self.search, self.uploads = Files(wire), Search(wire), Uploads(wire)
        self.archives = Archives(wire)

    async def get(self, path: Path | str) -> object:
        return await get(self.port, path, username=self.name)

    async def put(self, path: Path | str) -> object:
        return await put(self.port, path, b"pwned", username=self.name)

    async def archived(self, path: Path | str) -> object:
        where = target(path, "/files/archive", username=self.name)
        return await exchange(self.port, "GET", where)

    async def extract(self, path: Path | str) -> Response:
        where = target(path, "/files/extract", username=self.name)
        headers = {"Content-Type": "application/x-tar"}
        return await exchange(self.port, "POST", where, body=_archive(), headers=headers)

    async def composed(self, source: Path | str, destination: Path | str) -> object:
        wish = {"source_paths": [os.fspath(source)], "destination": os.fspath(destination), "username": self.name}
        return await compose(self.port, wish)

    async def in_parts(self, path: Path | str) -> None:
        ident = await self.uploads.new(path)
        try:
            await self.uploads.part(ident, 0, b"pwned")
            await self.uploads.commit(ident)
        except RpcError:
            await self.uploads.abort(ident)
            raise


@pytest.fixture
def theirs(daemon: Daemon, other_user: pwd.struct_passwd) -> Theirs:
    return Theirs(daemon, other_user)


@pytest.fixture
def secret(home: Path) -> Iterator[Path]:
    """A directory of root's that nobody else may enter, with a file that nobody else may read."""
    directory = home.parent / f"{home.name}-secret"
    (directory / "below").mkdir(parents=True)
    for path in (directory / "shadow", directory / "below/shadow"):
        path.write_bytes(SECRET)
        path.chmod(0o600)
    directory.chmod(0o700)
    yield directory
    shutil.rmtree(directory)


def state_of(directory: Path) -> dict[str, tuple[int, int, int, bytes]]:
    found = {}
    for path in [directory, *directory.rglob("*")]:
        st = path.lstat()
        found[str(path)] = (st.st_uid, st.st_mode, st.st_nlink, path.read_bytes() if path.is_file() else b"")
    return found


def plant(link: Path, text: Path | str, user: pwd.struct_passwd) -> Path:
    """Leave a link as a program of that user would."""
    link.unlink(missing_ok=True)
    link.symlink_to(text)
    os.lchown(link, user.pw_uid, user.pw_gid)
    return link


async def outcome_of(call: Awaitable[object]) -> bytes:
    """What a client is told, whatever that is."""
    try:
        answer = await call
    except RpcError as exc:
        return str(exc).encode()
    return getattr(answer, "body", b"") or getattr(answer, "data", b"") or repr(answer).encode()


OPERATIONS: dict[str, Callable[[Theirs, Path], Awaitable[object]]] = {
    "GET": lambda theirs, path: theirs.get(path),
    "POST": lambda theirs, path: theirs.put(path),
    "compose from": lambda theirs, path: theirs.composed(path, path.parent / "joined"),
    "archive": lambda theirs, path: theirs.archived(path),
    "extract": lambda theirs, path: theirs.extract(path),
    "extract above": lambda theirs, path: theirs.extract(path.parent),
    "Read": lambda theirs, path: theirs.files.read(path),
    "Write": lambda theirs, path: theirs.files.write(path, b"pwned"),
    "Write in place": lambda theirs, path: theirs.files.write(path, b"pwned", atomic=False),
    "append": lambda theirs, path: theirs.files.write(path, b"pwned", append=True),
    "in parts": lambda theirs, path: theirs.in_parts(path),
    "MakeDir": lambda theirs, path: theirs.files.make_dir(path / "made"),
    "ListDir": lambda theirs, path: theirs.files.list_dir(path, depth=3),
    "ListEntries": lambda theirs, path: theirs.files.list_entries(path, depth=3),
    "SetAttributes": lambda theirs, path: theirs.files.set_attributes(path, mode=0o777),
    "own": lambda theirs, path: theirs.files.set_attributes(path, owner=theirs.name),
    "Copy": lambda theirs, path: theirs.files.copy(path, path.parent / "copied", recursive=True),
    "copy onto": lambda theirs, path: theirs.files.copy("/etc/hostname", path, overwrite=True),
    "Move below": lambda theirs, path: theirs.files.move(path / "shadow", path.parent / "moved"),
    "Remove below": lambda theirs, path: theirs.files.remove(path / "shadow"),
    "MakeSymlink below": lambda theirs, path: theirs.files.make_symlink(path / "planted", "x"),
    "ReadLines": lambda theirs, path: theirs.search.read_lines(path, 1),
    "Grep": lambda theirs, path: theirs.search.grep(path, "nobody"),
    "Find": lambda theirs, path: theirs.search.find(path),
    "Replace": lambda theirs, path: theirs.search.replace(path, "nobody", "everybody"),
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("what", ["shadow", "", "below/shadow"])
async def test_a_planted_link_leads_no_call_to_what_its_user_may_not(
    theirs: Theirs, other_user: pwd.struct_passwd, home: Path, secret: Path, operation: str, what: str
):
    before = state_of(secret)
    link = plant(home / "out", secret / what, other_user)
    told = await outcome_of(OPERATIONS[operation](theirs, link))
    assert SECRET.strip() not in told
    assert state_of(secret) == before
    for path in home.rglob("*"):
        assert path.is_symlink() or path.is_dir() or SECRET.strip() not in path.read_bytes()


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_nor_is_a_plain_path_open_that_its_user_may_not_enter(
    theirs: Theirs, secret: Path, operation: str, home: Path
):
    before = state_of(secret)
    for path in (secret / "shadow", secret / "below", secret / "new"):
        assert SECRET.strip() not in await outcome_of(OPERATIONS[operation](theirs, path))
    assert state_of(secret) == before
    assert not list(home.iterdir())


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_second_name_of_roots_file_gives_no_right_to_it(
    theirs: Theirs, home: Path, secret: Path, operation: str
):
    os.link(secret / "shadow", home / "out")
    before = (secret / "shadow").stat()
    assert SECRET.strip() not in await outcome_of(OPERATIONS[operation](theirs, home / "out"))
    after = (secret / "shadow").stat()
    assert (after.st_uid, after.st_mode) == (before.st_uid, before.st_mode)
    assert (secret / "shadow").read_bytes() == SECRET


async def test_in_a_sticky_directory_what_is_others_stays(theirs: Theirs, home: Path):
    home.chmod(0o1777)
    os.chown(home, 0, 0)
    (home / "roots").write_bytes(b"root's")
    for operation in ("POST", "Write", "Write in place", "append", "in parts", "SetAttributes", "own", "Replace"):
        await outcome_of(OPERATIONS[operation](theirs, home / "roots"))
        st = (home / "roots").stat()
        assert ((home / "roots").read_bytes(), st.st_uid, st.st_mode & 0o777) == (b"root's", 0, 0o644), operation
    with pytest.raises(RpcError):
        await theirs.files.remove(home / "roots")
    await theirs.files.write(home / "own", b"x")
    assert (home / "own").stat().st_uid == pwd.getpwnam(theirs.name).pw_uid


async def test_what_a_group_may_its_members_may(theirs: Theirs, other_user: pwd.struct_passwd, app: Path):
    groups = set(os.getgrouplist(other_user.pw_name, other_user.pw_gid)) - {other_user.pw_gid}
    if not groups:
        pytest.skip("the user has no supplementary group here")
    shared = app / "shared"
    shared.mkdir()
    os.chown(shared, 0, groups.pop())
    shared.chmod(0o770)
    await theirs.files.write(shared / "file", b"x")
    assert (await theirs.files.read(shared / "file")).data == b"x"
    shared.chmod(0o700)
    with pytest.raises(RpcError) as error:
        await theirs.files.read(shared / "file")
    assert error.value.code == "permission_denied"


# Where the daemon's own rights help out.


async def test_where_only_root_may_write_a_user_makes_moves_and_removes_what_it_can_see(theirs: Theirs, app: Path):
    uid = pwd.getpwnam(theirs.name).pw_uid
    (app / "roots").write_bytes(b"root's")
    for path in (app / "new", app / "roots", app / "made/below/new"):
        await theirs.files.write(path, b"theirs")
        assert (path.read_bytes(), path.stat().st_uid) == (b"theirs", uid)
    assert {(app / name).stat().st_uid for name in ("made", "made/below")} == {uid}
    await theirs.files.make_dir(app / "dir/below")
    await theirs.files.move(app / "new", app / "moved")
    await theirs.files.remove(app / "made")
    await theirs.in_parts(app / "parts")
    await theirs.in_parts(app / "other/parts")
    assert (app / "other/parts").read_bytes() == b"pwned"
    for path in (app / "dir", app / "moved", app / "parts", app / "other", app / "other/parts"):
        assert path.stat().st_uid == uid, path
    assert sorted(os.listdir(app)) == ["dir", "moved", "other", "parts", "roots"]


async def test_help_ends_at_what_the_user_may_not_read_and_at_attributes(theirs: Theirs, app: Path):
    (app / "shadow").write_bytes(SECRET)
    (app / "shadow").chmod(0o600)
    (app / "closed").mkdir(mode=0o700)
    (app / "closed/shadow").write_bytes(SECRET)
    (app / "readable").write_bytes(b"root's")
    os.mkfifo(app / "fifo")
    before = state_of(app)
    for operation in ("GET", "POST", "Write", "in parts", "own", "SetAttributes", "Replace", "compose from"):
        for path in (app / "shadow", app / "closed/shadow", app / "closed/new", app / "fifo"):
            assert SECRET.strip() not in await outcome_of(OPERATIONS[operation](theirs, path))
    for operation in ("own", "SetAttributes", "Replace", "append", "Write in place"):
        await outcome_of(OPERATIONS[operation](theirs, app / "readable"))
    for name in ("shadow", "closed", "fifo"):
        for call in (theirs.files.remove(app / name), theirs.files.move(app / name, app / "moved")):
            with pytest.raises(RpcError) as error:
                await call
            assert error.value.code == "permission_denied"
    assert state_of(app) == before


async def test_an_archive_is_helped_to_a_target_that_is_missing_with_those_above(theirs: Theirs, app: Path):
    uid = pwd.getpwnam(theirs.name).pw_uid
    for path in (app / "one", app / "two/below/it"):
        answer = await theirs.extract(path)
        assert answer.status == 200
        assert ((path / "shadow").read_bytes(), (path / "shadow").stat().st_uid) == (b"pwned", uid)
    assert {(app / name).stat().st_uid for name in ("one", "two", "two/below")} == {uid}


async def test_no_help_leads_through_what_a_user_could_have_put_there(
    theirs: Theirs, other_user: pwd.struct_passwd, app: Path, home: Path
):
    (app / "roots").write_bytes(b"root's")
    (app / "dir").mkdir()
    out = plant(home / "out", app, other_user)
    plant(app / "theirs", app / "dir", other_user)
    (app / "open").mkdir()
    (app / "open").chmod(0o777)
    (app / "open/deep").mkdir()
    before = state_of(app)
    for path in (out / "new", out / "roots", out / "dir/new", app / "theirs/new", app / "open/deep/new"):
        for operation in ("POST", "Write", "in parts", "MakeDir"):
            await outcome_of(OPERATIONS[operation](theirs, path))
    for call in (theirs.files.remove(out / "roots"), theirs.files.move(out / "roots", out / "moved")):
        with pytest.raises(RpcError):
            await call
    assert state_of(app) == before


async def test_strict_users_are_not_helped(other_user: pwd.struct_passwd, app: Path, home: Path):
    (app / "roots").write_bytes(b"root's")
    async with running_daemon("--strict-users") as daemon:
        theirs = Theirs(daemon, other_user)
        for call in (
            theirs.files.write(app / "new", b"x"),
            theirs.files.write(app / "roots", b"x"),
            theirs.files.make_dir(app / "dir"),
            theirs.files.remove(app / "roots"),
            theirs.files.move(app / "roots", app / "moved"),
            theirs.in_parts(app / "new"),
            theirs.archives.extract(app / "new", _archive()),
        ):
            with pytest.raises(RpcError) as error:
                await call
            assert error.value.code == "permission_denied"
        answer = await theirs.extract(app / "new")
        assert answer.status == 403
        await theirs.files.write(home / "own", b"x")
    assert os.listdir(app) == ["roots"]


# Races.


@contextmanager
def swapping(one: Path, other: Path, user: pwd.struct_passwd) -> Iterator[None]:
    """A program of that user that exchanges two names as fast as it can."""
    code = (
        "import ctypes,os,sys\n"
        f"os.setgid({user.pw_gid});os.setuid({user.pw_uid})\n"
        "call=ctypes.CDLL(None).renameat2\n"
        "one,other=map(os.fsencode,sys.argv[1:])\n"
        "if call(-100,one,-100,other,2): sys.exit(1)\n"
        "print(flush=True)\n"
        "while True: call(-100,one,-100,other,2)\n"
    )
    python = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
    with subprocess.Popen([python, "-c", code, str(one), str(other)], stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        try:
            if not program.stdout.readline():
                pytest.skip("this file system does not exchange names")
            yield
        finally:
            program.kill()


@pytest.mark.parametrize("operation", ["POST", "Write", "SetAttributes", "Replace", "Read", "MakeDir", "Remove below"])
async def test_who_swaps_a_directory_for_a_link_gains_nothing(
    theirs: Theirs, other_user: pwd.struct_passwd, home: Path, secret: Path, operation: str
):
    (home / "d").mkdir()
    (home / "d/shadow").write_bytes(b"harmless\n")
    for path in (home / "d", home / "d/shadow"):
        os.chown(path, other_user.pw_uid, other_user.pw_gid)
    plant(home / "l", secret, other_user)
    before = state_of(secret)
    with swapping(home / "d", home / "l", other_user):
        for _ in range(200):
            name = "d" if operation in ("MakeDir", "Remove below") else "d/shadow"
            assert SECRET.strip() not in await outcome_of(OPERATIONS[operation](theirs, home / name))
    assert state_of(secret) == before


# The daemon's own processes.


async def test_nothing_of_the_daemons_own_processes_is_a_file_to_anyone(
    daemon: Daemon, tmp_path: Path, other_user: pwd.struct_passwd
):
    root = Theirs(daemon, pwd.getpwuid(os.geteuid()))
    await root.search.grep("/etc/hostname", "x")  # so that there is a process that searches
    server = next(pid for pid in children(daemon.pid) if b"ENVD_KEEPER_FD" in _environment(pid))
    own = [daemon.pid, server, *children(server)]
    paths = [f"/proc/{pid}/{name}" for pid in own for name in ("environ", "mem", "fd/0", "maps", "task", "root", "cwd")]
    paths += ["/proc/self/environ", "/proc/thread-self/environ", "/proc/self/fd/5", "/dev/fd/5", "/dev/stdin"]
    for number, path in enumerate(paths):
        link = tmp_path / f"link{number}"
        link.symlink_to(path)
        for named in (Path(path), link):
            for call in (
                get(daemon.port, named),
                put(daemon.port, named, b"x"),
                root.archived(named),
                root.composed(named, tmp_path / "joined"),
            ):
                answer = await call
                assert answer.status in (403, 404), (path, named, answer)
            for call in (
                root.files.read(named),
                root.files.list_dir(named),
                root.search.read_lines(named, 1),
                root.files.set_attributes(named, mode=0o777),
                root.search.replace(named, "x", "y"),
                root.files.copy(f"{named}/.", tmp_path / "copied", recursive=True),
            ):
                with pytest.raises(RpcError) as error:
                    await call
                assert error.value.code in ("permission_denied", "not_found", "invalid_argument"), (path, error.value)
            with pytest.raises(RpcError) as error:
                await root.search.grep(named, "[a-z]")
            assert error.value.code in ("permission_denied", "not_found", "invalid_argument"), (path, error.value)
    for pid in own:
        with pytest.raises(RpcError) as error:
            await root.files.stat(f"/proc/{pid}/environ")
        assert error.value.code == "permission_denied"
    assert not (tmp_path / "joined").exists()


async def test_what_proc_says_of_others_stays(daemon: Daemon):
    root = Theirs(daemon, pwd.getpwuid(os.geteuid()))
    names = {entry.name for entry in await root.files.list_dir("/proc")}
    assert {str(os.getpid()), str(daemon.pid), "self", "uptime"} <= names
    assert (await root.files.stat("/proc/self")).symlink_target
    for path in (f"/proc/{os.getpid()}/status", "/proc/uptime", "/proc/mounts", "/proc/net/dev"):
        assert (await root.files.read(path)).data, path


async def test_files_of_the_kernels_judge_the_user_and_not_the_daemon_that_reads_and_writes(theirs: Theirs, home: Path):
    """Some look at who reads or writes, whoever has opened them: what they hide of root's processes stays hidden."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        try:
            state, slack = Path(f"/proc/{process.pid}/stat"), Path(f"/proc/{process.pid}/timerslack_ns")
            if not slack.exists() or _code_at(state.read_bytes()) == b"1":
                pytest.skip("this kernel has not, or hides from root as well, where the code of a process is")
            assert _code_at((await theirs.files.read(state)).data) == b"1"
            await theirs.composed(state, home / "composed")
            assert _code_at((home / "composed").read_bytes()) == b"1"
            before = slack.read_bytes()
            with suppress(RpcError):
                await theirs.files.write(slack, b"4321", append=True)
            assert slack.read_bytes() == before
        finally:
            process.kill()


def _code_at(state: bytes) -> bytes:
    """Where the code of a process begins; proc_pid_stat(5), startcode."""
    return state.rpartition(b")")[2].split()[23]


def _environment(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes()
    return b""


async def test_the_root_user_does_everything_as_before(daemon: Daemon, secret: Path):
    root = Theirs(daemon, pwd.getpwuid(os.geteuid()))
    assert (await root.files.read(secret / "shadow")).data == SECRET
    await root.files.write(secret / "shadow", b"root")
    assert json.loads((await put(daemon.port, secret / "new", b"x")).body)
