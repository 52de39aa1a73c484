"""Codes to HTTP status, for Connect's unary errors. Source: Connect protocol reference, "Error Codes"."""

from __future__ import annotations

import base64
import json

from envd.errors import Code, EnvdError

HTTP_STATUS = {
    Code.CANCELED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}

REASONS = {
    100: "Continue",
    200: "OK",
    201: "Created",
    204: "No Content",
    206: "Partial Content",
    304: "Not Modified",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    408: "Request Timeout",
    409: "Conflict",
    412: "Precondition Failed",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    416: "Range Not Satisfiable",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    499: "Client Closed Request",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
    507: "Insufficient Storage",
}

_HTML_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def error_fields(error: EnvdError) -> dict[str, object]:
    """Return an error as Connect's JSON object."""
    fields: dict[str, object] = {"code": error.code.value, "message": error.message}
    if error.details:
        packed = ((detail.type_name, base64.b64encode(detail.value).decode().rstrip("=")) for detail in error.details)
        fields["details"] = [{"type": name, "value": value} for name, value in packed]
    return fields


def error_json(fields: object) -> bytes:
    """Encode for a body a browser may look at: markup characters are escaped, as clients of the reference see them."""
    return json.dumps(fields, separators=(",", ":")).translate(_HTML_ESCAPES).encode()


def plain_response(status: int, message: str) -> bytes:
    """Return a whole HTTP/1.1 response in plain text after which the connection closes: for what is no request."""
    body = (message + "\n").encode()
    head = (
        f"HTTP/1.1 {status} {REASONS.get(status, '')}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
