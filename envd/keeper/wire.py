"""Messages between keeper and server, and the descriptors that travel with them.

One message is one packet on a SOCK_SEQPACKET pair: a marshalled tuple whose first item is its kind. marshal is a C
built-in, and its version 4 is understood by every interpreter an update may bring; the peer is the daemon's own other
half, so nothing here parses what a client sent. A message that would not fit a packet travels in a memfd, passed as the
last descriptor.
"""

from __future__ import annotations

import _socket
import marshal
import os

TYPE_CHECKING = False  # the typing module is too large for the keeper
if TYPE_CHECKING:
    from typing import Any

PROTOCOL = 2  # of 0.8; the server is told the keeper's in ENVD_KEEPER_PROTOCOL, where nothing means 1

# Server to keeper.
SPAWN = 1  # ident, recipe, slots; descriptors: stdin, stdout, stderr of the process, then one per slot
KILL = 2  # ident, signal number, whole group?
CLOSE = 3  # ident, slots
FORGET = 4  # idents
SERVING = 10  # everything is adopted, clients are answered
STANDBY = 12  # descriptor: the keeper's end of the socket of a process that stands by
READY = 13  # pid of the process that stands by: its only message before it is to serve
PONG = 15  # the answer to PING
# Keeper to server.
PROCESS = 5  # ident, pid, slots, spawn result or None, exit record or None; descriptors: one per slot
ADOPTED = 6  # every PROCESS has been sent
SPAWNED = 7  # ident, pid, errno (0: running), stage
EXITED = 8  # ident, exit record
DRAIN = 9  # stop serving, end the processes, exit
BEGIN = 11  # generation: the first message of all; until then a server only stands by
PING = 14  # to be answered by the loop

if TYPE_CHECKING:
    # Its kind, then what the comments above list: integers, bytes, booleans, None; lists, tuples and dicts of them.
    Message = tuple[Any, ...]
    Fields = list[Any]

LARGE = 0  # kind and ident of a message that is in the memfd, the last descriptor

_FORMAT = 4
PACKET_BYTES = 64 * 1024
BUFFER_BYTES = 1024 * 1024  # of the socket, each way
MESSAGE_BYTES = 8 * 1024 * 1024
PACKET_DESCRIPTORS = 64

_ANCILLARY_BYTES = _socket.CMSG_SPACE(4 * PACKET_DESCRIPTORS)


def pack(message: Message) -> bytes:
    """Serialise a message.

    Raises:
        ValueError: it is larger than MESSAGE_BYTES.
    """
    packet = marshal.dumps(message, _FORMAT)
    if len(packet) > MESSAGE_BYTES:
        raise ValueError("message too large")
    return packet


def send(sock: _socket.socket, packet: bytes, fds: list[int]) -> None:
    """Send one packed message; the descriptors stay open here.

    Raises:
        BlockingIOError: the socket is full; nothing was sent.
        OSError: the peer is gone.
    """
    if len(packet) <= PACKET_BYTES:
        _send_packet(sock, packet, fds)
        return
    memfd = os.memfd_create("message", os.MFD_CLOEXEC)
    try:
        view = memoryview(packet)
        while view:
            view = view[os.write(memfd, view) :]
        _send_packet(sock, marshal.dumps((LARGE, *marshal.loads(packet)[:2]), _FORMAT), [*fds, memfd])
    finally:
        os.close(memfd)


def _send_packet(sock: _socket.socket, packet: bytes, fds: list[int]) -> None:
    if not fds:
        sock.send(packet)
        return
    packed = b"".join([fd.to_bytes(4, "little") for fd in fds])
    sock.sendmsg([packet], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, packed)])


def receive(sock: _socket.socket) -> tuple[Message | None, list[int]]:
    """Receive one message and its descriptors, which the caller now owns (close-on-exec); None at end of file.

    Where this process has no descriptor number left, fewer than were sent arrive.

    Raises:
        BlockingIOError: nothing is there.
    """
    packet, ancillary, flags, _ = sock.recvmsg(PACKET_BYTES, _ANCILLARY_BYTES, _socket.MSG_CMSG_CLOEXEC)
    fds = [
        int.from_bytes(data[offset : offset + 4], "little")
        for level, kind, data in ancillary
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS
        for offset in range(0, len(data) - 3, 4)
    ]
    if not packet:
        return None, fds
    message = marshal.loads(packet)
    if message[0] == LARGE and flags & _socket.MSG_CTRUNC:
        return (*message[1:], None, []), fds  # no descriptor left here: the receiver finds too few and refuses
    if message[0] == LARGE:
        memfd = fds.pop()
        try:
            message = marshal.loads(os.pread(memfd, MESSAGE_BYTES, 0))
        finally:
            os.close(memfd)
    return message, fds
