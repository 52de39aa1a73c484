"""Archives between this daemon and the programs that everybody has: GNU tar, bsdtar, Python's tarfile."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path

import pytest

from envd_proto.filesystem import archive_pb2 as pb
from tests.conftest import connect_proto
from tests.support.archives import Archives, picture, rich_tree
from tests.support.daemon import Daemon

FORMATS = {
    "tar": pb.ARCHIVE_FORMAT_TAR,
    "gzip": pb.ARCHIVE_FORMAT_TAR_GZIP,
    "zstd": pb.ARCHIVE_FORMAT_TAR_ZSTD,
}


@pytest.fixture
async def archives(daemon: Daemon) -> AsyncIterator[Archives]:
    async with connect_proto(daemon.port) as wire:
        yield Archives(wire)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return rich_tree(tmp_path / "source")


@cache
def runs(name: str) -> bool:
    """Whether there is such a program, and it runs."""
    try:
        return subprocess.run([name, "--version"], capture_output=True, timeout=60, check=False).returncode == 0
    except OSError:
        return False


def run(name: str, *arguments: object, data: bytes | None = None) -> bytes:
    """What a program prints; skips where it, or what it starts itself, does not run."""
    for needed in (name, *(["zstd"] if "--zstd" in arguments else [])):
        if not runs(needed):
            pytest.skip(f"{needed} does not run here")
    done = subprocess.run(
        [name, *map(str, arguments)],
        # In another locale bsdtar does not take names that are not ASCII.
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        input=data,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def plain(found: dict[str, tuple]) -> dict[str, tuple]:
    """What old formats and tarfile keep: whole seconds, none of links, no attributes."""
    kept = {}
    for name, (mode, what, modified_ns, owner, _) in found.items():
        is_link = mode.startswith("0o12")
        kept[name] = (mode, what, None if is_link else modified_ns // 1_000_000_000, owner)
    return kept


# What we send.


@pytest.mark.parametrize("form", list(FORMATS))
async def test_gnu_tar_extracts_what_is_sent(archives: Archives, source: Path, tmp_path: Path, form):
    data = (await archives.archive(source, format=FORMATS[form])).data
    copy = tmp_path / "copy"
    copy.mkdir()
    if form == "zstd":
        data = run("zstd", "-dc", data=data)
    run("tar", "-x", *(["-z"] if form == "gzip" else []), "-p", "--xattrs", "-C", copy, data=data)
    assert picture(copy) == picture(source)
    sparse = (copy / "sparse").stat()
    assert sparse.st_blocks * 512 < sparse.st_size


async def test_gnu_tar_finds_no_difference(archives: Archives, source: Path):
    data = (await archives.archive(source)).data
    assert run("tar", "--compare", "-C", source, data=data) == b""


async def test_bsdtar_extracts_what_is_sent(archives: Archives, source: Path, tmp_path: Path):
    data = (await archives.archive(source)).data
    copy = tmp_path / "copy"
    copy.mkdir()
    run("bsdtar", "-x", "-p", "-f", "-", "-C", copy, data=data)
    found, sent = picture(copy), picture(source)
    del found["."], sent["."]  # the directory it extracts to stays what it is
    assert {name: one[:4] for name, one in found.items()} == {name: one[:4] for name, one in sent.items()}


async def test_python_extracts_what_is_sent(archives: Archives, source: Path, tmp_path: Path):
    data = (await archives.archive(source)).data
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        # The default is another from Python 3.14 on; before 3.11.4 there is no other.
        trusted = {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}
        archive.extractall(tmp_path / "copy", **trusted)
    assert plain(picture(tmp_path / "copy")) == plain(picture(source))


# What we are sent.


@pytest.mark.parametrize(
    "options",
    [
        ["--format=gnu"],
        ["--format=oldgnu"],
        ["--format=posix"],
        ["--format=gnu", "--sparse"],
        ["--format=posix", "--sparse", "--sparse-version=0.0"],
        ["--format=posix", "--sparse", "--sparse-version=0.1"],
        ["--format=posix", "--sparse", "--sparse-version=1.0"],
        ["--format=posix", "--xattrs", "--numeric-owner"],
        ["--format=posix", "-z"],
        ["--format=posix", "--zstd"],
    ],
    ids=" ".join,
)
async def test_what_gnu_tar_writes_is_extracted(archives: Archives, source: Path, tmp_path: Path, options):
    data = run("tar", "-c", *options, "-C", source, ".")
    await archives.extract(tmp_path / "copy", data)
    found, sent = picture(tmp_path / "copy"), picture(source)
    if "--xattrs" in options:
        assert found == sent
    assert plain(found) == plain(sent)
    if "--sparse" in options:
        st = (tmp_path / "copy/sparse").stat()
        assert st.st_blocks * 512 < st.st_size


@pytest.mark.parametrize("form", ["v7", "ustar"])
async def test_old_formats_of_gnu_tar_are_extracted(archives: Archives, source: Path, tmp_path: Path, form):
    for name in ("longlink", "naïve ☃", "empty"):  # what they cannot hold, and a sticky bit
        path = source / name
        path.rmdir() if path.is_dir() else path.unlink()
    shutil.rmtree(source / ("long" * 40))
    if form == "ustar":  # what is split in two there
        (source / ("a" * 90) / ("b" * 50)).mkdir(parents=True)
        (source / ("a" * 90) / ("b" * 50) / "c").write_bytes(b"x")
    data = run("tar", "-c", f"--format={form}", "-C", source, ".")
    await archives.extract(tmp_path / "copy", data)
    assert plain(picture(tmp_path / "copy")) == plain(picture(source))


@pytest.mark.parametrize("form", ["pax", "gnutar", "ustar"])
async def test_what_bsdtar_writes_is_extracted(archives: Archives, source: Path, tmp_path: Path, form):
    if form == "ustar":
        (source / "longlink").unlink()
        shutil.rmtree(source / ("long" * 40))
    data = run("bsdtar", "-c", "-f", "-", f"--format={form}", "-C", source, ".")
    await archives.extract(tmp_path / "copy", data)
    found, sent = picture(tmp_path / "copy"), picture(source)
    assert plain(found) == plain(sent)
    if form == "pax":
        assert {name: one[4] for name, one in found.items()} == {name: one[4] for name, one in sent.items()}


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["gnu", "pax"])
async def test_what_python_writes_is_extracted(archives: Archives, source: Path, tmp_path: Path, form):
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=form) as archive:
        archive.add(source, ".")
    await archives.extract(tmp_path / "copy", written.getvalue())
    assert plain(picture(tmp_path / "copy")) == plain(picture(source))


async def test_a_file_with_many_holes_is_what_it_was(archives: Archives, tmp_path: Path):
    (tmp_path / "source").mkdir()
    with (tmp_path / "source/holes").open("wb") as file:
        for number in range(300):
            file.seek(number * 65536)
            file.write(b"%d" % number)
        file.truncate(300 * 65536)
    (tmp_path / "source/nothing but a hole").touch()
    os.truncate(tmp_path / "source/nothing but a hole", 1 << 40)
    ours = (await archives.archive(tmp_path / "source")).data
    assert len(ours) < 3_000_000
    theirs = [
        run("tar", "-c", "--sparse", f"--format={form}", "-C", tmp_path / "source", ".") for form in ("gnu", "posix")
    ]
    for number, data in enumerate([ours, *theirs]):
        copy = tmp_path / f"copy{number}"
        await archives.extract(copy, data)
        assert (copy / "holes").read_bytes() == (tmp_path / "source/holes").read_bytes()
        st = (copy / "nothing but a hole").stat()
        assert (st.st_size, st.st_blocks) == (1 << 40, 0)
    (tmp_path / "gnu").mkdir()
    run("tar", "-x", "-C", tmp_path / "gnu", data=ours)
    assert (tmp_path / "gnu/holes").read_bytes() == (tmp_path / "source/holes").read_bytes()
    assert (tmp_path / "gnu/nothing but a hole").stat().st_size == 1 << 40


async def test_what_bsdtar_writes_of_holes_is_extracted(archives: Archives, tmp_path: Path):
    source = tmp_path / "source"
    source.mkdir()
    with (source / "holes").open("wb") as file:
        for number in range(100):
            file.seek(number * 1_000_000)
            file.write(b"%d" % number)
    data = run("bsdtar", "-c", "-f", "-", "--format=pax", "-C", source, ".")
    await archives.extract(tmp_path / "copy", data)
    assert (tmp_path / "copy/holes").read_bytes() == (source / "holes").read_bytes()


async def test_ids_and_names_beyond_the_old_fields_are_kept(archives: Archives, tmp_path: Path):
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").touch()
    os.chown(source / "file", 3_000_000, 4_000_000_000)
    os.utime(source / "file", ns=(0, -86_400_000_000_001))
    data = (await archives.archive(source)).data
    assert run("tar", "--compare", "-C", source, data=data) == b""
    await archives.extract(tmp_path / "copy", data, ownership=pb.ARCHIVE_OWNERSHIP_NUMBERS)
    assert picture(tmp_path / "copy") == picture(source)
    theirs = run("tar", "-c", "--format=gnu", "-C", source, ".")
    await archives.extract(tmp_path / "theirs", theirs, ownership=pb.ARCHIVE_OWNERSHIP_NUMBERS)
    st = (tmp_path / "theirs/file").stat()
    assert (st.st_uid, st.st_gid, st.st_mtime) == (3_000_000, 4_000_000_000, -86401)
