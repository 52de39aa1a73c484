"""The server under test: our transports, serving the suite's service instead of a sandbox's.

The runner starts it, tells it on standard input what it wants, and reads on standard output where it listens; each is
one message behind its length, four bytes big-endian. Ends when it is terminated.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import sys
from typing import Any

from google.protobuf.message import Message

from envd import rpc, server, web
from envd.config import Config
from envd.supervise import Supervisor
from envd.transport.auth import Gate
from envd.transport.grpc_server import GrpcServer
from envd.transport.origins import Origins
from envd.transport.router import Router
from tests.conformance.connect_suite import contract
from tests.conformance.connect_suite.service import ConformanceService

_LENGTH = struct.Struct(">I")


async def serve(descriptor: Any, wanted: Any) -> None:
    """Listen and serve as the daemon does, another table of methods apart."""
    config = Config()
    message_bytes = wanted.message_receive_limit or config.limits.message_bytes
    methods = rpc.bind(descriptor, ConformanceService(), message_bytes=message_bytes)
    gate = Gate(lambda *_: True, lambda _: None)
    # The suite's clients are no web pages.
    origins = Origins(lambda: False, (), ())
    grpc = GrpcServer(methods, gate, origins, config.limits)
    router = Router(methods, web.table([]), gate, origins, unary_s=config.limits.unary_s)
    listener = server._listener(config.limits, router, grpc, Supervisor())
    sock = socket.create_server(("127.0.0.1", 0))
    await listener.start([sock])
    write_message(contract.message("ServerCompatResponse")(host="127.0.0.1", port=sock.getsockname()[1]))
    await listener.watch()


def read_message(kind: type[Message]) -> Message:
    (size,) = _LENGTH.unpack(sys.stdin.buffer.read(_LENGTH.size))
    return kind.FromString(sys.stdin.buffer.read(size))


def write_message(sent: Message) -> None:
    data = sent.SerializeToString()
    sys.stdout.buffer.write(_LENGTH.pack(len(data)) + data)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    found = contract.load()
    asyncio.run(serve(found, read_message(contract.message("ServerCompatRequest"))))
