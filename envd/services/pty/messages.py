"""Conversions between the contract's messages and the domain's terms."""

from __future__ import annotations

import dataclasses

from envd.chunk_encoder import ChunkEncoder, EncodedChunks
from envd.errors import Code, EnvdError
from envd.process.command import Command
from envd.process.events import PTY, Ended, Event, Gap, KeepAlive, Position, Run, Started
from envd.process.output import ProcessOutput
from envd.process.process import Process
from envd.process.tty import Size
from envd.pty.terminal import Resized, Terminal, TerminalSubscriber, id_of
from envd.rpc import Reply
from envd.services.process import messages as process_messages
from envd_proto.process import process_pb2
from envd_proto.pty import pty_pb2 as pb

_TERM = "xterm-256color"
_EVENT_BYTES = 32 * 1024
_OUTPUT = ChunkEncoder(pb.OpenResponse.DESCRIPTOR, "event", "output", "data")  # AttachResponse has the same shape


def command_from(opening: pb.Opening, timeout_s: float | None) -> Command:
    """Return what is to be opened; the call's deadline becomes the process's.

    Raises:
        EnvdError: INVALID_ARGUMENT if it is too much.
    """
    request = process_pb2.StartRequest(
        process=opening.process,
        pty=process_pb2.PTY(size=opening.size),
        timeouts=opening.timeouts,
        limits=opening.limits,
    )
    if opening.HasField("tag"):
        request.tag = opening.tag
    if opening.HasField("idempotency_key"):
        request.idempotency_key = opening.idempotency_key
    return dataclasses.replace(process_messages.command_from(request, timeout_s), term=_TERM)


def size_of_opening(opening: pb.Opening) -> Size | None:
    """Return the size of a client's window, None if it does not say.

    Raises:
        EnvdError: INVALID_ARGUMENT if it is too large.
    """
    return process_messages.first_size_from(opening.size) if opening.HasField("size") else None


def size_of_attachment(attachment: pb.Attachment) -> Size | None:
    """Return the size of a client's window, None if it does not say.

    Raises:
        EnvdError: INVALID_ARGUMENT if it is none, or too large.
    """
    return process_messages.size_from(attachment.size) if attachment.HasField("size") else None


def begin_of_opening(opening: pb.Opening, output: ProcessOutput) -> Position:
    """Return where a stream begins whose key named a terminal that exists."""
    return 0, 0, opening.resume_offset if opening.HasField("resume_offset") else output.heads[PTY]


def begin_of_attachment(attachment: pb.Attachment, output: ProcessOutput) -> Position:
    """Return where a stream begins."""
    head, end = output.heads[PTY], output.ends[PTY]
    kind = attachment.WhichOneof("begin")
    if kind == "offset":
        return 0, 0, attachment.offset
    return 0, 0, max(head, end - attachment.last_bytes) if kind == "last_bytes" else head


def event_from(event: Event | Resized, viewer: TerminalSubscriber, live_offset: int) -> pb.Event:
    """Return an event other than output as a message."""
    match event:
        case Started(pid, existing, position, _):
            state = viewer.introduction()
            start = pb.Event.StartEvent(
                id=id_of(viewer.terminal.process),
                pid=pid,
                size=process_messages.size_message(state.size),
                offset=position[PTY],
                live_offset=live_offset,
                driving=state.driving,
                existing=existing,
            )
            return pb.Event(start=start)
        case Gap(_, begin, end):
            return pb.Event(gap=pb.Event.GapEvent(begin=begin, end=end))
        case Resized(size, driving):
            return pb.Event(resized=pb.Event.ResizedEvent(size=process_messages.size_message(size), driving=driving))
        case KeepAlive():
            return pb.Event(keepalive=pb.Event.KeepAlive())
        case Ended():
            return pb.Event(exit=process_messages.end_message(event))
        case Run():
            raise AssertionError("output is encoded elsewhere")


def reply_from(
    event: Event | Resized,
    kind: type[pb.OpenResponse | pb.AttachResponse],
    viewer: TerminalSubscriber,
    live_offset: int,
) -> Reply:
    """Return an event as a response message."""
    if isinstance(event, Run):
        return encoded_output(event)
    return kind(event=event_from(event, viewer, live_offset))


def encoded_output(run: Run) -> EncodedChunks[Position]:
    """Return a run of a terminal's output, cut into events."""
    return EncodedChunks(_OUTPUT, run.offset, run.data, _EVENT_BYTES, run.position)


def info_from(process: Process, watched: Terminal | None) -> pb.TerminalInfo:
    """Return a terminal as List shows it, without its `process`.

    Raises:
        EnvdError: INTERNAL if the process has none.
    """
    if process.terminal is None:
        raise EnvdError(Code.INTERNAL, f"process {process.pid} has no terminal")
    return pb.TerminalInfo(
        id=id_of(process),
        size=process_messages.size_message(process.terminal.size),
        kept_from=process.output.heads[PTY],
        output_end=process.output.ends[PTY],
        viewers=len(watched.viewers) if watched is not None else 0,
        driven=watched is not None and watched.driver is not None,
    )
