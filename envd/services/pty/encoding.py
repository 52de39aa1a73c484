"""Runs of terminal output as messages, written straight into both encodings.

As envd.services.process.encoding, for the events of pty.proto: OpenResponse and AttachResponse have the same shape.
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence

from envd.process.events import Position, Run
from envd.rpc import varint

_EVENT_BYTES = 32 * 1024
_EVENT = b"\x0a"  # OpenResponse.event, field 1
_OUTPUT = b"\x12"  # Event.output, field 2
_DATA = b"\x0a"  # OutputEvent.data, field 1
_OFFSET = b"\x10"  # OutputEvent.offset, field 2, varint


class EncodedOutput:
    """A run of terminal output, cut into events. Implements envd.rpc.Encoded."""

    __slots__ = ("_run", "position")

    def __init__(self, run: Run) -> None:
        self._run = run
        self.position: Position = run.position

    def _pieces(self) -> list[tuple[int, bytes]]:
        run = self._run
        if len(run.data) <= _EVENT_BYTES:
            return [(run.offset, run.data)]
        return [(run.offset + at, run.data[at : at + _EVENT_BYTES]) for at in range(0, len(run.data), _EVENT_BYTES)]

    def proto(self) -> Sequence[bytes]:
        """Return each event in binary."""
        return [_proto(offset, data) for offset, data in self._pieces()]

    def json(self) -> Sequence[bytes]:
        """Return each event in JSON."""
        return [
            b'{"event":{"output":{"data":"%b"%b}}}'
            % (binascii.b2a_base64(data, newline=False), b',"offset":"%d"' % offset if offset else b"")
            for offset, data in self._pieces()
        ]


def _proto(offset: int, data: bytes) -> bytes:
    tail = _OFFSET + varint(offset) if offset else b""
    output = _DATA + varint(len(data))
    size = len(output) + len(data) + len(tail)
    event = _OUTPUT + varint(size) + output
    return b"".join([_EVENT, varint(len(event) + len(data) + len(tail)), event, data, tail])
