"""Cross-origin headers: any origin, without credentials. Source: Fetch standard, "CORS protocol"."""

from __future__ import annotations

from collections.abc import Mapping

Headers = tuple[tuple[str, str], ...]

_EXPOSED = "Grpc-Status, Grpc-Message, Grpc-Status-Details-Bin, Location, Cache-Control, X-Content-Type-Options"
_METHODS = frozenset({"HEAD", "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_VARY = (("Vary", "Origin"),)
_VARY_PREFLIGHT = ("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
_ANY_ORIGIN = (("Access-Control-Allow-Origin", "*"), ("Access-Control-Expose-Headers", _EXPOSED), *_VARY)


def is_preflight(method: str, headers: Mapping[str, str]) -> bool:
    """Tell whether a browser asks what it may send."""
    return method == "OPTIONS" and "access-control-request-method" in headers


def preflight_headers(headers: Mapping[str, str]) -> Headers:
    """Answer a preflight; without an origin, or for an unknown method, nothing is allowed."""
    method = headers["access-control-request-method"].upper()
    if "origin" not in headers or method not in _METHODS:
        return (_VARY_PREFLIGHT,)
    allowed = [("Access-Control-Allow-Origin", "*"), ("Access-Control-Allow-Methods", method)]
    requested = headers.get("access-control-request-headers")
    if requested:
        allowed.append(("Access-Control-Allow-Headers", requested))
    return (*allowed, ("Access-Control-Max-Age", "7200"), _VARY_PREFLIGHT)


def response_headers(headers: Mapping[str, str]) -> Headers:
    """Return what every other response carries."""
    return _ANY_ORIGIN if "origin" in headers else _VARY
