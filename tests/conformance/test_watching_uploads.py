"""How what the daemon itself puts in place is told to those who watch."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from tests.support.archives import Archives, entry, tar
from tests.support.filesystem import Files
from tests.support.uploads import Uploads
from tests.support.watching import Watching, said
from tests.support.wires import RpcError, Wire

NAMES = [f"{letter}{number}" for letter in "abcd" for number in range(25)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir()
    return made


@pytest.mark.parametrize("if_absent", [False, True], ids=["whatever-is-there", "if-absent"])
@pytest.mark.parametrize("content", [b"", b"content"], ids=["empty", "filled"])
async def test_a_commit_of_a_new_file_is_created_changed_and_written(
    wire: Wire, root: Path, content: bytes, *, if_absent: bool
):
    uploads = Uploads(wire)
    async with Watching(wire).stream(root) as stream:
        ident = await uploads.new(root / "new", if_absent=if_absent)
        if content:
            await uploads.part(ident, 0, content)
        await uploads.commit(ident)
        expected = ["create new", "chmod new", "write new"][: 3 if content else 2]
        assert [said(event) for event in await stream.events()] == expected


async def test_a_commit_is_told_wherever_its_parts_were_gathered(wire: Wire, root: Path):
    uploads, below = Uploads(wire), root / "below"
    idents = [await uploads.new(below / name) for name in ("new", "old")]  # both gather beside root
    for ident in idents:
        await uploads.part(ident, 0, b"content")
    below.mkdir()
    (below / "old").touch()
    async with Watching(wire).stream(below) as stream:
        for ident in idents:
            await uploads.commit(ident)
        assert [said(event) for event in await stream.events()] == [
            "create new",
            "chmod new",
            "write new",
            "write old",
        ]


async def test_of_extracts_at_once_each_file_is_created_once(wire: Wire, root: Path):
    archive = tar(*(entry(name, b"content") for name in NAMES))
    async with Watching(wire).stream(root, recursive=True) as stream:
        await asyncio.gather(*(Archives(wire).extract(root, archive) for _ in range(4)))
        found = [said(event) for event in await stream.events()]
    assert Counter(word for word in found if word.startswith("create")) == Counter(f"create {name}" for name in NAMES)
    assert {word for word in found if word.startswith("write")} == {f"write {name}" for name in NAMES}


async def test_of_writes_and_copies_at_once_each_file_is_created_once(wire: Wire, root: Path):
    files = Files(wire)
    (root.parent / "source").write_text("content")

    async def copied(name: str) -> None:
        try:
            await files.copy(root.parent / "source", root / name)
        except RpcError as error:
            assert error.code == "already_exists"  # noqa: PT017 - or it was the first

    async with Watching(wire).stream(root, recursive=True) as stream:
        for name in NAMES[:20]:
            writes = [files.write(root / name, b"content") for _ in range(2)]
            await asyncio.gather(*writes, *(copied(name) for _ in range(2)))
        found = [said(event) for event in await stream.events()]
    for name in NAMES[:20]:
        told = [word for word in found if word.endswith(f" {name}")]
        assert told[:3] == [f"create {name}", f"chmod {name}", f"write {name}"]
        assert set(told[3:]) <= {f"write {name}"}


async def test_files_that_are_replaced_at_once_in_many_directories_are_written(wire: Wire, root: Path):
    for name in "abcdefgh":
        (root / name).mkdir()
        (root / name / "file").touch()
    async with Watching(wire).stream(root, recursive=True) as stream:
        for _ in range(15):
            await asyncio.gather(*(Files(wire).write(root / name / "file", b"content") for name in "abcdefgh"))
        found = {said(event) for event in await stream.events()}
    assert found == {f"write {name}/file" for name in "abcdefgh"}
