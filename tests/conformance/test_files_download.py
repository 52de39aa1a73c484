"""GET and HEAD of files."""

from __future__ import annotations

import asyncio
import gzip
import os
import socket

import pytest

from tests.support.connect import basic
from tests.support.daemon import Daemon
from tests.support.files import get, head, refusal, target
from tests.support.http1 import Response, connection, exchange, request

TEXT = b"0123456789"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(TEXT)
    return path


@pytest.fixture
def large(tmp_path):
    """Too large to be sent from memory."""
    path = tmp_path / "large"
    path.write_bytes(os.urandom(3_000_000))
    return path


def vary(response: Response) -> set[str]:
    return {name.strip() for key, value in response.headers.lines if key.lower() == "vary" for name in value.split(",")}


@pytest.mark.line(142)
@pytest.mark.parametrize("origin", [{}, {"Origin": "https://example.test"}])
async def test_a_file_comes_with_what_is_known_of_it(daemon: Daemon, file, origin):
    os.utime(file, (784111777, 784111777))
    response = await get(daemon.port, file, headers=origin)
    assert (response.status, response.body) == (200, TEXT)
    assert response.headers["Content-Disposition"] == "inline; filename=a.txt"
    assert response.headers["Last-Modified"] == "Sun, 06 Nov 1994 08:49:37 GMT"
    assert response.headers["Accept-Ranges"] == "bytes"
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert vary(response) == {"Accept-Encoding", "Origin"}


@pytest.mark.parametrize("path", ["file", "large"])
async def test_head_says_the_same_without_the_content(daemon: Daemon, path, request):
    path = request.getfixturevalue(path)
    full = await get(daemon.port, path)
    async with connection(daemon.port) as conn:
        for _ in range(2):  # nothing is left over between two
            await conn.send(b"HEAD %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % target(path).encode())
            response = await conn.read_response(method="HEAD")
            same = ("Content-Length", "ETag", "Last-Modified", "Content-Type", "Content-Disposition", "Accept-Ranges")
            assert response.status == 200
            assert [response.headers[name] for name in same] == [full.headers[name] for name in same]


async def test_head_of_what_can_only_come_as_gzip_has_no_length(daemon: Daemon, large):
    async with connection(daemon.port) as conn:
        for _ in range(2):
            await conn.send(request("HEAD", target(large), headers={"Accept-Encoding": "gzip, identity;q=0"}))
            response = await conn.read_response(method="HEAD")
            assert (response.status, response.headers["Content-Encoding"]) == (200, "gzip")
            assert "Content-Length" not in response.headers


async def test_head_of_a_directory_and_of_nothing(daemon: Daemon, tmp_path):
    assert (await head(daemon.port, tmp_path)).status == 400
    assert (await head(daemon.port, tmp_path / "nothing")).status == 404


async def test_other_methods_are_told_which_there_are(daemon: Daemon, file):
    response = await exchange(daemon.port, "PUT", target(file), body=b"")
    assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD, POST")
    response = await exchange(daemon.port, "GET", "/files/compose")
    assert (response.status, response.headers["Allow"]) == (405, "POST")


async def test_a_large_file_arrives_whole(daemon: Daemon, large):
    assert (await get(daemon.port, large)).body == large.read_bytes()


@pytest.mark.line(143)
async def test_a_directory_is_refused(daemon: Daemon, tmp_path):
    assert refusal(await get(daemon.port, tmp_path), 400) == f"path '{tmp_path}' is a directory"
    assert "is a directory" in refusal(await get(daemon.port, None), 400)


@pytest.mark.line(144)
async def test_what_is_not_there_is_not_found(daemon: Daemon, tmp_path, file):
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("missing", "dangling", "a.txt/below"):
        path = tmp_path / name
        assert refusal(await get(daemon.port, path), 404) == f"path '{path}' does not exist"


async def test_links_are_followed(daemon: Daemon, tmp_path, file):
    (tmp_path / "link").symlink_to(file)
    assert (await get(daemon.port, tmp_path / "link")).body == TEXT


@pytest.mark.line(145)
async def test_the_user_is_looked_up(daemon: Daemon, file):
    message = refusal(await get(daemon.port, file, username="no-such-user"), 401)
    assert message == "error looking up user 'no-such-user': user: unknown user no-such-user"
    assert "error looking up user ''" in refusal(await get(daemon.port, file, username=""), 401)


async def test_basic_authentication_does_not_choose_the_user_but_must_name_one(daemon: Daemon, file):
    assert (await get(daemon.port, file, headers=basic("root"))).status == 200
    assert (await get(daemon.port, file, headers=basic("no-such-user"))).status == 401


async def test_paths_of_other_homes_are_refused(daemon: Daemon):
    message = refusal(await get(daemon.port, "~other/x"), 400)
    assert message.startswith("error expanding and resolving path '~other/x': ")
    assert message.endswith("cannot expand user-specific home dir")
    assert "NUL" in refusal(await get(daemon.port, "/tmp/a\0b"), 400)


async def test_names_that_are_no_utf8_can_be_asked_for(daemon: Daemon, tmp_path):
    (tmp_path / os.fsdecode(b"\xff\xfe")).write_bytes(TEXT)
    response = await exchange(daemon.port, "GET", f"/files?path={tmp_path}/%FF%FE")
    assert response.body == TEXT
    assert response.headers["Content-Disposition"] == "inline; filename*=utf-8''%FF%FE"


@pytest.mark.line(146)
@pytest.mark.parametrize(
    ("wanted", "content", "told"),
    [("bytes=2-4", b"234", "bytes 2-4/10"), ("bytes=7-", b"789", "bytes 7-9/10"), ("bytes=-2", b"89", "bytes 8-9/10")],
)
async def test_a_range(daemon: Daemon, file, wanted, content, told):
    response = await get(daemon.port, file, headers={"Range": wanted})
    assert (response.status, response.body, response.headers["Content-Range"]) == (206, content, told)


async def test_a_range_of_a_large_file(daemon: Daemon, large):
    response = await get(daemon.port, large, headers={"Range": "bytes=1000000-2499999"})
    assert (response.status, response.body) == (206, large.read_bytes()[1_000_000:2_500_000])


@pytest.mark.parametrize("path", ["file", "large"])
async def test_several_ranges_come_as_parts(daemon: Daemon, path, request):
    path = request.getfixturevalue(path)
    content = path.read_bytes()
    response = await get(daemon.port, path, headers={"Range": "bytes=0-1,5-6,-1"})
    assert response.status == 206
    kind, _, boundary = response.headers["Content-Type"].partition("; boundary=")
    assert kind == "multipart/byteranges"
    parts = response.body.split(f"--{boundary}".encode())
    assert parts[0] == b""
    assert parts[-1] == b"--\r\n"
    bodies = [part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for part in parts[1:-1]]
    assert bodies == [content[0:2], content[5:7], content[-1:]]
    assert f"Content-Range: bytes 5-6/{len(content)}".encode() in parts[2]


@pytest.mark.line(147)
async def test_a_range_beyond_the_file(daemon: Daemon, file):
    response = await get(daemon.port, file, headers={"Range": "bytes=10-"})
    assert (response.status, response.body) == (416, b"invalid range: failed to overlap\n")
    assert response.headers["Content-Range"] == "bytes */10"


@pytest.mark.parametrize("wanted", ["bytes=x", "lines=1-2", "bytes=3-1"])
async def test_a_malformed_range(daemon: Daemon, file, wanted):
    response = await get(daemon.port, file, headers={"Range": wanted})
    assert (response.status, response.body) == (416, b"invalid range\n")


@pytest.mark.parametrize("wanted", ["bytes=" + ",".join(["0-"] * 1000), "bytes=" + ",".join(["0-0"] * 5000)])
async def test_nobody_makes_us_send_more_than_the_file(daemon: Daemon, large, wanted):
    response = await get(daemon.port, large, headers={"Range": wanted})
    assert (response.status, len(response.body)) == (200, 3_000_000)


async def test_if_range_takes_a_tag_or_a_date(daemon: Daemon, file):
    seen = (await head(daemon.port, file)).headers
    for given, status in ((seen["ETag"], 206), (seen["Last-Modified"], 206), ('"other"', 200)):
        response = await get(daemon.port, file, headers={"Range": "bytes=0-0", "If-Range": given})
        assert response.status == status


@pytest.mark.line(148)
async def test_what_has_not_changed_is_not_sent_again(daemon: Daemon, file):
    seen = (await head(daemon.port, file)).headers
    for name, given in (
        ("If-Modified-Since", seen["Last-Modified"]),
        ("If-None-Match", seen["ETag"]),
        ("If-None-Match", "*"),
    ):
        response = await get(daemon.port, file, headers={name: given})
        assert (response.status, response.body) == (304, b"")
        assert response.headers["ETag"] == seen["ETag"]


async def test_a_condition_that_does_not_hold(daemon: Daemon, file):
    for name, given in (("If-Match", '"other"'), ("If-Unmodified-Since", "Sun, 06 Nov 1994 08:49:37 GMT")):
        assert (await get(daemon.port, file, headers={name: given})).status == 412


async def test_the_tag_changes_with_the_content(daemon: Daemon, file):
    before = (await head(daemon.port, file)).headers["ETag"]
    file.write_bytes(b"9876543210")
    os.utime(file, ns=(1, os.stat(file).st_mtime_ns + 1))
    assert (await head(daemon.port, file)).headers["ETag"] != before


@pytest.mark.line(149)
@pytest.mark.parametrize("path", ["file", "large"])
async def test_who_prefers_gzip_gets_it(daemon: Daemon, path, request):
    path = request.getfixturevalue(path)
    response = await get(daemon.port, path, headers={"Accept-Encoding": "gzip, deflate"})
    assert (response.status, response.headers["Content-Encoding"]) == (200, "gzip")
    assert gzip.decompress(response.body) == path.read_bytes()
    assert response.headers.get("Content-Length") != str(path.stat().st_size)
    assert "Accept-Ranges" not in response.headers
    assert "Last-Modified" not in response.headers


@pytest.mark.line(150)
async def test_a_range_is_never_gzip(daemon: Daemon, file):
    response = await get(daemon.port, file, headers={"Accept-Encoding": "gzip", "Range": "bytes=2-4"})
    assert (response.status, response.body) == (206, b"234")
    assert "Content-Encoding" not in response.headers


@pytest.mark.line(151)
async def test_who_accepts_nothing_there_is_gets_nothing(daemon: Daemon, file):
    message = refusal(await get(daemon.port, file, headers={"Accept-Encoding": "br, identity;q=0"}), 406)
    assert message == "error parsing Accept-Encoding: no acceptable encoding found, supported: [gzip]"
    headers = {"Accept-Encoding": "gzip, identity;q=0", "Range": "bytes=0-0"}
    message = refusal(await get(daemon.port, file, headers=headers), 406)
    assert message == "identity encoding not acceptable for Range or conditional request"


async def test_files_the_kernel_makes_up_are_read_to_their_end(daemon: Daemon):
    response = await get(daemon.port, f"/proc/{os.getpid()}/cmdline")
    assert (response.status, b"python" in response.body) == (200, True)
    assert "ETag" not in response.headers
    assert (await get(daemon.port, "/sys/kernel/mm/transparent_hugepage/enabled")).status in (200, 404)


async def test_a_long_file_without_a_size_comes_in_chunks(daemon: Daemon):
    with open("/proc/kallsyms", "rb") as file:
        if len(file.read(200_000)) < 200_000:
            pytest.skip("no long file in /proc")
    for headers in ({}, {"Range": "bytes=0-1"}):
        response = await get(daemon.port, "/proc/kallsyms", headers=headers)
        assert (response.status, response.headers["Transfer-Encoding"]) == (200, "chunked")
        assert len(response.body) > 200_000


async def test_what_is_no_file_answers_at_once(daemon: Daemon, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "socket"))
        async with asyncio.timeout(60):
            for path, kind in (
                (tmp_path / "fifo", "a fifo"),
                (tmp_path / "socket", "a socket"),
                ("/dev/null", "a device"),
            ):
                assert f"is {kind}" in refusal(await get(daemon.port, path), 400)


async def test_an_empty_file(daemon: Daemon, tmp_path):
    (tmp_path / "empty").touch()
    response = await get(daemon.port, tmp_path / "empty", headers={"Range": "bytes=0-5"})
    assert (response.status, response.body, response.headers["Content-Length"]) == (200, b"", "0")


@pytest.mark.parametrize("headers", [{}, {"Accept-Encoding": "gzip"}], ids=["plain", "gzip"])
async def test_a_file_that_shrinks_on_the_way_cuts_the_connection(daemon: Daemon, tmp_path, headers):
    path = tmp_path / "shrinking"
    path.write_bytes(os.urandom(64_000_000))
    async with connection(daemon.port, receive_buffer_bytes=65536) as conn:
        await conn.send(request("GET", target(path), headers=headers))
        answer = await conn.read_head()
        os.truncate(path, 100)
        with pytest.raises((EOFError, ConnectionError)):
            async for _ in conn.read_body(answer):
                pass


async def test_a_file_that_grows_on_the_way_ends_where_it_ended(daemon: Daemon, tmp_path):
    path = tmp_path / "growing"
    path.write_bytes(b"a" * 32_000_000)
    async with connection(daemon.port, receive_buffer_bytes=65536) as conn:
        await conn.send(request("GET", target(path)))
        answer = await conn.read_head()
        with path.open("ab") as file:
            file.write(b"b" * 1000)
        body = b"".join([piece async for piece in conn.read_body(answer)])
        assert body == b"a" * 32_000_000
        await conn.send(request("GET", "/health"))
        assert (await conn.read_response()).status == 204
