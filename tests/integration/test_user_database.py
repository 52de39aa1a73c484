"""User databases that answer late, or are not there at all."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import files as rest
from tests.support.connect import Client, Codec
from tests.support.daemon import Daemon
from tests.support.faults import settled
from tests.support.filesystem import Files
from tests.support.http1 import exchange
from tests.support.process import Processes, shell
from tests.support.wires import RpcError

DEADLINE_S = 60

# It knows one user and one group, notes each question, and answers once a file is there.
SOURCE = """
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <nss.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>
static void wait_for_gate(const char *question) {
  int log = open(FOLDER "/questions", O_WRONLY | O_CREAT | O_APPEND, 0666);
  write(log, question, strlen(question)); write(log, "\\n", 1); close(log);
  while (access(FOLDER "/gate", F_OK)) usleep(10000);
}
static enum nss_status fill(struct passwd *p) {
  p->pw_name = "elsewhere"; p->pw_passwd = "x"; p->pw_uid = 54321; p->pw_gid = 54322;
  p->pw_gecos = ""; p->pw_dir = "/tmp"; p->pw_shell = "/bin/sh"; return NSS_STATUS_SUCCESS;
}
enum nss_status _nss_late_getpwnam_r(const char *n, struct passwd *p, char *b, size_t l, int *e) {
  wait_for_gate(n);
  if (!strcmp(n, "elsewhere")) return fill(p);
  *e = ENOENT; return NSS_STATUS_NOTFOUND;
}
enum nss_status _nss_late_getpwuid_r(uid_t u, struct passwd *p, char *b, size_t l, int *e) {
  wait_for_gate("uid");
  if (u == 54321) return fill(p);
  *e = ENOENT; return NSS_STATUS_NOTFOUND;
}
enum nss_status _nss_late_initgroups_dyn(
    const char *n, gid_t g, long *start, long *size, gid_t **groups, long limit, int *e) {
  wait_for_gate("groups");
  (*groups)[(*start)++] = 54323; return NSS_STATUS_SUCCESS;
}
"""


@dataclass(frozen=True, slots=True)
class Late:
    """A daemon in whose surroundings others than /etc/passwd know users, and answer late."""

    daemon: Daemon
    folder: Path

    def open(self) -> None:
        (self.folder / "gate").touch()

    def questions(self) -> list[str]:
        asked = self.folder / "questions"
        return asked.read_text().splitlines() if asked.exists() else []


def start_over(*mounts: tuple[str, str], env: dict[str, str] | None = None) -> Daemon:
    """A daemon that sees other files than those that are there; skips where that cannot be done."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root and unshare")
    script = "; ".join(f"mount --bind {source} {over}" for source, over in mounts)
    return Daemon.start(env=env, within=("unshare", "--mount", "sh", "-ec", f'{script}; exec "$@"', "sh"))


@pytest.fixture
def late(tmp_path: Path) -> Iterator[Late]:
    if shutil.which("gcc") is None or not os.path.exists("/etc/nsswitch.conf"):
        pytest.skip("needs gcc and /etc/nsswitch.conf")
    tmp_path.chmod(0o755)
    source = tmp_path / "late.c"
    source.write_text(SOURCE.replace("FOLDER", f'"{tmp_path}"'))
    library = tmp_path / "libnss_late.so.2"
    built = subprocess.run(
        ["gcc", "-w", "-shared", "-fPIC", "-o", library, source], check=False, capture_output=True, text=True
    )
    if built.returncode:
        pytest.skip(f"no module can be built here: {built.stderr[-200:]}")
    sources = tmp_path / "nsswitch.conf"
    sources.write_text("passwd: files late\ngroup: files late\n")
    for name in ("passwd", "group"):  # of its own: other tests add users
        shutil.copyfile(f"/etc/{name}", tmp_path / name)
    mounts = [(str(tmp_path / name), f"/etc/{name}") for name in ("nsswitch.conf", "passwd", "group")]
    daemon = start_over(*mounts, env={"LD_LIBRARY_PATH": str(tmp_path)})
    made = Late(daemon, tmp_path)
    yield made
    made.open()
    daemon.stop()


async def test_looking_up_a_user_holds_up_nobody_else(late: Late):
    client = Client(late.daemon.port, Codec.PROTO)
    unknown = [asyncio.ensure_future(Processes(client).as_user(f"who{n % 3}").list()) for n in range(9)]
    async with asyncio.timeout(DEADLINE_S):
        asked = await settled(late.questions, lambda found: {"who0", "who1", "who2"} <= set(found))
        assert {"who0", "who1", "who2"} <= set(asked)
        assert (await exchange(late.daemon.port, "GET", "/health")).status == 204
        assert (await Files(client).stat("/etc")).path == "/etc"
        assert (await Processes(client).run(shell("id -u"))).stdout == b"0\n"
        late.open()
        errors = await asyncio.gather(*unknown, return_exceptions=True)
    assert {error.code for error in errors if isinstance(error, RpcError)} == {"unauthenticated"}
    assert len(errors) == 9
    # Who asks for the same user shares the answer.
    assert sorted(question for question in late.questions() if question.startswith("who")) == ["who0", "who1", "who2"]


async def test_what_was_said_of_a_user_is_remembered(late: Late):
    late.open()
    processes = Processes(Client(late.daemon.port, Codec.PROTO))
    for _ in range(2):
        with pytest.raises(RpcError):
            await processes.as_user("nobody-knows").list()
    for _ in range(3):
        assert (await processes.as_user("elsewhere").run(shell("id -u; id -G"))).stdout == b"54321\n54322 54323\n"
        assert (await rest.get(late.daemon.port, "/etc/hostname", username="elsewhere")).status == 200
    asked = late.questions()
    assert (asked.count("elsewhere"), asked.count("nobody-knows")) == (1, 1)


async def test_a_user_of_a_database_that_does_not_answer_is_unavailable(late: Late):
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(RpcError) as error:
            await Processes(Client(late.daemon.port, Codec.PROTO)).as_user("elsewhere").list()
        answer = await rest.get(late.daemon.port, "/etc/hostname", username="elsewhere")
    assert error.value.code == "unavailable"
    assert "elsewhere" in error.value.message
    assert answer.status == 503


async def test_a_default_user_of_a_database_that_does_not_answer_is_unavailable(late: Late):
    async with asyncio.timeout(DEADLINE_S):
        answer = await exchange(late.daemon.port, "POST", "/init", body=b'{"defaultUser":"elsewhere"}')
    assert answer.status == 503
    assert b"elsewhere" in answer.body


async def test_a_user_of_the_files_works_while_other_databases_do_not_answer(late: Late):
    async with asyncio.timeout(DEADLINE_S):
        outcome = await Processes(Client(late.daemon.port, Codec.PROTO)).as_user("nobody").run(shell("id -un"))
    assert (outcome.stdout, outcome.end.exit_code) == (b"nobody\n", 0)


async def test_a_listing_shows_numbers_until_names_come(late: Late, tmp_path: Path):
    shown = tmp_path / "shown"
    shown.mkdir()
    for number in range(100):
        (shown / str(number)).touch()
        os.chown(shown / str(number), 54321 if number % 2 else 70000 + number, 0)
    calls = Files(Client(late.daemon.port, Codec.PROTO))
    async with asyncio.timeout(DEADLINE_S):
        assert {entry.owner for entry in await calls.list_dir(shown)} >= {"54321", "70000"}
        late.open()
        while "elsewhere" not in {entry.owner for entry in await calls.list_dir(shown)}:
            await asyncio.sleep(0.05)


async def test_root_and_numbers_need_no_user_database():
    empty = [
        ("/dev/null", f"/etc/{name}") for name in ("passwd", "group", "nsswitch.conf") if os.path.exists(f"/etc/{name}")
    ]
    daemon = await asyncio.to_thread(start_over, *empty)
    try:
        client = Client(daemon.port, Codec.PROTO)
        processes = Processes(client)
        said = {}
        for name in (None, "root", "0", "1234"):
            named = processes if name is None else processes.as_user(name)
            said[name] = (await named.run(shell("id -u; id -g; id -G"))).stdout
        assert said == {None: b"0\n0\n0\n", "root": b"0\n0\n0\n", "0": b"0\n0\n0\n", "1234": b"1234\n1234\n1234\n"}
        assert (await Files(client).stat("/etc")).owner in ("root", "0")
        with pytest.raises(RpcError) as error:
            await processes.as_user("somebody").list()
        assert error.value.code == "unauthenticated"
    finally:
        await asyncio.to_thread(daemon.stop)


@pytest.mark.parametrize("number", ["4294967295", "99999999999", "-1", "1.0", "٣"])
async def test_numbers_that_no_user_can_have_are_refused(processes: Processes, number: str):
    with pytest.raises(RpcError) as error:
        await processes.as_user(number).list()
    assert error.value.code == "unauthenticated"
