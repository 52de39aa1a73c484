"""Output written by hand is what the general codec would have written."""

from __future__ import annotations

import json

import pytest
from google.protobuf import json_format

from envd.process.events import PTY, Run
from envd.services.pty.encoding import EncodedOutput
from envd_proto.pty.pty_pb2 import AttachResponse, Event, OpenResponse

RUNS = [
    Run(PTY, 0, b"x", (0, 0, 1)),
    Run(PTY, 7, bytes(range(256)), (0, 0, 263)),
    Run(PTY, 1 << 40, b"y" * 32768, (0, 0, (1 << 40) + 32768)),
    Run(PTY, 300, b"z" * 100_000, (0, 0, 100_300)),
]


def expected(run: Run) -> list[Event]:
    return [
        Event(output=Event.OutputEvent(data=run.data[at : at + 32768], offset=run.offset + at))
        for at in range(0, len(run.data), 32768)
    ]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: str(len(run.data)))
@pytest.mark.parametrize("kind", [OpenResponse, AttachResponse])
def test_output_is_written_as_the_general_codec_writes_it(run: Run, kind: type[OpenResponse | AttachResponse]) -> None:
    encoded = EncodedOutput(run)
    messages = [kind(event=event) for event in expected(run)]
    assert list(encoded.proto()) == [message.SerializeToString() for message in messages]
    assert [json.loads(text) for text in encoded.json()] == [
        json.loads(json_format.MessageToJson(message)) for message in messages
    ]
    assert encoded.position == run.position
