"""What the filesystem service works out by itself: letters, tokens, encodings, conditions."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from google.protobuf import json_format

from envd.errors import Code, EnvdError, readable
from envd.filesystem import metadata, page_token
from envd.filesystem.batches import Batch, batches
from envd.filesystem.entries import Entry, Link, entry_of, etag_of, name_of, permissions_of
from envd.filesystem.listing import Listing, walk
from envd.filesystem.writing.hidden_names import TEMPORARY, temporary_name
from envd.services.filesystem.encoding import EntryEncoder, varint
from envd.services.filesystem.messages import batch_message, listed
from envd_proto.filesystem import filesystem_pb2 as pb


class Names:
    """Names that no machine has."""

    def owner(self, uid: int) -> str:
        return f'ow"ner{uid}'

    def group(self, gid: int) -> str:
        return f"gröup{gid}"


def state(st_mode: int = stat.S_IFREG | 0o644, size: int = 0, mtime_ns: int = 0, ino: int = 1) -> os.stat_result:
    seconds = mtime_ns // 10**9
    plain = (st_mode, ino, 1, 1, 1000, 1000, size, 0, seconds, 0)
    return os.stat_result(plain, {"st_mtime_ns": mtime_ns, "st_ctime_ns": 7, "st_atime_ns": 0})


@pytest.mark.parametrize(
    ("st_mode", "expected"),
    [
        (stat.S_IFREG | 0o644, "-rw-r--r--"),
        (stat.S_IFREG, "----------"),
        (stat.S_IFDIR | 0o755, "drwxr-xr-x"),
        (stat.S_IFLNK | 0o777, "Lrwxrwxrwx"),
        (stat.S_IFIFO | 0o644, "prw-r--r--"),
        (stat.S_IFSOCK | 0o755, "Srwxr-xr-x"),
        (stat.S_IFCHR | 0o666, "Dcrw-rw-rw-"),
        (stat.S_IFBLK | 0o660, "Drw-rw----"),
        (stat.S_IFREG | 0o4755, "urwxr-xr-x"),
        (stat.S_IFREG | 0o2755, "grwxr-xr-x"),
        (stat.S_IFREG | 0o7777, "ugtrwxrwxrwx"),
        (stat.S_IFDIR | 0o1777, "dtrwxrwxrwx"),
        (stat.S_IFDIR | 0o2770, "dgrwxrwx---"),
        (stat.S_IFCHR | 0o1600, "Dctrw-------"),
        (stat.S_IFCHR | 0o4600, "Ducrw-------"),
    ],
)
def test_permissions_are_spelled_as_go_spells_them(st_mode, expected):
    assert permissions_of(st_mode) == expected


@pytest.mark.parametrize(
    ("path", "name"),
    [("/", "/"), ("//", "/"), ("/a", "a"), ("/a/", "a"), ("/a/.", "a"), ("/a/b/..", "a"), ("/..", "/")],
)
def test_the_name_is_the_last_part_of_the_path(path, name):
    assert name_of(path) == name


def test_an_etag_changes_with_everything_that_tells_of_the_content():
    tags = {
        etag_of(state()),
        etag_of(state(size=1)),
        etag_of(state(mtime_ns=1)),
        etag_of(state(ino=2)),
    }
    assert len(tags) == 4
    assert etag_of(state(stat.S_IFDIR)) == ""


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**32, 2**63 - 1, -1, -(2**63)])
def test_numbers_are_written_as_protobuf_writes_them(value):
    assert pb.EntryInfo.FromString(b"\x20" + varint(value)).size == value


ENTRIES = [
    Entry("/", state(stat.S_IFDIR | 0o755, 4096, 10**18 + 5)),
    Entry("/tmp/plain", state(size=2**40, mtime_ns=1_700_000_000_123_456_789)),
    Entry("/tmp/../tmp/", state(stat.S_IFDIR | 0o1777, mtime_ns=1_000_000_000)),
    Entry("/a/milli", state(mtime_ns=1_001_000_000), None, {"key": 'va"l\\ü\n'}),
    Entry("/a/micro", state(mtime_ns=1_000_001_000)),
    Entry("/a/before", state(mtime_ns=-1)),
    Entry("/a/never", state(mtime_ns=0)),
    Entry("/a/far", state(mtime_ns=10**20)),
    Entry("/a/long ago", state(mtime_ns=-(10**20))),
    Entry('/q"uote\\/ü\n\x00\x7f\u2028\U0001f600', state(stat.S_IFIFO)),
    Entry("/caf\udce9/\udcff", state()),
    Entry("/link", state(stat.S_IFLNK | 0o777, 5), Link(b"\xffraw", "/targ\udce9t", state(stat.S_IFDIR | 0o4700))),
    Entry("/dangling", state(stat.S_IFLNK | 0o777, 5), Link(b"x", "/dangling", None)),
]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: ascii(entry.path))
def test_an_entry_is_the_same_message_in_both_encodings(entry: Entry):
    encoder = EntryEncoder(Names())
    message = pb.EntryInfo.FromString(encoder.proto(entry))
    assert json_format.Parse(encoder.json(entry), pb.EntryInfo()) == message
    # Also letter by letter what protobuf itself writes.
    assert json.loads(encoder.json(entry)) == json_format.MessageToDict(message)
    assert message.name == readable(name_of(entry.path))
    assert (message.type, message.mode, message.permissions) == (entry.kind, entry.mode, entry.permissions)
    assert (message.owner, message.group) == ('ow"ner1000', "gröup1000")
    assert message.HasField("raw_path") == ("\udce9" in entry.path)
    assert message.HasField("modified_time") == (entry.stat.st_mtime_ns != 0)


def test_an_old_client_gets_three_fields():
    encoder = EntryEncoder(Names(), brief=True)
    for entry in ENTRIES:
        message = pb.EntryInfo.FromString(encoder.proto(entry))
        assert {field.name for field, _ in message.ListFields()} <= {"name", "type", "path"}
        assert json_format.Parse(encoder.json(entry), pb.EntryInfo()) == message


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("unreadable", [[], [("/x\udcff", 13)]])
@pytest.mark.parametrize("token", ["", "next"])
def test_a_batch_is_the_same_message_in_both_encodings(count, unreadable, token):
    batch, encoder = Batch(ENTRIES[:count], unreadable, token), EntryEncoder(Names())
    found = []
    for guessed in (False, True):
        message = batch_message(batch, encoder, in_json=guessed)
        (binary,), (text,) = message.proto(), message.json()  # one as guessed, one made from it
        found += [pb.ListEntriesResponse.FromString(binary), json_format.Parse(text, pb.ListEntriesResponse())]
    assert all(one == found[0] for one in found)
    assert (len(found[0].entries), len(found[0].unreadable), found[0].next_page_token) == (
        count,
        len(unreadable),
        token,
    )


def test_a_listing_is_one_message_in_both_encodings():
    for in_json in (False, True):
        message = listed(iter(ENTRIES), EntryEncoder(Names()), in_json=in_json)
        (binary,), (text,) = message.proto(), message.json()
        assert len(pb.ListDirResponse.FromString(binary).entries) == len(ENTRIES)
        assert json_format.Parse(text, pb.ListDirResponse()) == pb.ListDirResponse.FromString(binary)
    assert listed(iter(()), EntryEncoder(Names()), in_json=True).json() == (b"{}",)


def test_too_large_a_listing_points_to_the_stream(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("envd.services.filesystem.messages.LISTED_ENTRIES", 2)
    encoder = EntryEncoder(Names())
    listed(iter(ENTRIES[:2]), encoder, in_json=True)
    with pytest.raises(EnvdError, match="use ListEntries") as error:
        listed(iter(ENTRIES[:3]), encoder, in_json=True)
    assert error.value.code == Code.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("last", ["/dir/a", "/dir/a/b c/ü", "/dir/\udcff"])
def test_a_page_token_leads_back_to_its_entry(last):
    token = page_token.token_for(last, "/dir", 3)
    assert page_token.place_from(token, "/dir", 3) == tuple(os.fsencode(last).split(b"/")[2:])
    assert token.isascii()
    for shown, depth in (("/other", 3), ("/dir", 2)):
        with pytest.raises(EnvdError):
            page_token.place_from(token, shown, depth)


def test_a_page_token_of_the_root(tmp_path: Path):
    assert page_token.place_from(page_token.token_for("/a/b", "/", 2), "/", 2) == (b"a", b"b")


def test_a_large_directory_is_in_byte_order(tmp_path: Path):
    fd = os.open(tmp_path, os.O_RDONLY)
    names = [b"%d" % number for number in range(20_000)] + [b"\xff", "ü".encode(), "\ufb00".encode()]
    for name in names:
        os.close(os.open(name, os.O_CREAT, dir_fd=fd))
    os.close(fd)
    found = [os.fsencode(entry.name) for entry in walk(Listing(str(tmp_path)))]
    assert found == sorted(names)
    assert sum(len(batch.entries) for batch in batches(Listing(str(tmp_path), ordered=False), 0, 0)) == len(names)


def test_a_walk_that_is_left_lets_go_of_its_directories(tmp_path: Path):
    (tmp_path / "a/b/c").mkdir(parents=True)
    before = set(os.listdir("/proc/self/fd"))
    walking = walk(Listing(str(tmp_path), depth=9, ordered=False))
    assert next(walking).name == "a"
    assert next(walking).name == "b"
    walking.close()
    assert set(os.listdir("/proc/self/fd")) <= before


def test_a_directory_at_the_last_level_is_not_read(tmp_path: Path):
    (tmp_path / "a/b").mkdir(parents=True)
    before = (tmp_path / "a").stat().st_atime_ns
    os.utime(tmp_path / "a", ns=(0, 10**18))  # read at the epoch, changed since: the next reading shows
    assert [entry.name for entry in walk(Listing(str(tmp_path), depth=1))] == ["a"]
    assert (tmp_path / "a").stat().st_atime_ns in (0, before)


def test_metadata_is_bounded():
    metadata.check({"k" * 246: "v" * (4096 - 255)})
    for pairs in ({"k" * 246: "v" * (4097 - 255)}, {"k": "\x7f"}, {"k\x1f": "v"}, {"ü": "v"}):
        with pytest.raises(EnvdError, match="invalid metadata"):
            metadata.check(pairs)


def test_temporaries_have_names_of_their_own():
    assert TEMPORARY.fullmatch(temporary_name())
    assert not TEMPORARY.fullmatch(".envd-config.tmp")


def test_the_state_of_an_entry_is_that_of_a_link_itself(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    entry = entry_of(str(tmp_path / "link"))
    assert entry.link is not None
    assert (entry.stat.st_size, entry.link.text, entry.link.leads_to) == (4, b"file", str(tmp_path / "file"))
    with pytest.raises(EnvdError) as error:
        entry_of(str(tmp_path / "missing"))
    assert error.value.code == Code.NOT_FOUND
