"""Silent peers: tells those that are gone from those that only have nothing to say.

TCP_USER_TIMEOUT is not used: since Linux 5.11 it also ends the connection of a living peer that keeps its window
closed, and a process may wait for such a reader for hours. Instead the kernel's own counters tell a silent peer from
one that answers window probes.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct

from .origins import Ingress

_KEEPALIVE_IDLE_S = 30
_KEEPALIVE_INTERVAL_S = 10
_KEEPALIVE_PROBES = 3
# TCP_RTO_MAX_MS, Linux 6.15: caps the interval of retransmissions and window probes, two minutes without it.
_TCP_RTO_MAX_MS = 44
_PROBE_INTERVAL_MS = 15_000

# struct tcp_info: eight bytes (the fourth is tcpi_probes), then 32-bit fields. Source: linux/tcp.h.
_INFO = struct.Struct("=8B24I")
_PROBES = 3
_WINDOW_SCALES = 6  # what the peer scales its window by, in the lower four bits
_UNACKED = 8 + 4
_LAST_ACK_RECEIVED_MS = 8 + 12
_SILENT_PROBES = 2
_WINDOW_BYTES = 64 * 1024  # RFC 9293, section 3.1, before scaling


def prepare(sock: socket.socket) -> None:
    """Have the kernel ask idle peers whether they are there: a dead one is noticed within a minute.

    For a listening socket: those it accepts inherit the options. tcp(7).
    """
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_INTERVAL_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_PROBES)
    with contextlib.suppress(OSError):  # an older kernel: a peer that dies behind a closed window is noticed late
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_RTO_MAX_MS, _PROBE_INTERVAL_MS)


def place_of(sock: socket.socket) -> Ingress:
    """Tell where a listening socket is bound."""
    if sock.family == socket.AF_UNIX:
        return Ingress.UNIX
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return Ingress.NETWORK
    address = ipaddress.ip_address(sock.getsockname()[0].partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)  # before Python 3.13 such an address is no loopback address
    return Ingress.LOOPBACK if (mapped or address).is_loopback else Ingress.NETWORK


def is_dead(sock: socket.socket, silence_s: float) -> bool:
    """Tell whether a peer that owes us an answer has been silent for `silence_s` seconds."""
    if sock.family == socket.AF_UNIX:
        return False
    info = _info(sock)
    if info is None or info[_LAST_ACK_RECEIVED_MS] < silence_s * 1000:
        return False
    return bool(info[_UNACKED] > 0 or info[_PROBES] >= _SILENT_PROBES)


def unread_at_most(sock: socket.socket) -> int:
    """Return how many bytes the peer's kernel can hold that its application has not read.

    A kernel chooses the scale of its windows so that they can span its largest buffer: RFC 7323, section 2.3. On a unix
    socket what is not read is not acknowledged either.
    """
    info = None if sock.family == socket.AF_UNIX else _info(sock)
    return 0 if info is None else _WINDOW_BYTES << (info[_WINDOW_SCALES] & 0xF)


def _info(sock: socket.socket) -> tuple[int, ...] | None:
    try:
        return _INFO.unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size))
    except (OSError, struct.error):
        return None
