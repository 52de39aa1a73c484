"""The access token and signed URLs, without a wire."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from envd.errors import Code, EnvdError
from envd.host.access import EXEMPT, REFUSED, Access

TOKEN = "s3cret-t0ken"
NOW = 1_700_000_000


def with_token(token: str | None = TOKEN) -> Access:
    access = Access(now=lambda: NOW + 0.9)
    access.replace(token)
    return access


def sign(*fields: object, token: str = TOKEN, expiration: object = None) -> str:
    """A signature for path, operation and user, as SDKs make it."""
    text = ":".join(map(str, [*fields, token, *([] if expiration is None else [expiration])]))
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
    return "v1_" + base64.b64encode(digest).decode().rstrip("=")


def transfer(access: Access | None = None, **given: Any) -> None:
    """Check a transfer; what is not given is absent."""
    absent = dict.fromkeys(("path", "username", "header", "signature", "expiration"))
    (access or with_token()).allow_file(**{"operation": "read", **absent, **given})


def refusal_of(access: Access | None = None, **given: Any) -> tuple[Code, str]:
    with pytest.raises(EnvdError) as error:
        transfer(access, **given)
    return error.value.code, error.value.message


def unauthenticated(message: str) -> tuple[Code, str]:
    return Code.UNAUTHENTICATED, message


INVALID = unauthenticated("invalid signature")


def test_without_a_token_everything_is_allowed():
    access = Access()
    assert not access.required
    access.allow("POST", "/process.Process/Start", None)
    access.allow("GET", "/metrics", "anything")


def test_with_a_token_only_the_token_is_allowed():
    access = with_token()
    assert access.required
    access.allow("GET", "/metrics", TOKEN)
    for given in (None, "", "nope", TOKEN[:-1], TOKEN + " ", f"{TOKEN}\n", f"{TOKEN}, {TOKEN}", "\xff", "\u20ac"):
        with pytest.raises(EnvdError) as error:
            access.allow("GET", "/metrics", given)
        assert (error.value.code, error.value.message) == unauthenticated(REFUSED)


@pytest.mark.parametrize(("method", "path"), sorted(EXEMPT))
def test_what_is_exempt_needs_no_token(method, path):
    with_token().allow(method, path, None)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/health"),
        ("HEAD", "/health"),
        ("GET", "/health/"),
        ("GET", "//health"),
        ("GET", "/HEALTH"),
        ("GET", "/files/../metrics"),
        ("GET", "/files/"),
        ("PUT", "/files"),
        ("POST", "/files/compose"),
        ("GET", "/init"),
        ("GET", "/system.System/Init"),
        ("POST", "/system.System/Info"),
        ("GET", "*"),
    ],
)
def test_what_only_resembles_the_exempt_needs_it(method, path):
    with pytest.raises(EnvdError):
        with_token().allow(method, path, None)


def test_a_token_beyond_ascii_is_compared_by_its_bytes():
    access = with_token("schlüssel")
    access.allow("GET", "/metrics", "schlüssel".encode().decode("latin-1"))
    assert access.is_token("schlüssel")
    with pytest.raises(EnvdError):
        access.allow("GET", "/metrics", "schlüssel")


def test_a_token_that_is_taken_away_is_none():
    access = with_token()
    access.replace(None)
    assert not access.required
    assert not access.is_token(TOKEN)
    access.allow("GET", "/metrics", None)


def test_the_token_is_not_shown():
    assert TOKEN not in repr(with_token())


def test_a_transfer_without_token_header_or_signature_is_refused():
    assert refusal_of() == unauthenticated("missing signature query parameter")
    assert refusal_of(header="") == unauthenticated("missing signature query parameter")


@pytest.mark.parametrize("username", [None, "", "user"])
@pytest.mark.parametrize("path", [None, "", "a.txt", "~/a b", "/ü", "/\udcff", "/a:b"])
def test_a_signature_for_path_operation_and_user_is_enough(path, username):
    transfer(path=path, username=username, signature=sign(path or "", "read", username or ""))


@pytest.mark.parametrize(
    "signature",
    [
        sign("/b", "read", "user"),
        sign("/a", "write", "user"),
        sign("/a", "read", "root"),
        sign("/a", "read", ""),
        sign("/a", "read", "user", token="another"),
        sign("/a", "read", "user", expiration=NOW + 5),
        sign("/a", "read", "user").removeprefix("v1_"),
        sign("/a", "read", "user") + "=",
        "",
        "v1_\xff\n",
        "v1_\udcff",
    ],
)
def test_a_signature_for_anything_else_is_invalid(signature):
    transfer(path="/a", username="user", signature=sign("/a", "read", "user"))
    assert refusal_of(path="/a", username="user", signature=signature) == INVALID


def test_reading_and_writing_are_signed_apart():
    transfer(operation="write", signature=sign("", "write", ""))
    assert refusal_of(operation="write", signature=sign("", "read", "")) == INVALID


def test_an_expiring_signature_is_valid_to_the_end_of_its_last_second():
    transfer(signature=sign("", "read", "", expiration=NOW), expiration=str(NOW))
    late = {"signature": sign("", "read", "", expiration=NOW - 1), "expiration": str(NOW - 1)}
    assert refusal_of(**late) == unauthenticated("signature is already expired")


def test_the_signature_is_looked_at_before_its_time():
    assert refusal_of(signature="v1_nope", expiration="1") == INVALID


def test_an_expiration_that_is_left_out_or_changed_invalidates():
    signature = sign("", "read", "", expiration=NOW + 60)
    transfer(signature=signature, expiration=str(NOW + 60))
    assert refusal_of(signature=signature) == INVALID
    assert refusal_of(signature=signature, expiration=str(NOW + 61)) == INVALID


def test_a_wrong_header_is_not_made_good_by_a_signature():
    wrong = refusal_of(header="nope", signature=sign("", "read", ""))
    assert wrong == unauthenticated("access token present in header but does not match")


def test_the_right_header_makes_signatures_irrelevant():
    transfer(header=TOKEN, signature="garbage", expiration="1")


@pytest.mark.parametrize("text", ["", "abc", "1.5", "0x10", "1_000", " 1", "1\n", "9" * 19, "9" * 40, "\u0661"])
@pytest.mark.parametrize("header", [None, TOKEN])
def test_an_expiration_that_is_no_integer_is_the_clients_mistake(text, header):
    code, message = refusal_of(expiration=text, header=header, signature="v1_nope")
    assert code is Code.INVALID_ARGUMENT
    assert message.startswith("Invalid format for parameter signature_expiration: ")
    assert message.isascii()


def test_an_expiration_is_signed_as_the_number_it_is():
    transfer(signature=sign("", "read", "", expiration=NOW + 5), expiration=f"+00{NOW + 5}")


def test_without_a_token_signatures_are_irrelevant():
    transfer(Access(), signature="garbage", expiration="1", header="nope")
