"""What the encoders write is, byte for byte, what protobuf's library writes."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from envd.chunk_encoder import ChunkEncoder, EncodedChunks
from envd.message_encoder import Kind, MessageEncoder, Values
from envd.process.events import PTY, STDERR, STDOUT, Run
from envd.services.filesystem.search import encoding as search_encoding
from envd.services.process.messages import encoded_output
from envd.services.pty.messages import encoded_output as encoded_terminal_output
from envd_proto.filesystem import archive_pb2, filesystem_pb2, search_pb2, uploads_pb2
from envd_proto.process import process_pb2
from envd_proto.pty import pty_pb2
from envd_proto.system import system_pb2
from tests.support.message_tables import fields_of

FILES = (archive_pb2, filesystem_pb2, search_pb2, uploads_pb2, process_pb2, pty_pb2, system_pb2)
TEXTS = ("x", "", 'é"\\\n\t\x00\x7f</', "\u2028😀", "long " * 60)
NUMBERS = (0, 1, 127, 128, 300, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1, -1, -(2**31), -(2**63))
SIZES = (0, 1, 2, 3, 130, 40_000)
RANGES = {3: (-(2**63), 2**63), 4: (0, 2**64), 5: (-(2**31), 2**31), 13: (0, 2**32)}


def messages_of(descriptors: Any) -> Iterator[Any]:
    for descriptor in descriptors:
        if not descriptor.GetOptions().map_entry:
            yield descriptor
        yield from messages_of(descriptor.nested_types)


MESSAGES = [each for file in FILES for each in messages_of(file.DESCRIPTOR.message_types_by_name.values())]


def is_described(descriptor: Any) -> bool:
    try:
        fields_of(descriptor)
    except TypeError:
        return False
    return True


DESCRIBED = [descriptor for descriptor in MESSAGES if is_described(descriptor)]


def filled(descriptor: Any, chance: random.Random) -> Message:
    message = GetMessageClass(descriptor)()
    for field in descriptor.fields:
        if chance.random() < 0.3:
            continue
        if field.is_repeated:
            for _ in range(chance.randrange(4)):
                add(getattr(message, field.name), field, chance)
        elif field.message_type is not None:
            getattr(message, field.name).CopyFrom(filled(field.message_type, chance))
        else:
            setattr(message, field.name, scalar(field, chance))
    return message


def add(values: Any, field: Any, chance: random.Random) -> None:
    values.append(scalar(field, chance) if field.message_type is None else filled(field.message_type, chance))


def scalar(field: Any, chance: random.Random) -> Any:
    if field.type == field.TYPE_STRING:
        return chance.choice(TEXTS)
    if field.type == field.TYPE_BYTES:
        return chance.randbytes(chance.choice(SIZES))
    if field.type == field.TYPE_BOOL:
        return chance.random() < 0.5
    if field.type == field.TYPE_ENUM:
        return chance.choice(field.enum_type.values).number
    first, behind = RANGES[field.type]
    return chance.choice([number for number in NUMBERS if first <= number < behind])


def values_of(message: Message) -> Values:
    fields = sorted(message.DESCRIPTOR.fields, key=lambda field: field.number)
    return [value_of(message, field) for field in fields]


def value_of(message: Message, field: Any) -> Any:
    if field.has_presence and not message.HasField(field.name):
        return None
    value = getattr(message, field.name)
    if field.is_repeated:
        return [values_of(each) if isinstance(each, Message) else each for each in value]
    return values_of(value) if isinstance(value, Message) else value


def library_json(message: Message) -> str:
    fields = json_format.MessageToDict(message)
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


@pytest.mark.parametrize("descriptor", DESCRIBED, ids=lambda descriptor: descriptor.full_name)
def test_a_table_of_the_contract_writes_what_the_library_writes(descriptor: Any) -> None:
    encoder, chance = MessageEncoder(fields_of(descriptor)), random.Random(descriptor.full_name)
    for _ in range(60):
        message = filled(descriptor, chance)
        values = values_of(message)
        assert encoder.proto(values) == message.SerializeToString(deterministic=True)
        assert encoder.json(values) == library_json(message)


def test_no_message_is_undescribed_but_for_a_type_that_no_table_describes() -> None:
    for descriptor in MESSAGES:
        assert is_described(descriptor) != any(is_special(field) for field in all_fields(descriptor))
    assert len(DESCRIBED) > len(MESSAGES) / 2


def all_fields(descriptor: Any) -> Iterator[Any]:
    for field in descriptor.fields:
        yield field
        if field.message_type is not None and not is_special(field):
            yield from all_fields(field.message_type)


def is_special(field: Any) -> bool:
    if field.message_type is not None:
        message = field.message_type
        return bool(message.GetOptions().map_entry) or message.file.package == "google.protobuf"
    numbers = field.type not in (field.TYPE_STRING, field.TYPE_BYTES)
    if field.enum_type is not None and has_gaps(field.enum_type):
        return True
    written = (*RANGES, field.TYPE_BOOL, field.TYPE_ENUM)
    return numbers and (field.is_repeated or field.type not in written)


def has_gaps(enumeration: Any) -> bool:
    return max(value.number for value in enumeration.values) >= len(enumeration.values)


def test_the_tables_of_a_search_are_the_contracts() -> None:
    assert fields_of(search_pb2.GrepResponse.DESCRIPTOR) == search_encoding.GREP_RESPONSE
    fields = filesystem_pb2.FindResponse.DESCRIPTOR.fields_by_name
    rest = search_encoding.FIND_REST
    assert [(field.number, field.name) for field in rest] == [
        (fields[name].number, name) for name in ("skipped", "summary")
    ]
    assert rest[0] == search_encoding.GREP_RESPONSE[1]
    assert rest[1] == rest[1]._replace(
        kind=Kind.MESSAGE, explicit=True, fields=fields_of(search_pb2.FindSummary.DESCRIPTOR)
    )


def test_the_process_that_searches_does_without_the_library() -> None:
    program = "import sys, envd.services.filesystem.search.worker; print('google.protobuf' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n"


Chunks = tuple[EncodedChunks[Any], list[Message]]


def output(stream: int, size: int, offset: int, event_bytes: int) -> Chunks:
    data = random.Random(size).randbytes(size)
    name = {STDOUT: "stdout", STDERR: "stderr", PTY: "pty"}[stream]
    most = 16_384 if stream == PTY else min(max(event_bytes, 32_768), 131_072)
    messages: list[Message] = []
    for begin in range(0, size, most):
        event = process_pb2.ProcessEvent.DataEvent(offset=offset + begin)
        setattr(event, name, data[begin : begin + most])
        messages.append(process_pb2.StartResponse(event=process_pb2.ProcessEvent(data=event)))
    return encoded_output(Run(stream, offset, data, (0, 0, 9)), event_bytes), messages


def terminal_output(size: int, offset: int) -> Chunks:
    data = random.Random(size).randbytes(size)
    messages: list[Message] = [
        pty_pb2.OpenResponse(
            event=pty_pb2.Event(
                output=pty_pb2.Event.OutputEvent(data=data[begin : begin + 32_768], offset=offset + begin)
            )
        )
        for begin in range(0, size, 32_768)
    ]
    return encoded_terminal_output(Run(PTY, offset, data, (0, 0, 9))), messages


def content(kind: Any, size: int, offset: int) -> Chunks:
    data = random.Random(size).randbytes(size)
    encoder = ChunkEncoder(kind.DESCRIPTOR, "chunk", "data")
    messages: list[Message] = [
        kind(chunk=kind.Chunk(data=data[begin : begin + 100], offset=offset + begin)) for begin in range(0, size, 100)
    ]
    return EncodedChunks(encoder, offset, data, 100, (0, 0, 9)), messages


@pytest.mark.parametrize("offset", [0, 1, 300, 2**40])
@pytest.mark.parametrize("size", [1, 100, 127, 128, 16_385, 32_768, 300_000])
def test_chunks_are_written_as_the_library_writes_them(size: int, offset: int) -> None:
    chunks = [output(stream, size, offset, wanted) for stream in (STDOUT, STDERR, PTY) for wanted in (0, 50_000, 10**9)]
    chunks += [terminal_output(size, offset), content(filesystem_pb2.ReadResponse, min(size, 1000), offset)]
    chunks.append(content(archive_pb2.ArchiveResponse, min(size, 1000), offset))
    for encoded, messages in chunks:
        assert list(encoded.proto()) == [message.SerializeToString() for message in messages]
        parsed = [json.loads(text) for text in encoded.json()]
        assert parsed == [json.loads(library_json(message)) for message in messages]
        assert encoded.position == (0, 0, 9)


@pytest.mark.parametrize(
    ("first", "second"),
    [(process_pb2.StartResponse, process_pb2.ConnectResponse), (pty_pb2.OpenResponse, pty_pb2.AttachResponse)],
)
def test_responses_that_share_an_encoder_have_the_same_event(first: Any, second: Any) -> None:
    events = [kind.DESCRIPTOR.fields_by_name["event"] for kind in (first, second)]
    assert events[0].number == events[1].number
    assert events[0].message_type is events[1].message_type
