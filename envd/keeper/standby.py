"""The server's turn: a process that has loaded all code waits until the keeper has it serve.

A server that begins to serve forks the next standby, before it does anything else. So a successor needs no new
process at a time when there can be none, no file that may have been replaced or removed since, and a tenth of the time.
"""

from __future__ import annotations

import gc
import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from . import wire
from .naming import call_this_process

log = logging.getLogger("envd.server")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Turn(Generic[T]):
    """The means of a process that is to serve.

    Attributes:
        link: its socket to the keeper.
        generation: counts servers from 1 on.
        protocol: which the keeper speaks; see envd.keeper.wire.
        standby: the keeper's end of the socket of the one that stands by, the receiver's to close; None if there can be
            none now.
        prepared: the result of `prepare` in this process.
    """

    link: int
    generation: int
    protocol: int
    standby: int | None
    prepared: T


def await_turn(prepare: Callable[[], T]) -> Turn[T]:
    """Return when this process is to serve; ends the process if that is never to be.

    Args:
        prepare: makes the things a server should have before they are needed. Called in each process anew, for threads
            do not survive a fork.
    """
    link, generation = int(os.environ["ENVD_KEEPER_FD"]), int(os.environ["ENVD_GENERATION"])
    protocol = int(os.environ.get("ENVD_KEEPER_PROTOCOL", "1"))
    if protocol < wire.PROTOCOL:  # a keeper that runs since before an update knows nothing of standing by
        return Turn(link, generation, protocol, None, prepare())
    prepared: T | None = None
    while True:
        generation = _wait(link)
        gc.collect()
        gc.freeze()  # collections would touch, and so copy, what is shared
        child, end = _fork_next(link)
        if not child:
            return Turn(link, generation, protocol, end, prepare() if prepared is None else prepared)
        assert end is not None
        link, prepared = end, prepare()
        _say_ready(link)


def _wait(link: int) -> int:
    """Wait for the keeper's first message; return the generation it gives."""
    message: wire.Message | None = None
    with socket.socket(fileno=os.dup(link)) as sock, suppress(ConnectionResetError):
        message, _ = wire.receive(sock)
    if message is None:
        os._exit(os.EX_OK)  # another one stands by, or the keeper has gone
    return int(message[1])


def _say_ready(link: int) -> None:
    with socket.socket(fileno=os.dup(link)) as sock:
        try:
            wire.send(sock, wire.pack((wire.READY, os.getpid())), [])
        except (BrokenPipeError, ConnectionResetError):
            os._exit(os.EX_OK)  # as above


def _fork_next(link: int) -> tuple[bool, int | None]:
    """Fork the next one; return whether this is it, and the end of a socket: its own there, the keeper's here."""
    theirs, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (theirs, ours):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, wire.BUFFER_BYTES)
    try:
        between = os.fork()
    except OSError as exc:
        log.warning("no process stands by: none can be made", extra={"errno": exc.errno})
        return False, None
    if between:
        # The keeper adopts and waits for the other one, as this one will not live to do so.
        os.waitpid(between, 0)
        ours.close()
        return False, theirs.detach()
    _end_unless_forked()
    call_this_process("envd-standby")
    os.close(link)
    theirs.close()
    return True, ours.detach()


def _end_unless_forked() -> None:
    try:
        if os.fork():
            os._exit(os.EX_OK)
    except OSError:
        os._exit(os.EX_OSERR)  # the keeper sees the end of its socket
