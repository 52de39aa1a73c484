"""Grep."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import pytest

from envd_proto.filesystem.search_pb2 import (
    CASE_MODE_INSENSITIVE,
    CASE_MODE_SMART,
    GREP_OUTPUT_COUNTS,
    GREP_OUTPUT_FILES,
    SKIP_REASON_BINARY,
    SKIP_REASON_TOO_LARGE,
    SKIP_REASON_UNREADABLE,
)
from tests.support.searching import Search
from tests.support.wires import RpcError, Wire

POEM = "one two\nThree four\n\nfive two six\nseven two two\nlast"


@pytest.fixture
def search(wire: Wire) -> Search:
    return Search(wire)


@pytest.fixture
def poem(tmp_path: Path) -> Path:
    made = tmp_path / "poem.txt"
    made.write_text(POEM)
    return made


def make(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


async def refused(call, code: str) -> str:
    with pytest.raises(RpcError) as error:
        await call
    assert error.value.code == code, error.value
    return error.value.message


async def test_lines_come_with_number_offset_and_columns(search: Search, poem: Path):
    answer = await search.grep(poem, "two")
    assert [(line.number, line.offset, line.text) for line in answer.lines] == [
        (1, 0, "one two"),
        (4, 20, "five two six"),
        (5, 33, "seven two two"),
    ]
    assert [[(one.start, one.end) for one in line.submatches] for line in answer.lines] == [
        [(4, 7)],
        [(5, 8)],
        [(6, 9), (10, 13)],
    ]
    summary = answer.summary
    assert (summary.files_searched, summary.files_matched, summary.matches) == (1, 1, 3)
    assert (summary.bytes_searched, summary.files_skipped, summary.truncated) == (len(POEM), 0, False)


@pytest.mark.parametrize(
    ("text", "options", "numbers"),
    [
        ("t[hw]o", {}, [1, 4, 5]),
        ("three", {}, []),
        ("three", {"case": CASE_MODE_INSENSITIVE}, [2]),
        ("three", {"case": CASE_MODE_SMART}, [2]),
        ("THREE", {"case": CASE_MODE_SMART}, []),
        ("^$", {}, [3]),
        ("^last$", {}, [6]),
        (r"\Alast\Z", {}, [6]),
        (r"(\w+) \1", {}, [5]),
        (r"two(?! two)$", {}, [1, 5]),
        ("o", {"word": True}, []),
        ("two|la", {"word": True}, [1, 4, 5]),
        ("(?i)THREE", {"word": True}, [2]),
        ("(?x) two # a comment", {"word": True}, [1, 4, 5]),
        ("t.o", {"fixed": True}, []),
        ("two two", {"fixed": True}, [5]),
        ("", {}, [1, 2, 3, 4, 5, 6]),
        ("x*", {}, [1, 2, 3, 4, 5, 6]),
        (r"\s", {}, [1, 2, 4, 5]),
        (r"r\n", {}, []),
        (r"[^a-z]", {}, [1, 2, 4, 5]),
    ],
)
async def test_a_pattern_sees_one_line(search: Search, poem: Path, text, options, numbers):
    assert [line.number for line in (await search.grep(poem, text, **options)).lines] == numbers


@pytest.mark.parametrize("before", [0, 1, 2, 9])
@pytest.mark.parametrize("after", [0, 1, 3])
async def test_context_comes_once_and_in_order(search: Search, tmp_path: Path, before, after):
    hits = {2, 3, 6, 13, 20}
    make(tmp_path / "f", "".join(f"{'hit' if number in hits else 'line'} {number}\n" for number in range(1, 21)))
    answer = await search.grep(tmp_path, "hit", before=before, after=after)
    expected = sorted({n for hit in hits for n in range(hit - before, hit + after + 1) if 1 <= n <= 20})
    assert [line.number for line in answer.lines] == expected
    assert {line.number for line in answer.lines if line.submatches} == hits
    assert answer.summary.matches == len(hits)


async def test_context_reaches_over_what_is_read_at_once(search: Search, tmp_path: Path):
    line = "x" * 99 + "\n"
    # 1 MiB is read at once; the hit is in the last line before, at it, and behind it.
    for at in (10484, 10485, 10486, 10487):
        make(tmp_path / "f", line * at + "hit\n" + line * 30000)
        answer = await search.grep(tmp_path, "hit", before=3, after=3)
        assert [one.number for one in answer.lines] == list(range(at - 2, at + 5))
        assert [one.offset for one in answer.lines[:5]] == [*(n * 100 for n in range(at - 3, at + 1)), at * 100 + 4]


async def test_what_is_found_is_what_re_finds(search: Search, tmp_path: Path):
    random_lines = random.Random(7)
    alphabet = ["a", "b", " ", "\t", "é", "ß", "1", "_", "\r", "\r\n", "\n", "\n", "\x85", "\u2028", "x y", "foo("]
    content = "".join(random_lines.choice(alphabet) for _ in range(20_000))
    path = make(tmp_path / "f", content)
    lines = content.split("\n")
    lines = [line.removesuffix("\r") if number < len(lines) else line for number, line in enumerate(lines, 1)]
    for text in (
        "ab",
        r"a\s*b",
        "foo",
        r"^\W*$",
        "é+",
        r"b$",
        r"[^x]y",
        r"(?<=a)b",
        "a|é",
        r"\bfoo\b",
        "1_|_1",
        "(?s)a.b",
    ):
        answer = await search.grep(path, text, max_bytes=1 << 26)
        expected = [
            (
                number,
                [(len(line[: m.start()].encode()), len(line[: m.end()].encode())) for m in re.finditer(text, line)],
            )
            for number, line in enumerate(lines, 1)
            if re.search(text, line) and (number < len(lines) or line)
        ]
        assert [
            (line.number, [(one.start, one.end) for one in line.submatches]) for line in answer.lines
        ] == expected, text


async def test_matches_across_lines_on_request(search: Search, poem: Path):
    answer = await search.grep(poem, r"four\s+five|two\nlast", multiline=True)
    assert [(line.number, line.text) for line in answer.lines] == [
        (2, "Three four\n\nfive two six"),
        (5, "seven two two\nlast"),
    ]
    assert [(one.start, one.end) for one in answer.lines[0].submatches] == [(6, 16)]
    assert [line.number for line in (await search.grep(poem, "^last", multiline=True)).lines] == [6]
    fixed = await search.grep(poem, "four\n\nfive", fixed=True)
    assert [line.text for line in fixed.lines] == ["Three four\n\nfive two six"]


async def test_lines_end_as_on_windows(search: Search, tmp_path: Path):
    path = make(tmp_path / "f", b"one\r\ntwo\r\nthree\rfour\r\nlast\r")
    assert [(line.number, line.offset, line.text) for line in (await search.grep(path, "o$")).lines] == [(2, 5, "two")]
    path = make(tmp_path / "g", b"one\r\ntwo\r\nthree\r\n")
    for text in ("one\ntwo", r"one$\ntwo$"):
        (line,) = (await search.grep(path, text, multiline=True)).lines
        assert (line.text, line.offset) == ("one\ntwo", 0)
    (line,) = (await search.grep(path, r"three$", multiline=True)).lines
    assert (line.number, line.offset, line.text) == (3, 10, "three")
    (line,) = (await search.grep(path, r"two\r\nthree", multiline=True)).lines
    assert line.text == "two\r\nthree\r"


# Encodings.


async def test_bytes_that_are_no_utf8_survive(search: Search, tmp_path: Path):
    path = make(tmp_path / "f", "grüße caf".encode() + b"\xe9 two\nrest\n")
    (line,) = (await search.grep(path, "two")).lines
    assert line.raw == "grüße caf".encode() + b"\xe9 two"
    assert line.text == "grüße caf\ufffd two"
    assert [(one.start, one.end) for one in line.submatches] == [(13, 16)]
    (line,) = (await search.grep(path, "ü.e")).lines
    assert [(one.start, one.end) for one in line.submatches] == [(2, 7)]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
async def test_utf16_with_a_mark_is_text(search: Search, tmp_path: Path, encoding):
    path = make(tmp_path / "f", "\ufeffone\nzwölf 😀 two\n".encode(encoding))
    (line,) = (await search.grep(path, "two")).lines
    assert (line.number, line.offset, line.text) == (2, 2 + 8, "zwölf 😀 two")
    assert [(one.start, one.end) for one in line.submatches] == [(12, 15)]


async def test_a_mark_of_utf8_is_no_text(search: Search, tmp_path: Path):
    path = make(tmp_path / "f", b"\xef\xbb\xbfone\ntwo\n")
    (line,) = (await search.grep(path, "^one$")).lines
    assert (line.offset, line.text) == (3, "one")


async def test_binary_files_are_skipped_unless_asked_for(search: Search, tmp_path: Path):
    make(tmp_path / "early", b"two\0two\n")
    make(tmp_path / "late", b"two\n" * 3000 + b"\0\n")
    make(tmp_path / "odd", "\ufefftwo".encode("utf-16-le") + b"x")
    answer = await search.grep(tmp_path, "two", max_per_file=1)
    assert list(answer.files) == [str(tmp_path / "late")]
    assert {Path(path).name: one.reason for path, one in answer.skipped.items()} == {
        "early": SKIP_REASON_BINARY,
        "odd": SKIP_REASON_BINARY,
    }
    assert answer.summary.files_skipped == 2
    answer = await search.grep(tmp_path / "early", "two", binary=True)
    assert [line.text for line in answer.lines] == ["two\0two"]


# Bounds.


async def test_the_number_of_lines_is_bounded(search: Search, tmp_path: Path):
    for name in "abc":
        make(tmp_path / name, "hit\nmiss\n" * 5)
    for most in (1, 4, 5, 6, 14, 15):
        answer = await search.grep(tmp_path, "hit", max_matches=most)
        assert (len(answer.lines), answer.summary.matches, answer.summary.truncated) == (most, most, True)
    answer = await search.grep(tmp_path, "hit", max_matches=16)
    assert (len(answer.lines), answer.summary.truncated) == (15, False)
    answer = await search.grep(tmp_path, "hit", max_per_file=2)
    assert (list(answer.matches.values()), answer.summary.truncated) == ([2, 2, 2], False)
    answer = await search.grep(tmp_path, "hit", max_per_file=2, max_matches=3, after=1)
    assert [line.text for line in answer.lines] == ["hit", "miss"] * 3


async def test_what_matches_behind_the_last_allowed_line_is_context(search: Search, tmp_path: Path):
    make(tmp_path / "f", "hit 1\nhit 2\nhit 3\n")
    answer = await search.grep(tmp_path, "hit", max_matches=1, after=1)
    assert [(line.text, len(line.submatches)) for line in answer.lines] == [("hit 1", 1), ("hit 2", 0)]


async def test_the_bytes_are_bounded(search: Search, tmp_path: Path):
    make(tmp_path / "f", "hit 456789\n" * 100)
    for most in (9, 10, 35, 999, 1000):
        answer = await search.grep(tmp_path, "hit", max_bytes=most)
        assert len(answer.lines) == most // 10
        assert answer.summary.truncated == (most < 1000)
        assert answer.summary.matches == most // 10


async def test_long_lines_are_clipped_around_the_match(search: Search, tmp_path: Path):
    path = make(tmp_path / "f", "é" * 5000 + "needle" + "é" * 5000 + "\nneedle\n")
    first, second = (await search.grep(path, "needle", max_line_bytes=101)).lines
    assert "needle" in first.text
    assert 90 <= len(first.text.encode()) <= 101
    assert not first.HasField("raw")
    assert first.clipped_before + len(first.text.encode()) + first.clipped_after == 20006
    assert [(one.start, one.end) for one in first.submatches] == [(10000, 10006)]
    assert (second.text, second.clipped_before, second.clipped_after) == ("needle", 0, 0)


async def test_files_or_counts_instead_of_lines(search: Search, tmp_path: Path):
    for number in range(4):
        make(tmp_path / f"{number}", "hit hit\n" * number)
    answer = await search.grep(tmp_path, "hit", output=GREP_OUTPUT_FILES)
    assert (answer.lines, list(answer.matches.values())) == ([], [1, 1, 1])
    answer = await search.grep(tmp_path, "hit", output=GREP_OUTPUT_COUNTS)
    assert {Path(path).name: count for path, count in answer.matches.items()} == {"1": 1, "2": 2, "3": 3}
    for output in (GREP_OUTPUT_FILES, GREP_OUTPUT_COUNTS):
        answer = await search.grep(tmp_path, "hit", output=output, max_matches=2)
        assert (len(answer.matches), answer.summary.truncated) == (2, True)


async def test_many_lines_come_in_several_messages(search: Search, tmp_path: Path):
    make(tmp_path / "f", "".join(f"hit {number:06d} {'x' * 80}\n" for number in range(9000)))
    answer = await search.grep(tmp_path, "hit")
    assert [line.number for line in answer.lines] == list(range(1, 9001))
    assert len(answer.messages) > 5
    assert answer.matches[str(tmp_path / "f")] == 9000


# Files that are no plain files.


async def test_only_regular_files_are_opened(search: Search, poem: Path, tmp_path: Path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("poem.txt")
    (tmp_path / "zero").symlink_to("/dev/zero")
    answer = await search.grep(tmp_path, "two")
    assert list(answer.files) == [str(poem)]
    answer = await search.grep(tmp_path, "two", follow_links=True)
    assert [Path(path).name for path in answer.files] == ["link", "poem.txt"]
    assert answer.summary.files_searched == 2


async def test_files_the_kernel_makes_up_are_read(search: Search):
    answer = await search.grep(f"/proc/{os.getpid()}", "^Name:", max_depth=1, include=["status"])
    assert [text[:6] for text in answer.texts] == ["Name:\t"]
    answer = await search.grep("/proc/sys/kernel", "Linux", include=["ostype", "kmsg"])
    assert answer.texts == ["Linux"]
    assert (await search.grep("/proc/kmsg", "surely nothing has this", fixed=True)).lines == []


async def test_files_that_cannot_be_read_are_told_and_passed_by(search: Search, poem: Path):
    answer = await search.grep(f"/proc/{os.getpid()}", "two", max_depth=1, include=["mem", "poem.txt", "clear_refs"])
    assert {one.reason for one in answer.skipped.values()} == {SKIP_REASON_UNREADABLE}
    assert all(one.errno for one in answer.skipped.values())


async def test_git_decides_what_is_searched_on_request(search: Search, poem: Path, tmp_path: Path):
    make(tmp_path / ".git/config", "two")
    make(tmp_path / ".gitignore", "*.log\n!two\n")
    make(tmp_path / "a.log", "two")
    answer = await search.grep(tmp_path, "two", gitignore=True)
    assert [Path(path).name for path in answer.files] == [".gitignore", "poem.txt"]


# What is refused.


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("(two", "position 0"),
        ("a[b-", "position 1"),
        ("a**", "position 2"),
        (r"\g", "position 0"),
        ("(?P<n>a)(?P<n>b)", "position 12"),
    ],
)
async def test_an_expression_that_is_none_is_invalid_and_says_where(search: Search, poem: Path, text, where):
    message = await refused(search.grep(poem, text), "invalid_argument")
    assert where in message
    assert text in message


async def test_bounds_out_of_bounds_are_invalid(search: Search, poem: Path):
    for options in (
        {"before": 1001},
        {"max_matches": 1_000_001},
        {"max_bytes": (64 << 20) + 1},
        {"max_line_bytes": (1 << 20) + 1},
        {"output": 7},
        {"case": 7},
        {"order": 7},
    ):
        await refused(search.grep(poem, "two", **options), "invalid_argument")
    await refused(search.grep(poem, "x" * 70_000), "invalid_argument")
    await refused(search.grep(poem, "(?u)(?a)x"), "invalid_argument")
    await refused(search.grep(poem, "(" * 5000 + ")" * 5000), "invalid_argument")
    assert (await search.grep(poem, "two")).summary.matches == 3


async def test_a_file_too_large_for_memory_is_only_searched_line_by_line(search: Search, tmp_path: Path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        for _ in range(65):
            file.write((b"x" * 1023 + b"\n") * 1024)
        file.write(b"end\n")
    answer = await search.grep(path, "end$")
    assert [(line.number, line.offset) for line in answer.lines] == [(65 * 1024 + 1, 65 << 20)]
    answer = await search.grep(path, "end$", multiline=True)
    assert answer.skipped[str(path)].reason == SKIP_REASON_TOO_LARGE
