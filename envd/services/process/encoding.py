"""Runs of output as messages, written straight into both encodings.

The general codecs copy each byte several times; this is the path gigabytes take. Field numbers: process.proto,
ProcessEvent and its data event; StartResponse and ConnectResponse have the same shape.
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence

from envd.process.events import PTY, STDERR, STDOUT, Position, Run
from envd.rpc import varint

# Most bytes in one data event: clients of the reference rely on the first two. The last one is for who asks for more;
# the library behind native gRPC may take a whole message into its window (see StreamAckTracker), so no more than that.
_EVENT_BYTES = 32 * 1024
_TERMINAL_EVENT_BYTES = 16 * 1024
_LARGEST_EVENT_BYTES = 128 * 1024

_JSON_NAME = {STDOUT: b"stdout", STDERR: b"stderr", PTY: b"pty"}
_FIELD = {STDOUT: 0x0A, STDERR: 0x12, PTY: 0x1A}  # fields 1, 2, 3, length-delimited
_DATA = 0x12  # ProcessEvent.data, field 2
_EVENT = 0x0A  # StartResponse.event, field 1
_OFFSET = b"\xc0\x3e"  # DataEvent.offset, field 1000, varint


class EncodedRun:
    """A run of one stream, cut into data events. Implements envd.rpc.Encoded.

    Args:
        event_bytes: of stdout or stderr in one event at most, as the client wishes; within bounds.
    """

    __slots__ = ("_event_bytes", "_run", "position")

    def __init__(self, run: Run, event_bytes: int = 0) -> None:
        self._run = run
        wanted = min(max(event_bytes, _EVENT_BYTES), _LARGEST_EVENT_BYTES)
        self._event_bytes = _TERMINAL_EVENT_BYTES if run.stream == PTY else wanted
        self.position: Position = run.position

    def _pieces(self) -> list[tuple[int, bytes]]:
        run, size = self._run, self._event_bytes
        if len(run.data) <= size:
            return [(run.offset, run.data)]
        return [(run.offset + at, run.data[at : at + size]) for at in range(0, len(run.data), size)]

    def proto(self) -> Sequence[bytes]:
        """Return each data event in binary."""
        tag = self._run.stream
        return [_proto(_FIELD[tag], offset, data) for offset, data in self._pieces()]

    def json(self) -> Sequence[bytes]:
        """Return each data event in JSON."""
        name = _JSON_NAME[self._run.stream]
        return [
            b'{"event":{"data":{"%b":"%b"%b}}}'
            % (name, binascii.b2a_base64(data, newline=False), b',"offset":"%d"' % offset if offset else b"")
            for offset, data in self._pieces()
        ]


def _proto(field: int, offset: int, data: bytes) -> bytes:
    tail = _OFFSET + varint(offset) if offset else b""
    output = bytes((field,)) + varint(len(data))
    event = bytes((_DATA,)) + varint(len(output) + len(data) + len(tail)) + output
    return b"".join([bytes((_EVENT,)), varint(len(event) + len(data) + len(tail)), event, data, tail])
