"""POST of files."""

from __future__ import annotations

import gzip
import hashlib
import os

import pytest

from tests.support.daemon import Daemon
from tests.support.files import BOUNDARY, OCTET, answer, form, get, part, post_form, put, refusal, target
from tests.support.http1 import connection, exchange, request


def metadata_of(path) -> dict[str, str]:
    return {name: os.getxattr(path, name).decode() for name in os.listxattr(path) if name.startswith("user.e2b.")}


@pytest.fixture
def xattrs(tmp_path):
    """Skips where files cannot have attributes."""
    try:
        os.setxattr(tmp_path, "user.probe", b"")
    except OSError:
        pytest.skip("no extended attributes here")


@pytest.mark.line(78)
async def test_missing_directories_are_made_for_the_user(daemon: Daemon, app, other_user):
    answer(await put(daemon.port, app / "a/b/c", b"x", username=other_user.pw_name))
    for directory in (app / "a", app / "a/b"):
        st = directory.stat()
        assert (st.st_mode & 0o777, st.st_uid, st.st_gid) == (0o755, other_user.pw_uid, other_user.pw_gid)


@pytest.mark.line(79)
async def test_a_new_file_belongs_to_the_user(daemon: Daemon, app, other_user):
    answer(await put(daemon.port, app / "new", b"x", username=other_user.pw_name))
    st = (app / "new").stat()
    assert (st.st_mode & 0o777, st.st_uid, st.st_gid) == (0o644, other_user.pw_uid, other_user.pw_gid)


@pytest.mark.line(80)
async def test_an_existing_file_keeps_its_mode_and_changes_hands(daemon: Daemon, home, other_user):
    path = home / "old"
    path.write_bytes(b"before")
    path.chmod(0o640)
    answer(await put(daemon.port, path, b"after", username=other_user.pw_name))
    st = path.stat()
    assert (path.read_bytes(), st.st_mode & 0o777, st.st_uid) == (b"after", 0o640, other_user.pw_uid)


async def test_a_relative_path_begins_at_the_users_home(daemon: Daemon, other_user):
    found = answer(await put(daemon.port, "sub/x", b"x", username=other_user.pw_name))
    assert found == [{"name": "x", "path": f"{other_user.pw_dir}/sub/x", "type": "file"}]


@pytest.mark.line(152)
async def test_a_part_goes_to_the_path(daemon: Daemon, tmp_path):
    path = tmp_path / "x"
    response = await post_form(daemon.port, form([part(b"content", filename="ignored")]), path)
    assert answer(response) == [{"name": "x", "path": str(path), "type": "file"}]
    assert response.headers["Content-Type"].startswith("application/json")
    assert path.read_bytes() == b"content"


@pytest.mark.line(153)
async def test_without_a_path_parts_go_to_their_whole_file_names(daemon: Daemon, tmp_path):
    names = [tmp_path / "a" / "1", tmp_path / "b" / "2"]
    body = form(
        part(name.name.encode() * size, filename=str(name)) for name, size in zip(names, (3, 2_500_000), strict=True)
    )
    assert [file["path"] for file in answer(await post_form(daemon.port, body))] == [str(name) for name in names]
    assert [name.read_bytes() for name in names] == [b"111", b"2" * 2_500_000]


@pytest.mark.line(154)
async def test_two_parts_for_one_path_are_refused_and_the_first_stays(daemon: Daemon, tmp_path):
    path, other = tmp_path / "x", tmp_path / "y"
    body = form(part(text, filename=str(name)) for text, name in ((b"1", path), (b"2", other), (b"3", path)))
    message = refusal(await post_form(daemon.port, body), 400)
    assert message == (
        f"you cannot upload multiple files to the same path '{path}' in one upload request, only the first specified "
        f"file was uploaded, also the following files were uploaded: {other}"
    )
    assert (path.read_bytes(), other.read_bytes()) == (b"1", b"2")
    message = refusal(await post_form(daemon.port, form([part(b"1"), part(b"2")]), path), 400)
    assert message.endswith("only the first specified file was uploaded")


@pytest.mark.line(155)
async def test_parts_of_another_name_are_skipped(daemon: Daemon, tmp_path):
    assert answer(await post_form(daemon.port, form([]))) == []
    body = form([part(b"x" * 3_000_000, name="other", filename=str(tmp_path / "x")), part(b"y", name="File")])
    assert answer(await post_form(daemon.port, body)) == []
    assert list(tmp_path.iterdir()) == []


async def test_a_file_part_needs_a_name(daemon: Daemon):
    message = refusal(await post_form(daemon.port, form([part(b"x", filename=None)])), 400)
    assert message.endswith("filename not found in Content-Disposition header")


async def test_any_multipart_type_will_do(daemon: Daemon, tmp_path):
    kind = f"Multipart/Mixed; charset=x; boundary={BOUNDARY}"
    answer(await post_form(daemon.port, form([part(b"x")]), tmp_path / "x", content_type=kind))
    assert (tmp_path / "x").read_bytes() == b"x"


@pytest.mark.line(156)
async def test_a_raw_upload_needs_a_path(daemon: Daemon):
    assert refusal(await put(daemon.port, None, b"x"), 400) == "path query parameter is required for raw body upload"


@pytest.mark.line(157)
@pytest.mark.parametrize("kind", ["text/plain", "application/json", ""])
async def test_other_types_are_refused(daemon: Daemon, tmp_path, kind):
    message = refusal(await put(daemon.port, tmp_path / "x", b"x", headers={"Content-Type": kind}), 400)
    assert message == f"unsupported content type: {kind}, expected multipart/form-data or application/octet-stream"


@pytest.mark.line(158)
@pytest.mark.parametrize("size", [0, 10, 5_000_000])
async def test_a_gzip_body_is_unpacked(daemon: Daemon, tmp_path, size):
    content = os.urandom(size)
    members = gzip.compress(content[: size // 2], 1) + gzip.compress(content[size // 2 :], 1)
    answer(await put(daemon.port, tmp_path / "raw", members, headers={"Content-Encoding": "gzip"}))
    packed = gzip.compress(form([part(content)]), 1)
    answer(await post_form(daemon.port, packed, tmp_path / "form", headers={"Content-Encoding": "gzip"}))
    assert (tmp_path / "raw").read_bytes() == (tmp_path / "form").read_bytes() == content


@pytest.mark.line(158)
@pytest.mark.parametrize(
    "body",
    [b"no gzip", b"", gzip.compress(b"x" * 100)[:-1], gzip.compress(b"x") + b"garbage"],
    ids=["no gzip", "empty", "cut short", "with garbage"],
)
async def test_a_bad_gzip_body_leaves_what_was_there(daemon: Daemon, tmp_path, body):
    (tmp_path / "x").write_bytes(b"before")
    response = await put(daemon.port, tmp_path / "x", body, headers={"Content-Encoding": "gzip"})
    assert "error decompressing request body" in refusal(response, 400)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x", b"before")]


@pytest.mark.line(158)
async def test_other_codings_are_refused(daemon: Daemon, tmp_path):
    message = refusal(await put(daemon.port, tmp_path / "x", b"x", headers={"Content-Encoding": "br"}), 400)
    assert message == "error decompressing request body: unsupported Content-Encoding: br, supported: [gzip]"


async def test_a_small_body_cannot_fill_the_disk(daemon: Daemon, tmp_path):
    bomb = gzip.compress(bytes(70_000_000))
    message = refusal(await put(daemon.port, tmp_path / "x", bomb, headers={"Content-Encoding": "gzip"}), 400)
    assert "more than 200 times its size" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.line(159)
async def test_a_directory_is_not_written_to(daemon: Daemon, tmp_path):
    for path in (tmp_path, f"{tmp_path}/", f"{tmp_path}/new/"):
        assert "path is a directory" in refusal(await put(daemon.port, path, b"x"), 400)
    assert "path is a directory" in refusal(await put(daemon.port, "", b"x"), 400)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.line(160)
async def test_nothing_is_written_below_a_file(daemon: Daemon, tmp_path):
    (tmp_path / "file").touch()
    assert "path is a file" in refusal(await put(daemon.port, tmp_path / "file" / "x", b"x"), 400)


@pytest.mark.line(162)
async def test_metadata_is_stored_with_the_file(daemon: Daemon, tmp_path, xattrs):
    headers = {"X-Metadata-Foo": "v", "x-metadata-b": "a b", "X-Metadata-": "ignored"}
    for path in (tmp_path / "raw", tmp_path / "form"):
        if path.name == "raw":
            response = await put(daemon.port, path, b"x", headers=headers)
        else:
            response = await post_form(daemon.port, form([part(b"x")]), path, headers=headers)
        expected = {"metadata": {"b": "a b", "foo": "v"}, "name": path.name, "path": str(path), "type": "file"}
        assert answer(response) == [expected]
        assert metadata_of(path) == {"user.e2b.foo": "v", "user.e2b.b": "a b"}


@pytest.mark.line(163)
async def test_an_upload_without_metadata_clears_it(daemon: Daemon, tmp_path, xattrs):
    answer(await put(daemon.port, tmp_path / "x", b"x", headers={"X-Metadata-Foo": "v"}))
    os.setxattr(tmp_path / "x", "user.other", b"stays")
    assert answer(await put(daemon.port, tmp_path / "x", b"y"))[0].keys() == {"name", "path", "type"}
    assert metadata_of(tmp_path / "x") == {}
    assert os.getxattr(tmp_path / "x", "user.other") == b"stays"


@pytest.mark.line(164)
@pytest.mark.parametrize(
    "headers", [{"X-Metadata-a": "\xe9"}, {"X-Metadata-" + "k" * 247: "v"}, {"X-Metadata-a": "v" * 4090}]
)
async def test_metadata_has_bounds(daemon: Daemon, tmp_path, headers):
    assert "invalid metadata" in refusal(await put(daemon.port, tmp_path / "x", b"x", headers=headers), 400)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_000])
@pytest.mark.parametrize("chunked", [False, True])
async def test_contents_of_any_size_arrive_whole(daemon: Daemon, tmp_path, size, chunked):
    content = os.urandom(size)
    if chunked:
        pieces = [content[at : at + 50_000] for at in range(0, size, 50_000)]
        headers = {"Content-Type": OCTET}
        response = await exchange(daemon.port, "POST", target(tmp_path / "x"), headers=headers, chunks=pieces)
    else:
        response = await put(daemon.port, tmp_path / "x", content)
    answer(response)
    assert (tmp_path / "x").read_bytes() == content
    assert (await get(daemon.port, tmp_path / "x")).body == content


async def test_a_connection_goes_on_behind_uploads_of_every_kind(daemon: Daemon, tmp_path):
    async with connection(daemon.port) as conn:
        for size in (10, 700_000, 5_000_000):
            body = form([part(os.urandom(size))]) + b"epilogue"
            headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
            await conn.send(request("POST", target(tmp_path / "x"), headers=headers, body=body))
            assert (await conn.read_response()).status == 200
            await conn.send(request("GET", "/health"))
            assert (await conn.read_response()).status == 204


async def test_a_client_is_asked_for_its_body_only_if_it_will_be_read(daemon: Daemon, tmp_path):
    headers = {"Content-Type": OCTET, "Content-Length": "5", "Expect": "100-continue"}
    async with connection(daemon.port) as conn:
        await conn.send(request("POST", target(tmp_path / "x"), headers=headers))
        assert (await conn.read_head()).status == 100
        await conn.send(b"12345")
        assert (await conn.read_response()).status == 200
        await conn.send(request("POST", target(tmp_path / "x", username="no-such-user"), headers=headers))
        assert (await conn.read_response()).status == 401


async def test_links_are_written_through(daemon: Daemon, tmp_path):
    (tmp_path / "link").symlink_to("target")
    answer(await put(daemon.port, tmp_path / "link", b"x"))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"x"


async def test_the_hash_is_told_or_checked(daemon: Daemon, tmp_path):
    for content in (b"x", os.urandom(2_000_000)):
        digest = hashlib.sha256(content).hexdigest()
        for asked in ("true", digest, digest.upper()):
            found = answer(await put(daemon.port, tmp_path / "x", content, headers={"X-Envd-Sha256": asked}))
            assert found[0]["sha256"] == digest
        response = await put(daemon.port, tmp_path / "x", content + b"y", headers={"X-Envd-Sha256": digest})
        assert "nothing was written" in refusal(response, 400)
        assert (tmp_path / "x").read_bytes() == content
    body = form([part(b"1", filename=f"{tmp_path}/1"), part(b"2", filename=f"{tmp_path}/2")])
    found = answer(await post_form(daemon.port, body, headers={"X-Envd-Sha256": "true"}))
    assert [file["sha256"] for file in found] == [hashlib.sha256(text).hexdigest() for text in (b"1", b"2")]
    assert "several files" in refusal(await post_form(daemon.port, body, headers={"X-Envd-Sha256": digest}), 400)


async def test_a_condition_lets_only_one_change_through(daemon: Daemon, tmp_path):
    path = tmp_path / "x"
    first = {"If-None-Match": "*"}
    answer(await put(daemon.port, path, b"one", headers=first))
    assert "if_absent" in refusal(await put(daemon.port, path, b"two", headers=first), 412)
    tag = (await get(daemon.port, path)).headers["ETag"]
    answer(await put(daemon.port, path, b"two", headers={"If-Match": tag}))
    for content in (b"three", b"three" * 200_000):
        assert "another etag" in refusal(await put(daemon.port, path, content, headers={"If-Match": tag}), 412)
        response = await post_form(daemon.port, form([part(content)]), path, headers={"If-Match": tag})
        assert "another etag" in refusal(response, 412)
    assert "nothing at" in refusal(await put(daemon.port, tmp_path / "y", b"", headers={"If-Match": "*"}), 412)
    assert path.read_bytes() == b"two"
    answer(await put(daemon.port, path, b"four", headers={"If-Match": "*"}))
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize(
    "headers", [{"If-Match": "bare"}, {"If-Match": '"a", "b"'}, {"If-None-Match": '"a"'}, {"If-Match": 'W/"a"'}]
)
async def test_a_condition_that_is_none_is_refused(daemon: Daemon, tmp_path, headers):
    (name,) = headers
    assert name in refusal(await put(daemon.port, tmp_path / "x", b"x", headers=headers), 400)
    assert os.listdir(tmp_path) == []


async def test_the_disk_is_waited_for_if_asked(daemon: Daemon, tmp_path):
    found = answer(await put(daemon.port, tmp_path / "x", b"x", headers={"X-Envd-Sync": "true"}))
    assert found[0]["synced"] is True
    for name in ("X-Envd-Sync", "X-Envd-Sha256"):
        assert name in refusal(await put(daemon.port, tmp_path / "x", b"x", headers={name: "maybe"}), 400)


async def test_a_form_that_fails_changes_nothing(daemon: Daemon, tmp_path):
    (tmp_path / "old").write_bytes(b"before")
    parts = [part(b"1", filename=f"{tmp_path}/old"), part(b"2" * 3_000_000, filename=f"{tmp_path}/sub/new")]
    for bad in (part(b"3", filename=str(tmp_path)), part(b"3", filename=None), b"--" + BOUNDARY.encode()):
        assert (await post_form(daemon.port, b"".join([*parts, bad]))).status == 400
        assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("old", b"before")]


async def test_a_thousand_files_in_one_form(daemon: Daemon, tmp_path):
    body = form(part(b"%d" % number, filename=f"{tmp_path}/{number}") for number in range(1000))
    assert len(answer(await post_form(daemon.port, body))) == 1000
    assert all((tmp_path / str(number)).read_text() == str(number) for number in range(1000))
