"""Conversions between the contract's messages and the domain's terms."""

from __future__ import annotations

import resource
import signal

from google.protobuf.timestamp_pb2 import Timestamp

from envd.chunk_encoder import ChunkEncoder, EncodedChunks
from envd.errors import Code, EnvdError
from envd.process.command import Command, Timeouts
from envd.process.events import PTY, STDERR, STDOUT, Ended, Event, Gap, KeepAlive, Position, Run, Started
from envd.process.process import Process
from envd.process.tty import Size
from envd.rpc import Reply
from envd_proto.process import process_pb2 as pb

_STRINGS = 100_000  # more would hold the loop, and pass what the kernel allows a process anyway; execve(2)

# Most bytes in one data event: clients of the reference rely on the first two. The last one is for a client that asks
# for more; the library behind native gRPC may take a whole message into its window (see StreamAckTracker), so no more.
_EVENT_BYTES = 32 * 1024
_TERMINAL_EVENT_BYTES = 16 * 1024
_LARGEST_EVENT_BYTES = 128 * 1024
# ConnectResponse has the same shape.
_OUTPUT = {
    stream: ChunkEncoder(pb.StartResponse.DESCRIPTOR, "event", "data", name)
    for stream, name in ((STDOUT, "stdout"), (STDERR, "stderr"), (PTY, "pty"))
}

_COLS, _ROWS = 80, 24

_STREAMS = (pb.ProcessEvent.STREAM_STDOUT, pb.ProcessEvent.STREAM_STDERR, pb.ProcessEvent.STREAM_PTY)

_RLIMITS = {
    "open_files": resource.RLIMIT_NOFILE,
    "processes": resource.RLIMIT_NPROC,
    "address_space_bytes": resource.RLIMIT_AS,
    "file_size_bytes": resource.RLIMIT_FSIZE,
    "core_bytes": resource.RLIMIT_CORE,
    "cpu_seconds": resource.RLIMIT_CPU,
}

# The words clients of the reference see for the common signals.
_SIGNAL_TEXTS: dict[int, str] = {
    signal.SIGHUP: "hangup",
    signal.SIGINT: "interrupt",
    signal.SIGQUIT: "quit",
    signal.SIGILL: "illegal instruction",
    signal.SIGTRAP: "trace/breakpoint trap",
    signal.SIGABRT: "aborted",
    signal.SIGBUS: "bus error",
    signal.SIGFPE: "floating point exception",
    signal.SIGKILL: "killed",
    signal.SIGUSR1: "user defined signal 1",
    signal.SIGSEGV: "segmentation fault",
    signal.SIGUSR2: "user defined signal 2",
    signal.SIGPIPE: "broken pipe",
    signal.SIGALRM: "alarm clock",
    signal.SIGTERM: "terminated",
}


def command_from(request: pb.StartRequest, timeout_s: float | None) -> Command:
    """Return what a Start request wants run; the call's deadline becomes the process's.

    Raises:
        EnvdError: INVALID_ARGUMENT if it is too much.
    """
    process, timeouts, limits = request.process, request.timeouts, request.limits
    if len(process.args) + len(process.envs) > _STRINGS:
        raise EnvdError(Code.INVALID_ARGUMENT, f"a process can have at most {_STRINGS} arguments and variables")
    return Command(
        cmd=process.cmd,
        args=tuple(process.args),
        envs=dict(process.envs),
        cwd=process.cwd if process.HasField("cwd") else None,
        tag=request.tag if request.HasField("tag") else None,
        stdin=request.stdin if request.HasField("stdin") else True,
        key=key_from(request),
        timeouts=Timeouts(timeouts.wall_ms, timeouts.idle_ms, timeouts.grace_ms),
        limits=tuple((which, getattr(limits, name)) for name, which in _RLIMITS.items() if limits.HasField(name)),
        nice=limits.nice,
        oom_score_adj=limits.oom_score_adj if limits.HasField("oom_score_adj") else 100,
        deadline_ms=round(timeout_s * 1000) if timeout_s else 0,
        terminal=first_size_from(request.pty.size) if request.HasField("pty") else None,
    )


def first_size_from(size: pb.PTY.Size) -> Size:
    """Return the size of a terminal to open, 80 columns and 24 rows where there is none or zero.

    Raises:
        EnvdError: INVALID_ARGUMENT if it is too large.
    """
    return Size(size.cols or _COLS, size.rows or _ROWS)


def size_from(size: pb.PTY.Size) -> Size:
    """Return a size to change to.

    Raises:
        EnvdError: INVALID_ARGUMENT if it is none, or too large.
    """
    return Size(size.cols, size.rows)


def size_message(size: Size) -> pb.PTY.Size:
    """Return a size as a message."""
    return pb.PTY.Size(cols=size.cols, rows=size.rows)


def key_from(request: pb.StartRequest | pb.SendInputRequest) -> str | None:
    """Return the idempotency key; None if there is none."""
    return request.idempotency_key if request.HasField("idempotency_key") else None


def position_from(message: pb.OutputPosition) -> Position:
    """Return a place in the output."""
    return message.stdout, message.stderr, message.pty


def _position_message(position: Position) -> pb.OutputPosition:
    return pb.OutputPosition(stdout=position[0], stderr=position[1], pty=position[2])


def input_from(message: pb.ProcessInput, *, terminal: bool) -> bytes:
    """Return the bytes for a process in a terminal, or with pipes.

    Raises:
        EnvdError: INTERNAL if they are for the other kind, UNIMPLEMENTED if there are none.
    """
    kind = message.WhichOneof("input")
    if kind is None:
        raise EnvdError(Code.UNIMPLEMENTED, "invalid input type: set stdin or pty")
    if kind == "stdin" and terminal:
        raise EnvdError(
            Code.INTERNAL,
            "error writing to stdin: tty assigned to process — input should be written to the pty, not the stdin",
        )
    if kind == "pty" and not terminal:
        raise EnvdError(
            Code.INTERNAL,
            "error writing to tty: tty not assigned to process — input should be written to the stdin, not the tty",
        )
    return message.pty if terminal else message.stdin


def reply_from(event: Event, kind: type[pb.StartResponse | pb.ConnectResponse], event_bytes: int) -> Reply:
    """Return an event as a response message; output in as many as `event_bytes` makes necessary."""
    if isinstance(event, Run):
        return encoded_output(event, event_bytes)
    return kind(event=_event_message(event))


def encoded_output(run: Run, event_bytes: int = 0) -> EncodedChunks[Position]:
    """Return a run of one stream, cut into data events.

    Args:
        run: of any length.
        event_bytes: of stdout or stderr in one event at most, as the client wishes; within bounds.
    """
    wanted = min(max(event_bytes, _EVENT_BYTES), _LARGEST_EVENT_BYTES)
    chunk_bytes = _TERMINAL_EVENT_BYTES if run.stream == PTY else wanted
    return EncodedChunks(_OUTPUT[run.stream], run.offset, run.data, chunk_bytes, run.position)


def _event_message(event: Started | Gap | KeepAlive | Ended) -> pb.ProcessEvent:
    match event:
        case Started(pid, existing, position, started_at):
            start = pb.ProcessEvent.StartEvent(pid=pid, existing=existing, started_at=_timestamp(started_at))
            if any(position):
                start.position.CopyFrom(_position_message(position))
            return pb.ProcessEvent(start=start)
        case Gap(stream, begin, end):
            return pb.ProcessEvent(gap=pb.ProcessEvent.GapEvent(stream=_STREAMS[stream], begin=begin, end=end))
        case KeepAlive():
            return pb.ProcessEvent(keepalive=pb.ProcessEvent.KeepAlive())
        case Ended():
            return pb.ProcessEvent(end=end_message(event))


def end_message(ended: Ended) -> pb.ProcessEvent.EndEvent:
    """Return how a process ended."""
    message = pb.ProcessEvent.EndEvent(
        exit_code=ended.exit_code,
        exited=ended.signal == 0,
        status=status_text(ended),
        signal=ended.signal,
        core_dumped=ended.core_dumped,
        cause=f"CAUSE_{ended.cause.name}",
        usage=pb.ProcessEvent.Usage(
            user_us=round(ended.user_s * 1e6),
            system_us=round(ended.system_s * 1e6),
            max_rss_bytes=ended.max_rss_bytes,
        ),
        held_by=ended.held_by,
        output=_position_message(ended.output),
        started_at=_timestamp(ended.started_at),
        ended_at=_timestamp(ended.ended_at),
    )
    if ended.exit_code != 0:
        message.error = message.status
    if ended.exec_errno:
        message.exec_failure.errno = ended.exec_errno
        message.exec_failure.stage = ended.exec_stage
    return message


def status_text(ended: Ended) -> str:
    """Return the end in the words clients of the reference know."""
    if not ended.signal:
        return f"exit status {ended.exit_code}"
    words = _SIGNAL_TEXTS.get(ended.signal) or f"signal {ended.signal}"
    return f"signal: {words}" + (" (core dumped)" if ended.core_dumped else "")


def info_from(process: Process, *, abridged: bool) -> pb.ProcessInfo:
    """Return a process as List shows it, without its `config`: that may be large."""
    command, identity = process.command, process.identity
    info = pb.ProcessInfo(
        abridged=abridged,
        pid=identity.pid,
        tag=command.tag,
        user=identity.user,
        started_at=_timestamp(identity.started_at),
    )
    if process.ended is not None:
        info.end.CopyFrom(end_message(process.ended))
    return info


def _timestamp(seconds: float) -> Timestamp:
    micros = round(seconds * 1e6)
    return Timestamp(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1000)
