"""Archives taken apart without a disk: torn into pieces, damaged at random, at the edges of their fields."""

from __future__ import annotations

import io
import random
import subprocess
import sys
import tarfile
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from envd.errors import Code, EnvdError
from envd.filesystem.archive.limit import ArchiveLimit
from envd.filesystem.archive.safety import parts_of
from envd.filesystem.archive.tarstream import header_writer, pax
from envd.filesystem.archive.tarstream.header_fields import number_of
from envd.filesystem.archive.tarstream.member import Extent, Member, MemberKind
from envd.filesystem.archive.tarstream.reader import TarReader
from tests.support.archives import entry, tar


@dataclass
class Collected:
    """A sink that keeps what it is given."""

    members: list[Member] = field(default_factory=list)
    contents: list[bytearray] = field(default_factory=list)

    def begin(self, member: Member) -> None:
        self.members.append(member)
        self.contents.append(bytearray())

    def write(self, data: bytes | memoryview, offset: int) -> None:
        content = self.contents[-1]
        assert offset >= len(content)
        assert len(data) < 10_000_000
        content += bytes(min(offset, 1_000_000) - len(content)) + data

    def finish(self) -> None:
        pass


def read(data: bytes, piece: int = 1 << 20) -> Collected:
    found = Collected()
    reader = TarReader(found)
    for at in range(0, len(data), piece):
        reader.feed(data[at : at + piece])
    reader.end()
    return found


def outcome(data: bytes, piece: int = 1 << 20) -> Code | None:
    """The code of an archive that is refused."""
    try:
        read(data, piece)
    except EnvdError as exc:
        return exc.code
    return None


def member(**fields: object) -> Member:
    given = {"name": "name", "kind": MemberKind.FILE, "mode": 0o644, "uid": 0, "gid": 0, "owner": "", "group": ""}
    return Member(**{**given, "modified_ns": 0, **fields})  # type: ignore[arg-type]


SAMPLE = tar(
    entry("a", b"x" * 700),
    entry("n" * 300, b"y" * 512, pax_headers={"mtime": "1.5", "SCHILY.xattr.user.k": "v"}),
    entry("d", kind=tarfile.DIRTYPE),
    entry("d/l", kind=tarfile.SYMTYPE, link="t" * 200),
    header_writer.head_of(member(name="s", size=5_000, extents=(Extent(1000, 600), Extent(4000, 10))))
    + b"z" * 610
    + bytes(414),
)


@pytest.mark.parametrize("piece", [1, 7, 511, 512, 513, 5000])
def test_pieces_of_any_size_are_the_same_archive(piece: int) -> None:
    whole, torn = read(SAMPLE), read(SAMPLE, piece)
    assert (torn.members, torn.contents) == (whole.members, whole.contents)
    assert [one.name for one in whole.members] == ["a", "n" * 300, "d/", "d/l", "s"]


def test_every_place_to_cut_it_off_is_noticed() -> None:
    for size in range(0, len(SAMPLE) - 1023, 37):
        with pytest.raises(EnvdError) as error:
            read(SAMPLE[:size])
        assert error.value.code is Code.INVALID_ARGUMENT


def test_damage_anywhere_is_refused_or_harmless() -> None:
    chance = random.Random(7)
    for _ in range(3000):
        damaged = bytearray(SAMPLE)
        for _ in range(chance.choice([1, 1, 2, 20])):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        assert outcome(bytes(damaged), chance.choice([100, 512, 1 << 20])) in (None, Code.INVALID_ARGUMENT)


def test_damage_under_a_right_checksum_is_refused_or_harmless() -> None:
    chance = random.Random(8)
    for _ in range(3000):
        block = bytearray(
            entry("name", b"", chance.choice([b"0", b"1", b"2", b"5", b"S", b"x", b"g", b"L", b"K", b"D"]))
        )
        for _ in range(chance.choice([1, 2, 20])):
            block[chance.randrange(512)] = chance.choice([0, 0x20, 0x30, 0x37, 0x80, 0xFF, chance.randrange(256)])
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        assert outcome(bytes(block) + bytes(chance.choice([0, 512, 4096]))) in (None, Code.INVALID_ARGUMENT)


@pytest.mark.parametrize(
    "made",
    [
        member(),
        member(name="n" * 100),
        member(name="n" * 101),
        member(name="n" * 4000, size=3),
        member(name="☃" * 40),
        member(name="d", kind=MemberKind.DIRECTORY, mode=0o1777),
        member(name="d" * 100, kind=MemberKind.DIRECTORY),
        member(name="l", kind=MemberKind.SYMLINK, link="x" * 100),
        member(name="l", kind=MemberKind.SYMLINK, link="x" * 101),
        member(name="h", kind=MemberKind.HARD_LINK, link="☃" * 100),
        member(uid=0o7777777, gid=0o10000000, owner="o" * 31, group="g" * 200),
        member(modified_ns=1),
        member(modified_ns=-1),
        member(modified_ns=-1_000_000_000),
        member(modified_ns=0o77777777777 * 10**9 + 999_999_999),
        member(modified_ns=0o100000000000 * 10**9),
        member(attributes={"user.a": b"", "user.b=%": b"x\n=\0" * 50}),
        member(size=5_000_000_000_000, extents=()),
        member(size=512, extents=(Extent(0, 1), Extent(511, 1))),
        member(name="n" * 200, size=9, extents=(Extent(8, 1),)),
        member(name="\udcff" * 3),
        member(name="\udcff" * 103),
    ],
)
def test_what_is_written_is_read_again(made: Member) -> None:
    stored = header_writer.stored_bytes(made)
    data = header_writer.head_of(made) + b"c" * stored + header_writer.padding(stored) + header_writer.END
    assert len(data) % 512 == 0
    (found,) = read(data).members
    expected = made._replace(name=made.name + "/") if made.kind is MemberKind.DIRECTORY else made
    assert found._replace(attributes=dict(found.attributes)) == expected._replace(attributes=dict(made.attributes))
    if not any("\udcff" in text for text in (made.name, made.link)):
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            assert archive.getmembers()[0].name.rstrip("/") == made.name


def test_a_file_of_more_than_eight_gibibytes_says_so() -> None:
    size = 9 * 2**30
    with tarfile.open(fileobj=io.BytesIO(header_writer.head_of(member(size=size)))) as archive:
        assert archive.next().size == size  # type: ignore[union-attr]
    seen = Collected()
    TarReader(seen).feed(header_writer.head_of(member(size=size)))
    assert seen.members[0].size == size


def test_global_headers_hold_until_they_are_replaced() -> None:
    data = tar(
        entry("g", b"17 uname=someone\n13 mtime=9.5\n", kind=b"g"),
        entry("a"),
        entry("b", pax_headers={"mtime": "3.5"}),
        entry("g", b"9 uname=\n", kind=b"g"),
        entry("c", uname="else"),
    )
    found = [(one.name, one.owner, one.modified_ns) for one in read(data).members]
    assert found == [("a", "someone", 9_500_000_000), ("b", "someone", 3_500_000_000), ("c", "else", 9_500_000_000)]


def test_labels_and_lone_end_marks_are_no_entries() -> None:
    data = entry("label", kind=b"V") + entry("a", b"x") + bytes(512)
    assert [one.name for one in read(data).members] == ["a"]


def test_what_comes_behind_the_end_means_nothing() -> None:
    assert [one.name for one in read(tar(entry("a")) + b"garbage" * 1000).members] == ["a"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"0000644\0", 0o644),
        (b"   644 \0", 0o644),
        (b"\0" * 8, 0),
        (b"        ", 0),
        (b"\x80\0\0\0\0\0\1\0", 256),
        (b"777", 0o777),
    ],
)
def test_numbers_in_all_their_spellings(text: bytes, value: int) -> None:
    assert number_of(text) == value


@pytest.mark.parametrize("text", [b"9999999\0", b"-000644\0", b"abc\0\0\0\0\0", b"\xff" * 8, b"\xbf" * 12])
def test_what_is_no_number(text: bytes) -> None:
    with pytest.raises(EnvdError):
        number_of(text)


def test_times_before_1970_in_binary() -> None:
    assert number_of(b"\xff" * 11 + b"\xfe", signed=True) == -2


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        (b"0", 0),
        (b"1.5", 1_500_000_000),
        (b"-1.5", -1_500_000_000),
        (b"-0.000000001", -1),
        (b"1.0000000019", 1_000_000_001),
        (b".5", 500_000_000),
    ],
)
def test_times_are_exact(text: bytes, time_ns: int) -> None:
    assert pax.time_from(text) == time_ns
    assert pax.time_from(pax.time_text(time_ns)) == time_ns


def test_records_count_their_own_length() -> None:
    for size in range(1, 1100):
        made = pax.record(b"k", b"v" * size)
        assert list(pax.records(made)) == [(b"k", b"v" * size)]


@pytest.mark.parametrize(
    "data",
    [b"x", b"5 a=b", b"3 a\n", b"0 a=b\n", b"99 a=b\n", b"6 a=b", b"7 a=b\nx", b"5 =b\n", b"-6 a=b\n", b"\xb25 a=b\n"],
)
def test_malformed_records_are_refused(data: bytes) -> None:
    with pytest.raises(EnvdError):
        list(pax.records(data))


@pytest.mark.parametrize(
    ("name", "parts"), [("a/b", ("a", "b")), ("./a//b/", ("a", "b")), (".", ()), ("./", ()), ("...", ("...",))]
)
def test_names_are_made_plain(name: str, parts: tuple[str, ...]) -> None:
    assert parts_of(name) == parts


def test_a_daemon_without_zstandard_says_what_to_do() -> None:
    script = (
        "import sys; sys.modules['backports'] = sys.modules['compression'] = None\n"
        "from envd.errors import EnvdError\nfrom envd.filesystem.archive.tarstream import compression\n"
        "try:\n    compression.check(compression.Format.ZSTD)\n"
        "except EnvdError as exc:\n    print(exc.code.value, exc.message)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("unimplemented ")
    assert "sandbox-envd[zstd]" in done.stdout


def test_only_so_many_archives_are_worked_on_at_once() -> None:
    turns = ArchiveLimit()
    with ExitStack() as taken:
        for _ in range(64):
            taken.enter_context(turns.one())
        with pytest.raises(EnvdError) as error:
            taken.enter_context(turns.one())
        assert error.value.code is Code.RESOURCE_EXHAUSTED
    with turns.one():
        pass
