"""Archives made at random of everything that may be dangerous: nothing outside the target is ever touched."""

from __future__ import annotations

import os
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from envd.errors import EnvdError
from envd.filesystem.archive.extraction import Extraction, ExtractRequest
from envd.filesystem.archive.merging import Conflict
from envd.filesystem.writing.own_writes import OwnWrites
from envd.filesystem.writing.temp_registry import TempRegistry
from envd.filesystem.writing.temporary import Temporaries
from envd.host.users import own_user
from tests.support.archives import entry, picture, tar
from tests.support.disks import small_disk

PARTS = ["a", "a", "b", "b", "c", "..", ".", "out"]
KINDS = [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE]


@pytest.fixture
def temporaries() -> Iterator[Temporaries]:
    fd = os.memfd_create("leftovers")
    yield Temporaries(TempRegistry(fd), OwnWrites())
    os.close(fd)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "size=64m") as made:
        yield made


def random_name(chance: random.Random) -> str:
    name = "/".join(chance.choices(PARTS, k=chance.randint(1, 4)))
    return f"/{name}" if chance.random() < 0.03 else name


def random_archive(chance: random.Random) -> bytes:
    entries = []
    for _ in range(chance.randint(1, 6)):
        kind = chance.choice(KINDS)
        content = b"evil" if kind == tarfile.REGTYPE else b""
        link = random_name(chance) if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
        mode = chance.choice([0o755, 0o644, 0o000, 0o4755])
        entries.append(entry(random_name(chance), content, kind, link, mode=mode))
    return tar(*entries)


def extract(target: Path, data: bytes, temporaries: Temporaries, **options: object) -> bool:
    extraction = Extraction(ExtractRequest(str(target), own_user(), **options), temporaries)  # type: ignore[arg-type]
    try:
        extraction.feed(data)
        extraction.commit()
    except EnvdError:
        return False
    finally:
        extraction.close()
    return True


def leads_outside(target: Path) -> list[Path]:
    """Links below the target that end anywhere else."""
    found = []
    for top, directories, files in os.walk(target):
        for path in (Path(top, name) for name in directories + files):
            if path.is_symlink():
                end = os.path.realpath(path)
                if end != str(target) and not end.startswith(f"{target}/"):
                    found.append(path)
    return found


def test_random_archives_stay_within_their_target(disk: Path, temporaries: Temporaries):
    chance = random.Random(11)
    (disk / "out").mkdir()
    (disk / "out/file").write_bytes(b"as it was")
    (disk / "a").write_bytes(b"as it was")
    outside = picture(disk)
    succeeded = 0
    for number in range(1000):
        target = disk / "target"
        done = extract(target, random_archive(chance), temporaries)
        succeeded += done
        if done:
            assert leads_outside(target) == [], number
        assert target.exists() == done
        if done:
            remove(target)
        assert {name: one[1] for name, one in picture(disk).items()} == {name: one[1] for name, one in outside.items()}
    assert 100 < succeeded < 900


def test_random_archives_one_after_the_other_stay_within_their_target(disk: Path, temporaries: Temporaries):
    chance = random.Random(12)
    (disk / "out").mkdir()
    (disk / "out/file").write_bytes(b"as it was")
    outside = picture(disk / "out")
    target = disk / "target"
    succeeded = 0
    for number in range(800):
        if number % 20 == 0 and target.exists():
            remove(target)
        before = picture(target, times=False) if target.exists() else None
        done = extract(target, random_archive(chance), temporaries, conflict=chance.choice(list(Conflict)))
        succeeded += done
        if not done:
            assert (picture(target, times=False) if target.exists() else None) == before
        else:
            assert leads_outside(target) == [], number
        assert sorted(os.listdir(disk)) in (["out", "target"], ["out"])
        assert not [name for name in os.listdir(disk / "target") if name.startswith(".envd")] if done else True
        assert picture(disk / "out") == outside
    assert succeeded > 80


def remove(target: Path) -> None:
    for top, _, _ in os.walk(target):
        os.chmod(top, 0o700)
    for top, directories, files in os.walk(target, topdown=False):
        for name in directories + files:
            path = Path(top, name)
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    target.rmdir()
