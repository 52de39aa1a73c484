"""Turns a command's events into pieces of text: each byte once, no character cut in two. No network in here."""

from __future__ import annotations

import codecs
from dataclasses import dataclass, field, replace

from envd_proto.process import process_pb2 as pb
from envd_sdk.messages import microseconds_from
from envd_sdk.results import CommandResult, OutputGap, OutputPosition, StreamName

_NAMES: dict[int, StreamName] = {
    pb.ProcessEvent.STREAM_STDOUT: "stdout",
    pb.ProcessEvent.STREAM_STDERR: "stderr",
    pb.ProcessEvent.STREAM_PTY: "pty",
}


@dataclass(frozen=True, slots=True)
class Piece:
    """Some output: text of stdout or stderr, or bytes of a terminal. One of the three, in the order it was printed."""

    stdout: str | None = None
    stderr: str | None = None
    pty: bytes | None = None
    # Behind it. A character that has come in part lies beyond.
    position: OutputPosition = field(default=OutputPosition(), compare=False)


class HoleError(Exception):
    """Output came that does not follow what came before; the stream has to be taken up again where that ended."""


class AnotherError(Exception):
    """The stream is that of another process, which has the pid now."""


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a command, as the daemon reports it."""

    exit_code: int
    error: str | None
    timed_out: bool


class Output:
    """The output of a command that one reader has got so far."""

    def __init__(self, *, retain: bool = True, begin: OutputPosition | None = None) -> None:
        """Begin at a position, or at the start.

        Args:
            retain: keep everything for the result. False: `result` has no output.
            begin: None takes the position that the stream itself says.
        """
        self._retain = retain
        self._begun = begin is not None
        start = begin or OutputPosition()
        self._started_at_us = start.started_at_us
        self._offsets: dict[StreamName, int] = {"stdout": start.stdout, "stderr": start.stderr, "pty": start.pty}
        decoder = codecs.getincrementaldecoder("utf-8")
        self._decoders = {"stdout": decoder("replace"), "stderr": decoder("replace")}
        self._retained: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self.gaps: list[OutputGap] = []
        self.ending: Ending | None = None

    @property
    def position(self) -> pb.OutputPosition:
        """Where to go on after a stream that broke."""
        return pb.OutputPosition(**self._offsets)

    @property
    def delivered(self) -> OutputPosition:
        """The place behind all pieces so far."""
        pending = {name: len(decoder.getstate()[0]) for name, decoder in self._decoders.items()}
        offsets = self._offsets
        return OutputPosition(
            offsets["stdout"] - pending["stdout"],
            offsets["stderr"] - pending["stderr"],
            offsets["pty"],
            self._started_at_us,
        )

    @property
    def stdout(self) -> str:
        return self._text("stdout")

    @property
    def stderr(self) -> str:
        return self._text("stderr")

    def started(self, event: pb.ProcessEvent.StartEvent) -> None:
        """The stream has begun. One that was not asked to begin anywhere says where it does.

        Raises:
            AnotherError: it is that of another process, which has the pid now.
        """
        if event.HasField("started_at"):
            started_at_us = microseconds_from(event.started_at)
            if self._started_at_us not in (0, started_at_us):
                raise AnotherError("another command has its pid now")
            self._started_at_us = started_at_us
        if not self._begun and event.HasField("position"):
            position = event.position
            self._offsets = {"stdout": position.stdout, "stderr": position.stderr, "pty": position.pty}
        self._begun = True

    def pieces(self, event: pb.ProcessEvent) -> list[Piece]:
        """What an event adds. Bytes that came before are left out.

        Raises:
            HoleError: bytes are missing that nobody has announced.
            AnotherError: they are those of another process.
        """
        kind = event.WhichOneof("event")
        if kind == "start":
            self.started(event.start)
        pieces: list[Piece] = []
        if kind == "data":
            pieces = self._data(event.data)
        elif kind == "gap":
            pieces = self._gap(event.gap)
        elif kind == "end":
            pieces = self._end(event.end)
        return [replace(piece, position=self.delivered) for piece in pieces]

    def result(self) -> CommandResult:
        """What a caller gets; only after the end."""
        ending = self.ending or Ending(-1, "it has not ended", timed_out=False)
        return CommandResult(self.stderr, self.stdout, ending.exit_code, ending.error, tuple(self.gaps))

    def _data(self, data: pb.ProcessEvent.DataEvent) -> list[Piece]:
        name: StreamName = data.WhichOneof("output") or "stdout"
        content = self._new_part(name, data.offset, getattr(data, name))
        if not content:
            return []
        return [Piece(pty=content)] if name == "pty" else self._decoded(name, content)

    def _new_part(self, name: StreamName, offset: int, content: bytes) -> bytes:
        have = self._offsets[name]
        if offset > have:
            raise HoleError(f"{name} goes on at {offset}, but ended at {have}")
        self._offsets[name] = max(have, offset + len(content))
        return content[have - offset :]

    def _decoded(self, name: StreamName, content: bytes, *, final: bool = False) -> list[Piece]:
        text = self._decoders[name].decode(content, final)
        if not text:
            return []
        if self._retain:
            self._retained[name].append(text)
        return [Piece(stdout=text) if name == "stdout" else Piece(stderr=text)]

    def _gap(self, gap: pb.ProcessEvent.GapEvent) -> list[Piece]:
        name = _NAMES[gap.stream]
        begin = max(gap.begin, self._offsets[name])
        if begin >= gap.end:
            return []
        self.gaps.append(OutputGap(name, begin, gap.end))
        self._offsets[name] = gap.end
        # A character that began before the gap will never be whole.
        return [] if name == "pty" else self._decoded(name, b"", final=True)

    def _end(self, end: pb.ProcessEvent.EndEvent) -> list[Piece]:
        self.ending = Ending(
            end.exit_code,
            end.error or None,
            timed_out=end.cause in (pb.ProcessEvent.CAUSE_WALL_TIMEOUT, pb.ProcessEvent.CAUSE_DEADLINE),
        )
        return [*self._decoded("stdout", b"", final=True), *self._decoded("stderr", b"", final=True)]

    def _text(self, name: str) -> str:
        pieces = self._retained[name]
        if len(pieces) > 1:
            # Joined once and not at every look.
            pieces[:] = ["".join(pieces)]
        return pieces[0] if pieces else ""
