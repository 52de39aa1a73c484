"""Paths of clients: opened the same way with openat2 and without, never into the daemon itself, and as a user."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from envd.filesystem.access import acting_as, open_below, open_parent, open_trusted_parent, refuse_own
from envd.filesystem.access.opening import open_by_openat2, open_by_steps
from envd.filesystem.access.system_calls import has_openat2
from envd.host.lookups import Lookups
from envd.host.thread_ids import begin_thread
from envd.host.users import User
from tests.support.trusted_directories import trusted_directory

NOBODY = User("nobody", 65534, 65534, (65534,), "/")
Open = Callable[..., int]


@pytest.fixture(params=["openat2", "by steps"])
def open_it(request: pytest.FixtureRequest) -> Open:
    if request.param == "by steps":
        return open_by_steps
    if not has_openat2():
        pytest.skip("this kernel has no openat2, or a filter keeps it from us")
    return open_by_openat2


@pytest.fixture
def as_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can act as another user")


@pytest.fixture
def trusted() -> Iterator[Path]:
    with trusted_directory() as directory:
        yield directory


def content(open_it: Open, path: object, *, follow: bool = True) -> bytes:
    fd = open_it(os.fspath(path), os.O_RDONLY, follow=follow)
    try:
        return os.read(fd, 100)
    finally:
        os.close(fd)


def test_a_path_is_resolved_as_the_kernel_does(open_it: Open, tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").write_text("here")
    (tmp_path / "up").symlink_to("a/b/../b")
    (tmp_path / "absolute").symlink_to(tmp_path / "up")
    (tmp_path / "file").symlink_to("absolute/file")
    for path in ("a/b/file", "up/file", "absolute/file", "file", "a/./b//file", "absolute/../b/file", "../"):
        expected = os.stat(f"{tmp_path}/{path}")
        fd = open_it(f"{tmp_path}/{path}", os.O_PATH, follow=True)
        assert os.path.samestat(os.fstat(fd), expected), path
        os.close(fd)


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("missing", errno.ENOENT),
        ("missing/below", errno.ENOENT),
        ("dangling", errno.ENOENT),
        ("file/below", errno.ENOTDIR),
        ("file/", errno.ENOTDIR),
        ("file/..", errno.ENOTDIR),
        ("loop", errno.ELOOP),
        ("loop/below", errno.ELOOP),
        ("x" * 300, errno.ENAMETOOLONG),
    ],
)
def test_what_cannot_be_opened_fails_alike(open_it: Open, tmp_path: Path, path: str, number: int) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to("nothing")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match=r"\[Errno") as caught:
        open_it(f"{tmp_path}/{path}", os.O_RDONLY, follow=True)
    assert caught.value.errno == number


def test_a_link_at_the_end_is_followed_only_if_wanted(open_it: Open, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    (tmp_path / "link").symlink_to("file")
    assert content(open_it, tmp_path / "link") == b"here"
    with pytest.raises(OSError, match=r"\[Errno") as caught:
        content(open_it, tmp_path / "link", follow=False)
    assert caught.value.errno == errno.ELOOP
    fd = open_it(f"{tmp_path}/link", os.O_PATH, follow=False)
    assert os.readlink("", dir_fd=fd) == "file"
    os.close(fd)


def test_a_path_may_be_longer_than_the_kernel_takes(open_it: Open, tmp_path: Path) -> None:
    here, steps = os.open(tmp_path, os.O_PATH), []
    for number in range(40):
        steps.append(f"{number:03}" + "d" * 200)
        os.mkdir(steps[-1], dir_fd=here)
        below = os.open(steps[-1], os.O_PATH, dir_fd=here)
        os.close(here)
        here = below
    fd = os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here)
    os.write(fd, b"deep")
    os.close(fd)
    os.close(here)
    path = "/".join([str(tmp_path), *steps, "file"])
    assert len(path) > 8000
    assert content(open_it, path) == b"deep"


@pytest.mark.parametrize(
    "path",
    [
        "/proc/self/fd/0",
        "/proc/self/fd",
        "/proc/self/",
        "/proc/self/environ",
        "/proc/self/mem",
        "/proc/self/maps",
        "/proc/self/cwd",
        "/proc/self/root/etc/passwd",
        "/proc/self/exe",
        "/proc/self/attr/current",
        "/proc/self/task",
        "/proc/thread-self/environ",
        "/proc/thread-self/fd/0",
        "/proc/1/root/etc/passwd",
        "/proc/1/cwd",
        "/dev/fd/0",
        "/dev/fd",
        "/dev/stdin",
    ],
)
def test_nothing_of_the_daemons_own_process_is_opened(open_it: Open, path: str) -> None:
    with pytest.raises(OSError, match=r"\[Errno") as caught:
        os.close(open_it(path, os.O_PATH, follow=True))
    assert caught.value.errno in (errno.EACCES, errno.ELOOP, errno.ENOENT)


def test_nor_by_number_thread_or_planted_link(open_it: Open, tmp_path: Path) -> None:
    threads = os.listdir("/proc/self/task")
    own = [f"/proc/{os.getpid()}/environ", *(f"/proc/{os.getpid()}/task/{tid}/environ" for tid in threads)]
    own += [f"/proc/{tid}/environ" for tid in threads]
    for number, path in enumerate(own):
        (tmp_path / str(number)).symlink_to(path)
        for named in (path, f"{tmp_path}/{number}"):
            with pytest.raises(PermissionError):
                os.close(open_it(named, os.O_RDONLY, follow=True))
    (tmp_path / "fd").symlink_to("/proc/self/fd")
    with pytest.raises(OSError, match=r"\[Errno"):
        os.close(open_it(f"{tmp_path}/fd/1", os.O_RDONLY, follow=True))


def test_what_proc_says_of_others_and_of_the_machine_stays_readable(open_it: Open) -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        other = started.pid
        assert started.stdin
        assert started.stdout
        started.stdin.write(b"it runs\n")
        started.stdin.flush()
        assert started.stdout.readline()
        try:
            assert content(open_it, f"/proc/{other}/status").startswith(b"Name:\tcat")
            assert content(open_it, f"/proc/{other}/cmdline") == b"cat\0"
            for path in ("/proc/uptime", "/proc/meminfo", "/proc/sys/kernel/ostype", "/proc/net/dev", "/proc/mounts"):
                assert content(open_it, path), path
            for path in ("/proc", "/proc/sys", "/proc/net", f"/proc/{other}", f"/proc/{other}/task"):
                fd = open_it(path, os.O_RDONLY | os.O_DIRECTORY, follow=True)
                assert os.listdir(fd), path
                os.close(fd)
        finally:
            started.kill()


def test_an_entry_of_an_open_directory_is_refused_too() -> None:
    proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(PermissionError):
            os.close(open_below(proc, str(os.getpid()), os.O_RDONLY | os.O_DIRECTORY))
        os.close(open_below(proc, "sys", os.O_RDONLY | os.O_DIRECTORY))
    finally:
        os.close(proc)
    own = os.open("/proc/self", os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(PermissionError):
            os.close(open_below(own, "environ", os.O_RDONLY))
        with pytest.raises(PermissionError):
            refuse_own(own)
    finally:
        os.close(own)
    for path in (f"/proc/{os.getpid()}/environ", f"/proc/{os.getpid()}"):
        with pytest.raises(PermissionError):
            open_parent(path)


SECOND_PROC = """
import errno, os, sys
from envd.filesystem.access import open_below
from envd.filesystem.writing.target import find_place
from envd.filesystem.access.opening import open_by_openat2, open_by_steps
where = sys.argv[1]
if os.system(f"mount -t proc proc {where}"):
    sys.exit(77)
try:
    for opening in (open_by_steps, open_by_openat2):
        for path in ("self/environ", f"{os.getpid()}/environ", "self/fd/0", "thread-self/mem", f"{os.getpid()}"):
            try:
                opening(f"{where}/{path}", os.O_RDONLY, follow=True)
            except OSError as exc:
                assert exc.errno in (errno.EACCES, errno.ELOOP), (path, exc)
            else:
                sys.exit(path)
        os.close(opening(f"{where}/uptime", os.O_RDONLY, follow=True))
    os.system(f"touch {where}-file; mount --bind /proc/{os.getpid()}/environ {where}-file")
    os.system(f"mkdir {where}-directory; mount --bind /proc/{os.getpid()} {where}-directory")
    for opening in (open_by_steps, open_by_openat2):
        for path in (f"{where}-file", f"{where}-directory", f"{where}-directory/environ"):
            try:
                opening(path, os.O_RDONLY, follow=True)
            except PermissionError:
                continue
            sys.exit(path)
    directory, name = os.path.split(f"{where}-file")
    above = os.open(directory, os.O_PATH)
    for opening in (lambda: open_below(above, name, os.O_RDONLY), lambda: find_place(f"{where}-file")):
        try:
            opening()
        except PermissionError:
            continue
        sys.exit("an open directory")
    me, pid = os.getpid(), os.readlink(f"{where}/self")
    os.system(f"mount --bind /proc/{me}/environ {where}/uptime; mount --bind /proc/{me}/task {where}/fs")
    os.system(f"mount --bind {where}/sys {where}/sys; mount --bind /proc/{me}/environ {where}/sys/kernel/hostname")
    os.system(f"mount --bind /proc/{me}/environ {where}/1/limits")
    root = os.open(where, os.O_PATH)
    for opening in (open_by_steps, open_by_openat2):
        for path in ("uptime", "fs", f"fs/{me}/environ", f"fs/{pid}/environ", "1/limits", "sys/kernel/hostname"):
            try:
                opening(f"{where}/{path}", os.O_RDONLY, follow=True)
            except (PermissionError, FileNotFoundError):
                continue
            sys.exit(path)
        os.close(opening(f"{where}/sys/kernel/ostype", os.O_RDONLY, follow=True))
    try:
        open_below(root, "uptime", os.O_RDONLY)
    except PermissionError:
        pass
    else:
        sys.exit("an open procfs")
finally:
    pass
"""


@pytest.mark.parametrize("namespace", [(), ("--pid", "--fork")], ids=["the same processes", "another namespace"])
def test_nor_through_another_procfs(tmp_path: Path, namespace: tuple[str, ...]) -> None:
    where = tmp_path / "proc"
    where.mkdir()
    command = ["unshare", "--mount", *namespace, sys.executable, "-c", SECOND_PROC, str(where)]
    if not has_openat2() or subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs openat2 and a mount namespace of its own")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == 77:
        pytest.skip("cannot mount a procfs here")
    assert done.returncode == 0, done.stderr


# Acting as a user.


@pytest.mark.usefixtures("as_root")
def test_the_kernel_checks_one_thread_as_the_user_and_no_other(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("root's")
    secret.chmod(0o600)
    for above in (tmp_path, *tmp_path.parents):
        if os.stat(above).st_mode & 0o001 == 0:
            above.chmod(above.stat().st_mode | 0o011)
    inside, done = threading.Event(), threading.Event()
    seen: list[object] = []

    def as_nobody() -> None:
        with acting_as(NOBODY):
            seen.append((os.geteuid(), os.getegid(), os.getgroups()))
            try:
                secret.read_text()
            except PermissionError:
                seen.append("refused")
            inside.set()
            done.wait()
        seen.append(secret.read_text())

    thread = threading.Thread(target=as_nobody)
    thread.start()
    inside.wait()
    assert (os.geteuid(), os.getegid(), secret.read_text()) == (0, 0, "root's")
    done.set()
    thread.join()
    assert seen == [(65534, 65534, [65534]), "refused", "root's"]


@pytest.mark.usefixtures("as_root")
def test_a_thread_has_its_own_rights_again_whatever_happened() -> None:
    def fail() -> None:
        with acting_as(NOBODY):
            raise KeyError

    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(KeyError):
            pool.submit(fail).result()
        status = pool.submit(Path("/proc/thread-self/status").read_text).result()
    lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    whole = Path("/proc/self/status").read_text()
    assert lines["Uid"].split() == ["0"] * 4
    assert lines["Gid"].split() == ["0"] * 4
    assert f"CapEff:\t{lines['CapEff']}" in whole
    assert f"Groups:\t{lines['Groups']}" in whole


@pytest.mark.usefixtures("as_root")
def test_no_capability_is_left_while_acting_as_a_user() -> None:
    with ThreadPoolExecutor(1) as pool:

        def capabilities() -> list[str]:
            with acting_as(NOBODY), open("/proc/thread-self/status") as status:
                return [line for line in status if line.startswith("CapEff")]

        assert pool.submit(capabilities).result() == [f"CapEff:\t{0:016x}\n"]


@pytest.mark.usefixtures("as_root")
def test_a_program_of_the_user_cannot_signal_a_thread_that_acts_as_it() -> None:
    with acting_as(NOBODY):
        kill = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "kill", "-0", str(os.getpid())]
        attempt = threading.Event()
        outcome: list[int] = []

        def try_it() -> None:
            outcome.append(subprocess.run(kill, capture_output=True, check=False).returncode)
            attempt.set()

        threading.Thread(target=try_it).start()
        attempt.wait()
    assert outcome[0] != 0


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("uid", [0xFFFFFFFF, 1 << 32, -1])
def test_a_number_that_means_another_user_is_refused_and_changes_nothing(uid: int) -> None:
    with pytest.raises(OSError, match="no user"), acting_as(User("none", uid, 1, (1,), "/")):
        pytest.fail("acts as nobody at all")
    assert (os.geteuid(), os.getegid()) == (0, 0)


LOST = """
import os, threading
from envd.filesystem.access import credentials
from envd.host import thread_ids
from envd.host.users import User
def lost(uid):
    if uid == 0:
        raise OSError("no memory for it")
thread_ids.set_thread_user = lost
with credentials.acting_as(User("nobody", 65534, 65534, (65534,), "/")):
    pass
print("goes on")
"""


@pytest.mark.usefixtures("as_root")
def test_a_thread_that_cannot_come_back_ends_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", LOST], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == os.EX_OSERR
    assert not done.stdout


@pytest.mark.usefixtures("as_root")
def test_a_thread_that_is_started_meanwhile_begins_with_the_daemons_own_rights() -> None:
    born: list[tuple[int, int, list[int]]] = []

    def begin() -> None:
        born.append((os.geteuid(), os.getegid(), os.getgroups()))
        begin_thread()
        born.append((os.geteuid(), os.getegid(), os.getgroups()))

    own = (os.geteuid(), os.getegid(), os.getgroups())
    with acting_as(NOBODY):
        thread = threading.Thread(target=begin)
        thread.start()
        thread.join()
        lookups = Lookups()
        answer = lookups.ask("who", lambda: (os.geteuid(), os.getegid(), os.getgroups()))
    assert born == [(65534, 65534, [65534]), own]
    assert answer.result(timeout=60) == own


# Where help is given.


def test_a_directory_of_roots_is_trusted(trusted: Path) -> None:
    (trusted / "app").mkdir(mode=0o755)
    (trusted / "link").symlink_to("app")
    for path in ("new", "app/new", "link/new"):
        with closing(open_trusted_parent(f"{trusted}/{path}", NOBODY)) as landing:
            assert (landing.name, landing.fd) == ("new", None)


def _theirs(path: Path) -> None:
    os.chown(path, 65534, 65534)


def _acl(path: Path) -> None:
    """Let nobody write there, by an access control list; acl(5), linux/posix_acl_xattr.h."""
    entries = [(0x01, 7, -1), (0x02, 7, 65534), (0x04, 5, -1), (0x10, 7, -1), (0x20, 5, -1)]
    value = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", value)
    except OSError:
        pytest.skip("no access control lists here")


@pytest.mark.parametrize(
    "spoil",
    [
        _theirs,
        lambda path: path.chmod(0o775),
        lambda path: path.chmod(0o757),
        lambda path: path.chmod(0o1777),
        lambda path: path.chmod(0o700),  # root's alone, but the user cannot even look
        _acl,
    ],
)
def test_a_path_that_others_can_lay_or_the_user_cannot_see_is_not(trusted: Path, spoil: Callable[[Path], None]) -> None:
    (trusted / "above/app").mkdir(parents=True)
    spoil(trusted / "above")
    for path in ("above/new", "above/app/new", "above/app/../new"):
        with pytest.raises(PermissionError), ExitStack() as held:
            held.callback(open_trusted_parent(f"{trusted}/{path}", NOBODY).close)


def test_nor_is_one_through_a_link_of_the_users(trusted: Path, tmp_path: Path) -> None:
    (trusted / "app").mkdir()
    os.symlink(trusted / "app", tmp_path / "link")
    (trusted / "out").symlink_to(tmp_path)
    os.symlink(trusted / "app", trusted / "theirs")
    os.chown(trusted / "theirs", 65534, 65534, follow_symlinks=False)
    for path in (f"{tmp_path}/link/new", f"{trusted}/out/new", f"{trusted}/out/link/new", f"{trusted}/theirs/new"):
        with pytest.raises(PermissionError), ExitStack() as held:
            held.callback(open_trusted_parent(path, NOBODY).close)


@pytest.mark.parametrize("path", ["/proc/sys/kernel/core_pattern", "/sys/kernel/uevent_helper", "/proc/new"])
def test_nor_is_what_the_kernel_makes_up(path: str) -> None:
    if os.geteuid() != 0 or not os.path.isdir(os.path.dirname(path)):
        pytest.skip("needs root and such a file system")
    with pytest.raises(OSError, match=r"\[Errno"), ExitStack() as held:
        held.callback(open_trusted_parent(path, NOBODY).close)
