# Made by scripts/unasync from envd_sdk/_async/input.py; change that one.
"""Sends input, signals and terminal sizes to a running command."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator
from typing import Literal

from envd_proto.process import process_pb2 as pb
from envd_sdk._sync.calls import Calls
from envd_sdk._wire.methods import CLOSE_STDIN, SEND_INPUT, SEND_SIGNAL, STREAM_INPUT, UPDATE
from envd_sdk.exceptions import NotFoundException
from envd_sdk.messages import by_pid, input_from, size_from
from envd_sdk.results import PtySize
from envd_sdk.retrying import Repeat


class Input:
    """Sends input to commands by their pid; `kind` says whether they have pipes or a terminal."""

    def __init__(self, calls: Calls, kind: Literal["stdin", "pty"]) -> None:
        self._calls = calls
        self._kind: Literal["stdin", "pty"] = kind

    def send(self, pid: int, data: str | bytes, request_timeout: float | None) -> None:
        # With a key the daemon writes no byte of it twice, so that it can be tried again.
        request = pb.SendInputRequest(
            process=by_pid(pid), input=input_from(self._kind, data), idempotency_key=uuid.uuid4().hex
        )
        self._calls.unary(SEND_INPUT, request, doing=f"write to {pid}", request_timeout=request_timeout)

    def stream(self, pid: int, chunks: Iterator[str | bytes], request_timeout: float | None) -> None:
        """Write what an iterator yields, over one request."""

        def messages() -> Iterator[pb.StreamInputRequest]:
            yield pb.StreamInputRequest(start=pb.StreamInputRequest.StartEvent(process=by_pid(pid)))
            for chunk in chunks:
                data = pb.StreamInputRequest.DataEvent(input=input_from(self._kind, chunk))
                yield pb.StreamInputRequest(data=data)

        self._calls.upload(
            STREAM_INPUT, messages, doing=f"write to {pid}", repeat=Repeat.UNSENT, request_timeout=request_timeout
        )

    def close(self, pid: int, request_timeout: float | None) -> None:
        request = pb.CloseStdinRequest(process=by_pid(pid))
        try:
            self._calls.unary(CLOSE_STDIN, request, doing=f"close the input of {pid}", request_timeout=request_timeout)
        except NotFoundException as error:
            # Closed by an attempt whose answer was lost, it may have ended.
            if not error.repeated:
                raise

    def resize(self, pid: int, size: PtySize, request_timeout: float | None) -> None:
        request = pb.UpdateRequest(process=by_pid(pid), pty=size_from(size))
        self._calls.unary(UPDATE, request, doing=f"resize {pid}", request_timeout=request_timeout)

    def kill(self, pid: int, request_timeout: float | None = None) -> bool:
        """SIGKILL a command and everything it started; False if it has ended."""
        return self.signal(pid, signal.SIGKILL, request_timeout)

    def signal(self, pid: int, number: int, request_timeout: float | None = None) -> bool:
        """Send a signal; False if the command has ended."""
        request = pb.SendSignalRequest(process=by_pid(pid), signal_number=number)
        # Killing twice is killing once; of other signals a command may count each.
        repeat = Repeat.SAFE if number == signal.SIGKILL else Repeat.UNSENT
        try:
            self._calls.unary(
                SEND_SIGNAL, request, doing=f"signal {pid}", repeat=repeat, request_timeout=request_timeout
            )
        except NotFoundException as error:
            # If it was asked before, and only the answer was lost, that may be why it is not there any more.
            return error.repeated
        return True
