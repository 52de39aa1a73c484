"""Find."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from envd_proto.filesystem.search_pb2 import (
    SEARCH_ORDER_MODIFIED,
    SEARCH_ORDER_NONE,
    SEARCH_ORDER_SIZE,
    SEARCH_TYPE_DIRECTORY,
    SEARCH_TYPE_FILE,
    SEARCH_TYPE_OTHER,
    SEARCH_TYPE_SYMLINK,
)
from tests.support.deep_trees import NAME, make_deep, remove_deep
from tests.support.filesystem import Files
from tests.support.searching import Search
from tests.support.wires import RpcError, Wire

FILES = ["a.py", "b.txt", "src/.hidden/x.py", "src/a.py", "src/deep/er/a.py", "src/deep/b.pyc", "tests/test_a.py"]


@pytest.fixture
def search(wire: Wire) -> Search:
    return Search(wire)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in FILES:
        make(tmp_path / name)
    return tmp_path


def make(path: Path, content: str = "x\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


async def found(search: Search, tree: Path, **options: object) -> list[str]:
    return (await search.find(tree, **options)).names(tree)


async def test_everything_below_comes_in_order_and_described_as_by_stat(search: Search, tree: Path):
    answer = await search.find(tree)
    names = answer.names(tree)
    expected = sorted(str(path.relative_to(tree)) for path in tree.rglob("*"))
    assert sorted(names) == expected
    assert names == sorted(names, key=lambda name: name.split("/"))
    assert (answer.summary.entries, answer.summary.examined, answer.summary.truncated) == (len(names),) * 2 + (False,)
    files = Files(search.wire)
    for entry in answer.entries[:3]:
        assert entry == await files.stat(entry.path)


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (["*.py"], [], ["a.py", "src/.hidden/x.py", "src/a.py", "src/deep/er/a.py", "tests/test_a.py"]),
        (["a.py"], [], ["a.py", "src/a.py", "src/deep/er/a.py"]),
        (["/a.py"], [], ["a.py"]),
        (["src/*.py"], [], ["src/a.py"]),
        (["src/**/*.py"], [], ["src/.hidden/x.py", "src/a.py", "src/deep/er/a.py"]),
        (["**/deep/**"], [], ["src/deep/b.pyc", "src/deep/er", "src/deep/er/a.py"]),
        (["**/er/a.*"], [], ["src/deep/er/a.py"]),
        (["*.{txt,pyc}", "test_[ab].py"], [], ["b.txt", "src/deep/b.pyc", "tests/test_a.py"]),
        (["?.py"], ["src"], ["a.py"]),
        (["*.py"], ["**/deep/**", ".*"], ["a.py", "src/a.py", "tests/test_a.py"]),
        (["*.py"], ["src/**", "tests/"], ["a.py"]),
        (["deep/"], [], ["src/deep"]),
        (["b.txt/"], [], []),
        (["*"], ["*"], []),
        (["nothing"], [], []),
    ],
)
async def test_globs_choose(search: Search, tree: Path, include, exclude, expected):
    assert await found(search, tree, include=include, exclude=exclude) == expected


async def test_directories_in_which_nothing_can_match_are_not_entered(search: Search, tree: Path):
    answer = await search.find(tree, include=["src/*.py"], exclude=["src/deep"])
    assert answer.names(tree) == ["src/a.py"]
    # What tree and src contain, and what is in the directory of src that is not excluded: whose globs are used up.
    assert answer.summary.examined == 4 + 3


async def test_types_choose(search: Search, tree: Path):
    (tree / "link").symlink_to("nowhere")
    os.mkfifo(tree / "fifo")
    assert await found(search, tree, types=[SEARCH_TYPE_DIRECTORY], max_depth=1) == ["src", "tests"]
    assert await found(search, tree, types=[SEARCH_TYPE_SYMLINK, SEARCH_TYPE_OTHER]) == ["fifo", "link"]
    assert len(await found(search, tree, types=[SEARCH_TYPE_FILE])) == len(FILES)


async def test_sizes_and_times_choose(search: Search, tree: Path):
    make(tree / "large", "x" * 1000)
    os.utime(tree / "large", ns=(0, 5_000_000_000))
    os.utime(tree / "a.py", ns=(0, 3_000_000_001))
    assert await found(search, tree, min_size=3) == ["large"]
    assert await found(search, tree, min_size=1001) == []
    assert await found(search, tree, max_size=999, include=["/*.*"]) == ["a.py", "b.txt"]
    assert await found(search, tree, modified_before=Timestamp(seconds=5)) == ["a.py"]
    assert await found(search, tree, modified_before=Timestamp(seconds=6)) == ["a.py", "large"]
    assert await found(
        search, tree, modified_since=Timestamp(seconds=3, nanos=2), modified_before=Timestamp(seconds=6)
    ) == ["large"]


async def test_depth_and_hidden_names(search: Search, tree: Path):
    make(tree / ".env")
    assert await found(search, tree, max_depth=1) == [".env", "a.py", "b.txt", "src", "tests"]
    assert await found(search, tree, max_depth=2, skip_hidden=True, include=["*.py"]) == [
        "a.py",
        "src/a.py",
        "tests/test_a.py",
    ]


async def test_orders(search: Search, tree: Path):
    for number, name in enumerate(["b.txt", "src/a.py", "a.py"]):
        (tree / name).write_bytes(b"x" * (10 - number))
        os.utime(tree / name, ns=(0, number * 1_000_000_000))
    chosen = {"include": ["/a.py", "/b.txt", "src/a.py"]}
    assert await found(search, tree, order=SEARCH_ORDER_MODIFIED, **chosen) == ["a.py", "src/a.py", "b.txt"]
    assert await found(search, tree, order=SEARCH_ORDER_SIZE, **chosen) == ["b.txt", "src/a.py", "a.py"]
    assert sorted(await found(search, tree, order=SEARCH_ORDER_NONE)) == sorted(await found(search, tree))


async def test_a_limit_is_exact_and_says_whether_there_is_more(search: Search, tree: Path):
    everything = await found(search, tree)
    for limit in (1, len(everything) - 1, len(everything), len(everything) + 1):
        answer = await search.find(tree, limit=limit)
        assert answer.names(tree) == everything[:limit]
        assert answer.summary.truncated == (limit < len(everything))


async def test_links_are_links_unless_they_are_followed(search: Search, tree: Path):
    (tree / "link").symlink_to("src/deep")
    (tree / "src/deep/up").symlink_to("../..")
    (tree / "file").symlink_to("a.py")
    assert "link/b.pyc" not in await found(search, tree)
    followed = await found(search, tree, follow_links=True, include=["b.pyc", "file", "up"])
    # Where `up` leads is above it on the way, so it is not entered.
    assert followed == ["file", "link/b.pyc", "link/up", "src/deep/b.pyc", "src/deep/up"]
    assert await found(search, tree, follow_links=True, types=[SEARCH_TYPE_FILE], include=["file"]) == ["file"]
    assert (await search.find(tree / "link")).names(tree) == ["link/b.pyc", "link/er", "link/er/a.py", "link/up"]


async def test_a_file_is_found_by_itself(search: Search, tree: Path):
    assert await found(search, tree / "a.py", include=["*.txt"]) == ["."]


async def test_names_that_are_not_utf8_are_found(search: Search, tree: Path):
    name = os.fsencode(tree) + b"/caf\xe9.py"
    os.close(os.open(name, os.O_CREAT))
    answer = await search.find(tree, include=["caf*.py"])
    assert [(entry.name, entry.raw_path) for entry in answer.entries] == [("caf\ufffd.py", name)]


async def test_our_own_temporaries_are_not_found(search: Search, tree: Path):
    make(tree / ".envd-0123456789abcdef.tmp")
    make(tree / ".envd-0123456789abcdef.tmpx")
    assert await found(search, tree, max_depth=1, include=[".*"]) == [".envd-0123456789abcdef.tmpx"]


async def test_what_cannot_be_searched_is_refused(search: Search, tree: Path):
    os.mkfifo(tree / "fifo")
    for path, code in ((tree / "missing", "not_found"), (tree / "fifo", "invalid_argument")):
        with pytest.raises(RpcError) as error:
            await search.find(path)
        assert error.value.code == code
    for options in ({"include": ["a/../b"]}, {"exclude": ["{a,b}" * 12]}, {"include": ["x" * 5000]}, {"types": [9]}):
        with pytest.raises(RpcError) as error:
            await search.find(tree, **options)
        assert error.value.code == "invalid_argument", options


async def test_directories_deeper_than_a_path_can_say_are_searched_whole(search: Search, tree: Path):
    make_deep(tree, 60, file="end.py")
    try:
        answer = await search.find(tree, include=["*.py"])
        names = answer.names(tree)
        assert names[-1] == "tests/test_a.py"
        assert "/".join([NAME] * 60) + "/end.py" in names
        assert (answer.summary.skipped, len(answer.skipped)) == (0, 0)
        below = await search.find(f"{tree}/" + "/".join([NAME] * 60))
        assert [entry.name for entry in below.entries] == ["end.py"]
    finally:
        remove_deep(tree)


async def test_many_entries_come_in_several_messages(search: Search, tmp_path: Path):
    for number in range(3000):
        (tmp_path / f"{number:05d}").touch()
    async with search.finding(tmp_path) as messages:
        received = [message async for message in messages]
    assert len(received) >= 3
    assert [entry.name for message in received for entry in message.entries] == [f"{n:05d}" for n in range(3000)]


async def test_metadata_comes_on_request(search: Search, tree: Path):
    os.setxattr(tree / "a.py", "user.e2b.k", b"v")
    (plain,) = (await search.find(tree, include=["/a.py"])).entries
    (full,) = (await search.find(tree, include=["/a.py"], with_metadata=True)).entries
    assert (dict(plain.metadata), dict(full.metadata)) == ({}, {"k": "v"})


# What git ignores.


@pytest.fixture
def repository(tree: Path) -> Path:
    make(tree / ".git/info/exclude", "*.pyc\n")
    make(tree / ".git/config")
    make(tree / ".gitignore", "# comment\n/b.txt\n*.log\nbuild/\nsrc/**/er\n")
    make(tree / "src/.gitignore", "!keep.log\n")
    for name in ("x.log", "src/keep.log", "src/x.log", "build/out", "src/build/out", "tests/b.txt"):
        make(tree / name)
    return tree


async def test_what_git_ignores_is_left_out_on_request(search: Search, repository: Path):
    names = await found(search, repository, gitignore=True, types=[SEARCH_TYPE_FILE])
    assert names == [
        ".gitignore",
        "a.py",
        "src/.gitignore",
        "src/.hidden/x.py",
        "src/a.py",
        "src/keep.log",
        "tests/b.txt",
        "tests/test_a.py",
    ]
    assert ".git/config" in await found(search, repository)


async def test_rules_above_the_path_hold_too(search: Search, repository: Path):
    names = await found(search, repository / "src", gitignore=True, types=[SEARCH_TYPE_FILE])
    assert names == [".gitignore", ".hidden/x.py", "a.py", "keep.log"]


async def test_another_repository_below_has_its_own_rules(search: Search, repository: Path):
    make(repository / "vendor/.git/config")
    make(repository / "vendor/x.log")
    make(repository / "vendor/.gitignore", "*.txt")
    make(repository / "vendor/y.txt")
    assert await found(search, repository / "vendor", gitignore=True) == [".gitignore", "x.log"]
    assert "vendor/x.log" in await found(search, repository, gitignore=True)
