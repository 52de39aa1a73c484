"""What the daemon's own rights put in place for a user, and what they leave alone, while the content still arrives."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from envd.errors import Code, EnvdError
from envd.filesystem.writing.own_writes import OwnWrites
from envd.filesystem.writing.staging import stage
from envd.filesystem.writing.target import WriteOptions
from envd.filesystem.writing.temp_registry import TempRegistry
from envd.filesystem.writing.temporary import Temporaries
from envd.host.users import User
from tests.support.trusted_directories import trusted_directory

NOBODY = User("nobody", 65534, 65534, (65534,), "/")
SECRET = b"nobody else's business"


@pytest.fixture
def app() -> Iterator[Path]:
    with trusted_directory() as directory:
        yield directory


@pytest.fixture
def temporaries() -> Iterator[Temporaries]:
    fd = os.memfd_create("leftovers")
    yield Temporaries(TempRegistry(fd), OwnWrites())
    os.close(fd)


def private(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(SECRET)
    path.chmod(0o600)


def named_twice(path: Path) -> None:
    path.write_bytes(SECRET)
    path.with_name("second").hardlink_to(path)


@pytest.mark.parametrize("is_new", [True, False])
@pytest.mark.parametrize("change", [private, named_twice])
def test_what_root_puts_there_meanwhile_stays(
    app: Path, temporaries: Temporaries, change: Callable[[Path], None], *, is_new: bool
) -> None:
    path = app / "file"
    if not is_new:
        path.write_bytes(b"root's")
    with stage(os.fspath(path), WriteOptions(NOBODY, helped=True), temporaries) as staged:
        staged.write(b"theirs")
        change(path)
        with pytest.raises(EnvdError) as error:
            staged.commit()
    assert error.value.code is Code.PERMISSION_DENIED
    assert (path.read_bytes(), path.stat().st_uid) == (SECRET, 0)


def test_what_the_user_may_read_is_replaced_also_if_it_came_meanwhile(app: Path, temporaries: Temporaries) -> None:
    path = app / "file"
    with stage(os.fspath(path), WriteOptions(NOBODY, helped=True), temporaries) as staged:
        staged.write(b"theirs")
        path.write_bytes(b"root's")
        staged.commit()
    assert (path.read_bytes(), path.stat().st_uid) == (b"theirs", NOBODY.uid)
