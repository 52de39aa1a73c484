"""Finding, searching, replacing and reading lines inside the sandbox."""

from __future__ import annotations

import pytest

from envd_sdk import ConflictException, FileNotFoundException, InvalidArgumentException


@pytest.fixture
def project(tmp_path):
    for name, text in {
        "src/a.py": "import os\nfirst = 1\nsecond = 2\n",
        "src/deep/b.py": "first = 3\n",
        "src/c.txt": "first thing\n",
        "build/d.py": "first = 9\n",
        ".gitignore": "build/\n",
        ".git/HEAD": "x",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "binary").write_bytes(b"first\0\xff")
    return tmp_path


async def test_entries_are_found(sandbox, concurrency, project):
    async def names(**selected) -> list[str]:
        found = await concurrency.call(sandbox.files.find, str(project), **selected)
        return [entry.path.removeprefix(f"{project}/") for entry in found]

    assert await names(include=["*.py"]) == ["build/d.py", "src/a.py", "src/deep/b.py"]
    assert await names(include="*.py", gitignore=True, exclude=["deep"]) == ["src/a.py"]
    assert await names(kinds=["dir"], skip_hidden=True, max_depth=1) == ["build", "src"]
    assert await names(include=["*.py"], limit=1) == ["build/d.py"]
    assert await names(min_size=30, order="size") == ["src/a.py"]


async def test_text_is_found(sandbox, concurrency, project):
    found = await concurrency.call(sandbox.files.grep, r"^first = (\d)", str(project), include=["*.py"], gitignore=True)
    assert [(file.path.removeprefix(f"{project}/"), file.count) for file in found.files] == [
        ("src/a.py", 1),
        ("src/deep/b.py", 1),
    ]
    assert (found.count, found.truncated, found.files_searched) == (2, False, 2)
    (line,) = found.files[0].lines
    assert (line.number, line.text, line.matches) == (2, "first = 1", ((0, 9),))
    around = await concurrency.call(sandbox.files.grep, "first", str(project / "src/a.py"), before=1, after=1)
    assert [line.text for line in around.files[0].lines] == ["import os", "first = 1", "second = 2"]
    few = await concurrency.call(
        sandbox.files.grep, "FIRST", str(project), max_matches=1, match={"case": "insensitive"}
    )
    assert (few.count, few.truncated) == (1, True)
    every = await concurrency.call(sandbox.files.grep, "first", str(project))
    assert [(one.path.removeprefix(f"{project}/"), one.reason) for one in every.skipped] == [("binary", "binary")]
    with pytest.raises(InvalidArgumentException):
        await concurrency.call(sandbox.files.grep, "(", str(project))


async def test_text_is_replaced(sandbox, concurrency, project):
    path = str(project / "src/a.py")
    dry = await concurrency.call(sandbox.files.replace, path, "first = 1", "first = 10", dry_run=True)
    assert "+first = 10\n" in dry.files[0].diff
    with pytest.raises(ConflictException):
        await concurrency.call(sandbox.files.replace, path, "= ", "=", expected=1)
    assert (project / "src/a.py").read_text() == "import os\nfirst = 1\nsecond = 2\n"
    done = await concurrency.call(sandbox.files.replace, path, "first = 1", "first = 10", expected=1)
    assert (done.count, done.files[0].count, done.files[0].error) == (1, 1, "")
    everywhere = await concurrency.call(
        sandbox.files.replace, str(project), r"first = (\d+)", r"\1 = first", include=["*.py"], match={"fixed": False}
    )
    assert everywhere.count == 3
    assert (project / "src/a.py").read_text() == "import os\n10 = first\nsecond = 2\n"


async def test_lines_are_read(sandbox, concurrency, project):
    (project / "many").write_text("".join(f"line {n}\n" for n in range(1, 101)))
    path = str(project / "many")
    found = await concurrency.call(sandbox.files.read_lines, path, 10, 12)
    assert (found.text, found.first, found.count, found.more) == ("line 10\nline 11\nline 12\n", 10, 3, False)
    last = await concurrency.call(sandbox.files.read_lines, path, -2, count=True)
    assert (last.text, last.first, last.total) == ("line 99\nline 100\n", 99, 100)
    some = await concurrency.call(sandbox.files.read_lines, path, max_bytes=20)
    assert some.more is True


async def test_what_is_not_there_is_not_searched(sandbox, concurrency, tmp_path):
    nothing = str(tmp_path / "nothing")
    for call in (
        lambda: concurrency.call(sandbox.files.find, nothing),
        lambda: concurrency.call(sandbox.files.grep, "x", nothing),
        lambda: concurrency.call(sandbox.files.replace, nothing, "x", "y"),
        lambda: concurrency.call(sandbox.files.read_lines, nothing),
    ):
        with pytest.raises(FileNotFoundException):
            await call()
