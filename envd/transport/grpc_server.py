"""Native gRPC: grpcio behind a private socket, imported at the first connection. The one module that knows it.

grpc.aio runs in our event loop; its core reads and writes in threads of its own. Source of the option names:
grpc/impl/channel_arg_names.h.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import logging
import os
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from envd.config import Limits
from envd.errors import EnvdError
from envd.rpc import Method, MethodTable

from . import private
from .auth import Gate
from .grpc_calls import GrpcCalls, GrpcNegotiated, headers_of
from .grpc_status import NUMBERS
from .http2 import Streams
from .origins import Ingress, Origins

_LIBRARY_THREADS = 12  # it starts 7
# A client that asks more often whether we are there, with nothing to say besides, is sent away: GOAWAY, too_many_pings.
_PING_INTERVAL_MS = 1000
# Calls of all connections together that wait to be taken up; one more is answered CANCELLED. The library's own numbers
# are 1000 and 3000, and between them it cancels waiting calls at random, also those of clients that are well.
_WAITING_CALLS = 65_536


class GrpcServer:
    """Serves the method table, reflection and health; started by the first request for its address."""

    def __init__(self, methods: MethodTable, gate: Gate, origins: Origins, limits: Limits) -> None:
        self.streams = Streams()
        self._methods = methods
        self._gate = gate
        self._origins = origins
        self._limits = limits
        self._starting = asyncio.Lock()
        self._path = ""
        self._server: Any = None
        self._health: Any = None

    async def address(self) -> str:
        """Return the path of the private socket, once it is listening there.

        Raises:
            OSError: there can be no threads for the library now.
        """
        async with self._starting:
            if not self._path:
                # In a thread: on the loop the import stalls every client for a quarter of a second.
                library = await asyncio.to_thread(_load)
                self._path = await self._start(library)
        return self._path

    async def _start(self, library: _Library) -> str:
        server = library.aio.server(options=_options(self._limits, self._methods))
        server.add_generic_rpc_handlers((self._handlers(library),))
        services = {path.split("/")[1] for path in self._methods}
        self._health = await library.add_health(server, services)
        library.add_reflection(server, services)
        with private.directory() as folder:
            path = os.path.join(folder, "grpc")
            server.add_insecure_port(f"unix:{path}")
            await server.start()
            self._server = server
            return private.only_here(path)

    def _handlers(self, library: _Library) -> Any:
        calls = GrpcCalls(
            self._gate,
            self.streams,
            unary_s=self._limits.unary_s,
            body_idle_s=self._limits.body_idle_s,
            terms=library.terms(),
        )
        return library.handlers(
            {path: _behaviour(calls, method) for path, method in self._methods.items()},
            self._gate,
            self._origins,
            self.streams,
        )

    async def stop(self, grace_s: float) -> None:
        """Take no new calls; those under way have `grace_s` seconds."""
        if self._server is not None:
            await self._health.enter_graceful_shutdown()
            await self._server.stop(grace_s)


def _load() -> _Library:
    """Load the library, if it can have its threads: without them it ends the process (SIGSEGV in 1.85)."""
    enough = threading.Event()
    probes = [threading.Thread(target=enough.wait, daemon=True) for _ in range(_LIBRARY_THREADS)]
    try:
        for probe in probes:
            probe.start()
    except RuntimeError as exc:
        raise BlockingIOError(errno.EAGAIN, "no thread can be made for gRPC") from exc
    finally:
        enough.set()
        for probe in probes:
            if probe.ident is not None:
                probe.join()
    return _Library()


Behaviour = Callable[..., Awaitable[Any]]


def _behaviour(calls: GrpcCalls, method: Method) -> tuple[Behaviour, bool]:
    """Return what answers a method, and whether it does so with a stream."""
    serve = calls.stream if method.server_streaming else calls.answer
    return functools.partial(serve, method), method.server_streaming


def _options(limits: Limits, methods: MethodTable) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", 0),
        ("grpc.max_concurrent_streams", limits.streams),
        ("grpc.max_metadata_size", limits.header_bytes),
        ("grpc.absolute_max_metadata_size", limits.header_bytes),
        ("grpc.max_receive_message_length", max(method.message_bytes for method in methods.values())),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_connection_idle_ms", round(limits.idle_s * 1000)),
        ("grpc.server_handshake_timeout_ms", round(limits.header_s * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", _PING_INTERVAL_MS),
        ("grpc.server.max_pending_requests", _WAITING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", _WAITING_CALLS),
    ]


def _is_no_lost_client(record: logging.LogRecord) -> bool:
    """Drop what the library logs as an error of ours when it cannot send the end of a call whose client has gone."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or kind.__name__ not in ("ExecuteBatchError", "AbortError")


class _GenericOnly:
    """A server to which only generic handlers can be added, which are asked in the order they came."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, *_: object) -> None:
        """Leave them out: they are those that came as generic ones."""


class _Library:
    """grpcio and its companions; making one imports them."""

    def __init__(self) -> None:
        # Children are the keeper's, so its fork handlers only cost; its own log lines are no JSON.
        os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        import grpc.aio  # noqa: PLC0415
        import grpc_health.v1.health  # noqa: PLC0415
        import grpc_health.v1.health_pb2  # noqa: PLC0415
        import grpc_health.v1.health_pb2_grpc  # noqa: PLC0415
        import grpc_reflection.v1alpha.reflection  # noqa: PLC0415

        self._grpc = grpc
        self.aio = grpc.aio
        logging.getLogger("grpc._cython.cygrpc").addFilter(_is_no_lost_client)
        self._health = grpc_health.v1
        self._reflection = grpc_reflection.v1alpha.reflection

    def terms(self) -> GrpcNegotiated:
        """Return what it calls things."""
        by_number = {status.value[0]: status for status in self._grpc.StatusCode}
        return GrpcNegotiated(
            statuses={code: by_number[number] for code, number in NUMBERS.items()},
            broken=self._grpc._cython.cygrpc.ExecuteBatchError,  # noqa: SLF001 - it has no public name
            aborted=self.aio.AbortError,
        )

    def handlers(
        self, behaviours: dict[str, tuple[Behaviour, bool]], gate: Gate, origins: Origins, streams: Streams
    ) -> Any:
        """Return a handler of generic calls, to be added before any other: it checks the access token for all of them.

        Only health answers anyone. All handlers read a stream: so a request without a message is noticed. No
        interceptor of the library's does this: that takes 30 us a call.
        """
        stream_handler, unary_handler = (
            self._grpc.stream_stream_rpc_method_handler,
            self._grpc.stream_unary_rpc_method_handler,
        )
        handlers = {
            path: (stream_handler if streams else unary_handler)(serve) for path, (serve, streams) in behaviours.items()
        }
        denied = self._grpc.StatusCode.PERMISSION_DENIED
        unauthenticated = self._grpc.StatusCode.UNAUTHENTICATED
        health = f"/{self._health.health.SERVICE_NAME}/"

        def service(_: Any, call: Any) -> Any:
            headers = headers_of(call.invocation_metadata)
            acks = streams.of_headers(headers)
            try:
                origins.check(Ingress.NETWORK if acks is None else acks.place, headers)
            except EnvdError as exc:
                return self._refusal(denied, exc.message)
            if call.method.startswith(health):
                return None
            try:
                vouched = gate.admit("POST", call.method, headers)
            except EnvdError as exc:
                return self._refusal(unauthenticated, exc.message)
            if vouched and acks is not None:
                acks.vouch()
            return handlers.get(call.method)

        # The base class is only known now that the library is.
        return type("Handlers", (self._grpc.GenericRpcHandler,), {"service": service})()

    def _refusal(self, status: Any, message: str) -> Any:
        """Return a handler that reads nothing and ends the call."""
        aborted = self.aio.AbortError

        async def refuse(_: Any, context: Any) -> None:
            try:
                await context.abort(status, message)
            except aborted as exc:
                exc.__traceback__ = None  # as in GrpcCalls

        return self._grpc.stream_stream_rpc_method_handler(refuse)

    async def add_health(self, server: Any, services: set[str]) -> Any:
        """Serve grpc.health.v1: every service is there as long as the server is."""
        servicer = self._health.health.aio.HealthServicer()
        for service in services:
            await servicer.set(service, self._health.health_pb2.HealthCheckResponse.SERVING)
        self._health.health_pb2_grpc.add_HealthServicer_to_server(servicer, _GenericOnly(server))
        return servicer

    def add_reflection(self, server: Any, services: set[str]) -> None:
        """Serve grpc.reflection."""
        names = (*services, self._health.health.SERVICE_NAME, self._reflection.SERVICE_NAME)
        # Registered methods would be found before the handler that checks the access token.
        self._reflection.enable_server_reflection(names, _GenericOnly(server))
