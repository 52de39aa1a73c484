"""POST /files/compose."""

from __future__ import annotations

import os

import pytest

from tests.support.daemon import Daemon
from tests.support.files import answer, compose, refusal


@pytest.fixture
def parts(tmp_path):
    made = []
    for name in ("1", "2", "3"):
        path = tmp_path / name
        path.write_bytes(name.encode() * 100_000)
        made.append(str(path))
    return made


@pytest.mark.line(165)
async def test_files_are_joined_in_order_and_removed(daemon: Daemon, tmp_path, parts):
    target = tmp_path / "sub" / "all"
    response = await compose(daemon.port, {"source_paths": [parts[1], parts[0], parts[1]], "destination": target})
    assert answer(response) == {"name": "all", "path": str(target), "type": "file"}
    assert response.headers["Content-Type"].startswith("application/json")
    assert target.read_bytes() == b"2" * 100_000 + b"1" * 100_000 + b"2" * 100_000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3", "sub"]


@pytest.mark.line(166)
async def test_what_is_refused(daemon: Daemon, tmp_path, parts):
    target = str(tmp_path / "all")

    async def message(status: int, **fields: object) -> str:
        return refusal(await compose(daemon.port, fields), status)

    assert await message(404, source_paths=["/no/such"], destination=target) == "source file not found: /no/such"
    found = await message(400, source_paths=[str(tmp_path)], destination=target)
    assert found == f"source path is not a regular file: {tmp_path}"
    found = await message(400, source_paths=[parts[1], parts[0]], destination=parts[0])
    assert found == f'source path "{parts[0]}" cannot be the same as destination'
    (tmp_path / "link").symlink_to(parts[0])
    found = await message(400, source_paths=[parts[0]], destination=str(tmp_path / "link"))
    assert found.endswith("cannot be the same as destination")
    assert await message(400, source_paths=[], destination=target) == "source_paths must not be empty"
    assert await message(400, destination=target) == "source_paths must not be empty"
    assert await message(400, source_paths=parts) == "destination is required"
    assert "path is a directory" in await message(400, source_paths=parts, destination=str(tmp_path))
    assert "unknown user" in await message(401, source_paths=parts, destination=target, username="no-such-user")
    assert (await message(400, source_paths=["~x/y"], destination=target)).startswith("error resolving source path")
    assert (await message(400, source_paths=parts, destination="~x/y")).startswith("error resolving destination path")
    for body in (b"", b"{", b"[]", b"\xff", b'{"source_paths": [1], "destination": "x"}', b"[" * 100_000):
        assert "invalid request body" in refusal(await compose(daemon.port, body), 400)
    assert all(os.path.getsize(path) == 100_000 for path in parts)
    assert not (tmp_path / "all").exists()


async def test_a_destination_keeps_its_mode_and_metadata(daemon: Daemon, tmp_path, parts):
    target = tmp_path / "all"
    target.write_bytes(b"before")
    target.chmod(0o600)
    try:
        os.setxattr(target, "user.e2b.key", b"value")
    except OSError:
        pytest.skip("no extended attributes here")
    answer(await compose(daemon.port, {"source_paths": parts, "destination": target}))
    assert (target.stat().st_size, target.stat().st_mode & 0o777) == (300_000, 0o600)
    assert os.getxattr(target, "user.e2b.key") == b"value"


async def test_the_new_file_belongs_to_the_user(daemon: Daemon, home, other_user):
    for name in ("1", "2"):
        (home / name).write_bytes(b"x")
    wish = {"source_paths": [home / "1", home / "2"], "destination": home / "all", "username": other_user.pw_name}
    assert "not_removed" not in answer(await compose(daemon.port, wish))
    assert (home / "all").stat().st_uid == other_user.pw_uid


async def test_files_the_kernel_makes_up_and_empty_ones_can_be_sources(daemon: Daemon, tmp_path):
    (tmp_path / "empty").touch()
    wish = {"source_paths": [tmp_path / "empty", "/proc/version"], "destination": tmp_path / "all"}
    found = answer(await compose(daemon.port, wish))
    with open("/proc/version", "rb") as file:
        assert (tmp_path / "all").read_bytes() == file.read()
    assert [left["path"] for left in found["not_removed"]] == ["/proc/version"]


async def test_a_wish_of_too_many_elements_is_refused(daemon: Daemon, tmp_path):
    response = await compose(daemon.port, {"source_paths": ["x"] * 200_001, "destination": tmp_path / "all"})
    assert "more than 200000 elements" in refusal(response, 400)


async def test_a_long_wish_is_read_as_a_short_one(daemon: Daemon, tmp_path):
    (tmp_path / "part").write_bytes(b"x")
    response = await compose(
        daemon.port, {"source_paths": [str(tmp_path / "part")] * 2000, "destination": tmp_path / "all"}
    )
    assert answer(response)["name"] == "all"
    assert (tmp_path / "all").stat().st_size == 2000
