"""GET /files/archive and POST /files/extract."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.support.archives import entry, names_of, picture, rich_tree, tar
from tests.support.daemon import Daemon
from tests.support.files import FORM, answer, form, part, refusal
from tests.support.http1 import Response, connection, exchange, request
from tests.support.system import post_init, token_header

TOKEN = "t0ken-of-the-sandbox"
TAR = {"Content-Type": "application/x-tar"}


@pytest.fixture(scope="module")
def guarded() -> Iterator[Daemon]:
    """A daemon for whose files a token is needed."""
    started = Daemon.start()
    yield started
    started.stop()


def target(route: str, path: object, **query: object) -> str:
    """Lists are parameters that come several times."""
    return f"{route}?{urlencode({'path': str(path), **query}, doseq=True)}"


async def download(daemon: Daemon, path: object, method: str = "GET", **query: object) -> Response:
    return await exchange(daemon.port, method, target("/files/archive", path, **query))


async def upload(daemon: Daemon, path: object, data: bytes, headers: dict[str, str] = TAR, **query: object) -> Response:
    return await exchange(daemon.port, "POST", target("/files/extract", path, **query), headers=headers, body=data)


@pytest.mark.parametrize(
    ("form_", "type_"), [("tar", "application/x-tar"), ("tar.gz", "application/gzip"), ("tar.zst", "application/zstd")]
)
async def test_a_directory_goes_down_and_up_again(daemon: Daemon, tmp_path: Path, form_, type_):
    source = rich_tree(tmp_path / "source")
    response = await download(daemon, source, format=form_)
    assert (response.status, response.headers["Content-Type"]) == (200, type_)
    assert response.headers["Content-Disposition"] == f"attachment; filename=source.{form_}"
    assert response.headers["Transfer-Encoding"] == "chunked"
    done = answer(await upload(daemon, tmp_path / "copy", response.body))
    assert picture(tmp_path / "copy") == picture(source)
    assert (done["path"], done["created"], done["skipped"]) == (str(tmp_path / "copy"), True, 0)
    assert (done["archive_bytes"], done["entries"]) == (len(response.body), len(picture(source)))


async def test_head_says_what_get_would(daemon: Daemon, tmp_path: Path):
    (tmp_path / "ünï").mkdir()
    response = await download(daemon, tmp_path / "ünï", "HEAD", format="tgz")
    assert (response.status, response.body) == (200, b"")
    assert response.headers["Content-Disposition"] == "attachment; filename*=utf-8''%C3%BCn%C3%AF.tar.gz"
    assert (await download(daemon, tmp_path / "missing", "HEAD")).status == 404


async def test_parameters_may_come_several_times(daemon: Daemon, tmp_path: Path):
    for name in ("a/x.o", "a/y", "b/z", "c"):
        (tmp_path / "t" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "t" / name).touch()
    response = await download(daemon, tmp_path / "t", exclude=["*.o", "/b/z"], member=["a", "b"])
    assert sorted(names_of(response.body)) == ["a", "a/y", "b"]


async def test_what_is_wrong_with_a_request_is_told(daemon: Daemon, tmp_path: Path):
    (tmp_path / "file").touch()
    refusal(await download(daemon, tmp_path / "missing"), 404)
    refusal(await download(daemon, tmp_path / "file", member="x"), 400)
    refusal(await download(daemon, tmp_path, member="missing"), 404)
    refusal(await download(daemon, "/dev/null"), 400)
    refusal(await download(daemon, tmp_path, username="nobody-of-that-name"), 401)
    assert "tar.gz" in refusal(await download(daemon, tmp_path, format="rar"), 400)
    for query in (
        {"format": "rar"},
        {"conflict": "maybe"},
        {"ownership": "mine"},
        {"set_id": "perhaps"},
        {"max_entries": "-1"},
        {"max_content_bytes": "1e9"},
    ):
        refusal(await upload(daemon, tmp_path / "x", tar(), **query), 400)
    assert "expected" in refusal(await upload(daemon, tmp_path / "x", tar(), {"Content-Type": "text/plain"}), 400)
    refusal(await upload(daemon, tmp_path / "x", tar(), {**TAR, "Content-Encoding": "br"}), 400)
    refusal(await upload(daemon, tmp_path / "file", tar()), 400)
    refusal(await exchange(daemon.port, "POST", "/files/extract", headers=TAR, body=tar()), 400)
    refusal(await upload(daemon, tmp_path / "x", entry("a")), 400)
    refusal(await upload(daemon, tmp_path / "x", tar(entry("../a"))), 400)
    assert os.listdir(tmp_path) == ["file"]


async def test_options_are_parameters(daemon: Daemon, tmp_path: Path):
    data = tar(entry("file", b"new", mode=0o4755), entry("l", kind=tarfile.SYMTYPE, link="/etc"))
    refusal(await upload(daemon, tmp_path / "a", data), 400)
    answer(await upload(daemon, tmp_path / "a", data, outside_links="true", set_id="true", format="tar"))
    assert stat.S_IMODE((tmp_path / "a/file").stat().st_mode) == 0o4755
    refusal(await upload(daemon, tmp_path / "a", data, outside_links="true", conflict="fail"), 409)
    done = answer(await upload(daemon, tmp_path / "a", data, outside_links="true", conflict="skip"))
    assert (done["skipped"], done["entries"], done["created"]) == (2, 0, False)


async def test_limits_are_parameters_too(daemon: Daemon, tmp_path: Path):
    data = tar(entry("a", b"x" * 1000), entry("b", b"x" * 1000))
    refusal(await upload(daemon, tmp_path / "a", data, max_entries=1), 400)
    refusal(await upload(daemon, tmp_path / "a", data, max_content_bytes=1999), 400)
    answer(await upload(daemon, tmp_path / "a", data, max_content_bytes=2000, max_entries=2))


async def test_the_first_file_of_a_form_is_the_archive(daemon: Daemon, tmp_path: Path):
    archive = tar(entry("file", b"x" * 300_000))
    body = form([part(b"no", name="comment", filename=None), part(archive), part(b"another")])
    answer(await upload(daemon, tmp_path / "a", body, {"Content-Type": FORM}))
    assert (tmp_path / "a/file").stat().st_size == 300_000
    refusal(await upload(daemon, tmp_path / "b", body[:-60], {"Content-Type": FORM}), 400)
    refusal(await upload(daemon, tmp_path / "b", form([part(b"x", name="other")]), {"Content-Type": FORM}), 400)
    assert os.listdir(tmp_path) == ["a"]


async def test_a_body_may_be_gzip_for_http_and_come_in_chunks(daemon: Daemon, tmp_path: Path):
    archive = tar(entry("file", b"x"))
    answer(await upload(daemon, tmp_path / "a", gzip.compress(archive), {**TAR, "Content-Encoding": "gzip"}))
    chunks = [archive[at : at + 100] for at in range(0, len(archive), 100)]
    answer(await exchange(daemon.port, "POST", target("/files/extract", tmp_path / "b"), headers=TAR, chunks=chunks))
    assert (tmp_path / "b/file").read_bytes() == (tmp_path / "a/file").read_bytes() == b"x"


async def test_a_file_that_becomes_shorter_cuts_the_archive_off(daemon: Daemon, tmp_path: Path):
    (tmp_path / "large").write_bytes(bytes(50_000_000))
    async with connection(daemon.port, receive_buffer_bytes=65536) as conn:
        await conn.send(request("GET", target("/files/archive", tmp_path)))
        head = await conn.read_head()
        os.truncate(tmp_path / "large", 10)
        with pytest.raises((EOFError, ConnectionError)):
            async for _ in conn.read_body(head):
                pass


async def test_a_client_that_leaves_leaves_nothing(daemon: Daemon, tmp_path: Path):
    archive = tar(entry("file", bytes(5_000_000)))
    head = request("POST", target("/files/extract", tmp_path / "a"), headers={**TAR, "Content-Length": "5001000"})
    async with connection(daemon.port) as conn:
        await conn.send(head + archive[:3_000_000])
        conn.half_close()
        refusal(await conn.read_response(), 400)
    assert os.listdir(tmp_path) == []


async def test_who_is_refused_hears_why_while_it_still_sends(daemon: Daemon, tmp_path: Path):
    head = request("POST", target("/files/extract", tmp_path / "a"), headers={**TAR, "Content-Length": "90000000"})
    async with connection(daemon.port) as conn:
        await conn.send(head + entry("../evil", b"x") + bytes(3_000_000))
        assert "'..'" in refusal(await conn.read_response(), 400)
    assert os.listdir(tmp_path) == []


# Access.


def sign(path: object, operation: str) -> str:
    digest = hashlib.sha256(f"{path}:{operation}::{TOKEN}".encode()).digest()
    return "v1_" + base64.b64encode(digest).decode().rstrip("=")


async def test_signatures_and_tokens_are_those_of_files(guarded: Daemon, tmp_path: Path):
    assert (await post_init(guarded.port, {"accessToken": TOKEN})).status == 204
    (tmp_path / "t").mkdir()
    (tmp_path / "t/file").write_bytes(b"x")
    archive = tar(entry("file", b"x", mode=0o4755))
    read, write = sign(tmp_path / "t", "read"), sign(tmp_path / "new", "write")
    refusal(await download(guarded, tmp_path / "t"), 401)
    refusal(await download(guarded, tmp_path / "t", signature=write), 401)
    refusal(await upload(guarded, tmp_path / "new", archive), 401)
    refusal(await upload(guarded, tmp_path / "new", archive, signature=read), 401)
    refusal(await upload(guarded, tmp_path / "other", archive, signature=write), 401)
    for option in ({"set_id": "true"}, {"ownership": "numbers"}, {"outside_links": "true"}):
        refusal(await upload(guarded, tmp_path / "new", archive, signature=write, **option), 403)
    assert os.listdir(tmp_path) == ["t"]
    assert names_of((await download(guarded, tmp_path / "t", signature=read)).body) == [".", "file"]
    assert (await download(guarded, tmp_path / "t", "HEAD", signature=read)).status == 200
    answer(await upload(guarded, tmp_path / "new", archive, signature=write))
    answer(await upload(guarded, tmp_path / "more", archive, {**TAR, **token_header(TOKEN)}, set_id="true"))


async def test_names_that_are_not_utf_8_go_down_and_up(daemon: Daemon, tmp_path: Path):
    top = os.fsencode(tmp_path) + b"/\xff"
    os.mkdir(top)
    os.close(os.open(top + b"/\xfe", os.O_CREAT))
    response = await exchange(daemon.port, "GET", target("/files/archive", "") + str(tmp_path) + "/%FF")
    assert names_of(response.body) == [".", "\udcfe"]
    answer(await upload(daemon, tmp_path / "b", response.body))
    assert os.listdir(os.fsencode(tmp_path / "b")) == [b"\xfe"]


async def test_the_answer_is_json_and_nothing_else(daemon: Daemon, tmp_path: Path):
    response = await upload(daemon, tmp_path / "<a>", tar(entry("f", b"x")))
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert json.loads(response.body)["content_bytes"] == 1
    with tarfile.open(fileobj=io.BytesIO((await download(daemon, tmp_path / "<a>")).body)) as archive:
        assert archive.getnames() == [".", "f"]
