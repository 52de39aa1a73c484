"""The least a gRPC server in Python can be, to compare with: `python -m benchmarks.grpc_echo` prints its port."""

from __future__ import annotations

import asyncio

import grpc.aio


async def _echo(request: bytes, _: grpc.aio.ServicerContext) -> bytes:
    return request


async def _serve() -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handlers = {"Echo": grpc.unary_unary_rpc_method_handler(_echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Bench", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(_serve())
