"""Lists of programs as messages, written straight into both encodings, a little in each turn of the loop.

Programs may have been started with megabytes of arguments and variables, for which the general codecs take seconds.
Field numbers: process.proto, ListResponse, ProcessInfo, ProcessConfig.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.message import Message

from envd.process.command import Command
from envd.process.process import Process
from envd.process.turns import in_turns
from envd.rpc import Call
from envd.varint import delimited, varint

_MOST_BYTES = 32 * 1024 * 1024
_BATCH_BYTES = 16 * 1024

_LISTED = b"\x0a"  # ListResponse.processes and terminals, field 1
_CONFIG = b"\x0a"  # ProcessInfo.config, field 1
_CMD, _ARGS, _ENVS, _CWD = b"\x0a", b"\x12", b"\x1a", b"\x22"  # ProcessConfig, fields 1 to 4
_KEY, _VALUE = b"\x0a", b"\x12"  # of an entry of a map


_Texts = TypeVar("_Texts", tuple[str], tuple[str, str])


@dataclass(frozen=True, slots=True)
class Listed:
    """One program of a list.

    Attributes:
        info: ProcessInfo but for its `config`.
        around: the message and the number of the field in it that `info` goes to; None if it stands for itself.
    """

    running: Process
    info: Message
    around: tuple[Message, int] | None = None


class EncodedList:
    """A list that was encoded beforehand. Implements envd.rpc.Encoded.

    Args:
        payload: in the encoding the headers of the call tell.
        other: makes the other one, should they have misled.
    """

    position = None

    def __init__(self, payload: bytes, *, in_json: bool, other: Callable[[], bytes]) -> None:
        self._payload = payload
        self._in_json = in_json
        self._other = other

    def proto(self) -> Sequence[bytes]:
        """Return the message in binary."""
        return (self._other() if self._in_json else self._payload,)

    def json(self) -> Sequence[bytes]:
        """Return the message in JSON."""
        return (self._payload if self._in_json else self._other(),)


def abridged_of(shown: Iterable[Process]) -> set[int]:
    """Return the idents of the programs whose arguments and variables a list has no room for; the largest go first."""
    room, found = _MOST_BYTES, set()
    for running in sorted(shown, key=_weight):
        room -= _weight(running)
        if room < 0:
            found.add(running.identity.ident)
    return found


def _weight(running: Process) -> int:
    return len(running.output.ledger.metadata)


async def encoded(kind: type[Message], listed: Iterable[Listed], abridged: set[int], call: Call) -> EncodedList:
    """Return a list; others have their turns while it is written.

    Args:
        kind: the message, in which the list is field 1.
        listed: what is in it; taken one by one.
        abridged: see abridged_of.
        call: whose headers tell the encoding.
    """
    in_json = "json" in call.headers.get("content-type", "")
    pieces = await in_turns((_json_pieces if in_json else _proto_pieces)(kind, listed, abridged))
    payload = await asyncio.to_thread(b"".join, pieces)
    return EncodedList(payload, in_json=in_json, other=lambda: _converted(payload, kind, in_json=in_json))


def _converted(payload: bytes, kind: type[Message], *, in_json: bool) -> bytes:
    from google.protobuf import json_format  # noqa: PLC0415 - late: hardly ever needed

    if in_json:
        return json_format.Parse(payload, kind()).SerializeToString()
    return json_format.MessageToJson(kind.FromString(payload), indent=None, ensure_ascii=False).encode()


def _batches(texts: Iterable[_Texts]) -> Iterator[list[_Texts]]:
    """Yield texts in portions that are encoded within a fraction of a turn."""
    batch: list[_Texts] = []
    size = 0
    for one in texts:
        batch.append(one)
        size += sum(map(len, one)) + 64
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


# Binary. An empty piece is only a chance to pause.


def _proto_pieces(_: type[Message], listed: Iterable[Listed], abridged: set[int]) -> Iterator[bytes]:
    for one in listed:
        config: list[bytes] = []
        whole = one.running.identity.ident not in abridged
        for piece in _config_proto(one.running.command, whole=whole):
            config.append(piece)
            yield b""
        parts = [*_sized(_CONFIG, config), one.info.SerializeToString()]
        if one.around is not None:
            message, field = one.around
            parts = [*_sized(varint(field << 3 | 2), parts), message.SerializeToString()]
        yield from _sized(_LISTED, parts)


def _sized(tag: bytes, parts: list[bytes]) -> list[bytes]:
    return [tag + varint(sum(map(len, parts))), *parts]


def _text(tag: bytes, text: str) -> bytes:
    return delimited(tag, text.encode())


def _config_proto(command: Command, *, whole: bool) -> Iterator[bytes]:
    yield _text(_CMD, command.cmd) if command.cmd else b""
    if command.cwd is not None:
        yield _text(_CWD, command.cwd)
    if not whole:
        return
    for args in _batches((arg,) for arg in command.args):
        yield b"".join([_text(_ARGS, arg) for (arg,) in args])
    for envs in _batches(command.envs.items()):
        entries = [_text(_KEY, name) + _text(_VALUE, value) for name, value in envs]
        yield b"".join([delimited(_ENVS, entry) for entry in entries])


# JSON.


def _json_pieces(kind: type[Message], listed: Iterable[Listed], abridged: set[int]) -> Generator[bytes, None, None]:
    (field,) = (field for field in kind.DESCRIPTOR.fields if field.number == 1)
    opening = b'{"%b":[' % field.json_name.encode()
    for one in listed:
        yield opening
        opening = b","
        whole = one.running.identity.ident not in abridged
        info = b"," + _fields(one.info) if one.info.ByteSize() else b""
        around = None if one.around is None else one.around[0]
        if around is not None:
            assert one.around is not None
            name = around.DESCRIPTOR.fields_by_number[one.around[1]].json_name
            yield b'{"%b":' % name.encode()
        yield b'{"config":{'
        yield from _config_json(one.running.command, whole=whole)
        yield b"}" + info + b"}"
        if around is not None:
            yield (b"," + _fields(around) if around.ByteSize() else b"") + b"}"
    yield b"{}" if opening.startswith(b"{") else b"]}"


def _fields(message: Message) -> bytes:
    """Return the fields of a small message in JSON, without braces."""
    from google.protobuf import json_format  # noqa: PLC0415 - late: a third of the daemon's start time

    return _json(json_format.MessageToDict(message))[1:-1]


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _config_json(command: Command, *, whole: bool) -> Iterator[bytes]:
    plain = {"cmd": command.cmd} if command.cmd else {}
    if command.cwd is not None:
        plain["cwd"] = command.cwd
    before = _json(plain)[1:-1]
    yield before
    if whole and command.args:
        yield from _json_batches(b',"args":[' if before else b'"args":[', _args_json(command), b"]")
        before = b","
    if whole and command.envs:
        envs = (_json(dict(batch))[1:-1] for batch in _batches(command.envs.items()))
        yield from _json_batches(b',"envs":{' if before else b'"envs":{', envs, b"}")


def _args_json(command: Command) -> Iterator[bytes]:
    for batch in _batches((arg,) for arg in command.args):
        yield _json([arg for (arg,) in batch])[1:-1]


def _json_batches(opening: bytes, batches: Iterable[bytes], closing: bytes) -> Iterator[bytes]:
    for batch in batches:
        yield opening + batch
        opening = b","
    yield closing
