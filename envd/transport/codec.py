"""Messages to bytes and back, in protobuf's two encodings."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, Protocol

from google.protobuf.message import DecodeError, Message

from envd import json_slices
from envd.errors import Code, EnvdError
from envd.rpc import Encoded, Method, Reply

from . import proto_slices

_ELEMENTS = 200_000
_BYTES_PER_ELEMENT = 16  # of what a message may have: one that may be small may not have so many
_AT_ONCE = 200


class Codec(Protocol):
    """One encoding."""

    name: str

    def decode(self, data: bytes, kind: type[Message]) -> Message:
        """Parse one message; unknown fields are ignored.

        Raises:
            EnvdError: INVALID_ARGUMENT if the bytes are no such message.
        """

    def encode(self, message: Message) -> bytes:
        """Serialise one message."""

    def encode_run(self, run: Encoded) -> Sequence[bytes]:
        """Return the messages of a run."""


class ProtoCodec:
    """Protobuf's binary encoding."""

    name = "proto"

    def decode(self, data: bytes, kind: type[Message]) -> Message:
        try:
            return kind.FromString(data)
        except DecodeError as exc:
            raise EnvdError(
                Code.INVALID_ARGUMENT, f"unmarshal message: not a valid {kind.DESCRIPTOR.full_name}"
            ) from exc

    def encode(self, message: Message) -> bytes:
        return message.SerializeToString()

    def encode_run(self, run: Encoded) -> Sequence[bytes]:
        return run.proto()


class JsonCodec:
    """Protobuf's JSON encoding: lowerCamelCase names, 64-bit integers as strings, bytes as base64."""

    name = "json"

    def decode(self, data: bytes, kind: type[Message], elements: int = _ELEMENTS) -> Message:
        message = kind()
        try:
            fields = _json_object(data, elements)
            if b"[]" in data:
                _refuse_lists_for_messages(fields, kind.DESCRIPTOR)
            _json_format().ParseDict(fields, message, ignore_unknown_fields=True)
        except RecursionError as exc:
            raise EnvdError(Code.INVALID_ARGUMENT, "unmarshal message: nested too deeply") from exc
        except (ValueError, _json_format().ParseError, TypeError, AttributeError) as exc:
            reason = str(exc)[:200] if data else "zero-length payload is not a valid JSON object"
            text = f"unmarshal message: {reason}".encode(errors="replace").decode()
            raise EnvdError(Code.INVALID_ARGUMENT, text) from exc
        return message

    def encode(self, message: Message) -> bytes:
        fields = _json_format().MessageToDict(message)
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()

    def encode_run(self, run: Encoded) -> Sequence[bytes]:
        return run.json()


def _json_object(data: bytes, elements: int) -> dict[str, Any]:
    text = data.decode()
    fields = json_slices.decode(text, elements) if _has_many_elements(data) else json.loads(text)
    if not isinstance(fields, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - the caller's one word for malformed
    return fields


def _has_many_elements(data: bytes) -> bool:
    """Tell whether JSON may have more than 200 elements; does not read on once it knows."""
    count = 0
    for mark in (b",", b":", b"["):
        offset = data.find(mark)
        while offset >= 0 and count < _AT_ONCE:
            count += 1
            offset = data.find(mark, offset + 1)
    return count >= _AT_ONCE


def _refuse_lists_for_messages(fields: dict[str, Any], kind: Any) -> None:
    """Refuse an empty list where a message belongs, which the library takes for an empty message."""
    for field in kind.fields:
        value = fields.get(field.json_name, fields.get(field.name))
        if field.message_type is None or field.is_repeated:
            continue
        if isinstance(value, list):
            raise ValueError(f"{field.json_name} is not a JSON object")  # noqa: TRY004 - as above
        if isinstance(value, dict):
            _refuse_lists_for_messages(value, field.message_type)


@functools.cache
def _json_format() -> Any:
    # Late: it takes a third of the daemon's start time, and a binary client never needs it.
    from google.protobuf import json_format  # noqa: PLC0415

    return json_format


def warm_up() -> None:
    """Load the JSON codec's library; to be called in a thread soon after start."""
    _json_format()


PROTO = ProtoCodec()
JSON = JsonCodec()


async def decode(codec: Codec, data: bytes, method: Method) -> Message:
    """Parse one request as its codec does; one of many elements apart from the loop, one message after the other.

    An element takes up to 15 us to convert, so a message may take seconds. The thread lets others run in between.

    Raises:
        EnvdError: INVALID_ARGUMENT if the bytes are no such message, or it has too many elements.
    """
    many = _has_many_elements(data) if codec is JSON else proto_slices.is_of_many(data, method.request)
    if not many:
        return codec.decode(data, method.request)
    elements = min(_ELEMENTS, method.message_bytes // _BYTES_PER_ELEMENT)
    work = JSON.decode if codec is JSON else _parse_slices
    return await asyncio.get_running_loop().run_in_executor(_apart(), work, data, method.request, elements)


def _parse_slices(data: bytes, kind: type[Message], elements: int) -> Message:
    try:
        return proto_slices.parse(data, kind, elements)
    except proto_slices.TooManyElementsError as exc:
        raise EnvdError(Code.INVALID_ARGUMENT, f"unmarshal message: more than {elements} elements") from exc
    except DecodeError as exc:
        raise EnvdError(Code.INVALID_ARGUMENT, f"unmarshal message: not a valid {kind.DESCRIPTOR.full_name}") from exc


@functools.cache
def _apart() -> Executor:
    # Of its own, and one: many would take the interpreter from the loop, and those of files wait for disks.
    return ThreadPoolExecutor(1, thread_name_prefix="decode")


def encode_reply(codec: Codec, reply: Reply) -> Sequence[bytes]:
    """Encode what a handler yielded: one message, or a run of them."""
    if isinstance(reply, Message):
        return (codec.encode(reply),)
    return codec.encode_run(reply)
