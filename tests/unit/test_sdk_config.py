"""Where the SDK finds control planes and sandboxes."""

from __future__ import annotations

import pytest

from envd_sdk import ConnectionConfig, InvalidArgumentException
from envd_sdk._wire.address import address_from

ENVIRONMENT = ("E2B_API_KEY", "E2B_DOMAIN", "E2B_DEBUG", "E2B_ACCESS_TOKEN", "E2B_API_URL", "E2B_SANDBOX_URL")


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)


def test_what_is_not_given_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("E2B_API_KEY", "key")
    monkeypatch.setenv("E2B_ACCESS_TOKEN", "token")
    monkeypatch.setenv("E2B_DOMAIN", "example.org")
    found = ConnectionConfig()
    assert (found.api_key, found.access_token, found.domain) == ("key", "token", "example.org")
    assert (found.debug, found.api_url, found.sandbox_url) == (False, "https://api.example.org", None)
    given = ConnectionConfig(api_key="other", domain="other.org", headers={"A": "b"}, proxy="http://proxy:1")
    assert (given.api_key, given.api_url, given.headers, given.proxy) == (
        "other",
        "https://api.other.org",
        {"A": "b"},
        "http://proxy:1",
    )


def test_what_nobody_says_has_its_default():
    found = ConnectionConfig()
    assert (found.domain, found.debug, found.api_key, found.request_timeout) == ("e2b.app", False, None, 30.0)
    assert ConnectionConfig(request_timeout=0).request_timeout is None
    assert ConnectionConfig(request_timeout=5).get_request_timeout() == 5
    with pytest.raises(InvalidArgumentException):
        ConnectionConfig(request_timeout=-1)


@pytest.mark.parametrize("text", ["true", "True", "TRUE"])
def test_debug_mode_is_on_this_machine(monkeypatch, text):
    monkeypatch.setenv("E2B_DEBUG", text)
    found = ConnectionConfig()
    assert (found.debug, found.api_url) == (True, "http://localhost:3000")
    assert found.address("id", None, None).target == "localhost:49983"
    assert found.get_host("id", None, 80) == "localhost:80"


def test_a_sandbox_has_a_name_below_its_domain():
    found = ConnectionConfig(domain="example.org")
    address = found.address("abc", None, "secret")
    assert (address.target, address.tls) == ("49983-abc.example.org:443", True)
    assert found.address("abc", "other.org", None).target == "49983-abc.other.org:443"
    assert found.get_host("abc", None, 3000) == "3000-abc.example.org"
    headers = dict(address.headers("me"))
    assert headers == {
        "e2b-sandbox-id": "abc",
        "e2b-sandbox-port": "49983",
        "x-access-token": "secret",
        "authorization": "Basic bWU6",
    }
    assert "secret" not in repr(address)


def test_one_address_may_stand_for_every_sandbox():
    found = ConnectionConfig(sandbox_url="http://proxy:3002", sandbox_headers={"X-More": "1"})
    address = found.address("abc", None, None)
    assert (address.target, address.tls, address.url) == ("proxy:3002", False, "http://proxy:3002")
    assert dict(address.headers(None)) == {"e2b-sandbox-id": "abc", "e2b-sandbox-port": "49983", "x-more": "1"}
    with pytest.raises(InvalidArgumentException, match="sandbox_url"):
        ConnectionConfig(sandbox_url="ftp://proxy").address("abc", None, None)


def test_arguments_are_used_instead_of_a_configuration():
    config = ConnectionConfig(domain="example.org", api_key="key", request_timeout=7)
    assert ConnectionConfig.of(config, None, None, None, {}) is config
    found = ConnectionConfig.of(config, "other", None, None, {"request_timeout": 0})
    assert (found.api_key, found.domain, found.request_timeout) == ("other", "example.org", None)
    moved = ConnectionConfig.of(config, None, "other.org", None, {})
    assert (moved.api_url, moved.request_timeout) == ("https://api.other.org", 7)


@pytest.mark.parametrize(
    ("text", "target", "tls", "url"),
    [
        ("127.0.0.1:5", "127.0.0.1:5", False, "http://127.0.0.1:5"),
        ("http://localhost", "localhost:80", False, "http://localhost:80"),
        ("https://host", "host:443", True, "https://host:443"),
        ("http://[::1]:5/ignored", "[::1]:5", False, "http://[::1]:5"),
        ("unix:/run/envd.sock", "unix:/run/envd.sock", False, ""),
        ("unix:///run/envd.sock", "unix:/run/envd.sock", False, ""),
    ],
)
def test_addresses_are_read(text, target, tls, url):
    found = address_from(text)
    assert (found.target, found.tls, found.url) == (target, tls, url)
    assert found.local is not tls


@pytest.mark.parametrize("text", ["", "ftp://host", "unix:relative", "http://", "localhost", "::1"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match="no address"):
        address_from(text)
