"""What the SDK tries again, what it calls a failure, and what it asks for."""

from __future__ import annotations

import pytest

from envd_proto.filesystem import filesystem_pb2 as fs
from envd_proto.filesystem import uploads_pb2 as uploads
from envd_sdk import (
    AuthenticationException,
    ConflictException,
    FileNotFoundException,
    FilesystemEventType,
    InvalidArgumentException,
    NotEnoughSpaceException,
    NotFoundException,
    PermissionDeniedException,
    SandboxException,
    SandboxUnreachableException,
    TimeoutException,
    WriteOptions,
)
from envd_sdk._wire.failure import WireError, WireTimeoutError
from envd_sdk.client.answers import ATTEMPTS, delay_s, failure
from envd_sdk.client.models import ListedSandbox, NewSandbox, SandboxMetric, json_name
from envd_sdk.replay_buffer import ReplayBuffer
from envd_sdk.retrying import LONGEST_DELAY_S, Attempts, Repeat
from envd_sdk.signing import file_url, signature
from envd_sdk.start_spec import StartSpec, limit
from envd_sdk.status import exception_from
from envd_sdk.uploads import (
    CHUNK_BYTES,
    LARGEST_PART_BYTES,
    LEAST_PART_BYTES,
    chunk_message,
    cut,
    next_part_bytes,
)
from envd_sdk.versions import too_old
from envd_sdk.watches import LOST, Cursor

LOST_ANSWERS = [
    WireError("unavailable", "Socket closed"),
    WireError("unavailable", "recvmsg:Connection reset by peer"),
    WireError("internal", "Received RST_STREAM with error code 2"),
    WireError("internal", "Internal error from Core"),
]
NEVER_SENT = WireError("unavailable", "failed to connect to all addresses; last error: UNKNOWN: ...")
REFUSED = [WireError("not_found", "no"), WireError("internal", "a fault"), WireTimeoutError()]


@pytest.mark.parametrize("error", LOST_ANSWERS, ids=str)
def test_a_lost_answer_is_asked_for_again_only_where_twice_is_once(error):
    assert Attempts(Repeat.SAFE, 10, lambda: 0.0).delay_after(error) > 0
    with pytest.raises(WireError):
        Attempts(Repeat.UNSENT, 10, lambda: 0.0).delay_after(error)


def test_what_was_never_sent_is_sent_again():
    for repeat in Repeat:
        assert Attempts(repeat, 10, lambda: 0.0).delay_after(NEVER_SENT) > 0


@pytest.mark.parametrize("error", REFUSED, ids=str)
def test_an_answer_is_an_answer(error):
    for repeat in Repeat:
        with pytest.raises(WireError):
            Attempts(repeat, 10, lambda: 0.0).delay_after(error)


def test_patience_ends_and_begins_anew_with_every_success():
    now = [0.0]
    attempts = Attempts(Repeat.SAFE, 10, lambda: now[0])
    for moment in (0.0, 5.0, 9.9):
        now[0] = moment
        attempts.delay_after(NEVER_SENT)
    attempts.succeeded()
    now[0] = 19
    attempts.delay_after(NEVER_SENT)
    now[0] = 30
    with pytest.raises(WireError):
        attempts.delay_after(NEVER_SENT)


def test_delays_grow_and_stay_bounded():
    attempts = Attempts(Repeat.SAFE, 10, lambda: 0.0)
    delays = [attempts.delay_after(NEVER_SENT) for _ in range(200)]
    assert delays[0] <= 0.04
    assert LONGEST_DELAY_S / 2 <= max(delays) <= LONGEST_DELAY_S


@pytest.mark.parametrize(
    ("code", "details", "kind"),
    [
        ("invalid_argument", "x", InvalidArgumentException),
        ("unauthenticated", "x", AuthenticationException),
        ("permission_denied", "x", PermissionDeniedException),
        ("already_exists", "x", ConflictException),
        ("failed_precondition", "x", ConflictException),
        ("unavailable", "x", SandboxUnreachableException),
        ("deadline_exceeded", "x", TimeoutException),
        ("canceled", "x", TimeoutException),
        ("resource_exhausted", "write /a: no space left on device", NotEnoughSpaceException),
        ("resource_exhausted", "too many", SandboxException),
        ("unimplemented", "x", SandboxException),
    ],
)
def test_a_code_is_an_exception(code, details, kind):
    found = exception_from(WireError(code, details), doing="try")
    assert type(found) is kind
    assert found.code == code
    assert str(found).startswith("try: ")


def test_what_is_not_found_depends_on_what_was_looked_for():
    error = WireError("not_found", "nothing")
    assert type(exception_from(error, doing="read", about_files=True)) is FileNotFoundException
    assert type(exception_from(error, doing="connect")) is NotFoundException


def test_a_request_says_the_same_every_time():
    program = StartSpec("cmd", ("a",), timeout_s=0.0001, key="the-key")
    assert program.request() == program.request()
    assert program.request().timeouts.wall_ms == 1
    assert program.request().HasField("resume")
    assert StartSpec("cmd").request().idempotency_key != StartSpec("cmd").request().idempotency_key


def test_no_limit_is_said_in_two_ways():
    assert (limit(None), limit(0), limit(1.5)) == (None, None, 1.5)


@pytest.mark.parametrize(
    ("options", "repeat"),
    [
        (WriteOptions(), Repeat.SAFE),
        (WriteOptions(if_match="*"), Repeat.SAFE),
        (WriteOptions(append=True), Repeat.UNSENT),
        (WriteOptions(if_absent=True), Repeat.UNSENT),
        (WriteOptions(if_match="etag"), Repeat.UNSENT),
    ],
)
def test_a_file_is_written_again_only_if_that_changes_nothing(options, repeat):
    assert options.repeat is repeat


@pytest.mark.parametrize("kind", [fs.WriteRequest, uploads.WritePartRequest], ids=["file", "part"])
def test_content_is_sent_in_pieces(kind):
    content = bytes(range(256)) * 9000
    chunks = [kind.FromString(chunk_message(piece)).chunk for piece in cut(content)]
    assert b"".join(chunks) == content
    assert max(map(len, chunks)) == CHUNK_BYTES
    assert [bytes(piece) for piece in cut("ä")] == [b"\xc3\xa4"]
    assert list(cut(b"")) == []


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16383, 16384, CHUNK_BYTES])
def test_a_piece_of_any_size_is_a_message(size):
    assert fs.WriteRequest.FromString(chunk_message(bytes(size))) == fs.WriteRequest(chunk=bytes(size))


def test_parts_grow_where_they_are_quick_and_shrink_where_they_are_not():
    sizes = [LEAST_PART_BYTES]
    for took_s in (0.1, 0.1, 0.1, 1.5, 3, 3, 3):
        sizes.append(next_part_bytes(sizes[-1], took_s))
    assert [size // LEAST_PART_BYTES for size in sizes] == [1, 2, 4, 4, 4, 2, 1, 1]
    assert max(sizes) == LARGEST_PART_BYTES


def test_what_was_sent_is_kept_until_it_is_forgotten():
    kept = ReplayBuffer()
    for number in range(5):
        kept.add(bytes([number]) * 10)
    assert (kept.size, kept.has(4), kept.has(5)) == (50, True, False)
    assert kept.forget_bytes(30) == 3
    assert (kept.size, bytes(kept.get(3))) == (20, b"\3" * 10)
    kept.forget(4)
    assert kept.whole() == b"\4" * 10
    with pytest.raises(SandboxUnreachableException, match="cannot be had again"):
        kept.has(3)


def test_a_source_that_has_failed_has_not_ended():
    kept = ReplayBuffer()
    kept.end(RuntimeError("no more"))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no more"):
            _ = kept.over


@pytest.mark.parametrize(
    ("status", "headers", "attempt", "safe", "expected"),
    [
        (429, {"retry-after": "2"}, 1, False, 2.0),
        (429, {"retry-after": "2000"}, 1, False, 10.0),
        (503, {}, 1, False, 0.4),
        (502, {}, 1, False, None),
        (502, {}, 1, True, 0.4),
        (500, {}, 1, True, None),
        (429, {"should-retry": "false"}, 1, True, None),
        (429, {}, ATTEMPTS, True, None),
    ],
)
def test_a_control_plane_is_asked_again_when_it_says_so(status, headers, attempt, safe, expected):
    assert delay_s(status, headers, attempt, safe=safe) == expected


@pytest.mark.parametrize("body", [b'{"code": 400, "message": "because"}', b"because", b'"no object"', b""])
def test_a_failure_has_the_text_there_is(body):
    found = failure(400, body, doing="POST /x")
    assert isinstance(found, InvalidArgumentException)
    assert str(found).startswith("POST /x: ")


def test_models_have_their_names_in_json():
    assert [json_name(name) for name in ("sandbox_id", "memory_mb", "env_vars", "mem_used_mib", "cpu_used_pct")] == [
        "sandboxID",
        "memoryMB",
        "envVars",
        "memUsedMiB",
        "cpuUsedPct",
    ]
    assert NewSandbox("base", allow_internet_access=False).to_dict() == {
        "templateID": "base",
        "allow_internet_access": False,
    }
    assert ListedSandbox.from_dict({"sandboxID": "a", "unknown": 1}).sandbox_id == "a"
    assert SandboxMetric.from_dict({"timestamp": "2026-01-02T03:04:05Z"}).timestamp is not None


def test_links_are_signed_as_the_contract_says():
    # sha256("/a:read:me:secret:5"), by sha256sum and base64.
    assert signature("/a", "read", "me", "secret", 5) == "v1_MnY9m449yh9JDUbrZWNGeSjC2ZDr8XyCcUHw8L5bBoY"
    assert file_url("http://h", "/a b", "read", None, None, None) == "http://h/files?path=%2Fa+b"
    with pytest.raises(InvalidArgumentException, match="access token"):
        file_url("http://h", "/a", "read", None, None, 5)
    with pytest.raises(InvalidArgumentException, match="unix socket"):
        file_url("", "/a", "read", None, None, None)


@pytest.mark.parametrize(("version", "old"), [("0.0.9", True), ("0.1.0", False), ("1.2", False), ("", False)])
def test_versions_are_compared_as_numbers(version, old):
    assert too_old(version) is old


def test_a_watch_remembers_how_far_it_came():
    cursor = Cursor()
    event = fs.FilesystemEvent(name="a", type=fs.EVENT_TYPE_CREATE, cursor="c2")
    assert cursor.events(fs.WatchDirResponse(start=fs.WatchDirResponse.StartEvent(cursor="c1"))) == []
    assert cursor.value == "c1"
    (found,) = cursor.events(fs.WatchDirResponse(filesystem=event))
    assert (found.name, found.type, cursor.value) == ("a", FilesystemEventType.CREATE, "c2")
    assert cursor.events(fs.WatchDirResponse(keepalive=fs.WatchDirResponse.KeepAlive())) == []
    overflow = fs.WatchDirResponse.OverflowEvent
    assert cursor.events(fs.WatchDirResponse(overflow=overflow(cursor="c3"))) == []
    assert cursor.value == "c3"
    assert cursor.events(fs.WatchDirResponse(overflow=overflow(reset=True))) == [LOST]
    made_up_for = fs.GetWatcherEventsResponse(events=[event], overflowed=True)
    assert LOST not in cursor.batch(made_up_for)
    assert cursor.batch(fs.GetWatcherEventsResponse(events=[event], overflowed=True, reset=True))[0] is LOST
    assert cursor.events(fs.WatchDirResponse(filesystem=fs.FilesystemEvent(name="a", type=99))) == []
