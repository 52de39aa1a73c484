"""The walker: bounded descriptors whatever the depth, and no way that somebody else can bend."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from envd.filesystem.access import open_path
from envd.filesystem.walking import READ, Descent, MovedError, Walk, inode_of, open_down
from envd.filesystem.walking.descent import MOST_OPEN
from tests.support.deep_trees import NAME, make_deep, remove_deep


@contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def refuse(_: str, exc: OSError) -> None:
    raise exc


def names(walk: Walk[str]) -> list[str]:
    """Everything below, entering every directory."""
    found = []
    for name, kind in walk:
        found.append(walk.state + name)
        if kind == stat.S_IFDIR:
            walk.enter(name, f"{walk.state}{name}/")
    return found


@pytest.mark.parametrize("ordered", [True, False])
def test_a_walk_of_two_thousand_levels_holds_few_descriptors(tmp_path: Path, *, ordered: bool):
    make_deep(tmp_path, 2000, file="end")
    try:
        before, most, found = descriptors(), 0, 0
        with opened(tmp_path) as root, Walk(root, "", refuse, ordered=ordered) as walk:
            for name, kind in walk:
                found += 1
                if kind == stat.S_IFDIR:
                    walk.enter(name, "")
                    most = max(most, descriptors() - before) if found % 100 == 0 else most
        assert found == 2001
        assert most <= 2 * MOST_OPEN + 2
        assert descriptors() <= before  # another test's library may close its own meanwhile
    finally:
        remove_deep(tmp_path)


@pytest.mark.parametrize("ordered", [True, False])
def test_what_comes_behind_a_deep_directory_is_walked_too(tmp_path: Path, *, ordered: bool):
    top = tmp_path
    expected = []
    for level in range(3 * MOST_OPEN):
        for sibling in ("a", "z"):
            (top / sibling).touch()
            expected.append(str((top / sibling).relative_to(tmp_path)))
        top = top / f"m{level}"
        top.mkdir()
        expected.append(str(top.relative_to(tmp_path)))
    with opened(tmp_path) as root, Walk(root, "", refuse, ordered=ordered) as walk:
        found = names(walk)
    assert sorted(found) == sorted(expected)
    if ordered:
        assert found[0] == "a"
        assert found[-1] == "z"


def test_siblings_come_in_the_order_of_their_bytes(tmp_path: Path):
    for name in (b"b", b"\xff", "é".encode(), b"a", "\U0001f600".encode(), "￿".encode()):
        os.close(os.open(os.path.join(os.fsencode(tmp_path), name), os.O_CREAT))
    with opened(tmp_path) as root, Walk(root, "", refuse, ordered=True) as walk:
        found = [os.fsencode(name) for name, _ in walk]
    assert found == sorted(found)
    assert len(found) == 6


def test_a_link_is_entered_only_by_who_says_so(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with opened(tmp_path) as root, Walk(root, "", refuse) as walk:
        with pytest.raises(OSError, match="Not a directory|Too many levels"):
            walk.enter("link", "")
        walk.enter("link", "", follow=True)
        assert not walk.revisits


def test_a_link_that_leads_back_is_noticed(tmp_path: Path):
    (tmp_path / "back").symlink_to(".")
    with opened(tmp_path) as root, Walk(root, "", refuse) as walk:
        walk.enter("back", "", follow=True)
        assert walk.revisits


def test_the_way_up_leads_to_the_same_directory_or_nowhere(tmp_path: Path):
    """What was let go of on the way down, and moved meanwhile, is not mistaken for what is above it now."""
    make_deep(tmp_path, 2 * MOST_OPEN, name="d")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with opened(tmp_path) as root:
        way = Descent(root)
        try:
            for _ in range(2 * MOST_OPEN):
                way.enter("d")
            middle = tmp_path.joinpath(*["d"] * 5)
            os.rename(middle, elsewhere / "d")
            lost = 0
            while way.depth:
                try:
                    way.leave()
                except MovedError:
                    lost += 1
                else:
                    assert inode_of(way.here) == way.inode
            # From the moved directory up the way has another beginning: the four above it are found from the root.
            assert lost == 0 or inode_of(way.here) == inode_of(root)
            assert way.inode == inode_of(root)
        finally:
            way.close()


def test_a_directory_that_was_taken_away_ends_only_its_own_part(tmp_path: Path):
    """The parent of where the walk is, was removed from the tree, and its own place taken by another directory."""
    make_deep(tmp_path, 2 * MOST_OPEN, name="d")
    (tmp_path / "z").touch()
    failed: list[tuple[str, OSError]] = []
    found = []
    with opened(tmp_path) as root, Walk(root, "", lambda *what: failed.append(what), ordered=True) as walk:
        for name, kind in walk:
            found.append(walk.state + name)
            if kind == stat.S_IFDIR:
                walk.enter(name, f"{walk.state}{name}/")
            if walk.depth == 2 * MOST_OPEN:
                lower = tmp_path.joinpath(*["d"] * (MOST_OPEN - 2))
                os.rename(lower / "d/d", tmp_path / "aside")  # its parent stays behind, let go of
                os.rename(lower / "d", tmp_path / "old")
                os.mkdir(lower / "d")
    assert found[-1] == "z"
    assert [exc.errno for _, exc in failed] == [errno.ESTALE] * len(failed)
    assert failed


def test_a_directory_opens_by_a_path_longer_than_the_kernel_takes(tmp_path: Path):
    make_deep(tmp_path, 60, file="end")
    try:
        fd = open_path("/".join([str(tmp_path), *[NAME] * 60]), READ)
        assert os.listdir(fd) == ["end"]
        os.close(fd)
        with opened(tmp_path) as root:
            fd = open_down(root, [NAME] * 60)
            assert os.listdir(fd) == ["end"]
            os.close(fd)
        with pytest.raises(OSError, match="too long"):
            open_path(f"{tmp_path}/{'x' * 5000}")
    finally:
        remove_deep(tmp_path)
