"""What is sent to a peer that has sent its end, to learn whether it is still there."""

from __future__ import annotations

from typing import cast

from envd.transport.ack_tracking import AckTracker
from envd.transport.body import RequestBody
from envd.transport.exchange import Exchange, Head

_DIGITS = 16  # some clients take no more for the size of a chunk


class Wire:
    def __init__(self) -> None:
        self.acks = cast("AckTracker", None)  # nothing here asks how far a peer is
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    async def drain(self) -> None: ...

    def vouch(self) -> None: ...

    async def send_file(self, *_: object) -> None: ...


def exchange_on(wire: Wire) -> Exchange:
    body = RequestBody(lambda _: None, lambda: None)
    body.finish()
    return Exchange(wire, Head("GET", "/", "", {}, http11=True), body, keep_alive=False)


def test_a_stream_is_probed_by_zeros_that_every_parser_takes():
    exchange = exchange_on(wire := Wire())
    exchange.begin(200, ())
    exchange.write([b"one"])
    for _ in range(100):
        exchange.probe_again()
    exchange.write([b"x" * 131_072])
    exchange.probe_again()
    exchange.finish([])
    head, _, body = wire.written.partition(b"\r\n\r\n")
    first, one, second, _, last, *_ = body.split(b"\r\n")
    assert (first, one, int(second, 16), last) == (b"3", b"one", 131_072, b"00")
    assert second.startswith(b"00")
    assert len(second) <= _DIGITS


def test_one_answer_is_probed_by_interim_responses_in_bounded_number():
    exchange = exchange_on(wire := Wire())
    for _ in range(100):
        exchange.probe_again()
    exchange.respond(204)
    *interim, answer, end = wire.written.split(b"\r\n\r\n")
    assert set(interim) == {b"HTTP/1.1 100 Continue"}
    assert 1 < len(interim) <= 10
    assert (answer.split()[1], end) == (b"204", b"")
