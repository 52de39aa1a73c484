"""What another version of the daemon wrote is read: that of 0.7.0 as it was, and more, less or nonsense of later ones.

records-0.7.0.json.gz has the memory files of a keeper of 0.7.0, byte for byte: one program with pipes that had input
under a key, one in a terminal, one that had ended; an upload with one part; a watcher.
"""

from __future__ import annotations

import base64
import gzip
import json
import marshal
import os
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import astuple
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from envd.config import Config
from envd.filesystem.uploads import state as uploads
from envd.filesystem.uploads.slots import UploadSlots
from envd.filesystem.watching.entry_budget import EntryBudget, SnapshotBudget
from envd.filesystem.watching.history import Backlog, History
from envd.filesystem.watching.slots import WatchSlots
from envd.filesystem.watching.watch_log import read_card, read_rest
from envd.filesystem.writing.hidden_names import temporary_name
from envd.filesystem.writing.temp_registry import TempRegistry
from envd.host.access import Access
from envd.host.record import Record
from envd.host.session import Session, SessionState
from envd.host.unreadable import UNREADABLE
from envd.host.users import Users, own_user
from envd.process.command import Command
from envd.process.idempotent_input import IdempotentInput, IdempotentWrite
from envd.process.ledger import Ledger
from envd.process.tty import Size

TOKEN = "token-of-0.7.0"


@cache
def written() -> dict[str, Any]:
    path = Path(__file__).resolve().parents[1] / "data" / "records-0.7.0.json.gz"
    found: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    return found


def memory(name: str) -> int:
    """A memory file with what 0.7.0 left in it."""
    content = {**written()["files"], **written()["ledgers"]}[name]
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    os.truncate(fd, content["size"])
    for offset, data in content["pages"]:
        os.pwrite(fd, base64.b64decode(data), offset)
    return fd


@pytest.fixture
def kept() -> Iterator[Any]:
    with ExitStack() as fds:

        def open_memory(name: str) -> int:
            fd = memory(name)
            fds.callback(os.close, fd)
            return fd

        yield open_memory


# As 0.7.0 wrote it.


def test_what_the_sandbox_was_told_is_read(kept: Any) -> None:
    access = Access()
    session = Session(Users(), access, Record(kept("session")), in_sandbox=True)
    assert access.required
    access.allow("POST", "/process.Process/List", TOKEN)
    assert session.environment["GREETING"] == "gr\u00fc\u00dfe"
    assert session.default_workdir == "/srv"
    assert session.state.initialized


@pytest.mark.parametrize(
    ("ledger", "tag", "key", "terminal"),
    [
        ("envd-1-ledger", "piped", "key-1", None),
        ("envd-2-ledger", "terminal", None, Size(80, 24)),
        ("envd-3-ledger", "finished", "key-2", None),
    ],
)
def test_a_program_is_read(kept: Any, ledger: str, tag: str, key: str | None, terminal: Size | None) -> None:
    read = Ledger.adopt(kept(ledger))
    command = Command.from_json(read.metadata.partition(b"\n")[2])
    assert (command.cmd, command.tag, command.key, command.terminal) == ("/bin/sh", tag, key, terminal)
    assert bool(read.read_end()) == (tag == "finished")


async def test_input_under_a_key_is_read(kept: Any) -> None:
    wanted = await IdempotentWrite.of("input-1", b"input\n")
    assert IdempotentInput(Ledger.adopt(kept("envd-1-ledger"))).has_all(wanted)


def upload_slots(fd: int) -> UploadSlots:
    told = Config().uploads
    return UploadSlots(fd, told.at_once, told.ranges)


def test_an_upload_is_read(kept: Any) -> None:
    ((_, value),) = upload_slots(kept("uploads")).load()
    ident, state, extents = uploads.from_bytes(value)
    assert ident == written()["upload"]
    assert (state.terms.size, state.terms.key, dict(state.terms.metadata)) == (11, "up-1", {"a": "b"})
    assert extents.total == len(b"hello ")


def test_what_a_server_left_is_read_and_emptied_of_nothing(tmp_path: Path) -> None:
    # It wrote the length and the path, over longer ones, and not whose doing it was or which file.
    file, tree = tmp_path / temporary_name(), tmp_path / temporary_name()
    file.write_bytes(b"x")
    (tree / "a").mkdir(parents=True)
    fd = os.memfd_create("leftovers", os.MFD_CLOEXEC)
    try:
        for slot, path in enumerate((file, tree)):
            data = os.fsencode(path)
            os.pwrite(fd, len(data).to_bytes(2, "big") + data + b'{"uid":0}', slot * 4096)
        TempRegistry(fd).remove()
    finally:
        os.close(fd)
    assert not file.exists()
    assert (tree / "a").is_dir()


@pytest.mark.parametrize(
    "change", [{"uid": -1}, {"gid": 2**32}, {"groups": 7}, {"path": None}, {"identity": {"inode": 1}}, {"later": [1]}]
)
def test_what_a_later_server_left_is_passed_over_if_it_is_nonsense(tmp_path: Path, change: dict[str, Any]) -> None:
    file = tmp_path / temporary_name()
    file.write_bytes(b"x")
    ids = {"uid": os.geteuid(), "gid": os.getegid(), "groups": []}
    data = json.dumps({"version": 9, "path": str(file), **ids, **change}).encode()
    fd = os.memfd_create("leftovers", os.MFD_CLOEXEC)
    try:
        os.pwrite(fd, (len(data) | 0x8000).to_bytes(2, "big") + data, 0)
        TempRegistry(fd).remove()
    finally:
        os.close(fd)
    assert file.exists() == ("later" not in change)


def test_a_watcher_is_read(kept: Any) -> None:
    (slot,) = WatchSlots(kept("watchers"), Config().watching.kept_watches).taken()
    records = slot.read()
    card = read_card(records)
    assert card is not None
    assert (card.ident, card.top.path, card.top.recursive) == (
        written()["watcher"]["watcherId"],
        written()["work"],
        True,
    )
    history = History(Backlog(100), limit=100, kept=0)
    read_rest(records, SnapshotBudget(lambda *_: None, EntryBudget(100), recursive=True), history)
    assert "touched" in {event[2] for event in history.peek()}


# As a later version may write it.


def test_what_is_unknown_is_passed_over_and_what_is_missing_has_its_default() -> None:
    assert SessionState.from_json(b'{"version": 99, "token": "t", "more": [1], "initialized": true}') == SessionState(
        token="t", initialized=True
    )
    assert Command.from_json(b'{"version": 99, "cmd": "/bin/true", "more": {}, "timeouts": [1, 2, 3, 4]}').cmd
    config = Config.from_json('{"listeners": [3], "more": 1, "limits": {"connections": 7, "more": 2}}')
    assert (config.listeners, config.limits.connections, config.limits.streams) == ((3,), 7, 1024)


def test_an_upload_with_other_fields_is_read(kept: Any) -> None:
    ((_, value),) = upload_slots(kept("uploads")).load()
    (length,) = struct.unpack_from("<I", value)
    fields = json.loads(value[4 : 4 + length])
    fields.update(version=99, more=1)
    fields["terms"].update(more=1)
    del fields["verified"], fields["terms"]["sync"]
    head = json.dumps(fields).encode()
    ident, state, extents = uploads.from_bytes(struct.pack("<I", len(head)) + head + value[4 + length :])
    assert (ident, state.terms.sync, extents.total) == (written()["upload"], False, 6)


def test_a_watcher_with_other_fields_is_read() -> None:
    about = {"version": 99, "ident": "w", "polled": True, "more": 1}
    user = (*astuple(own_user()), "more")
    top = {"path": "/a", "real": "/a", "recursive": True, "user": user, "more": 1}
    card = read_card(iter([marshal.dumps((0, about, top, "more"), 4)]))
    assert card is not None
    assert (card.ident, card.top.path, card.polled, card.entries) == ("w", "/a", True, False)


# Nonsense.

NONSENSE = [b"", b"\0", b"\xff" * 64, b"{", b"[]", b"null", b'{"token": 5}', os.urandom(200)]


@pytest.mark.parametrize("data", NONSENSE)
def test_nonsense_is_told_as_such(data: bytes) -> None:
    for read in (SessionState.from_json, Command.from_json, uploads.from_bytes):
        with pytest.raises(UNREADABLE):
            read(data)


@pytest.mark.parametrize("data", NONSENSE[1:])
def test_a_session_that_cannot_be_read_refuses_all_that_needs_a_token(data: bytes) -> None:
    fd = os.memfd_create("session", os.MFD_CLOEXEC)
    try:
        record, access = Record(fd), Access()
        record.write(data)
        Session(Users(), access, record, in_sandbox=True)
        assert access.required
    finally:
        os.close(fd)


def test_places_that_no_record_can_have_are_told_as_such() -> None:
    fd = os.memfd_create("record", os.MFD_CLOEXEC)
    try:
        for place in ((1, 2), (4096, 2**63), (2**64 - 1, 0)):
            os.pwrite(fd, struct.pack("<QQ", *place), 0)
            with pytest.raises(ValueError, match="layout"):
                Record(fd).read()
            Record(fd).write(b"new")  # it can be written anew
            assert Record(fd).read() == b"new"
    finally:
        os.close(fd)
