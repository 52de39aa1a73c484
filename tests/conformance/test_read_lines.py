"""ReadLines."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.support.filesystem import Files
from tests.support.searching import Search
from tests.support.wires import RpcError, Wire


@pytest.fixture
def search(wire: Wire) -> Search:
    return Search(wire)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "file"
    made.write_text("one\ntwo\nthree\nfour\nfive")
    return made


@pytest.mark.parametrize(
    ("first", "last", "expected", "number"),
    [
        (0, 0, "one\ntwo\nthree\nfour\nfive", 1),
        (1, 1, "one\n", 1),
        (2, 3, "two\nthree\n", 2),
        (4, 99, "four\nfive", 4),
        (5, 5, "five", 5),
        (6, 9, "", 6),
        (3, 2, "", 3),
        (-1, 0, "five", 5),
        (-2, -2, "four\n", 4),
        (-3, 4, "three\nfour\n", 3),
        (-5, -4, "one\ntwo\n", 1),
        (-99, 1, "one\n", 1),
        (2, -2, "two\nthree\nfour\n", 2),
        (2, -99, "", 2),
    ],
)
async def test_lines_are_counted_from_either_end(search: Search, file: Path, first, last, expected, number):
    answer = await search.read_lines(file, first, last)
    assert (answer.text, answer.first_line) == (expected, number)
    assert (answer.total_lines, answer.ends_with_newline, answer.size) == (5, False, 23)
    assert (answer.cut, answer.more) == (False, False)
    assert answer.next_offset - answer.offset == len(expected)
    assert answer.lines == len(expected.splitlines())
    assert answer.next_line == number + expected.count("\n")


async def test_a_file_that_ends_with_its_last_line(search: Search, tmp_path: Path):
    (tmp_path / "f").write_text("a\n\nb\n")
    for first, expected in ((-1, "b\n"), (-2, "\nb\n"), (-3, "a\n\nb\n"), (3, "b\n"), (4, "")):
        answer = await search.read_lines(tmp_path / "f", first)
        assert (answer.text, answer.total_lines, answer.ends_with_newline) == (expected, 3, True)


async def test_an_empty_file_has_no_lines(search: Search, tmp_path: Path):
    (tmp_path / "f").touch()
    for first in (1, -1):
        answer = await search.read_lines(tmp_path / "f", first)
        assert (answer.text, answer.lines, answer.total_lines, answer.size) == ("", 0, 0, 0)
        assert answer.HasField("total_lines")
        assert not answer.HasField("ends_with_newline")


async def test_whole_lines_come_as_far_as_there_is_room_and_the_rest_next_time(search: Search, tmp_path: Path):
    content = "".join(f"{'x' * (number % 50)}{number}\n" for number in range(1, 200))
    (tmp_path / "f").write_text(content)
    text, first, offset = "", 1, None
    while True:
        answer = await search.read_lines(
            tmp_path / "f", first, max_bytes=100, **({} if offset is None else {"offset": offset})
        )
        assert answer.text.endswith("\n")
        assert len(answer.text) <= 100
        assert (answer.first_line, answer.offset) == (first, len(text))
        text += answer.text
        first, offset = answer.next_line, answer.next_offset
        if not answer.more:
            break
    assert (text, answer.next_line) == (content, 200)


async def test_a_long_line_is_cut_but_no_character_is(search: Search, tmp_path: Path):
    content = "aé€😀" * 500
    (tmp_path / "f").write_text(content)
    for size in range(10, 22):
        text, offset = "", 0
        for _ in range(5):
            answer = await search.read_lines(tmp_path / "f", 1, max_bytes=size, offset=offset)
            assert (answer.cut, answer.more, answer.next_line) == (True, True, 1)
            assert size - 3 <= len(answer.text.encode()) <= size
            assert not answer.HasField("raw")
            text, offset = text + answer.text, answer.next_offset
        assert content.startswith(text)


async def test_bytes_that_are_no_utf8_survive(search: Search, tmp_path: Path):
    (tmp_path / "f").write_bytes(b"caf\xe9\r\n\xff\n")
    answer = await search.read_lines(tmp_path / "f", 1, 1)
    assert (answer.text, answer.raw) == ("caf\ufffd\r\n", b"caf\xe9\r\n")


async def test_large_files_are_counted_on_request_only(search: Search, tmp_path: Path):
    path = tmp_path / "f"
    generator = random.Random(3)
    lines = [b"%d " % number + b"x" * generator.randrange(300) + b"\n" for number in range(1, 80_001)]
    path.write_bytes(b"".join(lines))
    assert path.stat().st_size > 8 << 20
    answer = await search.read_lines(path, -3)
    assert (answer.text.encode(), answer.first_line, answer.next_line) == (b"".join(lines[-3:]), 0, 0)
    assert (answer.HasField("total_lines"), answer.ends_with_newline) == (False, True)
    answer = await search.read_lines(path, -3, count=True)
    assert (answer.first_line, answer.next_line, answer.total_lines) == (79_998, 80_001, 80_000)
    answer = await search.read_lines(path, 60_000, 60_001)
    assert (answer.text.encode(), answer.HasField("total_lines")) == (b"".join(lines[59_999:60_001]), False)
    assert answer.offset == sum(map(len, lines[:59_999]))
    answer = await search.read_lines(path, 79_999)
    assert (answer.text.encode(), answer.total_lines) == (b"".join(lines[-2:]), 80_000)
    answer = await search.read_lines(path, -30_000, -29_999)
    assert answer.text.encode() == b"".join(lines[-30_000:-29_998])
    answer = await search.read_lines(path, -2, 79_999)
    assert (answer.text.encode(), answer.first_line) == (lines[-2], 79_999)


async def test_files_the_kernel_makes_up_have_lines(search: Search):
    answer = await search.read_lines(f"/proc/{os.getpid()}/status", 1, 1)
    assert answer.text.startswith("Name:\t")
    assert answer.total_lines > 20
    assert (await search.read_lines("/proc/sys/kernel/ostype", -1)).text == "Linux\n"


async def test_the_file_must_be_the_one_the_client_knows(search: Search, file: Path):
    answer = await search.read_lines(file, 1, 1)
    assert answer.etag == (await Files(search.wire).stat(file)).etag
    assert (await search.read_lines(file, 2, 2, if_match=answer.etag)).text == "two\n"
    file.write_text("other")
    with pytest.raises(RpcError) as error:
        await search.read_lines(file, 2, 2, if_match=answer.etag)
    assert error.value.code == "failed_precondition"


async def test_what_has_no_lines_is_refused(search: Search, file: Path, tmp_path: Path):
    os.mkfifo(tmp_path / "fifo")
    cases = [
        (tmp_path, {}, "invalid_argument"),
        (tmp_path / "fifo", {}, "invalid_argument"),
        ("/dev/zero", {}, "invalid_argument"),
        (tmp_path / "missing", {}, "not_found"),
        (file, {"offset": 3}, "invalid_argument"),
        (file, {"first": -1, "offset": 3}, "invalid_argument"),
        (file, {"max_bytes": (1 << 20) + 1}, "invalid_argument"),
    ]
    for path, options, code in cases:
        with pytest.raises(RpcError) as error:
            await search.read_lines(path, **options)
        assert error.value.code == code
