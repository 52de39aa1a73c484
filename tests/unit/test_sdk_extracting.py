"""What comes down from a sandbox is taken apart safely, whatever the sandbox says, on every Python."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import stat
import tarfile
import threading
from pathlib import Path

import pytest

from envd_sdk import ConflictException, SandboxException
from envd_sdk.extracting import untar
from envd_sdk.tar import members
from tests.support.archives import entry, tar

DIR, LINK, HARD = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE


def extract(target: Path, *entries: bytes) -> None:
    untar(io.BytesIO(tar(*entries)), str(target))


def names_in(target: Path) -> set[str]:
    return {str(path.relative_to(target)) for path in target.rglob("*")}


def exchange(one: Path, other: Path) -> None:
    """Give two entries each other's names, at once. Source: rename(2), RENAME_EXCHANGE."""
    libc, here, flag = ctypes.CDLL(None, use_errno=True), -100, 2
    assert libc.renameat2(here, bytes(one), here, bytes(other), flag) == 0, os.strerror(ctypes.get_errno())


def field(data: bytes, at: int, value: bytes) -> bytes:
    """An entry whose header says something else in one place, with the checksum of that."""
    head = data[:at] + value + data[at + len(value) : 148] + b" " * 8 + data[156:512]
    if at > 148:
        head = data[:148] + b" " * 8 + data[156:at] + value + data[at + len(value) : 512]
    return head[:148] + b"%06o\0 " % sum(head) + head[156:] + data[512:]


def test_files_directories_and_links_come_as_they_are(tmp_path):
    target = tmp_path / "new"
    extract(
        target,
        entry("./", kind=DIR, mode=0o700, mtime=1_000_000_000),
        entry("d", kind=DIR, mode=0o750, mtime=1_000_000_001),
        entry("d/file", b"content", mode=0o640, mtime=1_000_000_002),
        entry("d/" + "long" * 60, b"x"),
        entry("d/back", kind=LINK, link="../d/file"),
        entry("up", kind=LINK, link="d/file"),
        entry("same", kind=HARD, link="d/file"),
        entry("empty", b""),
    )
    assert (target / "d/file").read_bytes() == b"content" == (target / "d/back").read_bytes()
    assert (target / "same").samefile(target / "d/file")
    assert (target / ("d/" + "long" * 60)).read_bytes() == b"x"
    assert stat.S_IMODE((target / "d/file").stat().st_mode) == 0o640
    assert [(target / name).stat().st_mtime for name in (".", "d", "d/file")] == [1e9, 1e9 + 1, 1e9 + 2]
    assert [stat.S_IMODE((target / name).stat().st_mode) for name in (".", "d")] == [0o700, 0o750]
    assert os.readlink(target / "up") == "d/file"


def test_a_name_that_is_not_utf8_keeps_its_bytes(tmp_path):
    extract(
        tmp_path, entry("d\udcff", kind=DIR), entry("d\udcff/\udcfe\udcfd", b"x"), entry("l", kind=LINK, link="d\udcff")
    )
    assert os.listdir(os.fsencode(tmp_path / "d\udcff")) == [b"\xfe\xfd"]
    assert os.readlink(os.fsencode(tmp_path / "l")) == b"d\xff"


def test_a_tree_deeper_than_a_path_can_be(tmp_path):
    names = ["/".join(["d" * 100] * depth) for depth in range(1, 61)]
    with_file = [entry(name, kind=DIR) for name in names] + [entry(names[-1] + "/f", b"deep")]
    with pytest.raises(SandboxException, match="too long"):
        extract(tmp_path, *with_file)
    assert names_in(tmp_path) == set()
    extract(tmp_path / "target", *[entry(name, kind=DIR) for name in names[:39]], entry(names[38] + "/f", b"deep"))
    assert (tmp_path / "target" / names[30]).is_dir()


REFUSED = {
    "absolute": [entry("/tmp/evil", b"x")],
    "upwards": [entry("../evil", b"x")],
    "upwards within": [entry("a/../../evil", b"x")],
    "no name": [entry("./", b"x")],
    "absolute link": [entry("l", kind=LINK, link="/etc/passwd")],
    "link upwards": [entry("l", kind=LINK, link="../x")],
    "link that winds": [entry("d/l", kind=LINK, link="a/../../..")],
    "link to nothing": [entry("l", kind=LINK, link="")],
    "hard link outside": [entry("h", kind=HARD, link="../x")],
    "hard link, absolute": [entry("h", kind=HARD, link="/etc/passwd")],
    "hard link to a later entry": [entry("h", kind=HARD, link="f"), entry("f", b"x")],
    "hard link to a directory": [entry("d", kind=DIR), entry("h", kind=HARD, link="d")],
    "hard link to what was here": [entry("h", kind=HARD, link="here")],
    "character device": [entry("null", kind=tarfile.CHRTYPE, devmajor=1, devminor=3)],
    "block device": [entry("sda", kind=tarfile.BLKTYPE)],
    "fifo": [entry("fifo", kind=tarfile.FIFOTYPE)],
    "negative size": [field(entry("f", b"x"), 124, b"\xff" * 12)],
    "negative extension": [field(entry("n" * 200, b"x"), 124, b"\xff" * 12)],
    "size that is no number": [field(entry("f", b"x"), 124, b"12x45678901\0")],
    "wrong checksum": [b"x" + entry("f", b"x")[1:]],
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_changes_nothing(what, tmp_path):
    (tmp_path / "here").write_text("mine")
    with pytest.raises(SandboxException):
        extract(tmp_path, entry("first", b"1"), *REFUSED[what], entry("last", b"2"))
    assert names_in(tmp_path) == {"here"}


@pytest.mark.parametrize("cut", [1, 511, 513, 1023, 1500])
def test_what_is_cut_short_changes_nothing(cut, tmp_path):
    data = tar(entry("first", b"1"), entry("second", b"2"))
    with pytest.raises(SandboxException, match="cut short"):
        untar(io.BytesIO(data[: len(data) - 1024 - 1024 + cut][: len(data) - 513]), str(tmp_path))
    assert names_in(tmp_path) == set()


def test_set_id_sticky_and_others_writing_are_dropped(tmp_path):
    extract(
        tmp_path, entry("f", b"x", mode=0o7777), entry("d", kind=DIR, mode=0o7777), entry("locked", b"x", mode=0o000)
    )
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("f", "d", "locked")}
    assert modes == {"f": 0o755, "d": 0o755, "locked": 0o600}


def test_a_link_in_the_place_of_a_file_is_replaced_not_followed(tmp_path):
    outside, target = tmp_path / "outside", tmp_path / "target"
    outside.write_text("mine")
    target.mkdir()
    (target / "f").symlink_to(outside)
    (target / "h").symlink_to(outside)
    extract(target, entry("f", b"new"), entry("h", kind=HARD, link="f"))
    assert outside.read_text() == "mine"
    assert (target / "f").read_text() == "new" == (target / "h").read_text()
    assert not (target / "f").is_symlink()


def test_a_hard_link_here_keeps_its_other_name(tmp_path):
    (tmp_path / "other").write_text("mine")
    os.link(tmp_path / "other", tmp_path / "f")
    extract(tmp_path, entry("f", b"new"))
    assert ((tmp_path / "other").read_text(), (tmp_path / "f").read_text()) == ("mine", "new")


def test_a_link_in_the_place_of_a_directory_is_a_conflict(tmp_path):
    outside, target = tmp_path / "outside", tmp_path / "target"
    outside.mkdir()
    target.mkdir()
    (target / "d").symlink_to(outside)
    for entries in ([entry("d", kind=DIR)], [entry("d/f", b"x")], [entry("first", b"1"), entry("d/e/f", b"x")]):
        with pytest.raises(ConflictException, match="link or file here"):
            extract(target, *entries)
    assert names_in(target) == {"d"}
    assert names_in(outside) == set()


def test_a_file_never_replaces_a_directory_nor_the_other_way_round(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "f").write_text("mine")
    with pytest.raises(ConflictException):
        extract(tmp_path, entry("first", b"1"), entry("d", b"x"))
    with pytest.raises(ConflictException):
        extract(tmp_path, entry("first", b"1"), entry("f/x", b"x"))
    assert names_in(tmp_path) == {"d", "f"}


def test_directories_that_were_here_keep_their_mode(tmp_path):
    (tmp_path / "d").mkdir(mode=0o711)
    extract(tmp_path, entry("./", kind=DIR, mode=0o700), entry("d", kind=DIR, mode=0o755), entry("d/f", b"x"))
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o711


def test_the_target_itself_may_be_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "target").symlink_to("real")
    extract(tmp_path / "target", entry("f", b"x"))
    assert (tmp_path / "real/f").read_bytes() == b"x"


def test_nobody_who_swaps_a_directory_for_a_link_leads_it_outside(tmp_path):
    outside, target = tmp_path / "outside", tmp_path / "target"
    outside.mkdir()
    (target / "d").mkdir(parents=True)
    os.symlink(outside, tmp_path / "link")
    stop = threading.Event()
    swaps = 0

    def swap() -> None:
        nonlocal swaps
        while not stop.is_set():
            exchange(target / "d", tmp_path / "link")
            swaps += 1

    data = tar(*[entry(f"d/{number}/f", b"x") for number in range(40)])
    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(40):
            with contextlib.suppress(SandboxException):
                untar(io.BytesIO(data), str(target))
    finally:
        stop.set()
        thread.join()
    assert swaps
    assert names_in(outside) == set()


def sparse(name: str, numbers: list[int], content: bytes, size: int) -> bytes:
    table = b"".join(b"%d\n" % number for number in [len(numbers) // 2, *numbers])
    table += bytes(-len(table) % 512)
    records = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": name}
    records["GNU.sparse.realsize"] = str(size)
    info = tarfile.TarInfo("GNUSparseFile.0/x")
    info.size, info.pax_headers = len(table) + len(content), records
    return info.tobuf(tarfile.PAX_FORMAT) + table + content + bytes(-len(content) % 512)


def test_holes_stay_holes(tmp_path):
    many = [number for at in range(200) for number in (at * 8192, 1)]
    extract(
        tmp_path,
        sparse("s", [0, 3, 1_000_000, 2, 9_000_000, 0], b"abcde", 9_000_000),
        sparse("many", many, b"x" * 200, 200 * 8192),
        entry("after", b"y"),
    )
    content = (tmp_path / "s").read_bytes()
    assert len(content) == 9_000_000
    assert (content[:3], content[1_000_000:1_000_002], content.strip(b"\0")[-2:]) == (b"abc", b"de", b"de")
    assert (tmp_path / "many").read_bytes()[::8192] == b"x" * 200
    assert (tmp_path / "after").read_bytes() == b"y"


@pytest.mark.parametrize("numbers", [[5, 3, 0, 2], [0, 9], [0, 2, 1, 3], [10**18, 5]], ids=str)
def test_a_map_that_cannot_be_right_is_refused(numbers, tmp_path):
    with pytest.raises(SandboxException, match="damaged"):
        extract(tmp_path, sparse("s", numbers, b"abcde", 8))
    assert names_in(tmp_path) == set()


def test_every_entry_that_python_writes_is_read_as_python_reads_it():
    entries = [entry(name, b"c" * size) for name, size in (("a", 0), ("b" * 150, 512), ("ü", 513), ("d/e", 10_000))]
    data = tar(*entries, entry("l", kind=LINK, link="x" * 300))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        expected = [(found.name, found.size, found.linkname) for found in archive]
    found = [(one.name.decode(), one.size, one.link.decode()) for one in members(io.BytesIO(data))]
    assert found == expected
