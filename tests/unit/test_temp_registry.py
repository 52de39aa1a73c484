"""Temporaries of a server that died: known to the next one, which removes them and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from envd.filesystem.writing.hidden_names import temporary_name
from envd.filesystem.writing.own_writes import OwnWrites
from envd.filesystem.writing.temp_registry import TempRegistry
from envd.filesystem.writing.temporary import Temporaries, hidden_in
from tests.support.daemon import ROOT


@pytest.fixture
def memory() -> Iterator[int]:
    fd = os.memfd_create("leftovers")
    yield fd
    os.close(fd)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_PATH)
    yield fd
    os.close(fd)


NOTE_AND_DIE = """
import os, sys
from contextlib import ExitStack
from envd.filesystem.writing.temp_registry import TempRegistry
leftovers, stack = TempRegistry(int(sys.argv[1])), ExitStack()
for path in sys.argv[2:]:
    note = stack.enter_context(leftovers.noted(path))
    if os.path.exists(path):
        note.made(os.open(path, os.O_RDONLY))
os._exit(0)
"""


def noted_by_one_that_died(memory: int, *paths: Path) -> None:
    """Those that are there are noted with what they are."""
    command = [sys.executable, "-c", NOTE_AND_DIE, str(memory), *map(str, paths)]
    subprocess.run(command, cwd=ROOT, pass_fds=[memory], check=True)


def test_a_file_and_a_tree_of_an_earlier_server_are_removed(memory: int, tmp_path: Path) -> None:
    file, tree = tmp_path / temporary_name(), tmp_path / temporary_name()
    tree.mkdir()
    file.write_bytes(b"x")
    (tmp_path / temporary_name()).write_bytes(b"noted by nobody")
    noted_by_one_that_died(memory, file, tree)
    (tree / "a/b").mkdir(parents=True)
    (tree / "a/b/file").write_bytes(b"x")
    TempRegistry(memory).remove()
    assert not file.exists()
    assert not tree.exists()
    assert len(os.listdir(tmp_path)) == 1


def test_what_is_there_no_more_is_no_trouble_and_forgotten(memory: int, tmp_path: Path) -> None:
    hidden = tmp_path / temporary_name()
    noted_by_one_that_died(memory, hidden, tmp_path / "gone" / temporary_name())
    TempRegistry(memory).remove()
    hidden.write_bytes(b"somebody else's, later")
    TempRegistry(memory).remove()
    assert hidden.exists()


def test_only_what_has_a_temporary_s_name_is_removed(memory: int, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    noted_by_one_that_died(memory, tmp_path / "work")
    TempRegistry(memory).remove()
    assert (tmp_path / "work").is_dir()


def test_a_directory_that_took_the_place_of_a_noted_one_stays(memory: int, tmp_path: Path) -> None:
    noted = tmp_path / temporary_name()
    noted.mkdir()
    noted_by_one_that_died(memory, noted)
    (noted / "file").write_bytes(b"x")
    noted.rename(tmp_path / "moved")
    noted.mkdir()
    (noted / "other").write_bytes(b"x")
    TempRegistry(memory).remove()
    assert (noted / "other").exists()
    assert (tmp_path / "moved/file").exists()


def test_of_what_nobody_knows_to_be_the_noted_one_files_and_empty_directories_go(memory: int, tmp_path: Path) -> None:
    file, link, empty, tree = (tmp_path / temporary_name() for _ in range(4))
    noted_by_one_that_died(memory, file, link, empty, tree)
    file.write_bytes(b"x")
    link.symlink_to(tree)
    empty.mkdir()
    (tree / "a").mkdir(parents=True)
    TempRegistry(memory).remove()
    assert os.listdir(tmp_path) == [tree.name]
    assert (tree / "a").is_dir()


def test_a_directory_that_is_not_empty_is_none_that_was_just_made(memory: int, tmp_path: Path) -> None:
    tree = tmp_path / temporary_name()
    (tree / "a").mkdir(parents=True)
    noted_by_one_that_died(memory, tree)
    TempRegistry(memory).remove()
    assert (tree / "a").is_dir()


def test_what_came_to_its_end_is_not_noted_any_more(memory: int, tmp_path: Path, directory: int) -> None:
    with hidden_in(directory, Temporaries(TempRegistry(memory), OwnWrites())) as (name, _):
        hidden = tmp_path / name
        hidden.write_bytes(b"x")
    assert os.listdir(tmp_path) == []
    hidden.write_bytes(b"somebody else's, later")
    TempRegistry(memory).remove()
    assert hidden.exists()


def test_a_tree_that_took_the_place_of_a_hidden_one_stays_in_the_end(
    memory: int, tmp_path: Path, directory: int
) -> None:
    with hidden_in(directory, Temporaries(TempRegistry(memory), OwnWrites())) as (name, note):
        hidden = tmp_path / name
        hidden.mkdir()
        made = os.open(hidden, os.O_RDONLY)
        note.made(made)
        os.close(made)
        hidden.rename(tmp_path / "aside")
        (hidden / "a").mkdir(parents=True)
    assert (hidden / "a").is_dir()


def test_those_of_an_earlier_server_stay_noted_while_new_ones_come(memory: int, tmp_path: Path) -> None:
    old = [tmp_path / temporary_name() for _ in range(5)]
    noted_by_one_that_died(memory, *old)
    for path in old:
        path.write_bytes(b"x")
    leftovers = TempRegistry(memory)
    with leftovers.noted(str(tmp_path / temporary_name())):
        leftovers.remove()
    assert os.listdir(tmp_path) == []


def test_more_than_there_is_room_for_work_but_are_not_noted(memory: int, tmp_path: Path) -> None:
    leftovers = TempRegistry(memory)
    with ExitStack() as noted:
        for _ in range(4097):
            noted.enter_context(leftovers.noted(f"{tmp_path}/{temporary_name()}"))
        noted.enter_context(leftovers.noted("/" + "x" * 5000))
    with leftovers.noted(f"{tmp_path}/{temporary_name()}"):
        assert os.fstat(memory).st_size <= 4096 * 4096
