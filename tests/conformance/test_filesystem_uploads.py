"""Resumable uploads, over every wire."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from envd_proto.filesystem.uploads_pb2 import UploadInfo, WritePartRequest
from tests.support.filesystem import Files
from tests.support.readers import until
from tests.support.uploads import Uploads, checksums
from tests.support.wires import RpcError, Wire

CONTENT = random.Random(1).randbytes(3_000_001)
OTHER = random.Random(2).randbytes(3_000_001)
MIB = 1 << 20


@pytest.fixture
def uploads(wire: Wire) -> Uploads:
    return Uploads(wire)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "file"
    made.write_bytes(b"old content")
    return made


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def hidden(directory: Path) -> Path:
    """The one file in which parts are gathered."""
    (found,) = directory.glob(".envd-*.tmp")
    return found


async def refused(call, code: str) -> str:
    with pytest.raises(RpcError) as error:
        await call
    assert error.value.code == code, error.value
    return error.value.message


class Arriving:
    """A part that sends its first bytes, and the rest when it is told to; then it ends, unless it is `endless`."""

    def __init__(self, uploads: Uploads, ident: str, offset: int, content: bytes, *, first: int) -> None:
        self._go_on = asyncio.Event()
        self.endless = False
        self._pieces = (content[:first], content[first:])
        self.call = asyncio.ensure_future(uploads.part(ident, offset, self._content()))

    async def _content(self) -> AsyncIterator[bytes]:
        yield self._pieces[0]
        await self._go_on.wait()
        yield self._pieces[1]
        if self.endless:
            await asyncio.Event().wait()

    def go_on(self) -> None:
        self._go_on.set()


@asynccontextmanager
async def arriving(
    uploads: Uploads, ident: str, directory: Path, offset: int, content: bytes, *, first: int = MIB
) -> AsyncIterator[Arriving]:
    """A part of whose bytes the first are written, if that is a MiB of them."""
    part = Arriving(uploads, ident, offset, content, first=first)
    written = offset + (first if first >= MIB else 0)

    async def is_written() -> bool:
        if part.call.done():
            part.call.result()
        with open(hidden(directory), "rb") as gathered:
            gathered.seek(max(written - 100, 0))
            there = written == offset or gathered.read(100) == content[first - 100 : first]
        return there and (await uploads.get(ident)).upload.parts_under_way > 0

    try:
        await until(is_written)
        yield part
    finally:
        part.call.cancel()
        await asyncio.gather(part.call, return_exceptions=True)


# Parts.


async def test_parts_come_in_any_order_and_beside_each_other(uploads: Uploads, tmp_path: Path):
    ident = await uploads.new(tmp_path / "a/b/file", size=len(CONTENT), sha256=hashlib.sha256(CONTENT).digest())
    assert names(tmp_path) == [hidden(tmp_path).name]
    begins = list(range(0, len(CONTENT), 400_000))
    random.Random(3).shuffle(begins)

    async def send(begin: int) -> None:
        part = CONTENT[begin : begin + 400_000]
        answer = await uploads.part(ident, begin, [part[:150_000], part[150_000:]], **checksums(part))
        assert answer.length == len(part)

    await asyncio.gather(*(send(begin) for begin in begins))
    assert await uploads.ranges(ident) == [(0, len(CONTENT))]
    done = await uploads.commit(ident)
    assert (tmp_path / "a/b/file").read_bytes() == CONTENT
    assert (done.path, done.size, done.created) == (f"{tmp_path}/a/b/file", len(CONTENT), True)
    assert done.etag == (await Files(uploads.wire).stat(done.path)).etag
    assert (names(tmp_path), names(tmp_path / "a/b")) == (["a"], ["file"])


async def test_what_was_received_is_told(uploads: Uploads, tmp_path: Path):
    ident = await uploads.new(tmp_path / "file", size=100)
    await uploads.part(ident, 50, b"x" * 10)
    answer = await uploads.part(ident, 0, b"y" * 20)
    assert (answer.length, answer.received_bytes, answer.contiguous_bytes) == (20, 30, 20)
    told = (await uploads.get(ident)).upload
    assert (told.id, told.state, told.path, told.size) == (ident, UploadInfo.STATE_OPEN, f"{tmp_path}/file", 100)
    assert (told.received_bytes, told.contiguous_bytes, told.parts_under_way) == (30, 20, 0)
    assert await uploads.ranges(ident) == [(0, 20), (50, 60)]
    await uploads.part(ident, 20, b"z" * 30)
    assert await uploads.ranges(ident) == [(0, 60)]
    await uploads.abort(ident)


async def test_many_ranges_are_told_in_portions(uploads: Uploads, tmp_path: Path):
    ident = await uploads.new(tmp_path / "file")
    gathered = list(range(0, 1208, 2))
    for at in range(0, len(gathered), 40):
        await asyncio.gather(*(uploads.part(ident, begin, b"x") for begin in gathered[at : at + 40]))
    found, offset = [], 0
    while True:
        answer = await uploads.get(ident, offset=offset)
        found += [one.offset for one in answer.received]
        if not answer.HasField("next_offset"):
            break
        offset = answer.next_offset
    assert found == gathered
    await uploads.abort(ident)


async def test_a_part_that_repeats_what_is_there_is_harmless(uploads: Uploads, tmp_path: Path):
    ident = await uploads.new(tmp_path / "file")
    for begin, end in ((0, 2_000_000), (0, 2_000_000), (1_000_000, 3_000_001), (500_000, 600_000), (5, 5)):
        assert (await uploads.part(ident, begin, CONTENT[begin:end])).length == end - begin
    await uploads.commit(ident, sha256=hashlib.sha256(CONTENT).digest())
    assert (tmp_path / "file").read_bytes() == CONTENT


async def test_a_part_that_says_otherwise_is_refused_and_destroys_nothing(uploads: Uploads, tmp_path: Path):
    ident = await uploads.new(tmp_path / "file")
    await uploads.part(ident, 1_000_000, CONTENT[1_000_000:2_000_000])
    message = await refused(uploads.part(ident, 0, OTHER), "already_exists")
    assert "never changes" in message
    assert await uploads.ranges(ident) == [(1_000_000, 2_000_000)]
    await uploads.part(ident, 0, CONTENT)
    await uploads.commit(ident)
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("announced", "code"),
    [
        ({"sha256": hashlib.sha256(CONTENT).digest()}, "data_loss"),
        ({"crc32": zlib.crc32(CONTENT)}, "data_loss"),
        ({"length": len(OTHER) - 1}, "invalid_argument"),
        ({"length": len(OTHER) + 1}, "invalid_argument"),
    ],
    ids=["sha256", "crc32", "too-long", "too-short"],
)
async def test_a_part_that_is_not_as_announced_counts_as_not_received(
    uploads: Uploads, tmp_path: Path, announced, code
):
    ident = await uploads.new(tmp_path / "file")
    await uploads.part(ident, 0, CONTENT[:1000])
    await refused(uploads.part(ident, 1000, OTHER[1000:] + b"1" * 1000, **announced), code)
    assert await uploads.ranges(ident) == [(0, 1000)]
    await uploads.part(ident, 1000, CONTENT[1000:])
    await uploads.commit(ident)
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.every_wire
async def test_a_part_that_is_cut_off_counts_as_not_received(uploads: Uploads, tmp_path: Path):
    ident = await uploads.new(tmp_path / "file")
    await uploads.part(ident, 0, CONTENT[:500_000])
    async with arriving(uploads, ident, tmp_path, 500_000, OTHER, first=MIB):
        pass

    async def is_over() -> bool:
        return (await uploads.get(ident)).upload.parts_under_way == 0

    await until(is_over)
    assert await uploads.ranges(ident) == [(0, 500_000)]
    await uploads.part(ident, 500_000, CONTENT[500_000:])
    await uploads.commit(ident)
    assert (tmp_path / "file").read_bytes() == CONTENT


async def test_of_two_parts_of_the_same_bytes_the_later_one_goes_on(uploads: Uploads, tmp_path: Path):
    ident = await uploads.new(tmp_path / "file")
    async with arriving(uploads, ident, tmp_path, 0, OTHER) as first:
        await uploads.part(ident, 0, CONTENT)
        assert "began later" in await refused(first.call, "aborted")
    await uploads.commit(ident)
    assert (tmp_path / "file").read_bytes() == CONTENT


async def test_a_part_that_runs_into_a_later_one_ends(uploads: Uploads, tmp_path: Path):
    ident = await uploads.new(tmp_path / "file")
    async with (
        arriving(uploads, ident, tmp_path, 0, OTHER) as first,
        arriving(uploads, ident, tmp_path, 1_500_000, CONTENT[1_500_000:]) as second,
    ):
        first.endless = True  # grpc.aio would lose the server's answer if it still had something to send
        first.go_on()
        assert "began later" in await refused(first.call, "aborted")
        second.go_on()
        await second.call
    assert await uploads.ranges(ident) == [(1_500_000, len(CONTENT))]
    await uploads.part(ident, 0, CONTENT[:1_500_000])
    await uploads.commit(ident)
    assert (tmp_path / "file").read_bytes() == CONTENT


async def test_parts_have_bounds(uploads: Uploads, tmp_path: Path):
    ident = await uploads.new(tmp_path / "file", size=10)
    await refused(uploads.part(ident, 11, b""), "out_of_range")
    await refused(uploads.part(ident, 5, b"123456"), "out_of_range")
    await refused(uploads.part(ident, 5, b"12345", length=6), "out_of_range")
    await uploads.part(ident, 5, b"12345")
    assert await uploads.ranges(ident) == [(5, 10)]
    open_end = await uploads.new(tmp_path / "other")
    await refused(uploads.part(open_end, 2**64 - 1, b"x"), "out_of_range")
    await refused(uploads.part(open_end, 2**63 - 1, b"x"), "out_of_range")
    for one in (ident, open_end):
        await uploads.abort(one)
    assert names(tmp_path) == []


async def test_the_messages_have_an_order(uploads: Uploads, tmp_path: Path):
    ident = await uploads.new(tmp_path / "file")
    start = WritePartRequest(start=WritePartRequest.Start(upload_id=ident))
    chunk = WritePartRequest(chunk=b"x")
    for requests in ([], [chunk], [start, start], [start, chunk, start], [WritePartRequest()]):
        await refused(uploads.send(requests), "invalid_argument")
    await refused(uploads.part(ident, 0, b"", sha256=b"short"), "invalid_argument")
    assert await uploads.ranges(ident) == []
    await uploads.abort(ident)


# The commit.


async def test_the_target_is_untouched_until_the_commit(uploads: Uploads, file: Path, tmp_path: Path):
    file.chmod(0o640)
    inode = file.stat().st_ino
    ident = await uploads.new(file)
    await uploads.part(ident, 0, CONTENT)
    assert (file.read_bytes(), file.stat().st_ino) == (b"old content", inode)
    assert hidden(tmp_path).stat().st_mode & 0o777 == 0o600
    assert not (await uploads.commit(ident)).created
    assert (file.read_bytes(), file.stat().st_mode & 0o777, names(tmp_path)) == (CONTENT, 0o640, ["file"])


async def test_a_commit_that_is_repeated_answers_the_same(uploads: Uploads, file: Path):
    ident = await uploads.new(file)
    await uploads.part(ident, 0, b"new")
    first = await uploads.commit(ident)
    file.write_bytes(b"newer")
    assert await uploads.commit(ident) == first
    assert file.read_bytes() == b"newer"
    told = (await uploads.get(ident)).upload
    assert (told.state, told.received_bytes) == (UploadInfo.STATE_COMMITTED, 3)
    await refused(uploads.part(ident, 0, b"x"), "failed_precondition")
    await refused(uploads.abort(ident), "failed_precondition")


async def test_commits_at_once_are_one(uploads: Uploads, file: Path):
    ident = await uploads.new(file, sha256=hashlib.sha256(CONTENT).digest())
    await uploads.part(ident, 0, CONTENT)
    answers = await asyncio.gather(*(uploads.commit(ident) for _ in range(8)))
    assert all(answer == answers[0] for answer in answers)
    assert file.read_bytes() == CONTENT


async def test_what_is_missing_is_told_and_can_be_sent(uploads: Uploads, file: Path):
    ident = await uploads.new(file, size=30)
    await uploads.part(ident, 20, b"c" * 10)
    await uploads.part(ident, 0, b"a" * 10)
    message = await refused(uploads.commit(ident), "failed_precondition")
    assert "10 of 30 bytes are missing, the first of them at 10" in message
    await refused(uploads.commit(ident, size=10), "failed_precondition")
    assert file.read_bytes() == b"old content"
    await uploads.part(ident, 10, b"b" * 10)
    await uploads.commit(ident)
    assert file.read_bytes() == b"a" * 10 + b"b" * 10 + b"c" * 10


async def test_a_size_that_is_not_announced_is_what_was_received(uploads: Uploads, file: Path, tmp_path: Path):
    ident = await uploads.new(file)
    await uploads.part(ident, 0, b"1234")
    await refused(uploads.part(ident, 4, b"5678", length=3), "invalid_argument")
    for size in (3, 5):
        await refused(uploads.commit(ident, size=size), "failed_precondition")
    assert (await uploads.commit(ident, size=4)).size == 4
    assert file.read_bytes() == b"1234"
    empty = await uploads.new(tmp_path / "empty")
    assert (await uploads.commit(empty)).size == 0
    assert (tmp_path / "empty").read_bytes() == b""


async def test_a_commit_waits_for_no_part_it_does_not_need(uploads: Uploads, file: Path, tmp_path: Path):
    ident = await uploads.new(file, size=2 * MIB)
    content = CONTENT[: 2 * MIB]
    async with arriving(uploads, ident, tmp_path, 0, content) as part:
        await refused(uploads.commit(ident), "failed_precondition")
        await uploads.part(ident, MIB, content[MIB:])
        await uploads.part(ident, 0, content[:MIB])
        await uploads.commit(ident)
        await refused(part.call, "aborted")
    assert file.read_bytes() == content


async def test_without_a_size_a_commit_is_refused_while_more_arrives(uploads: Uploads, file: Path, tmp_path: Path):
    ident = await uploads.new(file)
    await uploads.part(ident, 0, CONTENT[:10])
    async with arriving(uploads, ident, tmp_path, 10, CONTENT[10:]) as part:
        assert "under way" in await refused(uploads.commit(ident), "failed_precondition")
        part.go_on()
        await part.call
    assert (await uploads.commit(ident)).size == len(CONTENT)
    assert file.read_bytes() == CONTENT


async def test_other_content_than_announced_is_refused(uploads: Uploads, file: Path):
    digest = hashlib.sha256(CONTENT).digest()
    at_begin = await uploads.new(file, sha256=digest)
    at_end = await uploads.new(file)
    for ident, options in ((at_begin, {}), (at_end, {"sha256": digest})):
        await uploads.part(ident, 0, OTHER)
        for _ in range(2):
            await refused(uploads.commit(ident, **options), "data_loss")
        assert file.read_bytes() == b"old content"
        await uploads.abort(ident)
    assert names(file.parent) == ["file"]


async def test_what_a_refused_part_left_behind_the_end_is_cut_off(uploads: Uploads, file: Path):
    ident = await uploads.new(file)
    await uploads.part(ident, 0, b"right")
    await refused(uploads.part(ident, 5, OTHER, crc32=1), "data_loss")
    assert (await uploads.commit(ident)).size == 5
    assert file.read_bytes() == b"right"


# As Write.


async def test_it_is_written_as_write_writes(uploads: Uploads, tmp_path: Path, home: Path, other_user):
    file = home / "file"
    file.write_bytes(b"old")
    os.setxattr(file, "user.other", b"kept")
    theirs = uploads.as_user(other_user.pw_name)
    for path in (file, home / "new"):
        ident = await theirs.new(path, mode=0o4711, metadata={"a": "1"}, sync=True)
        await theirs.part(ident, 0, b"x")
        await theirs.commit(ident)
        st = path.stat()
        assert (st.st_mode & 0o7777, st.st_uid, st.st_gid) == (0o4711, other_user.pw_uid, other_user.pw_gid)
        assert os.getxattr(path, "user.e2b.a") == b"1"
    assert os.getxattr(file, "user.other") == b"kept"
    plain = await uploads.new(tmp_path / "plain")
    await uploads.commit(plain)
    assert (tmp_path / "plain").stat().st_mode & 0o777 == 0o644


async def test_conditions_hold_at_the_beginning_and_at_the_end(uploads: Uploads, file: Path, tmp_path: Path):
    etag = (await Files(uploads.wire).stat(file)).etag
    await refused(uploads.new(file, if_absent=True), "failed_precondition")
    await refused(uploads.new(file, if_match="other"), "failed_precondition")
    await refused(uploads.new(tmp_path / "a/missing", if_match="*"), "failed_precondition")
    changed = await uploads.new(file, if_match=etag)
    made = await uploads.new(tmp_path / "new", if_absent=True)
    same = await uploads.new(file, if_match="*")
    file.write_bytes(b"changed")
    (tmp_path / "new").write_bytes(b"made")
    for ident in (changed, made):
        await uploads.part(ident, 0, b"x")
        await refused(uploads.commit(ident), "failed_precondition")
        await uploads.abort(ident)
    assert (file.read_bytes(), (tmp_path / "new").read_bytes()) == (b"changed", b"made")
    await uploads.commit(same)
    assert (file.read_bytes(), names(tmp_path)) == (b"", ["file", "new"])


async def test_a_condition_that_holds_again_lets_the_commit_pass(uploads: Uploads, tmp_path: Path):
    ident = await uploads.new(tmp_path / "new", if_absent=True)
    await uploads.part(ident, 0, b"x")
    (tmp_path / "new").touch()
    await refused(uploads.commit(ident), "failed_precondition")
    (tmp_path / "new").unlink()
    assert (await uploads.commit(ident)).created
    assert names(tmp_path) == ["new"]


async def test_of_uploads_with_the_same_condition_one_wins(uploads: Uploads, tmp_path: Path):
    idents = [await uploads.new(tmp_path / "new", if_absent=True) for _ in range(6)]
    for number, ident in enumerate(idents):
        await uploads.part(ident, 0, b"%d" % number)
    results = await asyncio.gather(*(uploads.commit(ident) for ident in idents), return_exceptions=True)
    (won,) = [number for number, result in enumerate(results) if not isinstance(result, BaseException)]
    assert (tmp_path / "new").read_bytes() == b"%d" % won
    for number, ident in enumerate(idents):
        if number != won:
            await uploads.abort(ident)
    assert names(tmp_path) == ["new"]


async def test_parents_are_made_at_the_commit_unless_they_must_be_there(uploads: Uploads, tmp_path: Path):
    await refused(uploads.new(tmp_path / "a/file", parents=False), "not_found")
    aborted = await uploads.new(tmp_path / "a/b/file")
    await uploads.abort(aborted)
    assert names(tmp_path) == []
    ident = await uploads.new(tmp_path / "a/b/file")
    await uploads.part(ident, 0, b"x")
    assert names(tmp_path) == [hidden(tmp_path).name]
    await uploads.commit(ident)
    assert (tmp_path / "a/b/file").read_bytes() == b"x"
    assert (names(tmp_path), (tmp_path / "a").stat().st_mode & 0o777) == (["a"], 0o755)


async def test_links_are_followed(uploads: Uploads, file: Path, tmp_path: Path):
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("target")
    for name in ("link", "dangling"):
        ident = await uploads.new(tmp_path / name)
        await uploads.part(ident, 0, name.encode())
        await uploads.commit(ident)
        assert (tmp_path / name).is_symlink()
    assert (file.read_bytes(), (tmp_path / "target").read_bytes()) == (b"link", b"dangling")
    (tmp_path / "farther").symlink_to("missing/target")
    await refused(uploads.new(tmp_path / "farther"), "not_found")
    await refused(uploads.new(tmp_path / "farther/file"), "failed_precondition")


@pytest.mark.parametrize("atomic", [None, False])
async def test_a_file_with_several_names_keeps_them(uploads: Uploads, file: Path, tmp_path: Path, atomic):
    os.link(file, tmp_path / "other")
    await refused(uploads.new(file, atomic=True), "invalid_argument")
    ident = await uploads.new(file, atomic=atomic)
    await uploads.part(ident, 0, b"new")
    done = await uploads.commit(ident)
    assert (tmp_path / "other").read_bytes() == b"new"
    assert done.etag == (await Files(uploads.wire).stat(file)).etag
    assert names(tmp_path) == ["file", "other"]


async def test_in_place_means_the_same_inode(uploads: Uploads, file: Path, tmp_path: Path):
    inode = file.stat().st_ino
    for path in (file, tmp_path / "new"):
        ident = await uploads.new(path, atomic=False)
        await uploads.part(ident, 0, b"new")
        await uploads.commit(ident)
        assert path.read_bytes() == b"new"
    assert (file.stat().st_ino, names(tmp_path)) == (inode, ["file", "new"])


async def test_what_holds_no_content_is_not_uploaded(uploads: Uploads, tmp_path: Path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", f"{tmp_path}/new/", f"{tmp_path}/..", "/dev/null", tmp_path / "fifo/x"):
        await refused(uploads.new(path), "invalid_argument")
    assert names(tmp_path) == ["fifo"]


@pytest.mark.parametrize(
    "options",
    [
        {"mode": 0o10000},
        {"sha256": b"short"},
        {"metadata": {"k": "\n"}},
        {"idempotency_key": "k" * 257},
        {"size": 2**63},
    ],
    ids=["mode", "sha256", "metadata", "key", "size"],
)
async def test_options_that_cannot_be_are_invalid(uploads: Uploads, tmp_path: Path, options):
    await refused(uploads.new(tmp_path / "file", **options), "invalid_argument")
    assert names(tmp_path) == []


# Whose they are, and how they end.


async def test_a_key_finds_the_upload_again(uploads: Uploads, tmp_path: Path, home: Path, other_user):
    key = f"key-{tmp_path}"
    first = await uploads.create(tmp_path / "file", size=3, idempotency_key=key)
    again = await uploads.create(tmp_path / "file", size=3, idempotency_key=key)
    assert (first.existing, again.existing, again.upload.id) == (False, True, first.upload.id)
    for path, size in ((tmp_path / "file", 4), (tmp_path / "other", 3)):
        await refused(uploads.create(path, size=size, idempotency_key=key), "already_exists")
    theirs = uploads.as_user(other_user.pw_name)
    assert not (other := await theirs.create(home / "file", size=3, idempotency_key=key)).existing
    await theirs.abort(other.upload.id)
    await uploads.part(first.upload.id, 0, b"abc")
    await uploads.commit(first.upload.id)
    late = await uploads.create(tmp_path / "file", size=3, idempotency_key=key)
    assert (late.existing, late.upload.state) == (True, UploadInfo.STATE_COMMITTED)
    assert names(tmp_path) == ["file"]


async def test_creations_with_one_key_at_once_make_one_upload(uploads: Uploads, tmp_path: Path):
    key = f"key-{tmp_path}"
    answers = await asyncio.gather(*(uploads.create(tmp_path / "f", idempotency_key=key) for _ in range(10)))
    assert len({answer.upload.id for answer in answers}) == 1
    assert [answer.existing for answer in answers].count(False) == 1
    await uploads.abort(answers[0].upload.id)
    assert names(tmp_path) == []


async def test_an_upload_is_its_users_alone(uploads: Uploads, tmp_path: Path, other_user):
    ident = await uploads.new(tmp_path / "file")
    theirs = uploads.as_user(other_user.pw_name)
    for call in (
        theirs.get(ident),
        theirs.part(ident, 0, b"x"),
        theirs.commit(ident),
        theirs.abort(ident),
        uploads.get("unknown"),
        uploads.part("", 0, b"x"),
    ):
        await refused(call, "not_found")
    assert ident not in [one.id for one in (await theirs.list()).uploads]
    await uploads.abort(ident)


async def test_uploads_are_listed_in_pages(uploads: Uploads, app: Path, other_user):
    theirs = uploads.as_user(other_user.pw_name)
    idents = sorted([await theirs.new(app / str(number)) for number in range(5)])
    found, token = [], ""
    while True:
        page = await theirs.list(page_size=2, page_token=token)
        assert len(page.uploads) <= 2
        found += [one.id for one in page.uploads if one.state == UploadInfo.STATE_OPEN]
        if not (token := page.next_page_token):
            break
    assert found == idents
    for ident in idents:
        await theirs.abort(ident)
    assert names(app) == []


async def test_what_is_aborted_is_gone(uploads: Uploads, file: Path, tmp_path: Path):
    ident = await uploads.new(file)
    await uploads.part(ident, 0, CONTENT[:MIB])
    async with arriving(uploads, ident, tmp_path, MIB, CONTENT[MIB:], first=MIB) as part:
        await uploads.abort(ident)
        assert "aborted" in await refused(part.call, "aborted")
    for call in (uploads.get(ident), uploads.commit(ident), uploads.abort(ident), uploads.part(ident, 0, b"x")):
        await refused(call, "not_found")
    assert (file.read_bytes(), names(tmp_path)) == (b"old content", ["file"])


async def test_a_copy_of_the_directory_leaves_it_out(uploads: Uploads, tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/file").write_bytes(b"x")
    ident = await uploads.new(tmp_path / "a/new")
    await Files(uploads.wire).copy(tmp_path / "a", tmp_path / "b", recursive=True)
    assert names(tmp_path / "b") == ["file"]
    await uploads.abort(ident)


async def test_an_upload_whose_file_was_taken_away_says_so(uploads: Uploads, file: Path, tmp_path: Path):
    ident = await uploads.new(file)
    await uploads.part(ident, 0, b"new")
    hidden(tmp_path).rename(tmp_path / "elsewhere")
    assert "removed or moved" in await refused(uploads.part(ident, 3, b"x"), "not_found")
    assert "removed or moved" in await refused(uploads.commit(ident), "not_found")
    (tmp_path / "elsewhere").rename(tmp_path / "file")
    await uploads.abort(ident)
    assert file.read_bytes() == b"new"


async def test_a_link_in_place_of_its_file_is_not_followed(uploads: Uploads, file: Path, tmp_path: Path):
    ident = await uploads.new(tmp_path / "new")
    gathered = hidden(tmp_path)
    gathered.unlink()
    gathered.symlink_to(file)
    for call in (uploads.part(ident, 0, b"x"), uploads.commit(ident)):
        with pytest.raises(RpcError):
            await call
    gathered.unlink()
    os.link(file, gathered)
    await refused(uploads.part(ident, 0, b"x"), "not_found")
    await uploads.abort(ident)
    assert (gathered.read_bytes(), file.read_bytes()) == (b"old content", b"old content")
