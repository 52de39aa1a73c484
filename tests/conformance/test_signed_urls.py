"""Files by signature, by token, and by neither."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.support.daemon import Daemon
from tests.support.http1 import Response, exchange
from tests.support.system import REFUSED, post_init, token_header

TOKEN = "t0ken-of-the-sandbox"
OCTET = {"Content-Type": "application/octet-stream"}
HOUR = 3600


@pytest.fixture(scope="module")
def guarded() -> Iterator[Daemon]:
    """A daemon whose token is TOKEN."""
    started = Daemon.start()
    yield started
    started.stop()
    assert not [line for line in started.stderr if '"level": "error"' in line or TOKEN in line]


@pytest.fixture(autouse=True)
async def token(guarded: Daemon) -> None:
    assert (await post_init(guarded.port, {"accessToken": TOKEN})).status == 204


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a file: ü"
    path.write_bytes(b"content")
    return path


def sign(path: object, operation: str = "read", username: str = "", expiration: int | None = None) -> dict[str, str]:
    """The parameters SDKs add."""
    fields = [str(path), operation, username, TOKEN, *([] if expiration is None else [str(expiration)])]
    digest = hashlib.sha256(":".join(fields).encode()).digest()
    signed = {"signature": "v1_" + base64.b64encode(digest).decode().rstrip("=")}
    return signed if expiration is None else {**signed, "signature_expiration": str(expiration)}


async def files(
    daemon: Daemon, method: str, parameters: Mapping[str, object], headers: Mapping[str, str] | None = None
) -> Response:
    """A request to /files; POST writes "new"."""
    body = {"headers": {**OCTET, **(headers or {})}, "body": b"new"} if method == "POST" else {"headers": headers or {}}
    target = "/files?" + urlencode({name: str(value) for name, value in parameters.items()})
    return await exchange(daemon.port, method, target, **body)


def refusal(response: Response) -> str:
    fields = json.loads(response.body)
    assert (response.status, fields["code"]) == (401, 401)
    return str(fields["message"])


@pytest.mark.line(61)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_neither_token_nor_signature(guarded: Daemon, file, method):
    assert refusal(await files(guarded, method, {"path": file})) == "missing signature query parameter"
    assert file.read_bytes() == b"content"


async def test_head_is_let_in_and_refused_as_get_is(guarded: Daemon, file):
    assert (await files(guarded, "HEAD", {"path": file})).status == 401
    assert (await files(guarded, "HEAD", {"path": file, **sign(file)})).status == 200
    assert (await files(guarded, "HEAD", {"path": file}, token_header(TOKEN))).status == 200


@pytest.mark.line(62)
async def test_a_signature_for_path_operation_and_user_is_enough(guarded: Daemon, file):
    response = await files(guarded, "GET", {"path": file, **sign(file)})
    assert (response.status, response.body) == (200, b"content")
    named = await files(guarded, "GET", {"path": file, "username": "root", **sign(file, username="root")})
    assert named.body == b"content"
    assert (await files(guarded, "POST", {"path": file, **sign(file, "write")})).status == 200
    assert file.read_bytes() == b"new"


@pytest.mark.line(62)
async def test_the_path_is_signed_as_it_is_written(guarded: Daemon, file):
    other = f"{file.parent}/./{file.name}"
    assert (await files(guarded, "GET", {"path": other, **sign(other)})).body == b"content"
    assert refusal(await files(guarded, "GET", {"path": other, **sign(file)})) == "invalid signature"


@pytest.mark.line(63)
@pytest.mark.parametrize(("method", "operation"), [("GET", "write"), ("POST", "read")])
async def test_a_signature_for_the_other_operation(guarded: Daemon, file, method, operation):
    answer = await files(guarded, method, {"path": file, **sign(file, operation)})
    assert refusal(answer) == "invalid signature"
    assert file.read_bytes() == b"content"


@pytest.mark.line(64)
async def test_a_signature_for_another_user_or_path(guarded: Daemon, file):
    for parameters in (
        {"path": file, "username": "root", **sign(file)},
        {"path": file, **sign(file, username="root")},
        {"path": file.parent, **sign(file)},
        {**sign(file)},
    ):
        assert refusal(await files(guarded, "GET", parameters)) == "invalid signature"


@pytest.mark.line(65)
async def test_an_expiring_signature(guarded: Daemon, file):
    now = int(time.time())
    assert (await files(guarded, "GET", {"path": file, **sign(file, expiration=now + HOUR)})).status == 200
    late = await files(guarded, "GET", {"path": file, **sign(file, expiration=now - 1)})
    assert refusal(late) == "signature is already expired"


@pytest.mark.line(66, 67)
async def test_expiration_counts_after_the_signature_and_cannot_be_left_out(guarded: Daemon, file):
    for parameters in (
        {"signature": "v1_nope", "signature_expiration": "1"},
        {"signature": sign(file, expiration=int(time.time()) + HOUR)["signature"]},
        {**sign(file), "signature_expiration": int(time.time()) + HOUR},
    ):
        assert refusal(await files(guarded, "GET", {"path": file, **parameters})) == "invalid signature"


@pytest.mark.line(68)
async def test_a_wrong_token_is_not_made_good_by_a_signature(guarded: Daemon, file):
    answer = await files(guarded, "GET", {"path": file, **sign(file)}, token_header("nope"))
    assert refusal(answer) == "access token present in header but does not match"


@pytest.mark.line(69)
async def test_the_right_token_makes_signatures_irrelevant(guarded: Daemon, file):
    garbage = {"path": file, "signature": "garbage", "signature_expiration": "1"}
    assert (await files(guarded, "GET", garbage, token_header(TOKEN))).body == b"content"


@pytest.mark.line(70)
@pytest.mark.parametrize("text", ["abc", "", "1.5", "9" * 30])
async def test_an_expiration_that_is_no_integer(guarded: Daemon, file, text):
    answer = await files(guarded, "GET", {"path": file, "signature": "v1_nope", "signature_expiration": text})
    assert answer.status == 400
    assert b"signature_expiration" in answer.body


@pytest.mark.line(71)
async def test_without_a_token_signatures_are_ignored(daemon: Daemon, file):
    assert (
        await files(daemon, "GET", {"path": file, "signature": "garbage", "signature_expiration": "1"})
    ).status == 200


@pytest.mark.line(72)
async def test_a_padded_signature(guarded: Daemon, file):
    padded = {"path": file, "signature": sign(file)["signature"] + "="}
    assert refusal(await files(guarded, "GET", padded)) == "invalid signature"


async def test_a_signature_is_looked_at_before_users_and_paths(guarded: Daemon):
    parameters = {"path": "/no/such/file", "username": "no-such-user", "signature": "v1_nope"}
    assert refusal(await files(guarded, "GET", parameters)) == "invalid signature"


async def test_joining_files_takes_no_signature(guarded: Daemon, file):
    target = "/files/compose?" + urlencode({"path": str(file), **sign(file, "write")})
    assert refusal(await exchange(guarded.port, "POST", target, body=b"{}")) == REFUSED
