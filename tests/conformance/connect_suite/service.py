"""The service the suite's client calls: it answers as each request says, and with what it saw of the request.

Source: the comments in connectrpc/conformance/v1/service.proto of the suite's module.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, NoReturn

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from envd.errors import Code, Detail, EnvdError
from envd.rpc import Call
from tests.conformance.connect_suite.contract import message

_CODES = dict(enumerate(Code, start=1))


class ConformanceService:
    """One function for each RPC."""

    async def unary(self, request: Any, call: Call) -> Message:
        return await _single("UnaryResponse", [request], call)

    async def idempotent_unary(self, request: Any, call: Call) -> Message:
        return await _single("IdempotentUnaryResponse", [request], call)

    async def client_stream(self, requests: AsyncIterator[Any], call: Call) -> Message:
        return await _single("ClientStreamResponse", [request async for request in requests], call)

    async def server_stream(self, request: Any, call: Call) -> AsyncIterator[Message]:
        definition = request.response_definition
        _add_metadata(definition, call)
        for index, data in enumerate(definition.response_data):
            await _delay(definition)
            yield _response("ServerStreamResponse", data, None if index else _info([request], call))
        _raise_if_asked(definition, None if definition.response_data else _info([request], call))

    async def bidi_stream(self, requests: AsyncIterator[Any], call: Call) -> AsyncIterator[Message]:
        first: Any = await anext(requests, None)
        if first is None:
            return
        definition = first.response_definition
        _add_metadata(definition, call)
        data = list(definition.response_data)
        unanswered = [first]
        sent = 0
        if first.full_duplex:
            while unanswered and sent < len(data):
                await _delay(definition)
                info = _info(unanswered, call) if sent == 0 else _requests_only(unanswered)
                yield _response("BidiStreamResponse", data[sent], info)
                sent += 1
                unanswered = [request] if (request := await anext(requests, None)) is not None else []
        else:
            unanswered += [request async for request in requests]
        for index in range(sent, len(data)):
            await _delay(definition)
            yield _response("BidiStreamResponse", data[index], None if index else _info(unanswered, call))
        _raise_if_asked(definition, None if data else _info(unanswered, call))

    async def unimplemented(self, request: Any, call: Call) -> NoReturn:
        raise EnvdError(Code.UNIMPLEMENTED, "Unimplemented is not implemented")


async def _single(response: str, requests: list[Any], call: Call) -> Message:
    definition = requests[0].response_definition if requests else message("UnaryResponseDefinition")()
    info = _info(requests, call)
    _add_metadata(definition, call)
    await _delay(definition)
    _raise_if_asked(definition, info)
    return _response(response, definition.response_data, info)


def _response(name: str, data: bytes, info: Message | None) -> Message:
    payload = message("ConformancePayload")(data=data, request_info=info)
    return message(name)(payload=payload)


def _info(requests: Iterable[Message], call: Call) -> Message:
    found: Any = _requests_only(requests)
    for name, value in call.headers.items():
        found.request_headers.add(name=name, value=[value])
    if call.timeout_s is not None:
        found.timeout_ms = round(call.timeout_s * 1000)
    return found


def _requests_only(requests: Iterable[Message]) -> Message:
    found: Any = message("ConformancePayload.RequestInfo")()
    for request in requests:
        found.requests.add().Pack(request)
    return found


def _add_metadata(definition: Any, call: Call) -> None:
    for pairs, wanted in (
        (call.response.headers, definition.response_headers),
        (call.response.trailers, definition.response_trailers),
    ):
        pairs += [(header.name.lower(), value) for header in wanted for value in header.value]


async def _delay(definition: Any) -> None:
    await asyncio.sleep(definition.response_delay_ms / 1000)


def _raise_if_asked(definition: Any, info: Message | None) -> None:
    """Raise the error a definition asks for; `info` becomes one more detail of it."""
    if not definition.HasField("error"):
        return
    details = list(definition.error.details)
    if info is not None:
        packed = AnyMessage()
        packed.Pack(info)
        details.append(packed)
    raise EnvdError(
        _CODES[definition.error.code],
        definition.error.message,
        tuple(Detail(detail.TypeName(), detail.value) for detail in details),
    )
