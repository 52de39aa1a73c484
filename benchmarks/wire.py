"""The cheapest client there is: prepared bytes out, bytes in, nothing parsed that is not needed."""

from __future__ import annotations

import json
import socket
import struct

from envd_proto.process import process_pb2 as pb

_END = b"0\r\n\r\n"


def start_request(codec: str, cmd: str, args: list[str]) -> bytes:
    """Return a whole HTTP request that starts a program without stdin."""
    if codec == "proto":
        process = pb.ProcessConfig(cmd=cmd, args=args)
        payload = pb.StartRequest(process=process, stdin=False).SerializeToString()
    else:
        payload = json.dumps({"process": {"cmd": cmd, "args": args}, "stdin": False}).encode()
    return request(f"application/connect+{codec}", "Start", struct.pack(">BI", 0, len(payload)) + payload)


def request(content_type: str, method: str, body: bytes) -> bytes:
    """Return a whole HTTP request to the Process service."""
    head = f"POST /process.Process/{method} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


class Client:
    """One keep-alive connection."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self._buffer = bytearray(1 << 20)

    def stream(self, message: bytes) -> int:
        """Send a request, read its chunked response to the end; return the bytes received."""
        self.sock.sendall(message)
        total, tail = 0, b""
        while not tail.endswith(_END):
            size = self.sock.recv_into(self._buffer)
            if not size:
                raise ConnectionError("the daemon closed the connection")
            total += size
            tail = (tail + bytes(self._buffer[max(size - 8, 0) : size]))[-8:]
        return total

    def unary(self, message: bytes) -> None:
        """Send a request, read its response, which is small enough to come at once."""
        self.sock.sendall(message)
        if not self.sock.recv_into(self._buffer):
            raise ConnectionError("the daemon closed the connection")

    def close(self) -> None:
        """Close the connection."""
        self.sock.close()
