"""Codes to gRPC's numbers, and the trailers that carry an error. Source: gRPC over HTTP2, "Responses"; status codes."""

from __future__ import annotations

import base64
from urllib.parse import quote

from envd.errors import Code, EnvdError
from envd.varint import delimited, varint

NUMBERS = {
    Code.CANCELED: 1,
    Code.UNKNOWN: 2,
    Code.INVALID_ARGUMENT: 3,
    Code.DEADLINE_EXCEEDED: 4,
    Code.NOT_FOUND: 5,
    Code.ALREADY_EXISTS: 6,
    Code.PERMISSION_DENIED: 7,
    Code.RESOURCE_EXHAUSTED: 8,
    Code.FAILED_PRECONDITION: 9,
    Code.ABORTED: 10,
    Code.OUT_OF_RANGE: 11,
    Code.UNIMPLEMENTED: 12,
    Code.INTERNAL: 13,
    Code.UNAVAILABLE: 14,
    Code.DATA_LOSS: 15,
    Code.UNAUTHENTICATED: 16,
}

DETAILS = "grpc-status-details-bin"
# Percent-encoding leaves all printable ASCII but the percent sign itself as it is.
_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


def trailers_of(error: EnvdError | None) -> list[tuple[str, str]]:
    """Return the trailers that say how a call ended."""
    if error is None:
        return [("grpc-status", "0")]
    trailers = [("grpc-status", str(NUMBERS[error.code])), ("grpc-message", quote(error.message, safe=_PLAIN))]
    if error.details:
        trailers.append((DETAILS, base64.b64encode(details_of(error)).decode().rstrip("=")))
    return trailers


def details_of(error: EnvdError) -> bytes:
    """Return an error as a serialised google.rpc.Status: code 1, message 2, details 3, each a google.protobuf.Any."""
    status = b"\x08" + varint(NUMBERS[error.code]) + delimited(b"\x12", error.message.encode(errors="replace"))
    for detail in error.details:
        type_url = f"type.googleapis.com/{detail.type_name}".encode()
        status += delimited(b"\x1a", delimited(b"\x0a", type_url) + delimited(b"\x12", detail.value))
    return status
