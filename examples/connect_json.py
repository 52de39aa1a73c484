"""A client for envd in one file: the Connect protocol with JSON messages over HTTP/1.1, standard library only.

    client = Client("127.0.0.1", 49983)
    client.unary("process.Process/List", {})
    with client.stream("process.Process/Start", {"process": {"cmd": "ls", "args": ["/"]}}) as messages:
        for message in messages:
            print(message["event"])

JSON follows protobuf's rules: bytes are base64, 64-bit integers are strings, zero values are left out.
As a program it runs one command: `python connect_json.py HOST:PORT COMMAND [ARGUMENT ...]`.
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
import struct
import sys
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Self

Message = dict[str, Any]

# A message of a stream travels behind one byte of flags and four of length, big-endian.
PREFIX = struct.Struct(">BI")
END_OF_STREAM = 0x02


class RpcError(Exception):
    """The daemon answered with an error; `code` is Connect's name for it, such as "not_found"."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class Client:
    """Calls one daemon; every call has its own connection, so threads need no lock."""

    def __init__(self, host: str, port: int, *, user: str | None = None, timeout_s: float = 30.0) -> None:
        """`timeout_s` bounds each wait for the network, not a whole stream; keep-alives come every 10 s."""
        self._address = (host, port)
        self._timeout_s = timeout_s
        self._headers = {"Connect-Protocol-Version": "1", "Keepalive-Ping-Interval": "10"}
        if user is not None:
            self._headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:".encode()).decode()

    def unary(self, method: str, message: Message) -> Message:
        """One message there, one back."""
        connection, response = self._post(method, "application/json", json.dumps(message).encode())
        with connection, response:
            answer: Message = json.loads(response.read())
            return answer

    def stream(self, method: str, message: Message) -> Stream:
        """One message there, an iterator of messages back."""
        return Stream(*self._post(method, "application/connect+json", _framed(message)))

    def client_stream(self, method: str, messages: Iterable[Message]) -> Message:
        """Messages there, each sent when the iterable yields it; one back."""
        body = (_framed(message) for message in messages)
        with Stream(*self._post(method, "application/connect+json", body)) as answers:
            (answer,) = answers
            return answer

    def _post(
        self, method: str, content_type: str, body: bytes | Iterator[bytes]
    ) -> tuple[socket.socket, http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(*self._address, timeout=self._timeout_s)
        connection.connect()
        sock: socket.socket = connection.sock
        headers = {**self._headers, "Content-Type": content_type}
        try:
            connection.request("POST", f"/{method}", body, headers, encode_chunked=not isinstance(body, bytes))
            response = _accepted(connection.getresponse())
        except BaseException:
            sock.close()
            raise
        return sock, response


class Stream:
    """The messages of one stream; leaving its `with` block hangs up, which never harms the program behind it."""

    def __init__(self, sock: socket.socket, response: http.client.HTTPResponse) -> None:
        self._sock = sock
        self._response = response

    def __iter__(self) -> Iterator[Message]:
        """Yield messages; RpcError if the daemon ended the stream with one, ConnectionError if it was cut off."""
        while True:
            flags, size = PREFIX.unpack(self._read(PREFIX.size))
            message: Message = json.loads(self._read(size))
            if flags & END_OF_STREAM:
                if "error" in message:
                    raise RpcError(message["error"]["code"], message["error"].get("message", ""))
                return
            yield message

    def abort(self) -> None:
        """Vanish without a word: whatever is under way is thrown away and the peer gets a reset."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        self._response.close()
        self._sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _read(self, size: int) -> bytes:
        try:
            data = self._response.read(size)
        except http.client.IncompleteRead as exc:
            raise ConnectionError("the stream was cut off") from exc
        if len(data) != size:
            raise ConnectionError("the stream was cut off")
        return data


class Output(NamedTuple):
    """A piece of a program's output: which stream, how many bytes came before it, and the bytes."""

    stream: str
    offset: int
    data: bytes


def output_of(message: Message) -> Output | None:
    """Find the output in a message of Start or Connect; None if it is another event."""
    data = message["event"].get("data")
    if data is None:
        return None
    stream = next(name for name in ("stdout", "stderr", "pty") if name in data)
    return Output(stream, int(data.get("offset", 0)), base64.b64decode(data[stream]))


def _framed(message: Message) -> bytes:
    payload = json.dumps(message).encode()
    return PREFIX.pack(0, len(payload)) + payload


def _accepted(response: http.client.HTTPResponse) -> http.client.HTTPResponse:
    if response.status == http.HTTPStatus.OK:
        return response
    try:
        error = json.loads(response.read())
        code, message = str(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError):
        code, message = "unknown", f"HTTP status {response.status}"
    raise RpcError(code, message)


def main() -> int:
    """Run one command, pass its output through and return its exit code."""
    if len(sys.argv) < 3:
        sys.exit("usage: python connect_json.py HOST:PORT COMMAND [ARGUMENT ...]")
    host, _, port = sys.argv[1].rpartition(":")
    start = {"process": {"cmd": sys.argv[2], "args": sys.argv[3:]}, "stdin": False}
    end: Message = {}
    with Client(host, int(port)).stream("process.Process/Start", start) as messages:
        for message in messages:
            if output := output_of(message):
                target = sys.stderr if output.stream == "stderr" else sys.stdout
                target.buffer.write(output.data)
                target.buffer.flush()
            end = message["event"].get("end", end)
    code = int(end.get("exitCode", 0))
    return code if code >= 0 else 128 + int(end.get("signal", 0))


if __name__ == "__main__":
    raise SystemExit(main())
