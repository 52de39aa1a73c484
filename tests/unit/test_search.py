"""The parts of searching that need no daemon: globs, what git ignores, expressions, diffs, encodings, plans."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf import json_format

from envd.errors import Code, EnvdError
from envd.filesystem.entries import etag_of
from envd.filesystem.globs import Globs
from envd.filesystem.search.cpu_limit import CpuLimit
from envd.filesystem.search.expression import compile_pattern
from envd.filesystem.search.finding import Finder
from envd.filesystem.search.grepping import GrepPart
from envd.filesystem.search.line_view import Line
from envd.filesystem.search.replace_apply import apply
from envd.filesystem.search.replace_plan import ReplacePlan
from envd.filesystem.search.requests import Case, Pattern, ReplaceRequest, Selection, Type
from envd.filesystem.search.summaries import FindSummary, GrepSummary, Skip, SkipReason
from envd.filesystem.writing.own_writes import OwnWrites
from envd.filesystem.writing.temp_registry import TempRegistry
from envd.filesystem.writing.temporary import Temporaries
from envd.host.users import own_user
from envd.services.filesystem.search import encoding
from envd_proto.filesystem.filesystem_pb2 import EntryInfo, FindResponse
from envd_proto.filesystem.search_pb2 import GrepResponse

# Globs.


def test_globs_take_no_longer_for_being_nasty() -> None:
    nasty = Globs(["*a" * 500 + "b", "/".join(["**"] * 40 + ["b"]), "**/" * 30 + "*a*a*a*a*b"])
    state = nasty.start
    for _ in range(1000):
        matched, state = nasty.step(state, "a", is_directory=True)
        assert not matched
    assert nasty.step(state, "a" * 250, is_directory=False) == (False, ())


@pytest.mark.parametrize(
    ("glob", "path", "matches"),
    [
        ("a", "a", True),
        ("a", "x/a", True),
        ("a", "a/x", False),
        ("**", "x/y", True),
        ("**/a", "a", True),
        ("**/a", "x/y/a", True),
        ("a/**", "a", False),
        ("a/**", "a/x/y", True),
        ("a/**/b", "a/b", True),
        ("a/**/b", "a/x/y/b", True),
        ("a/**/**/b/**/c", "a/x/b/b/c", True),
        ("a/**/b", "a/x/y/c", False),
        ("a/*/b", "a/x/y/b", False),
        ("*/b", "b", False),
        ("a*b*c", "axxbxxc", True),
        ("[!a]x", "bx", True),
        ("[!a]x", "ax", False),
        ("{a,b/c}", "b/c", True),
        ("{a,{b,c}}x", "cx", True),
        ("a{b", "a{b", True),
        ("*.{py,pyi}", "x/y.pyi", True),
    ],
)
def test_a_glob_matches(glob: str, path: str, matches: bool) -> None:  # noqa: FBT001
    globs = Globs([glob])
    state, found = globs.start, False
    parts = path.split("/")
    for number, part in enumerate(parts):
        found, state = globs.step(state, part, is_directory=number < len(parts) - 1)
    assert found == matches


def test_globs_with_many_stars_are_quick() -> None:
    globs = Globs(["*a" * 100 + "b", "/".join(["**", "*a*"] * 40) + "/b"])
    state = globs.start
    for _ in range(60):
        _, state = globs.step(state, "a" * 200, is_directory=True)
    assert not globs.step(state, "a" * 255, is_directory=False)[0]


def test_braces_that_stand_for_too_many_are_refused() -> None:
    with pytest.raises(EnvdError) as error:
        Globs(["{a,b}" * 20])
    assert error.value.code is Code.INVALID_ARGUMENT


# Git.

RULES = [
    r"*.log",
    r"!keep.log",
    r"build/",
    r"/top",
    r"doc/*.txt",
    r"doc/**/x",
    r"**/deep/y",
    r"a/**",
    r"!a/b",
    r"*/",
    r"!*/",
    r"#c",
    r"\#d",
    r"\!e",
    r"f\ ",
    r"g  ",
    r"[hi]j",
    r"k?l",
    r"*",
    r"!*.py",
    r"n/o/",
    r"/p/q",
    r"!/r",
    r"s**t",
    r"[z-a]",
    r"/",
    r"//",
    r"u/*",
    r"!u/v",
]
NAMES = [
    "a",
    "b",
    "build",
    "top",
    "doc",
    "x",
    "y",
    "deep",
    "keep.log",
    "z.log",
    "m.py",
    "hj",
    "u",
    "v",
    "#d",
    "!e",
    "kxl",
]


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
@pytest.mark.parametrize("seed", range(12))
def test_what_is_ignored_is_what_git_ignores(tmp_path: Path, seed: int) -> None:
    generator = random.Random(seed)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    directories = [tmp_path]
    for _ in range(15):
        made = generator.choice(directories) / generator.choice(NAMES)
        if not made.exists():
            made.mkdir()
            directories.append(made)
    for _ in range(60):
        file = generator.choice(directories) / generator.choice(NAMES)
        if not file.exists():
            file.touch()
    for directory in [tmp_path, *generator.sample(directories, 3)]:
        (directory / ".gitignore").write_text("".join(f"{generator.choice(RULES)}\n" for _ in range(4)))
    (tmp_path / ".git/info/exclude").write_text(f"{generator.choice(RULES)}\n")
    # Directories that are ignored are told as such, with what is in them.
    listed = subprocess.run(
        ["git", "-C", tmp_path, "-c", "core.excludesFile=", "ls-files", "-o", "--exclude-standard", "-z"],
        check=True,
        capture_output=True,
    ).stdout
    walk = Finder(
        Selection(str(tmp_path), own_user(), gitignore=True, types=frozenset({Type.FILE})),
        CpuLimit(os.getppid()),
        lambda *_: None,
    )
    found = {os.path.relpath(one.path, tmp_path) for one in walk.matches()}
    assert found == set(listed.decode().split("\0")) - {""}


# Expressions.

PIECES = [
    r"a",
    r"b",
    r"ab",
    r"foo",
    r".",
    r"\w",
    r"\s",
    r"\b",
    r"[ab]",
    r"[^a]",
    r"a*",
    r"b+",
    r"(a|b)",
    r"(?:ab)?",
    r"$",
    r"^",
    r"\d",
    r"é",
]


@pytest.mark.parametrize("case", [Case.SENSITIVE, Case.INSENSITIVE])
@pytest.mark.parametrize("seed", range(5))
def test_every_way_to_find_lines_finds_the_same(seed: int, case: Case) -> None:
    generator = random.Random(seed)
    alphabet = ["a", "b", "A", "foo", "FOO", " ", "\n", "\n", "\r\n", "é", "É", "1", "\u212a"]
    for _ in range(300):
        text = "".join(generator.choice(PIECES) for _ in range(generator.randrange(1, 5)))
        content = "".join(generator.choice(alphabet) for _ in range(generator.randrange(120)))
        if generator.random() < 0.5:
            content = content.replace("\r", "").encode("ascii", "ignore").decode()
        try:
            expression = compile_pattern(Pattern(text, case=case))
        except EnvdError:
            continue
        begin = content.find("\n", generator.randrange(len(content) + 1)) + 1
        lines = content[begin:].split("\n")
        expected, at = [], begin
        for number, line in enumerate(lines):
            shown = line.removesuffix("\r") if number < len(lines) - 1 else line
            spans = [match.span() for match in re.finditer(text, shown, re.IGNORECASE if case else 0)]
            if spans and at < len(content):
                expected.append((at, at + len(shown), spans))
            at += len(line) + 1
        assert list(expression.lines(content, begin)) == expected, (text, content)


@pytest.mark.parametrize(
    ("text", "literal", "anywhere"),
    [
        ("foo", "foo", True),
        (r"def \w+", "def ", True),
        ("foo|bar", "", True),
        (r"x\s*=", "x", False),
        ("a.b", "a", True),
        ("(?s)a.b", "a", False),
        ("(?<=a)b", "b", False),
        ("a(?>b)", "a", False),
        (r"a\Z", "a", False),
        (r"a[^b]", "a", False),
        (r"(foo)+", "", True),
        (r"(?i:foo)bar", "bar", False),
    ],
)
def test_what_is_known_of_an_expression(text: str, literal: str, anywhere: bool) -> None:  # noqa: FBT001
    found = compile_pattern(Pattern(text))
    assert (found.literal, found.anywhere is not None) == (literal, anywhere)


# Encodings.


def test_both_encodings_of_a_grep_are_the_same_message() -> None:
    lines = [
        Line(1, 0, b"plain", ((0, 0), (1, 3)), 0, 0),
        Line(2**40, 2**50, b'caf\xe9 "quoted"\t\x00', (), 300, 2**35),
    ]
    parts = [GrepPart("/a/é", lines, 1), GrepPart("/b/\udce9", [], 0)]
    skips = [Skip("/c", SkipReason.BINARY), Skip("/d\udcff", SkipReason.UNREADABLE, 13)]
    for summary in (None, GrepSummary(0, 0, 0, 0, 0, False), GrepSummary(1, 2, 3, 4, 2**40, True)):
        binary = GrepResponse.FromString(encoding.grep_response(parts, skips, summary, in_json=False))
        text = encoding.grep_response(parts, skips, summary, in_json=True)
        assert json_format.Parse(text, GrepResponse()) == binary
        assert binary.HasField("summary") == (summary is not None)
        assert (binary.files[0].lines[1].raw, binary.files[1].raw_path) == (b'caf\xe9 "quoted"\t\x00', b"/b/\xe9")


def test_both_encodings_of_a_find_are_the_same_message() -> None:
    entry = EntryInfo(name="x", path="/x", size=5)
    for entries in ([], [entry], [entry, entry]):
        for summary in (None, FindSummary(0, 0, 0, False), FindSummary(1, 2**40, 3, True)):
            for skips in ([], [Skip("/c", SkipReason.UNREADABLE, 13)]):
                encoded = [one.SerializeToString() for one in entries]
                binary = FindResponse.FromString(encoding.find_response(encoded, skips, summary, in_json=False))
                encoded = [json_format.MessageToJson(one, indent=None).encode() for one in entries]
                text = encoding.find_response(encoded, skips, summary, in_json=True)
                assert json_format.Parse(text, FindResponse()) == binary
                assert (list(binary.entries), len(binary.skipped)) == (entries, len(skips))


# Plans.


@pytest.fixture
def temporaries() -> Iterator[Temporaries]:
    fd = os.memfd_create("leftovers")
    yield Temporaries(TempRegistry(fd), OwnWrites())
    os.close(fd)


def replacing(directory: Path) -> ReplaceRequest:
    return ReplaceRequest(Selection(str(directory), own_user()), Pattern("old"), "new", 0)


def test_a_file_that_somebody_else_has_changed_is_left_alone(tmp_path: Path, temporaries: Temporaries) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old text")
    plan = ReplacePlan(str(path), etag_of(path.stat()), 1, b"", diff_truncated=False, edits=[(0, 3, b"new")])
    path.write_bytes(b"something else")
    with pytest.raises(EnvdError) as error:
        apply(plan, replacing(tmp_path), temporaries, sync=False)
    assert error.value.code is Code.FAILED_PRECONDITION
    assert (path.read_bytes(), os.listdir(tmp_path)) == (b"something else", ["f"])


def test_a_file_that_is_something_else_by_now_is_left_alone(tmp_path: Path, temporaries: Temporaries) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old text")
    plan = ReplacePlan(str(path), etag_of(path.stat()), 1, b"", diff_truncated=False, edits=[(0, 3, b"new")])
    path.unlink()
    for make, code in ((path.mkdir, Code.FAILED_PRECONDITION), (lambda: os.mkfifo(path), Code.FAILED_PRECONDITION)):
        make()
        with pytest.raises(EnvdError) as error:
            apply(plan, replacing(tmp_path), temporaries, sync=False)
        assert error.value.code is code
        path.rmdir() if path.is_dir() else path.unlink()
    with pytest.raises(EnvdError) as error:
        apply(plan, replacing(tmp_path), temporaries, sync=False)
    assert error.value.code is Code.NOT_FOUND
