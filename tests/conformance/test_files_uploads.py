"""Resumable uploads over REST."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import random
from pathlib import Path

import pytest

from tests.support.daemon import Daemon, running_daemon
from tests.support.files import refusal
from tests.support.http1 import connection, exchange, request
from tests.support.uploads import fields, missing, rest
from tests.support.wires import basic

CONTENT = random.Random(1).randbytes(3_000_001)


async def begun(port: int, path: Path, **wish: object) -> str:
    return str(fields(await rest(port, "POST", "", {"path": path, **wish}), 201)["id"])


async def put(port: int, ident: str, offset: int, content: bytes, **headers: str):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await rest(port, "PUT", f"/{ident}?offset={offset}", content, headers=named)


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


async def test_a_file_is_uploaded_in_parts(daemon: Daemon, tmp_path: Path):
    port = daemon.port
    response = await rest(port, "POST", "", {"path": tmp_path / "a/file", "size": len(CONTENT), "mode": "0600"})
    told = fields(response, 201)
    assert response.headers["Location"] == f"/files/uploads/{told['id']}"
    assert (told["state"], told["path"], told["received_bytes"]) == ("open", f"{tmp_path}/a/file", 0)
    answer = await put(port, told["id"], 1_000_000, CONTENT[1_000_000:])
    expected = {"offset": 1_000_000, "length": 2_000_001, "received_bytes": 2_000_001, "contiguous_bytes": 0}
    assert fields(answer) == expected
    whole = fields(await rest(port, "GET", f"/{told['id']}"))
    assert whole["received"] == [{"offset": 1_000_000, "length": 2_000_001}]
    headers = {"Transfer-Encoding": "chunked"}
    chunks = [CONTENT[:400_000], CONTENT[400_000:1_200_000]]
    target = f"/files/uploads/{told['id']}?offset=0"
    fields(await exchange(port, "PUT", target, headers=headers, chunks=chunks))
    head = await rest(port, "HEAD", f"/{told['id']}")
    shown = {name: head.headers[name] for name in ("Upload-Offset", "Upload-Length", "Upload-Complete")}
    assert shown == {"Upload-Offset": str(len(CONTENT)), "Upload-Length": str(len(CONTENT)), "Upload-Complete": "?0"}
    digest = hashlib.sha256(CONTENT).hexdigest()
    done = fields(await rest(port, "POST", f"/{told['id']}/commit", {"sha256": digest}))
    st = (tmp_path / "a/file").stat()
    assert (st.st_size, st.st_mode & 0o777, done["size"], done["created"]) == (len(CONTENT), 0o600, len(CONTENT), True)
    assert (tmp_path / "a/file").read_bytes() == CONTENT
    download = await exchange(port, "HEAD", f"/files?path={tmp_path}/a/file")
    assert download.headers["ETag"] == f'"{done["etag"]}"'
    assert fields(await rest(port, "POST", f"/{told['id']}/commit")) == done
    assert (await rest(port, "HEAD", f"/{told['id']}")).headers["Upload-Complete"] == "?1"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("wish", [{"path": "\ud800x"}, {"path": "/tmp/x", "metadata": {"k": "\ud800"}}])
async def test_half_of_a_surrogate_pair_is_refused(daemon: Daemon, wish: dict[str, object]):
    refusal(await exchange(daemon.port, "POST", "/files/uploads", body=json.dumps(wish).encode()), 400)
    body = json.dumps({"source_paths": ["\ud800"], "destination": "/tmp/x"}).encode()
    refusal(await exchange(daemon.port, "POST", "/files/compose", body=body), 400)


async def test_a_repeated_commit_has_to_mean_what_was_committed(daemon: Daemon, tmp_path: Path):
    port, digest = daemon.port, hashlib.sha256(b"content").hexdigest()
    for commit, terms in (({"sha256": digest}, {}), ({}, {"sha256": digest}), ({}, {})):
        path = tmp_path / f"{len(commit)}{len(terms)}"
        ident = await begun(port, path, **terms)
        fields(await put(port, ident, 0, b"content"))
        done = fields(await rest(port, "POST", f"/{ident}/commit", commit))
        for same in ({}, {"size": 7}, commit):
            assert fields(await rest(port, "POST", f"/{ident}/commit", same)) == done
        for other in ({"size": 8}, {"sha256": hashlib.sha256(b"other").hexdigest()}):
            assert "was committed with" in refusal(await rest(port, "POST", f"/{ident}/commit", other), 400)


async def test_a_condition_that_does_not_hold_is_a_412(daemon: Daemon, tmp_path: Path):
    port, path = daemon.port, tmp_path / "file"
    assert "nothing at" in refusal(await rest(port, "POST", "", {"path": path, "if_match": "*"}), 412)
    ident = await begun(port, path, if_absent=True)
    fields(await put(port, ident, 0, b"late"))
    path.write_bytes(b"first")
    assert "if_absent" in refusal(await rest(port, "POST", f"/{ident}/commit"), 412)
    assert "if_absent" in refusal(await rest(port, "POST", "", {"path": path, "if_absent": True}), 412)
    assert (await rest(port, "DELETE", f"/{ident}")).status == 204
    assert (path.read_bytes(), names(tmp_path)) == (b"first", ["file"])


async def test_the_whole_can_have_every_option(daemon: Daemon, tmp_path: Path):
    (tmp_path / "file").write_bytes(b"old")
    wish = {"size": 3, "parents": True, "atomic": True, "if_match": "*", "metadata": {"a": "1"}, "sync": True}
    wish |= {"sha256": hashlib.sha256(b"new").hexdigest(), "idempotency_key": f"key {tmp_path}", "mode": "7"}
    ident = await begun(daemon.port, tmp_path / "file", **wish)
    again = await rest(daemon.port, "POST", "", {"path": tmp_path / "file", **wish})
    assert fields(again, 200)["id"] == ident
    other = await rest(daemon.port, "POST", "", {"path": tmp_path / "other", **wish})
    assert "idempotency key" in refusal(other, 409)
    fields(await put(daemon.port, ident, 0, b"new"))
    fields(await rest(daemon.port, "POST", f"/{ident}/commit", {"size": 3}))
    assert ((tmp_path / "file").read_bytes(), (tmp_path / "file").stat().st_mode & 0o7777) == (b"new", 7)
    assert os.getxattr(tmp_path / "file", "user.e2b.a") == b"1"


async def test_a_part_is_checked(daemon: Daemon, tmp_path: Path):
    ident = await begun(daemon.port, tmp_path / "file")
    digest = hashlib.sha256(CONTENT).digest()
    in_base64 = base64.b64encode(digest).decode()
    other = base64.b64encode(bytes(32)).decode()
    for value in (f"sha-256=:{other}:", f"unixsum=:AAA=:, sha-256=:{other}:"):
        assert "not the one announced" in refusal(await put(daemon.port, ident, 0, CONTENT, Content_Digest=value), 400)
    for value in ("sha-256=x", f"sha-256={in_base64}", "sha-256=:AAAA:", "sha-512=:AAAA:", ""):
        assert "Content-Digest" in refusal(await put(daemon.port, ident, 0, CONTENT, Content_Digest=value), 400)
    for value in ("0" * 64, "0" * 63, "true"):
        refusal(await put(daemon.port, ident, 0, CONTENT, X_Envd_Sha256=value), 400)
    refusal(await put(daemon.port, ident, 0, CONTENT, Content_Encoding="gzip"), 400)
    assert fields(await rest(daemon.port, "GET", f"/{ident}"))["received"] == []
    fields(await put(daemon.port, ident, 0, CONTENT[:5], X_Envd_Sha256=hashlib.sha256(CONTENT[:5]).hexdigest()))
    fields(await put(daemon.port, ident, 0, CONTENT, Content_Digest=f"sha-256=:{in_base64}:"))
    message = refusal(await put(daemon.port, ident, 5, b"other"), 409)
    assert "received before" in message
    fields(await rest(daemon.port, "POST", f"/{ident}/commit"))
    assert (tmp_path / "file").read_bytes() == CONTENT


async def test_what_is_asked_for_has_to_make_sense(daemon: Daemon, tmp_path: Path):
    path = str(tmp_path / "file")
    for wish in (
        b"",
        b"[]",
        b"{",
        {},
        {"path": 5},
        {"path": path, "size": "3"},
        {"path": path, "size": True},
        {"path": path, "size": -1},
        {"path": path, "size": 2**63},
        {"path": path, "mode": 420},
        {"path": path, "mode": "999"},
        {"path": path, "metadata": {"a": 1}},
        {"path": path, "metadata": {"": "x"}},
        {"path": path, "sha256": "x"},
        {"path": path, "unknown": 1},
        {"path": path, "if_match": "x", "if_absent": True},
        {"path": str(tmp_path)},
        b" " * 70_000,
    ):
        refusal(await rest(daemon.port, "POST", "", wish), 400)
    message = refusal(await rest(daemon.port, "POST", "", {"path": path, "size": "3"}), 400)
    assert message.endswith("size has the wrong type: give an integer")
    ident = await begun(daemon.port, tmp_path / "file")
    for query in ("", "?offset=", "?offset=-1", "?offset=x", f"?offset={2**63}"):
        refusal(await rest(daemon.port, "PUT", f"/{ident}{query}", b"x"), 400)
    for wish in (b"x", {"size": "3"}, {"other": 1}):
        refusal(await rest(daemon.port, "POST", f"/{ident}/commit", wish), 400)
    refusal(await rest(daemon.port, "GET", f"/{ident}?offset=x"), 400)
    assert (await rest(daemon.port, "DELETE", f"/{ident}")).status == 204
    assert names(tmp_path) == []


async def test_only_these_paths_and_methods_are_there(daemon: Daemon, tmp_path: Path):
    ident = await begun(daemon.port, tmp_path / "file")
    for path in ("/", f"/{ident}/", f"/{ident}/commit/", f"/{ident}/other", "//commit", f"/{ident}/commit/x"):
        assert (await rest(daemon.port, "POST", path)).status == 404
    for method, path, allowed in (
        ("PATCH", "", "POST, GET"),
        ("POST", f"/{ident}", "PUT, GET, HEAD, DELETE"),
        ("GET", f"/{ident}/commit", "POST"),
    ):
        response = await rest(daemon.port, method, path)
        assert (response.status, response.headers["Allow"]) == (405, allowed)
    for method, path in (("GET", "/x"), ("PUT", "/x?offset=0"), ("DELETE", "/x"), ("POST", "/x/commit")):
        assert "there is no upload 'x'" in refusal(await rest(daemon.port, method, path, b""), 404)
    assert (await rest(daemon.port, "DELETE", f"/{ident}")).status == 204
    refusal(await rest(daemon.port, "DELETE", f"/{ident}"), 404)


async def test_an_upload_is_its_users(daemon: Daemon, tmp_path: Path, other_user):
    name = other_user.pw_name
    told = fields(await rest(daemon.port, "POST", f"?username={name}", {"path": "below/file"}), 201)
    assert told["path"] == f"{other_user.pw_dir}/below/file"
    refusal(await rest(daemon.port, "GET", f"/{told['id']}"), 404)
    fields(await rest(daemon.port, "PUT", f"/{told['id']}?offset=0", b"x", headers=basic(name)))
    listed = fields(await rest(daemon.port, "GET", f"?username={name}"))["uploads"]
    assert told["id"] in [one["id"] for one in listed]
    fields(await rest(daemon.port, "POST", f"/{told['id']}/commit?username={name}"))
    st = Path(told["path"]).stat()
    assert (st.st_uid, st.st_gid) == (other_user.pw_uid, other_user.pw_gid)
    refusal(await rest(daemon.port, "POST", "?username=nobody-there", {"path": tmp_path / "x"}), 401)


async def test_they_need_the_token(tmp_path: Path):
    async with running_daemon() as daemon:
        ident = await begun(daemon.port, tmp_path / "file")
        assert (await exchange(daemon.port, "POST", "/init", body=b'{"accessToken": "secret"}')).status == 204
        for method, path in (
            ("POST", ""),
            ("GET", f"/{ident}"),
            ("PUT", f"/{ident}?offset=0"),
            ("DELETE", f"/{ident}"),
        ):
            refusal(await rest(daemon.port, method, path, b""), 401)
        headers = {"X-Access-Token": "secret"}
        fields(await rest(daemon.port, "PUT", f"/{ident}?offset=0", b"x", headers=headers))
        fields(await rest(daemon.port, "POST", f"/{ident}/commit", headers=headers))
    assert (tmp_path / "file").read_bytes() == b"x"


async def test_a_client_that_dies_at_any_byte_of_a_part_leaves_it_missing(daemon: Daemon, tmp_path: Path):
    (tmp_path / "file").write_bytes(b"old")
    chance = random.Random(5)
    ident = await begun(daemon.port, tmp_path / "file", size=len(CONTENT))
    fields(await put(daemon.port, ident, 0, CONTENT[:1000]))
    for _ in range(25):
        sent = chance.randrange(len(CONTENT) - 1000)
        async with connection(daemon.port) as conn:
            headers = {"Content-Length": str(len(CONTENT) - 1000)}
            await conn.send(request("PUT", f"/files/uploads/{ident}?offset=1000", headers=headers))
            await conn.send(bytes(sent))
            conn.reset()
        assert await missing(daemon.port, ident, len(CONTENT), len(CONTENT)) == [(1000, len(CONTENT))]
    fields(await put(daemon.port, ident, 1000, CONTENT[1000:]))
    fields(await rest(daemon.port, "POST", f"/{ident}/commit"))
    assert ((tmp_path / "file").read_bytes(), names(tmp_path)) == (CONTENT, ["file"])


async def test_a_part_that_is_refused_hears_why_while_it_still_sends(daemon: Daemon, tmp_path: Path):
    ident = await begun(daemon.port, tmp_path / "file", size=10)
    for path, status in ((f"{ident}?offset=0", 400), ("unknown?offset=0", 404)):
        async with connection(daemon.port) as conn:
            headers = {"Content-Length": str(10 << 30)}
            await conn.send(request("PUT", f"/files/uploads/{path}", headers=headers) + b"x" * 1000)
            refusal(await conn.read_response(), status)
    assert (await rest(daemon.port, "DELETE", f"/{ident}")).status == 204


@pytest.mark.parametrize("how", ["abort", "again"])
async def test_a_part_that_nobody_needs_any_more_ends_at_once(daemon: Daemon, tmp_path: Path, how):
    ident = await begun(daemon.port, tmp_path / "file", size=len(CONTENT))
    async with connection(daemon.port) as conn:
        headers = {"Content-Length": str(len(CONTENT))}
        await conn.send(request("PUT", f"/files/uploads/{ident}?offset=0", headers=headers) + CONTENT[:2_000_000])
        (gathered,) = tmp_path.glob(".envd-*.tmp")
        async with asyncio.timeout(60):
            while gathered.stat().st_size < 1_000_000:
                await asyncio.sleep(0.01)
        if how == "abort":
            assert (await rest(daemon.port, "DELETE", f"/{ident}")).status == 204
        else:
            fields(await put(daemon.port, ident, 0, CONTENT))
        assert "not received" in refusal(await conn.read_response(), 409)
    if how != "abort":
        fields(await rest(daemon.port, "POST", f"/{ident}/commit"))
        assert (tmp_path / "file").read_bytes() == CONTENT
