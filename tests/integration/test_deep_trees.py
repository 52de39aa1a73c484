"""Trees whose paths are longer than the kernel takes: every operation does all of it, or says why not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.archives import Archives
from tests.support.connect import Client, Codec
from tests.support.daemon import Daemon
from tests.support.deep_trees import NAME, depth_of, make_deep, remove_deep
from tests.support.disks import small_disk
from tests.support.filesystem import Files
from tests.support.searching import Search
from tests.support.wires import RpcError

NESTED, VERY = 31, 2000  # names of 200 characters
LEVELS = [pytest.param(NESTED, id="nested"), pytest.param(VERY, id="very deep", marks=pytest.mark.slow)]
FILE = "end"
EVERYTHING = 2**32 - 1


@pytest.fixture
def wire(daemon: Daemon) -> Client:
    return Client(daemon.port, Codec.PROTO)


@pytest.fixture
def files(wire: Client) -> Files:
    return Files(wire)


@pytest.fixture(params=LEVELS)
def levels(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def deep(tmp_path: Path, levels: int) -> Iterator[Path]:
    top = tmp_path / "deep"
    top.mkdir()
    make_deep(top, levels, file=FILE)
    yield top
    for left in tmp_path.iterdir():
        if left.is_dir():
            remove_deep(left)


def path_of_file(top: Path, levels: int) -> str:
    return "/".join([str(top), *[NAME] * levels, FILE])


async def refused(call, code: str) -> str:
    with pytest.raises(RpcError) as error:
        await call
    assert error.value.code == code, error.value
    return error.value.message


async def test_all_of_it_is_listed(files: Files, deep: Path, levels: int):
    entries = await files.list_dir(deep, depth=EVERYTHING)  # 400 MB of paths at most
    assert len(entries) == levels + 1
    assert entries[-1].path == path_of_file(deep, levels)
    streamed = await files.list_entries(deep, depth=EVERYTHING)
    assert [entry.path for batch in streamed for entry in batch.entries] == [entry.path for entry in entries]


async def test_what_is_at_the_end_is_found_and_its_path_leads_there(wire: Client, deep: Path, levels: int):
    search = Search(wire)
    found = await search.find(deep, include=[FILE])
    assert [entry.path for entry in found.entries] == [path_of_file(deep, levels)]
    assert found.summary is not None
    assert (found.summary.skipped, found.summary.truncated) == (0, False)
    again = await search.find(os.path.dirname(found.entries[0].path))
    assert [entry.name for entry in again.entries] == [FILE]


async def test_text_at_the_end_is_found_and_replaced(wire: Client, deep: Path, levels: int):
    search = Search(wire)
    found = await search.grep(deep, "deep")
    assert [line.text for message in found.messages for file in message.files for line in file.lines] == ["deep"]
    replaced = await search.replace(deep, "deep", "replaced")
    assert [file.path for file in replaced.files] == [path_of_file(deep, levels)]
    assert replaced.files_changed == 1
    assert depth_of(deep, file=FILE) == -1, "it still says deep"
    await search.replace(deep, "replaced", "deep")
    assert depth_of(deep, file=FILE) == levels


async def test_all_of_it_is_copied(files: Files, deep: Path, levels: int):
    response = await files.copy(deep, deep.parent / "copy", recursive=True)
    assert response.entries == levels + 2
    assert depth_of(deep.parent / "copy", file=FILE) == levels
    merged = await files.copy(deep, deep.parent / "copy", recursive=True, overwrite=True)
    assert merged.entries == 1, "only the file is replaced"


async def test_all_of_it_moves_to_another_file_system(files: Files, deep: Path, levels: int):
    with small_disk(deep.parent / "disk", "size=64m,nr_inodes=10k") as disk:
        await files.move(deep, disk / "moved")
        assert not deep.exists()
        assert depth_of(disk / "moved", file=FILE) == levels
        await files.remove(disk / "moved")


async def test_all_of_it_is_removed(files: Files, deep: Path):
    await files.remove(deep)
    assert not deep.exists()


async def test_all_of_it_is_archived_and_extracted_or_that_is_refused(wire: Client, deep: Path, levels: int):
    archives = Archives(wire)
    if levels > NESTED:  # names grow with the square of the depth
        assert "too deep to be archived" in await refused(archives.archive(deep), "failed_precondition")
        return
    archived = await archives.archive(deep)
    assert archived.end.entries == levels + 2
    extracted = await archives.extract(deep.parent / "extracted", archived.data)
    assert extracted.entries == levels + 2
    assert depth_of(deep.parent / "extracted", file=FILE) == levels
    again = await archives.extract(deep.parent / "extracted", archived.data)
    assert again.entries == levels + 2
