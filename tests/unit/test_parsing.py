"""Request heads: what is understood, what is refused, and that nothing grows without bound."""

from __future__ import annotations

import pytest

from envd.transport.body import RequestBody
from envd.transport.exchange import Head
from envd.transport.parsing import BadRequestError, Parser

HEADER_BYTES = 4096


class Requests:
    """What a parser made of the bytes it was fed."""

    def __init__(self) -> None:
        self.heads: list[Head] = []
        self.keep_alive: list[bool] = []
        self.bodies: list[RequestBody] = []
        self.parser = Parser(self._request, HEADER_BYTES)

    def _request(self, parser: Parser) -> RequestBody:
        self.heads.append(parser.head())
        self.keep_alive.append(parser.keep_alive)
        self.bodies.append(RequestBody(lambda _: None, lambda: None))
        return self.bodies[-1]

    async def content(self) -> list[bytes]:
        return [await body.read_all(1 << 20) for body in self.bodies]


def parsed(data: bytes, *, step: int | None = None) -> Requests:
    requests = Requests()
    step = step or len(data)
    for at in range(0, len(data), step):
        requests.parser.feed(data[at : at + step])
    return requests


def refused(data: bytes, *, step: int | None = None) -> BadRequestError:
    with pytest.raises(BadRequestError) as error:
        parsed(data, step=step)
    return error.value


POST = b"POST /a%20b/c?x=%20 HTTP/1.1\r\nHost: h\r\nX-One: 1\r\nx-one: 2\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nTrailer: t\r\n\r\n"


@pytest.mark.parametrize("step", [None, 1, 7])
async def test_a_request_is_its_method_path_query_headers_and_body(step):
    requests = parsed(POST, step=step)
    headers = {"host": "h", "x-one": "1, 2", "content-length": "5"}
    assert requests.heads == [Head("POST", "/a b/c", "x=%20", headers, http11=True)]
    assert requests.keep_alive == [True]
    assert await requests.content() == [b"hello"]


@pytest.mark.parametrize("step", [None, 1, 7])
async def test_requests_follow_one_another(step):
    requests = parsed(POST + CHUNKED + POST, step=step)
    assert [head.path for head in requests.heads] == ["/a b/c", "/c", "/a b/c"]
    assert await requests.content() == [b"hello", b"abcde", b"hello"]
    assert "trailer" not in requests.heads[1].headers


@pytest.mark.parametrize(
    ("line", "keep"),
    [
        (b"GET / HTTP/1.1\r\n", True),
        (b"GET / HTTP/1.1\r\nConnection: close\r\n", False),
        (b"GET / HTTP/1.0\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n", True),
    ],
)
def test_whether_the_connection_is_kept(line, keep):
    assert parsed(line + b"\r\n").keep_alive == [keep]


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"http://host:1/a?b", "/a", "b"),
        (b"http://host", "/", ""),
        (b"*", "*", ""),
        (b"/%C3%A9", "/é", ""),
        (b"/%ff", "/\ufffd", ""),
        (b"/a%3Fb?c", "/a?b", "c"),
        (b"//a", "//a", ""),
    ],
)
def test_targets(target, path, query):
    [head] = parsed(b"OPTIONS " + target + b" HTTP/1.1\r\n\r\n").heads
    assert (head.path, head.query) == (path, query)


@pytest.mark.parametrize("step", [None, 1, 5])
@pytest.mark.parametrize(
    "body", [b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]
)
async def test_an_upgrade_is_ignored_and_its_body_read(step, body):
    upgrade = b"POST /u HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
    requests = parsed(upgrade + body + POST, step=step)
    assert [head.path for head in requests.heads] == ["/u", "/a b/c"]
    assert await requests.content() == [b"hello", b"hello"]


async def test_an_upgrade_without_a_body_is_complete():
    requests = parsed(b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + POST)
    assert await requests.content() == [b"", b"hello"]


# Refused.


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA\0B: c\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: five\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        (b"CONNECT host:1 HTTP/1.1\r\n\r\n", 405),
        (b"GET / HTTP/9.9\r\n\r\n", None),
    ],
)
@pytest.mark.parametrize("step", [None, 1])
def test_what_is_no_request_is_refused(data, status, step):
    assert refused(data, step=step).status == (status or refused(data).status)
    assert refused(data, step=step).status in (400, 405, 505)


@pytest.mark.parametrize("step", [100, 1000])
@pytest.mark.parametrize(
    "endless",
    [
        b"GET /" + b"x" * 100_000,
        b"GET / HTTP/1.1\r\nA: " + b"x" * 100_000,
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20_000,
        b"GET / HTTP/1.1\r\n" + b"x" * 100_000,
        b"\r\n" * 50_000,
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 100_000,
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"A: b\r\n" * 20_000,
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 100_000,
    ],
    ids=["target", "value", "headers", "name", "blank lines", "chunk extension", "trailers", "chunk size"],
)
def test_nothing_but_a_body_may_go_on_for_ever(endless, step):
    """It is given up soon after the bound, not at the end."""
    soon = endless[: HEADER_BYTES + 2 * step + 100]
    assert refused(soon, step=step).status in (400, 431)


def test_a_head_just_below_the_bound_is_read():
    line = b"GET / HTTP/1.1\r\nA: "
    assert parsed(line + b"x" * (HEADER_BYTES - len(line) - 4) + b"\r\n\r\n", step=64).heads


async def test_a_body_may_be_much_larger_than_a_head():
    size = 50 * HEADER_BYTES
    requests = parsed(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size + bytes(size) + POST, step=1000)
    assert [len(body) for body in await requests.content()] == [size, 5]


async def test_each_request_has_the_bound_anew():
    head = b"GET / HTTP/1.1\r\nA: " + b"x" * (HEADER_BYTES // 2) + b"\r\n\r\n"
    assert len(parsed(head * 10, step=333).heads) == 10


def test_it_says_whether_it_is_inside_a_head_or_a_body():
    requests = Requests()
    states = []
    for piece in (b"GE", b"T / HTTP/1.1\r\nA:", b" b\r\nContent-Length: 2\r\n\r\n", b"x", b"y", b"P"):
        requests.parser.feed(piece)
        states.append((requests.parser.in_head, requests.parser.in_body))
    inside_head, inside_body, between = (True, False), (False, True), (False, False)
    assert states == [inside_head, inside_head, inside_body, inside_body, between, inside_head]
