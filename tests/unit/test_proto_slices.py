"""Large binary messages are parsed in slices, and come to what they come to at once."""

from __future__ import annotations

import random

import pytest
from google.protobuf.message import DecodeError

from envd.transport import proto_slices
from envd_proto.filesystem.filesystem_pb2 import WriteFileRequest
from envd_proto.process.process_pb2 import StartRequest
from envd_proto.system.system_pb2 import InitRequest

MOST = 200_000


def start_of(count: int) -> StartRequest:
    request = StartRequest(tag="tag", stdin=True, idempotency_key="key")
    request.process.cmd = "command"
    request.process.args.extend(f"argument {number}" for number in range(count))
    for number in range(count):
        request.process.envs[f"name {number}"] = "x" * (number % 300)
    request.pty.size.cols = 3
    return request


@pytest.mark.parametrize("count", [3000, 40_000])
def test_a_message_of_many_elements_is_the_same_in_slices(count: int):
    request = start_of(count)
    data = request.SerializeToString()
    assert proto_slices.is_of_many(data, StartRequest)
    assert proto_slices.parse(data, StartRequest, MOST) == request


def test_fields_that_come_again_and_unknown_ones_are_taken_as_the_library_takes_them():
    one, other = start_of(2000), start_of(2500)
    other.process.cmd = "another"
    unknown = b"\xfa\xff\x07\x03abc\xf0\xff\x07\x05\xf5\xff\x07abcd\xf1\xff\x07abcdefgh"
    data = unknown + one.SerializeToString() + unknown + other.SerializeToString() + unknown
    found = proto_slices.parse(data, StartRequest, MOST)
    assert found == StartRequest.FromString(data)
    assert (len(found.process.args), found.process.cmd) == (4500, "another")


@pytest.mark.parametrize("message", [WriteFileRequest(content=b"x" * 4_000_000), start_of(10)])
def test_what_is_small_or_of_few_elements_is_parsed_at_once(message: WriteFileRequest | StartRequest):
    assert not proto_slices.is_of_many(message.SerializeToString(), type(message))


def test_the_number_of_elements_is_bounded_wherever_they_are():
    request = InitRequest()
    for number in range(1001):
        request.env_vars.values[f"{number}"] = "x" * 70
    data = request.SerializeToString()
    assert len(proto_slices.parse(data, InitRequest, 1001).env_vars.values) == 1001
    with pytest.raises(proto_slices.TooManyElementsError):
        proto_slices.parse(data, InitRequest, 1000)


def test_what_is_no_message_is_none_in_slices_either():
    whole = start_of(1000).SerializeToString()
    chance = random.Random(1)
    for _ in range(200):
        data = bytearray(whole[: chance.randrange(70_000, len(whole))] if chance.random() < 0.5 else whole)
        for _ in range(chance.randrange(3)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            expected = StartRequest.FromString(bytes(data))
        except DecodeError:
            with pytest.raises(DecodeError):
                proto_slices.parse(bytes(data), StartRequest, MOST)
            continue
        try:
            assert proto_slices.parse(bytes(data), StartRequest, MOST) == expected
        except DecodeError as refused:
            assert "groups" in str(refused)  # noqa: PT017 - the one thing that is not taken


@pytest.mark.parametrize(
    "data", [b"", b"\xff" * 100_000, b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" + bytes(70_000)]
)
def test_nonsense_is_refused_or_nothing(data: bytes):
    if not data:
        assert not proto_slices.is_of_many(data, StartRequest)
        return
    with pytest.raises(DecodeError):
        proto_slices.parse(data, StartRequest, MOST)
