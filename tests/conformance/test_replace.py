"""Replace."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from envd_proto.filesystem.search_pb2 import CASE_MODE_INSENSITIVE, SKIP_REASON_BINARY
from tests.support.filesystem import Files
from tests.support.searching import Search
from tests.support.wires import RpcError, Wire

TEXT = "def foo(a):\n    return foo\n\nprint(foo(1))\n"


@pytest.fixture
def search(wire: Wire) -> Search:
    return Search(wire)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "file.py"
    made.write_text(TEXT)
    return made


async def refused(call, code: str) -> str:
    with pytest.raises(RpcError) as error:
        await call
    assert error.value.code == code, error.value
    return error.value.message


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


@pytest.mark.parametrize(
    ("text", "replacement", "options", "expected"),
    [
        ("foo", "bar", {"fixed": True}, TEXT.replace("foo", "bar")),
        (r"foo\((\w+)\)", r"bar(\1, \1)", {}, "def bar(a, a):\n    return foo\n\nprint(bar(1, 1))\n"),
        (r"(?P<what>return) foo", r"\g<what> \g<0>", {}, TEXT.replace("return foo", "return return foo")),
        ("(a.b)", r"\1", {"fixed": True}, TEXT),
        ("^", "# ", {}, "# def foo(a):\n#     return foo\n# \n# print(foo(1))\n"),
        ("$", ";", {}, "def foo(a):;\n    return foo;\n;\nprint(foo(1));\n"),
        ("FOO", "x", {"case": CASE_MODE_INSENSITIVE}, TEXT.replace("foo", "x")),
        ("f", "x", {"word": True}, TEXT),
        ("x*", "-", {}, "\n".join("".join(f"-{c}" for c in line) + "-" for line in TEXT[:-1].split("\n")) + "\n"),
        ("foo\n\nprint", "foo\n\n\nprint", {"fixed": True}, TEXT.replace("foo\n\nprint", "foo\n\n\nprint")),
        (r"\n\n+", "\n", {"multiline": True}, TEXT.replace("\n\n", "\n")),
        (r"\s+foo$", "", {"multiline": True}, "def foo(a):\n    return\n\nprint(foo(1))\n"),
        (r"\Z", "end", {"multiline": True}, TEXT + "end"),
        ("foo", r"\n", {"fixed": True}, TEXT.replace("foo", r"\n")),
        ("(x)?foo", r"é\n\t\1\\", {}, TEXT.replace("foo", "é\n\t\\")),
    ],
)
async def test_text_is_replaced(search: Search, file: Path, text, replacement, options, expected):
    answer = await search.replace(file, text, replacement, **options)
    assert file.read_text() == expected
    assert names(file.parent) == [file.name]
    assert answer.files_changed == (expected != TEXT)
    if answer.files:
        assert answer.files[0].etag == (await Files(search.wire).stat(file)).etag


async def test_the_answer_tells_matches_and_files(search: Search, file: Path, tmp_path: Path):
    (tmp_path / "other.py").write_text("foo\n")
    (tmp_path / "none.py").write_text("bar\n")
    (tmp_path / "b.bin").write_bytes(b"foo\0")
    answer = await search.replace(tmp_path, "foo", "x")
    assert [(Path(one.path).name, one.matches, one.error) for one in answer.files] == [
        ("file.py", 3, ""),
        ("other.py", 1, ""),
    ]
    assert (answer.matches, answer.files_searched, answer.files_changed, answer.files_skipped) == (4, 3, 2, 1)
    assert [one.reason for one in answer.skipped] == [SKIP_REASON_BINARY]
    assert (tmp_path / "b.bin").read_bytes() == b"foo\0"


async def test_files_are_chosen_as_for_grep(search: Search, file: Path, tmp_path: Path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/x.txt").write_text("foo")
    (tmp_path / "link").symlink_to("sub/x.txt")
    answer = await search.replace(tmp_path, "foo", "bar", include=["*.txt", "link"])
    assert (answer.files_changed, (tmp_path / "sub/x.txt").read_text(), file.read_text()) == (1, "bar", TEXT)
    answer = await search.replace(tmp_path, "bar", "baz", include=["*.txt", "link"], follow_links=True)
    assert (answer.matches, answer.files_changed, (tmp_path / "sub/x.txt").read_text()) == (1, 1, "baz")
    assert (tmp_path / "link").is_symlink()


async def test_another_number_of_matches_than_expected_changes_nothing(search: Search, file: Path, tmp_path: Path):
    (tmp_path / "other.py").write_text("foo\n")
    for expected in (0, 1, 3, 5):
        message = await refused(search.replace(tmp_path, "foo", "x", expected_matches=expected), "failed_precondition")
        assert f"{expected} matches expected, 4 found in 2 files" in message
        assert (file.read_text(), (tmp_path / "other.py").read_text()) == (TEXT, "foo\n")
    await refused(search.replace(file, "nothing", "x", expected_matches=1), "failed_precondition")
    assert (await search.replace(tmp_path, "foo", "x", expected_matches=4)).files_changed == 2
    assert (await search.replace(file, "foo", "x", expected_matches=0)).files_changed == 0


async def test_only_the_content_the_client_knows_is_changed(search: Search, file: Path):
    etag = (await Files(search.wire).stat(file)).etag
    (changed,) = (await search.replace(file, "foo", "bar", if_match=etag)).files
    await refused(search.replace(file, "bar", "baz", if_match=etag), "failed_precondition")
    assert "bar" in file.read_text()
    await search.replace(file, "bar", "baz", if_match=changed.etag)
    await search.replace(file, "baz", "foo", if_match="*")
    assert file.read_text() == TEXT
    await refused(search.replace(file.parent, "foo", "x", if_match=etag), "invalid_argument")
    await refused(search.replace(file.parent / "missing", "foo", "x", if_match="*"), "not_found")


async def test_owner_mode_and_attributes_are_kept(search: Search, file: Path, other_user):
    os.chown(file, other_user.pw_uid, other_user.pw_gid)
    file.chmod(0o640)
    os.setxattr(file, "user.e2b.k", b"v")
    os.setxattr(file, "user.mine", b"w")
    await search.replace(file, "foo", "bar", sync=True)
    st = file.stat()
    assert (st.st_uid, st.st_gid, st.st_mode & 0o7777) == (other_user.pw_uid, other_user.pw_gid, 0o640)
    assert (os.getxattr(file, "user.e2b.k"), os.getxattr(file, "user.mine")) == (b"v", b"w")


async def test_a_file_with_several_names_keeps_them_and_is_changed_once(search: Search, file: Path, tmp_path: Path):
    os.link(file, tmp_path / "same.py")
    answer = await search.replace(tmp_path, "foo", "foofoo")
    assert (answer.matches, answer.files_changed) == (3, 1)
    assert file.stat().st_nlink == 2
    assert file.read_text() == TEXT.replace("foo", "foofoo")


async def test_a_link_that_is_named_itself_is_followed(search: Search, file: Path, tmp_path: Path):
    (tmp_path / "link").symlink_to("file.py")
    assert (await search.replace(tmp_path / "link", "foo", "bar")).files_changed == 1
    assert (tmp_path / "link").is_symlink()
    assert "bar" in file.read_text()


async def test_ends_of_lines_are_kept(search: Search, tmp_path: Path):
    path = tmp_path / "f"
    for content, text, replacement, options, expected in [
        (b"one\r\ntwo\r\n", "o$", "O\n!", {}, b"one\r\ntwO\r\n!\r\n"),
        (b"one\r\ntwo\r\n", "one\ntwo", "1\n2", {"fixed": True}, b"1\r\n2\r\n"),
        (b"one\r\ntwo\r\n", "one\ntwo", "1\r\n2", {"fixed": True}, b"1\r\n2\r\n"),
        (b"one\r\ntwo\r\nx", r"^(\w+)\n", r"\1;\n", {"multiline": True}, b"one;\r\ntwo;\r\nx"),
        (b"one\r\ntwo\n", "o$", "O\n!", {}, b"one\r\ntwO\n!\n"),
        (b"one\r\ntwo\r\n", r"\r\n", r"\n", {"multiline": True}, b"one\ntwo\n"),
        (b"one\r\ntwo", "$", ";", {}, b"one;\r\ntwo;"),
        (b"one\rtwo\n", "e", "E", {}, b"onE\rtwo\n"),
    ]:
        path.write_bytes(content)
        await search.replace(path, text, replacement, **options)
        assert path.read_bytes() == expected, (content, text)


async def test_encodings_are_kept(search: Search, tmp_path: Path):
    path = tmp_path / "f"
    for content, expected in [
        (b"caf\xe9 foo \xff\n", b"caf\xe9 b\xc3\xa4r \xff\n"),
        (b"\xef\xbb\xbffoo\n", b"\xef\xbb\xbfb\xc3\xa4r\n"),
        ("\ufeffx😀foo\r\n".encode("utf-16-le"), "\ufeffx😀bär\r\n".encode("utf-16-le")),
        ("\ufefffoo y".encode("utf-16-be"), "\ufeffbär y".encode("utf-16-be")),
    ]:
        path.write_bytes(content)
        await search.replace(path, "foo", "bär", expected_matches=1)
        assert path.read_bytes() == expected


# Diffs.


async def test_a_dry_run_changes_nothing_and_shows_what_would_be(search: Search, file: Path):
    inode = file.stat().st_ino
    answer = await search.replace(file, "return foo", "return 1", dry_run=True, fixed=True)
    (one,) = answer.files
    assert one.diff == (
        f"--- {file}\n+++ {file}\n@@ -1,4 +1,4 @@\n def foo(a):\n-    return foo\n+    return 1\n \n print(foo(1))\n"
    )
    assert (answer.files_changed, one.etag) == (1, (await Files(search.wire).stat(file)).etag)
    assert (file.read_text(), file.stat().st_ino) == (TEXT, inode)


async def test_a_real_run_shows_its_diff_on_request(search: Search, file: Path):
    assert (await search.replace(file, "foo", "bar")).files[0].diff == ""
    assert "-print(bar(1))\n+print(baz(1))\n" in (await search.replace(file, "bar", "baz", diff=True)).files[0].diff


async def test_diffs_are_bounded(search: Search, tmp_path: Path):
    for name in "abc":
        (tmp_path / name).write_text("foo\n" * 20 + "x\n" * 20 + "foo\n")
    answer = await search.replace(tmp_path, "foo", "bar", dry_run=True, max_diff_bytes=700)
    assert sum(len(one.diff) for one in answer.files) <= 700
    assert [one.diff_truncated for one in answer.files] == [False, True, True]
    assert answer.matches == 63
    await refused(search.replace(tmp_path, "foo", "bar", max_diff_bytes=(2 << 20) + 1), "invalid_argument")


async def test_a_diff_of_bytes_that_are_no_utf8(search: Search, tmp_path: Path):
    (tmp_path / "f").write_bytes(b"foo \xff\n")
    (one,) = (await search.replace(tmp_path / "f", "foo", "bar", diff=True)).files
    assert one.raw_diff.endswith(b"-foo \xff\n+bar \xff\n")


@pytest.mark.skipif(shutil.which("patch") is None, reason="needs patch(1)")
async def test_patch_understands_the_diffs(search: Search, tmp_path: Path):
    cases = [
        ("a\nb\nc\n" * 20, r"^b$", "B"),
        ("a\nb\nc\n" * 20 + "b", r"^b\n?", ""),
        ("b\n" + "a\n" * 30 + "b", "b", "b\nb\n"),
        ("a\n" * 9, r"(?s).*", ""),
        ("a\r\nb\r\n" * 9 + "b", "b", "c\nc"),
        ("a\nb", r"\Z", "\n"),
        ("a\nb\n", r"\n\Z", ""),
        ("b", "b", "b\nc\n"),
    ]
    for number, (content, text, replacement) in enumerate(cases):
        path, copy = tmp_path / f"f{number}", tmp_path / f"g{number}"
        path.write_bytes(content.encode())
        copy.write_bytes(content.encode())
        (one,) = (await search.replace(path, text, replacement, diff=True, multiline=True)).files
        diff = one.raw_diff or one.diff.encode()
        done = subprocess.run(
            ["patch", "--binary", "-s", str(copy)], input=diff, capture_output=True, check=False, timeout=10
        )
        assert done.returncode == 0, (number, one.diff, done.stdout)
        assert copy.exists() == path.exists()
        assert copy.read_bytes() == path.read_bytes(), (number, one.diff)


# What is refused.


async def test_what_is_no_text_is_refused(search: Search, tmp_path: Path):
    (tmp_path / "binary").write_bytes(b"foo\0")
    assert "binary" in await refused(search.replace(tmp_path / "binary", "foo", "x"), "failed_precondition")
    with (tmp_path / "large").open("wb") as file:
        file.write(b"foo\n")
        file.truncate((64 << 20) + 1)
    assert "64 MiB" in await refused(search.replace(tmp_path / "large", "foo", "x"), "failed_precondition")
    await refused(search.replace("/dev/zero", "foo", "x"), "invalid_argument")
    await refused(search.replace(tmp_path / "missing", "foo", "x"), "not_found")
    assert (tmp_path / "binary").read_bytes() == b"foo\0"


@pytest.mark.parametrize(
    ("text", "replacement", "options"),
    [
        ("foo", r"\1", {}),
        ("foo", r"\g<name>", {}),
        ("foo", r"\q", {}),
        ("(foo", "x", {}),
        ("", "x", {"fixed": True}),
        ("foo", "x" * (1024 * 1024 + 1), {}),
    ],
    ids=["group", "name", "escape", "pattern", "empty", "large"],
)
async def test_what_cannot_be_replaced_is_invalid(search: Search, file: Path, text, replacement, options):
    await refused(search.replace(file, text, replacement, **options), "invalid_argument")
    assert file.read_text() == TEXT


async def test_too_many_matches_change_nothing(search: Search, tmp_path: Path):
    (tmp_path / "f").write_text("x" * 100_001)
    assert "nothing was changed" in await refused(search.replace(tmp_path, "x", "y"), "resource_exhausted")
    (tmp_path / "f").write_text("x" * 100)
    await refused(search.replace(tmp_path, "x", "y" * 1_000_000), "resource_exhausted")
    assert (tmp_path / "f").read_text() == "x" * 100
    assert names(tmp_path) == ["f"]
