"""What a client says of its windows, read out of its frames wherever the network cuts them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from itertools import pairwise

import pytest

from envd.transport.ack_tracking import AckTracker, StreamAckTracker
from envd.transport.http2 import Conversation, FromClient, FromServer, Streams
from tests.support.http2 import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    PADDED,
    PREFACE,
    RST_STREAM,
    WINDOW_UPDATE,
    call_fields,
    h2_frame,
    settings,
)

KIB = 1024
SLACK = 256 * KIB
SENT = 900 * KIB


class Granted(StreamAckTracker):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.grants: list[int] = []

    def granted(self, size: int) -> None:
        self.grants.append(size)


class Both:
    """Both directions of a connection."""

    def __init__(self, acks: AckTracker) -> None:
        self.conversation = Conversation(Streams(), acks)
        self.client = FromClient(self.conversation, 64 * KIB)
        self.server = FromServer(self.conversation)

    def stream(self, number: int) -> StreamAckTracker:
        return self.conversation._open[number]

    def watch(self, number: int) -> Granted:
        """From now on a stream keeps what the client grants it."""
        self.conversation._open[number] = watched = Granted()
        return watched


@pytest.fixture
def both() -> Iterator[Both]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Both(AckTracker(ours))


def grant(stream: int, size: int) -> bytes:
    return h2_frame(WINDOW_UPDATE, struct.pack(">I", size), stream=stream)


def opened(stream: int) -> bytes:
    return h2_frame(HEADERS, call_fields("process.Process/Connect"), flags=END_HEADERS, stream=stream)


BEGIN = PREFACE + settings((INITIAL_WINDOW_SIZE, 1 << 20)) + grant(0, 1 << 30) + opened(1) + opened(3)
# Grants for two streams, one that is not open and the whole connection, one with the reserved bit set, between others.
GRANTS = (
    grant(1, 5)
    + h2_frame(DATA, b"\0\0\4\x08" * 5, stream=1)
    + grant(3, 1 << 20)
    + grant(5, 77)
    + grant(0, 99)
    + settings((INITIAL_WINDOW_SIZE, 1 << 22))
    + grant(1, 1 << 31 | 70_000)
    + h2_frame(DATA, b"more", stream=3)
)


@pytest.mark.parametrize("at", range(len(GRANTS) + 1))
def test_grants_are_read_wherever_they_are_cut_and_passed_on_unchanged(both: Both, at: int):
    both.client.feed(BEGIN)
    first, third = both.watch(1), both.watch(3)
    passed = both.client.feed(GRANTS[:at]) + both.client.feed(GRANTS[at:])
    assert passed == GRANTS
    assert (first.grants, third.grants) == ([5, 70_000], [1 << 20])


def test_grants_are_read_byte_by_byte(both: Both):
    both.client.feed(BEGIN)
    first, third = both.watch(1), both.watch(3)
    passed = b"".join(both.client.feed(GRANTS[at:end]) for at, end in pairwise(range(len(GRANTS) + 1)))
    assert passed == GRANTS
    assert (first.grants, third.grants) == ([5, 70_000], [1 << 20])


@pytest.mark.parametrize("payload", [b"", b"abc", b"abcde"])
def test_a_grant_of_no_such_size_is_left_to_the_server(both: Both, payload: bytes):
    both.client.feed(BEGIN)
    first = both.watch(1)
    odd = h2_frame(WINDOW_UPDATE, payload, stream=1)
    assert both.client.feed(odd) == odd
    assert first.grants == []


def test_both_directions_together_tell_what_was_consumed(both: Both):
    both.client.feed(BEGIN)
    acks = both.conversation.acks
    for _ in range(10):
        for stream in (1, 3):
            acks.writing(len(both.server.feed(h2_frame(DATA, bytes(SENT), stream=stream))))
        acks.flushed()
        both.client.feed(grant(1, SENT))
    assert both.stream(1).acknowledged() == both.stream(3).acknowledged() == 10 * SENT
    assert both.stream(1).consumed() == 9 * SENT - SLACK
    assert both.stream(3).consumed() == 0


@pytest.mark.parametrize("cut", [None, *range(1, 60)])
def test_a_stream_is_whole_once_the_client_says_that_it_sends_no_more(both: Both, cut: int | None):
    both.client.feed(BEGIN)
    first, third = both.stream(1), both.stream(3)
    last = h2_frame(DATA, b"more", stream=3) + h2_frame(DATA, b"the last of it", flags=END_STREAM, stream=1)
    both.client.feed(last[:cut])
    both.client.feed(last[cut:] if cut is not None else b"")
    assert (first.complete, third.complete) == (True, False)


def test_a_request_without_a_body_is_whole(both: Both):
    both.client.feed(BEGIN)
    fields = call_fields("process.Process/StreamInput")
    both.client.feed(h2_frame(HEADERS, fields, flags=END_HEADERS | END_STREAM, stream=5))
    both.client.feed(opened(7))
    assert (both.stream(5).complete, both.stream(7).complete) == (True, False)


def test_a_stream_that_is_reset_is_not_whole(both: Both):
    both.client.feed(BEGIN)
    first = both.stream(1)
    both.client.feed(h2_frame(DATA, b"half", stream=1) + h2_frame(RST_STREAM, bytes(4), stream=1))
    assert not first.complete


def test_what_the_client_sends_of_a_stream_is_counted_with_its_padding(both: Both):
    both.client.feed(BEGIN)
    first = both.stream(1)
    both.client.feed(h2_frame(DATA, bytes(1000), stream=1) + h2_frame(DATA, bytes(10), stream=3))
    assert first.received == 1000
    padded = h2_frame(DATA, b"\x09" + bytes(20 + 9), flags=END_STREAM | PADDED, stream=1)
    for at in range(len(padded)):
        both.client.feed(padded[at : at + 1])
    assert (first.received, first.complete) == (1030, True)
