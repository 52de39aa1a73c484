"""Frames of a stream: what is read out of a body, however it arrives."""

from __future__ import annotations

import asyncio
import gzip
import struct

import pytest

from envd.errors import Code, EnvdError
from envd.transport.body import RequestBody
from envd.transport.envelope import COMPRESSED, END_STREAM, frame, frames, read_payloads

LIMIT = 1000


class Sender:
    """A body and what its reader asked of the socket."""

    def __init__(self) -> None:
        self.flow: list[bool] = []
        self.body = RequestBody(self.flow.append, lambda: None)


def prefix(flags: int, size: int) -> bytes:
    return struct.pack(">BI", flags, size)


async def read(body: RequestBody, *, packed: bool = False) -> list[bytes]:
    async with asyncio.timeout(60):
        return [payload async for payload in read_payloads(body, LIMIT, gzip=packed)]


def whole(data: bytes) -> RequestBody:
    body = Sender().body
    body.feed(data)
    body.finish()
    return body


async def refused(data: bytes, *, packed: bool = False) -> EnvdError:
    with pytest.raises(EnvdError) as error:
        await read(whole(data), packed=packed)
    return error.value


def test_a_frame_is_flags_length_and_payload():
    assert frame(b"abc") == b"\0\0\0\0\3abc"
    assert frame(b"", END_STREAM) == b"\2\0\0\0\0"
    assert b"".join(frames([b"a", b"bc"])) == b"\0\0\0\0\1a\0\0\0\0\2bc"


def test_a_compressed_frame_says_so():
    packed = frame(b"abc", END_STREAM, gzip=True)
    assert packed[0] == COMPRESSED | END_STREAM
    assert gzip.decompress(packed[5:]) == b"abc"
    [head, payload] = frames([b"abc" * 100], gzip=True)
    assert (head[0], struct.unpack(">I", head[1:])[0]) == (COMPRESSED, len(payload))


async def test_messages_come_out_as_they_went_in():
    payloads = [b"", b"a", b"b" * LIMIT, b"c"]
    assert await read(whole(b"".join(frames(payloads)))) == payloads


async def test_an_empty_body_has_no_messages():
    assert await read(whole(b"")) == []


async def test_frames_that_arrive_in_single_bytes_are_the_same():
    sender, payloads = Sender(), [b"first", b"", b"second"]
    reading = asyncio.create_task(read(sender.body))
    for byte in b"".join(frames(payloads)):
        sender.body.feed(bytes([byte]))
        await asyncio.sleep(0)
    sender.body.finish()
    assert await reading == payloads


async def test_a_message_is_there_before_the_next_has_arrived():
    sender = Sender()
    sender.body.feed(frame(b"first") + b"\0\0")
    async with asyncio.timeout(60):
        assert await anext(aiter(read_payloads(sender.body, LIMIT, gzip=False))) == b"first"


@pytest.mark.parametrize("size", [1, 4, 5, 9])
async def test_a_body_that_ends_inside_a_frame_is_invalid(size):
    error = await refused(frame(b"hello")[:size])
    assert error.code == Code.INVALID_ARGUMENT
    assert "incomplete envelope" in error.message


@pytest.mark.parametrize("size", [LIMIT + 1, 2**32 - 1])
async def test_a_frame_that_claims_too_much_is_refused_before_it_arrives(size):
    sender = Sender()
    sender.body.feed(prefix(0, size))
    with pytest.raises(EnvdError) as error:
        await read(sender.body)
    assert error.value.code == Code.RESOURCE_EXHAUSTED
    assert str(size) in error.value.message


@pytest.mark.parametrize("flags", [END_STREAM, 4, 0x80, 0xFF])
async def test_unknown_flags_are_refused(flags):
    error = await refused(prefix(flags, 1) + b"x")
    assert error.code == Code.INVALID_ARGUMENT
    assert f"{flags:#04x}" in error.message


async def test_a_compressed_message_is_unpacked():
    assert await read(whole(frame(b"hello", gzip=True) + frame(b"plain")), packed=True) == [b"hello", b"plain"]


async def test_a_compressed_message_that_was_not_announced_is_refused():
    assert (await refused(frame(b"hello", gzip=True))).code == Code.INTERNAL


async def test_a_small_frame_that_unpacks_to_too_much_is_refused():
    bomb = frame(bytes(50 * LIMIT), gzip=True)
    assert len(bomb) < LIMIT
    assert (await refused(bomb, packed=True)).code == Code.RESOURCE_EXHAUSTED


async def test_one_that_unpacks_to_just_enough_is_read():
    assert await read(whole(frame(bytes(LIMIT), gzip=True)), packed=True) == [bytes(LIMIT)]


@pytest.mark.parametrize("spoil", [lambda data: data[:-3], lambda data: b"x" + data, lambda data: data + b"x"])
async def test_what_is_no_gzip_is_invalid(spoil):
    packed = spoil(gzip.compress(b"hello"))
    error = await refused(prefix(COMPRESSED, len(packed)) + packed, packed=True)
    assert error.code == Code.INVALID_ARGUMENT


async def test_a_connection_that_breaks_fails_the_reader_that_waits():
    sender = Sender()
    reading = asyncio.create_task(read(sender.body))
    await asyncio.sleep(0)
    sender.body.fail(EnvdError(Code.UNAVAILABLE, "gone"))
    with pytest.raises(EnvdError) as error:
        await reading
    assert error.value.code == Code.UNAVAILABLE


# The body below the frames.


async def test_a_body_nobody_reads_stops_the_socket_and_reading_it_lets_it_go_on():
    sender = Sender()
    sender.body.feed(bytes(256 * 1024))
    assert sender.flow == []
    sender.body.feed(b"x")
    sender.body.feed(b"x")
    assert sender.flow == [True]
    await sender.body.read_exactly(64 * 1024)
    assert sender.flow == [True]
    await sender.body.read_exactly(128 * 1024)
    assert sender.flow == [True, False]


async def test_a_message_larger_than_the_buffer_still_arrives():
    sender, size = Sender(), 1024 * 1024
    reading = asyncio.create_task(sender.body.read_exactly(size))
    for _ in range(size // 65536):
        await asyncio.sleep(0)
        assert sender.flow.count(True) == sender.flow.count(False), "the socket stands still though more is needed"
        sender.body.feed(bytes(65536))
    async with asyncio.timeout(60):
        assert len(await reading) == size


async def test_a_whole_body_up_to_its_limit_is_read_and_a_larger_one_refused():
    assert await whole(b"x" * LIMIT).read_all(LIMIT) == b"x" * LIMIT
    with pytest.raises(EnvdError) as error:
        await whole(b"x" * (LIMIT + 1)).read_all(LIMIT)
    assert error.value.code == Code.RESOURCE_EXHAUSTED


async def test_what_is_left_of_a_body_is_skipped_up_to_a_limit():
    assert await whole(b"x" * LIMIT).discard(LIMIT)
    sender = Sender()
    sender.body.feed(b"x" * (LIMIT + 1))
    assert not await sender.body.discard(LIMIT)
