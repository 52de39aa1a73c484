"""Archive and Extract."""

from __future__ import annotations

import asyncio
import gzip
import os
import socket
import stat
import tarfile
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from envd_proto.filesystem import archive_pb2 as pb
from envd_proto.filesystem.archive_pb2 import ExtractRequest
from tests.support.archives import Archives, entry, in_pieces, picture, rich_tree, tar
from tests.support.trusted_directories import trusted_directory
from tests.support.wires import RpcError, Wire

FORMATS = {
    "tar": pb.ARCHIVE_FORMAT_TAR,
    "gzip": pb.ARCHIVE_FORMAT_TAR_GZIP,
    "zstd": pb.ARCHIVE_FORMAT_TAR_ZSTD,
}


@pytest.fixture
def archives(wire: Wire) -> Archives:
    return Archives(wire)


async def refused(call, code: str) -> str:
    with pytest.raises(RpcError) as error:
        await call
    assert error.value.code == code, error.value
    return error.value.message


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


# Both ways.


@pytest.mark.parametrize("form", list(FORMATS))
async def test_a_directory_arrives_as_it_was(archives: Archives, tmp_path: Path, form):
    source = rich_tree(tmp_path / "source")
    archived = await archives.archive(source, format=FORMATS[form])
    before = picture(source)
    assert (archived.start.path, archived.start.format) == (str(source), FORMATS[form])
    assert archived.kinds[0] == "start"
    response = await archives.extract(tmp_path / "copy", archived.data)
    assert picture(tmp_path / "copy") == before
    assert (response.path, response.created, response.skipped) == (str(tmp_path / "copy"), True, 0)
    assert response.entries == archived.end.entries == len(before)
    assert response.content_bytes == archived.end.content_bytes < 1_000_000  # holes do not count
    assert response.archive_bytes == archived.end.archive_bytes == len(archived.data)
    sparse = (tmp_path / "copy/sparse").stat()
    assert sparse.st_blocks * 512 < sparse.st_size


async def test_chunks_ascend_and_are_as_large_as_asked_for(archives: Archives, tmp_path: Path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source/file").write_bytes(os.urandom(300_000))
    for asked, largest in ((0, 256 * 1024), (1000, 1000), (2**32 - 1, 1024 * 1024)):
        archived = await archives.archive(tmp_path / "source", chunk_size=asked)
        offset = 0
        for chunk in archived.chunks:
            assert (chunk.offset, 0 < len(chunk.data) <= largest) == (offset, True)
            offset += len(chunk.data)
        assert archived.end.archive_bytes == offset


async def test_a_single_file_is_archived_by_its_name(archives: Archives, tmp_path: Path):
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        archived = await archives.archive(tmp_path / name)
        assert (archived.names, archived.end.entries) == (["file"], 1)


async def test_only_the_members_asked_for_are_archived(archives: Archives, tmp_path: Path):
    for name in ("a/b/c", "a/d", "e"):
        (tmp_path / "t" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "t" / name).write_bytes(b"x")
    (tmp_path / "t/link").symlink_to("a")
    assert (await archives.archive(tmp_path / "t", members=["a/b", "e"])).names == ["a/b", "a/b/c", "e"]
    assert (await archives.archive(tmp_path / "t", members=["./a/", "a/b/c", "link"])).names == [
        "a", "a/b", "a/b/c", "a/d", "link",
    ]  # fmt: skip
    for bad in ("/a", "../t", "a/../e"):
        assert "relative" in await refused(archives.archive(tmp_path / "t", members=[bad]), "invalid_argument")
    await refused(archives.archive(tmp_path / "t", members=["e", "missing"]), "not_found")
    await refused(archives.archive(tmp_path / "t", members=["link/d"]), "invalid_argument")
    await refused(archives.archive(tmp_path / "t/e", members=["x"]), "invalid_argument")


@pytest.mark.parametrize(
    ("patterns", "left"),
    [
        ([], {".", "a", "a/b", "a/b/f.o", "a/f.c", "a/node_modules", "a/node_modules/x", "f.o", "g[1]"}),
        (["*.o"], {".", "a", "a/b", "a/f.c", "a/node_modules", "a/node_modules/x", "g[1]"}),
        (["node_modules", "g[[]?]"], {".", "a", "a/b", "a/b/f.o", "a/f.c", "f.o"}),
        (["a/*.c"], {".", "a", "a/b", "a/b/f.o", "a/node_modules", "a/node_modules/x", "f.o", "g[1]"}),
        (["/a/*/*"], {".", "a", "a/b", "a/f.c", "a/node_modules", "f.o", "g[1]"}),
        (["a/**"], {".", "a", "f.o", "g[1]"}),
        (["**/f.*"], {".", "a", "a/b", "a/node_modules", "a/node_modules/x", "g[1]"}),
        (["a/**/f.[!c]", "./g*"], {".", "a", "a/b", "a/f.c", "a/node_modules", "a/node_modules/x", "f.o"}),
        (["*"], {"."}),
    ],
)
async def test_what_matches_a_pattern_is_left_out(archives: Archives, tmp_path: Path, patterns, left):
    top = tmp_path / "t"
    for name in ("a/b/f.o", "a/f.c", "a/node_modules/x", "f.o", "g[1]"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).touch()
    archived = await archives.archive(top, exclude=patterns)
    assert (set(archived.names), archived.end.left_out_count) == (left, 0)


async def test_patterns_are_bounded(archives: Archives, tmp_path: Path):
    await refused(archives.archive(tmp_path, exclude=["x"] * 101), "invalid_argument")
    await refused(archives.archive(tmp_path, exclude=[""]), "invalid_argument")
    (tmp_path / ("a" * 200)).touch()
    assert (await archives.archive(tmp_path, exclude=["*a" * 100 + "b"])).end.entries == 2


async def test_what_cannot_be_archived_is_told(archives: Archives, tmp_path: Path):
    top = tmp_path / "t"
    top.mkdir()
    os.mkfifo(top / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(top / "socket"))
        archived = await archives.archive(top)
    (top / "file").touch()
    assert archived.names == ["."]
    told = sorted((one.name, one.reason) for one in archived.end.left_out)
    kind = pb.ArchiveResponse.LeftOut.REASON_KIND
    assert (told, archived.end.left_out_count) == ([("fifo", kind), ("socket", kind)], 2)


async def test_our_own_temporaries_are_not_archived(archives: Archives, tmp_path: Path):
    (tmp_path / ".envd-0123456789abcdef.tmp").mkdir()
    (tmp_path / ".envd-0123456789abcdef.tmp/x").touch()
    (tmp_path / ".envd-0123456789abcdef.txt").touch()
    assert (await archives.archive(tmp_path)).names == [".", ".envd-0123456789abcdef.txt"]


async def test_what_is_no_directory_and_no_file_is_not_archived(archives: Archives, tmp_path: Path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").touch()
    for path in (tmp_path / "fifo", "/dev/null"):
        await refused(archives.archive(path), "invalid_argument")
    for path in (tmp_path / "missing", tmp_path / "file/below"):
        await refused(archives.archive(path), "not_found")
    await refused(archives.archive(tmp_path, format=7), "invalid_argument")
    await refused(archives.archive(tmp_path, exclude=["/"]), "invalid_argument")


async def test_a_name_that_is_not_utf_8_is_kept(archives: Archives, tmp_path: Path):
    top = os.fsencode(tmp_path / "t")
    for name in (b"\xff\xfe", b"\xff" * 150):
        os.makedirs(top, exist_ok=True)
        os.close(os.open(top + b"/" + name, os.O_CREAT))
    archived = await archives.archive(tmp_path / "t")
    await archives.extract(tmp_path / "copy", archived.data)
    assert sorted(os.listdir(os.fsencode(tmp_path / "copy"))) == sorted(os.listdir(top))


# Extract.


async def test_pieces_of_any_size_make_the_same(archives: Archives, tmp_path: Path):
    source = rich_tree(tmp_path / "source")
    data = (await archives.archive(source, format=FORMATS["gzip"])).data
    for size in (997, 70_000):
        await archives.extract(tmp_path / f"by-{size}", in_pieces(data, size))
        assert picture(tmp_path / f"by-{size}") == picture(source)


async def test_entries_belong_to_the_caller_unless_asked_otherwise(
    archives: Archives, tmp_path: Path, other_user
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    tmp_path.chmod(0o755)
    data = tar(
        entry("dir", kind=tarfile.DIRTYPE, uid=12, gid=34),
        entry("dir/file", b"x", uid=12, gid=34, uname=other_user.pw_name, gname="no-such-group"),
        entry("dir/link", kind=tarfile.SYMTYPE, link="file", uid=12, gid=34),
        entry("implied/file", b"x", uid=12, gid=34),
    )
    theirs = (other_user.pw_uid, other_user.pw_gid)

    def owners(path: Path) -> list[tuple[int, int]]:
        found = [path / name for name in ("dir", "dir/file", "dir/link", "implied", "implied/file")]
        return [(st.st_uid, st.st_gid) for st in (one.lstat() for one in [path, *found])]

    own = Path(other_user.pw_dir) / "a"
    await archives.as_user(other_user.pw_name).extract(own, data)
    assert owners(own) == [theirs] * 6
    await refused(archives.as_user(other_user.pw_name).extract(tmp_path / "a", data), "permission_denied")
    assert not (tmp_path / "a").exists()
    await archives.extract(tmp_path / "b", data)
    assert owners(tmp_path / "b") == [(0, 0)] * 6
    await archives.extract(tmp_path / "c", data, ownership=pb.ARCHIVE_OWNERSHIP_NUMBERS)
    assert owners(tmp_path / "c") == [(0, 0), (12, 34), (12, 34), (12, 34), (0, 0), (12, 34)]
    await archives.extract(tmp_path / "d", data, ownership=pb.ARCHIVE_OWNERSHIP_NAMES)
    assert owners(tmp_path / "d") == [(0, 0), (12, 34), (theirs[0], 34), (12, 34), (0, 0), (12, 34)]


async def test_a_user_gets_a_new_directory_where_only_root_may_make_one(archives: Archives, other_user):
    data = tar(entry("sub/file", b"x"))
    theirs = archives.as_user(other_user.pw_name)
    with trusted_directory() as root_owned:
        response = await theirs.extract(root_owned / "app", data)
        assert response.created
        assert (root_owned / "app/sub/file").read_bytes() == b"x"
        assert {path.lstat().st_uid for path in (root_owned / "app", *(root_owned / "app").rglob("*"))} == {
            other_user.pw_uid
        }
        (root_owned / "rooted").mkdir()
        await refused(theirs.extract(root_owned / "rooted", data), "permission_denied")
        await refused(theirs.extract(root_owned / "cut", data[:700]), "invalid_argument")
        assert sorted(os.listdir(root_owned)) == ["app", "rooted"]
        assert not os.listdir(root_owned / "rooted")


async def test_a_long_name_cut_behind_a_slash_is_not_taken_for_a_directory(archives: Archives, tmp_path: Path):
    """The plain header has the first hundred bytes of a name; older archives say with a slash there: a directory."""
    name = "d/" * 60 + "file"
    for number, form in enumerate((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)):
        info = tarfile.TarInfo(name)
        info.size = 5
        await archives.extract(tmp_path / f"{number}", tar(info.tobuf(form) + b"12345" + bytes(507)))
        assert (tmp_path / f"{number}" / name).read_bytes() == b"12345"


async def test_set_id_bits_are_dropped_unless_asked_for(archives: Archives, tmp_path: Path):
    data = tar(entry("file", b"x", mode=0o6755), entry("dir", kind=tarfile.DIRTYPE, mode=0o3775))
    await archives.extract(tmp_path / "a", data)
    await archives.extract(tmp_path / "b", data, set_id=True)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a/file", "a/dir", "b/file", "b/dir")]
    assert modes == [0o755, 0o1775, 0o6755, 0o3775]


async def test_a_directory_in_a_set_group_id_one_has_the_callers_group(archives: Archives, tmp_path: Path):
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    os.chown(tmp_path, 0, 77)
    tmp_path.chmod(0o2755)
    await archives.extract(tmp_path / "a", tar(entry("d/f", b"x")))
    assert [(tmp_path / name).stat().st_gid for name in ("a", "a/d", "a/d/f")] == [0, 0, 0]


async def test_directories_that_lock_their_owner_out_are_filled_first(archives: Archives, tmp_path: Path):
    data = tar(
        entry("locked", kind=tarfile.DIRTYPE, mode=0o555, mtime=1000),
        entry("locked/in", kind=tarfile.DIRTYPE, mode=0o000, mtime=2000),
        entry("locked/in/file", b"x"),
        entry("elsewhere", b"x"),
        entry("locked/again", b"x"),
    )
    (tmp_path / "there").mkdir()
    for name in ("new", "there"):
        await archives.extract(tmp_path / name, data)
        found = [(tmp_path / name / below).stat() for below in ("locked", "locked/in")]
        assert [(stat.S_IMODE(st.st_mode), st.st_mtime) for st in found] == [(0o555, 1000), (0o000, 2000)]
        assert sorted(os.listdir(tmp_path / name / "locked")) == ["again", "in"]
        (tmp_path / name / "locked/in").chmod(0o700)
        (tmp_path / name / "locked").chmod(0o700)


async def test_missing_directories_above_are_made_and_taken_away_again(archives: Archives, tmp_path: Path):
    await refused(archives.extract(tmp_path / "a/b/c", b"no archive" * 100), "invalid_argument")
    assert names(tmp_path) == []
    await archives.extract(tmp_path / "a/b/c", tar(entry("file", b"x")))
    assert (tmp_path / "a/b/c/file").read_bytes() == b"x"
    assert stat.S_IMODE((tmp_path / "a/b/c").stat().st_mode) == 0o755


async def test_an_existing_directory_is_merged_and_keeps_what_it_is(archives: Archives, tmp_path: Path):
    top = tmp_path / "top"
    (top / "both").mkdir(parents=True)
    (top / "both").chmod(0o711)
    (top / "both/old").write_bytes(b"old")
    (top / "both/replaced").write_bytes(b"old")
    (tmp_path / "link").symlink_to("top")
    os.link(top / "both/replaced", tmp_path / "its-other-name")
    data = tar(
        entry("./", kind=tarfile.DIRTYPE, mode=0o777),
        entry("both", kind=tarfile.DIRTYPE, mode=0o777),
        entry("both/replaced", b"new"),
        entry("both/more/new", b"new"),
        entry("new", b"new"),
    )
    response = await archives.extract(tmp_path / "link", data)
    assert (response.path, response.created, response.entries) == (str(top), False, 5)
    assert (stat.S_IMODE(top.stat().st_mode), stat.S_IMODE((top / "both").stat().st_mode)) == (0o755, 0o711)
    contents = {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}
    assert contents == {"both/old": b"old", "both/replaced": b"new", "both/more/new": b"new", "new": b"new"}
    assert (tmp_path / "its-other-name").read_bytes() == b"old"


async def test_conflicts_are_as_asked_for(archives: Archives, tmp_path: Path):
    top = tmp_path / "top"
    (top / "d").mkdir(parents=True)
    (top / "d/file").write_bytes(b"old")
    (top / "link").symlink_to("old")
    data = tar(entry("a", b"new"), entry("d/file", b"new"), entry("d/z", b"new"), entry("link", b"new"))
    before = picture(top, times=False)
    message = await refused(archives.extract(top, data, conflict=pb.ARCHIVE_CONFLICT_FAIL), "already_exists")
    assert "d/file" in message or "link" in message
    assert picture(top, times=False) == before
    response = await archives.extract(top, data, conflict=pb.ARCHIVE_CONFLICT_SKIP)
    assert (response.entries, response.skipped) == (2, 2)
    assert (top / "d/file").read_bytes() == b"old"
    assert [(top / name).read_bytes() for name in ("a", "d/z")] == [b"new", b"new"]
    response = await archives.extract(top, data)
    assert (response.entries, response.skipped, (top / "d/file").read_bytes()) == (4, 0, b"new")
    assert not (top / "link").is_symlink()
    assert names(top) == ["a", "d", "link"]


@pytest.mark.parametrize("conflict", [0, 1, 2])
async def test_a_file_never_replaces_a_directory_nor_the_other_way_round(archives: Archives, tmp_path: Path, conflict):
    top = tmp_path / "top"
    (top / "dir/below").mkdir(parents=True)
    (top / "file").write_bytes(b"old")
    (top / "link").symlink_to("dir")
    before = picture(top, times=False)
    for one in (entry("dir", b"x"), entry("file/x", b"x"), entry("link/x", b"x")):
        await refused(archives.extract(top, tar(entry("a", b"x"), one), conflict=conflict), "already_exists")
    assert picture(top, times=False) == before


async def test_a_file_is_no_place_to_extract_to(archives: Archives, tmp_path: Path):
    (tmp_path / "file").touch()
    await refused(archives.extract(tmp_path / "file", tar()), "invalid_argument")
    await refused(archives.extract(tmp_path / "file/x", tar()), "invalid_argument")
    await refused(archives.extract(tmp_path / "x", tar(), ownership=9), "invalid_argument")
    await refused(archives.extract(tmp_path / "x", tar(), conflict=9), "invalid_argument")
    assert names(tmp_path) == ["file"]


async def test_the_options_come_first_and_once(archives: Archives, tmp_path: Path):
    options = ExtractRequest(options=ExtractRequest.Options(path=str(tmp_path / "x")))
    await refused(archives.send([ExtractRequest(chunk=b"x")]), "invalid_argument")
    await refused(archives.send([]), "invalid_argument")
    await refused(archives.send([options, options]), "invalid_argument")
    assert "cut short" in await refused(archives.send([options]), "invalid_argument")
    assert names(tmp_path) == []


async def test_more_than_was_asked_for_is_refused(archives: Archives, tmp_path: Path):
    data = tar(entry("a", b"x" * 1000), entry("b", b"x" * 1000), entry("d", kind=DIR))
    await refused(archives.extract(tmp_path / "a", data, max_entries=2), "invalid_argument")
    await refused(archives.extract(tmp_path / "a", data, max_content_bytes=1999), "invalid_argument")
    assert names(tmp_path) == []
    await archives.extract(tmp_path / "a", data, max_entries=3, max_content_bytes=2000)


# What is refused.

DIR, LINK, HARD = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
HOSTILE = {
    "absolute name": [entry("/evil", b"x")],
    "upwards": [entry("../evil", b"x")],
    "upwards inside": [entry("a/../../evil", b"x")],
    "upwards directory": [entry("../evil/", kind=DIR)],
    "upwards at the end": [entry("a/..", kind=DIR)],
    "link upwards": [entry("l", kind=LINK, link="../evil")],
    "link upwards from below": [entry("a/l", kind=LINK, link="../../evil")],
    "absolute link": [entry("l", kind=LINK, link="/etc")],
    "link that leads upwards through another": [
        entry("a/b/up", kind=LINK, link="../.."),
        entry("l", kind=LINK, link="a/b/up/../evil"),
    ],
    "through a link": [entry("l", kind=LINK, link="a"), entry("a/x", b"x"), entry("l/evil", b"x")],
    "directory through a link": [entry("a", kind=DIR), entry("l", kind=LINK, link="a"), entry("l/d", kind=DIR)],
    "a link's place taken by a directory": [entry("l", kind=LINK, link="a"), entry("l", kind=DIR)],
    "a directory's place taken by a link": [entry("d/x", b"x"), entry("d", kind=LINK, link="a")],
    "a file's place taken by a directory": [entry("f", b"x"), entry("f/x", b"x")],
    "a directory's place taken by a file": [entry("d", kind=DIR), entry("d", b"x")],
    "hard link to outside": [entry("h", kind=HARD, link="../evil")],
    "hard link to an absolute name": [entry("h", kind=HARD, link="/etc/passwd")],
    "hard link to nothing": [entry("h", kind=HARD, link="missing")],
    "hard link to itself": [entry("h", kind=HARD, link="h")],
    "hard link to a directory": [entry("d", kind=DIR), entry("h", kind=HARD, link="d")],
    "hard link to the top": [entry("h", kind=HARD, link=".")],
    "hard link through a link": [
        entry("a/x", b"x"),
        entry("l", kind=LINK, link="a"),
        entry("h", kind=HARD, link="l/x"),
    ],
    "character device": [entry("null", kind=tarfile.CHRTYPE, devmajor=1, devminor=3)],
    "block device": [entry("sda", kind=tarfile.BLKTYPE)],
    "fifo": [entry("fifo", kind=tarfile.FIFOTYPE)],
    "unknown kind": [entry("what", kind=b"Q")],
    "no name": [entry("", b"x")],
    "only dots": [entry("./.", b"x")],
    "the top as a link": [entry("./", kind=LINK, link="a")],
    "link without text": [entry("l", kind=LINK, link="")],
    "NUL in a name": [entry("x", b"x", pax_headers={"path": "a\0b"})],
    "NUL in a link": [entry("l", kind=LINK, pax_headers={"linkpath": "a\0b"})],
    "name too long": [entry("a/" * 8192 + "x", b"x")],
    "part too long": [entry("a" * 256, b"x")],
    "damaged header": [b"x" * 512],
    "cut off in a header": [entry("a", b"x")[:200]],
    "too large an extended header": [entry("x", b"x", pax_headers={"comment": "x" * 1_100_000})],
    "malformed extended header": [entry("x", b"99 path=x\n", kind=b"x"), entry("f", b"x")],
    "size of no number": [entry("x", b"x", pax_headers={"size": "-1"})],
    "size beyond all": [entry("x", b"x", pax_headers={"size": "9" * 20})],
    "time of no number": [entry("x", b"x", pax_headers={"mtime": "yesterday"})],
    "sparse map that overlaps": [
        entry("x", b"xy", pax_headers={"GNU.sparse.size": "9", "GNU.sparse.map": "0,1,0,1"}),
    ],
    "sparse map beyond the end": [entry("x", b"x", pax_headers={"GNU.sparse.size": "9", "GNU.sparse.map": "9,1"})],
    "sparse map of no numbers": [entry("x", b"x", pax_headers={"GNU.sparse.size": "9", "GNU.sparse.map": "a,b"})],
    "sparse map without end": [
        entry("x", b"9" * 5000, pax_headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}),
    ],
}


async def test_a_link_no_system_can_make_is_refused_with_the_reason(archives: Archives, tmp_path: Path):
    message = await refused(archives.extract(tmp_path, tar(entry("l", kind=LINK, link=""))), "invalid_argument")
    assert message.startswith("l in the archive is a symbolic link whose target is empty")


@pytest.mark.parametrize("there", [False, True], ids=["new", "merged"])
@pytest.mark.parametrize("entries", HOSTILE.values(), ids=list(HOSTILE))
async def test_a_hostile_archive_changes_nothing(archives: Archives, tmp_path: Path, entries, there):
    (tmp_path / "evil").write_bytes(b"as it was")
    target = tmp_path / "target"
    if there:
        target.mkdir()
        (target / "kept").write_bytes(b"as it was")
    before = picture(tmp_path, times=False)
    await refused(archives.extract(target, tar(entry("first", b"x"), *entries)), "invalid_argument")
    assert picture(tmp_path, times=False) == before


async def test_links_that_lead_outside_are_taken_if_asked_for_and_not_followed(archives: Archives, tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    links = [entry("abs", kind=LINK, link=str(outside)), entry("up", kind=LINK, link="../outside")]
    await archives.extract(tmp_path / "a", tar(*links), outside_links=True)
    assert [os.readlink(tmp_path / "a" / name) for name in ("abs", "up")] == [str(outside), "../outside"]
    for name in ("abs/evil", "up/evil"):
        data = tar(*links, entry(name, b"x"))
        await refused(archives.extract(tmp_path / "b", data, outside_links=True), "invalid_argument")
        await refused(archives.extract(tmp_path / "a", tar(entry(name, b"x"))), "already_exists")
    assert (names(outside), names(tmp_path)) == ([], ["a", "outside"])


@pytest.mark.parametrize("up", ["../f", "../b/../f", "..", "../../top/f"])
async def test_links_that_stay_inside_are_told_from_those_that_may_not(archives: Archives, tmp_path: Path, up):
    data = tar(entry("f", b"content"), entry("a/link", kind=LINK, link=up))
    if up in ("../f", ".."):
        await archives.extract(tmp_path / "top", data)
        assert os.readlink(tmp_path / "top/a/link") == up
    else:
        assert "outside" in await refused(archives.extract(tmp_path / "top", data), "invalid_argument")


async def test_of_entries_by_one_name_the_last_counts(archives: Archives, tmp_path: Path):
    data = tar(
        entry("file", b"first"),
        entry("hard", kind=HARD, link="file"),
        entry("file", b"last"),
        entry("link", kind=LINK, link="a"),
        entry("link", kind=LINK, link="b"),
        entry("d", kind=DIR, mode=0),
        entry("d/x", b"x"),
        entry("e", kind=DIR, mode=0o700),
        entry("d/y", b"x"),
        entry("d", kind=DIR, mode=0o711),
        entry("hard2", kind=HARD, link="hard2x"),
    )
    await refused(archives.extract(tmp_path / "a", data), "invalid_argument")
    await archives.extract(tmp_path / "a", tar(data[: -1024 - 512]))
    top = tmp_path / "a"
    assert ((top / "file").read_bytes(), (top / "hard").read_bytes()) == (b"last", b"first")
    assert (os.readlink(top / "link"), stat.S_IMODE((top / "d").stat().st_mode)) == ("b", 0o711)


async def test_an_archive_of_nothing_makes_an_empty_directory(archives: Archives, tmp_path: Path):
    response = await archives.extract(tmp_path / "a/b", tar())
    assert (response.entries, response.created, names(tmp_path / "a/b")) == (0, True, [])


async def test_a_hard_link_to_itself_is_the_file_it_is(archives: Archives, tmp_path: Path):
    await archives.extract(tmp_path / "a", tar(entry("d/f", b"x"), entry("d/f", kind=HARD, link="./d/f")))
    assert (tmp_path / "a/d/f").read_bytes() == b"x"


@pytest.mark.parametrize("form", list(FORMATS))
async def test_an_archive_that_is_cut_off_anywhere_leaves_nothing(archives: Archives, tmp_path: Path, form):
    source = tmp_path / "source"
    source.mkdir()
    for number in range(5):
        (source / str(number)).write_bytes(os.urandom(3000))
    data = (await archives.archive(source, format=FORMATS[form])).data
    end = len(data) - 1024 if form == "tar" else len(data) - 1
    for size in [0, 1, 5, 100, 511, 512, 513, *range(1024, end, 1777), end]:
        await refused(archives.extract(tmp_path / "x", data[:size]), "invalid_argument")
        assert names(tmp_path) == ["source"], size
    await archives.extract(tmp_path / "x", data)


@pytest.mark.every_wire
async def test_a_client_that_leaves_in_the_middle_leaves_nothing(archives: Archives, tmp_path: Path):
    data = tar(*(entry(f"d{number}/f", b"x" * 1000) for number in range(500)))
    (tmp_path / "there").mkdir()
    (tmp_path / "there/file").write_bytes(b"as it was")
    for path in (tmp_path / "new/x", tmp_path / "there"):
        begun, never = asyncio.Event(), asyncio.Event()

        async def pieces(begun: asyncio.Event = begun, never: asyncio.Event = never) -> AsyncIterator[bytes]:
            yield data
            begun.set()
            await never.wait()

        extracting = asyncio.create_task(archives.extract(path, pieces()))
        async with asyncio.timeout(60):
            await begun.wait()
        extracting.cancel()
        with suppress(asyncio.CancelledError, RpcError):
            await extracting
    async with asyncio.timeout(60):
        while (names(tmp_path), names(tmp_path / "there")) != (["there"], ["file"]):
            await asyncio.sleep(0.01)
    assert (tmp_path / "there/file").read_bytes() == b"as it was"


@pytest.mark.every_wire
async def test_a_client_that_stops_reading_in_the_middle_is_forgotten(archives: Archives, tmp_path: Path):
    (tmp_path / "large").write_bytes(os.urandom(20_000_000))
    async with archives.archiving(tmp_path) as messages:
        async for message in messages:
            if message.HasField("chunk"):
                break
        messages.leave()
    assert (await archives.archive(tmp_path, members=["large"])).end.content_bytes == 20_000_000


@pytest.mark.parametrize("form", ["gzip", "zstd"])
async def test_what_grows_out_of_proportion_is_refused(archives: Archives, tmp_path: Path, form):
    bomb = tar(entry("zeros", bytes(70_000_000)))
    if form == "gzip":
        data = gzip.compress(bomb, 9)
    else:
        zstd = pytest.importorskip("backports.zstd")
        data = zstd.compress(bomb)
    message = await refused(archives.extract(tmp_path / "x", data), "invalid_argument")
    assert "200 times" in message
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "magic", [b"BZh91AY", b"\xfd7zXZ\0\0", b"PK\x03\x04xx", b"\x28\xb5\x2f\xfdxxxxxxx", b"\x1f\x8bxxxxx"]
)
async def test_what_it_is_wrapped_in_is_told(archives: Archives, tmp_path: Path, magic):
    await refused(archives.extract(tmp_path / "x", magic + bytes(1000)), "invalid_argument")
    assert names(tmp_path) == []


async def test_a_format_that_is_named_is_the_one_it_must_be(archives: Archives, tmp_path: Path):
    plain = tar(entry("f", b"x"))
    await archives.extract(tmp_path / "a", plain, format=FORMATS["tar"])
    await archives.extract(tmp_path / "b", gzip.compress(plain), format=FORMATS["gzip"])
    for form in ("gzip", "zstd"):
        await refused(archives.extract(tmp_path / "c", plain, format=FORMATS[form]), "invalid_argument")
    await refused(archives.extract(tmp_path / "c", gzip.compress(plain), format=FORMATS["tar"]), "invalid_argument")


async def test_several_gzip_members_are_one_archive(archives: Archives, tmp_path: Path):
    plain = tar(entry("f", b"x" * 5000))
    data = gzip.compress(plain[:3000]) + gzip.compress(plain[3000:]) + bytes(100)
    await archives.extract(tmp_path / "a", data)
    assert (tmp_path / "a/f").stat().st_size == 5000


async def test_a_device_in_the_archive_does_not_hide_behind_a_directory_s_slash(archives: Archives, tmp_path: Path):
    data = tar(entry("null/", kind=tarfile.CHRTYPE))
    await refused(archives.extract(tmp_path / "x", data), "invalid_argument")


async def test_unknown_users_are_refused(archives: Archives, tmp_path: Path):
    stranger = archives.as_user("nobody-of-that-name")
    await refused(stranger.archive(tmp_path), "unauthenticated")
    await refused(stranger.extract(tmp_path / "x", tar()), "unauthenticated")
