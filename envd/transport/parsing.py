"""Bytes to request heads and bodies, with the bounds that httptools lacks."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote_to_bytes, urlsplit

import httptools

from .body import RequestBody
from .exchange import Head


class BadRequestError(Exception):
    """The bytes are no acceptable request; what follows them cannot be understood."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Parser:
    """Feeds one connection's bytes to httptools.

    Calls `request(self)` when a head is complete; the body it returns gets what follows. Heads, chunk extensions and
    trailers are bounded by `header_bytes`.
    """

    def __init__(self, request: Callable[[Parser], RequestBody], header_bytes: int) -> None:
        self._request = request
        self._header_bytes = header_bytes
        self._parser = httptools.HttpRequestParser(self)
        self._body: RequestBody | None = None
        self._fruitless = 0  # bytes since the last head or piece of body
        self._upgrade = False
        self._replaying = False
        self.in_head = False
        self._clear()

    def _clear(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._head_bytes = 0

    @property
    def in_body(self) -> bool:
        """True between a head and the end of its body."""
        return self._body is not None

    @property
    def keep_alive(self) -> bool:
        """Whether the client wants the connection kept; valid while `request` runs."""
        return bool(self._parser.should_keep_alive())

    def close(self) -> None:
        """Drop the parser, which refers back to this object: nothing then waits for the garbage collector."""
        del self._parser, self._request
        self._body = None

    def skip_body(self) -> None:
        """Begin anew behind a body that was read past the parser."""
        self._parser = httptools.HttpRequestParser(self)
        self._body = None
        self._replaying = False
        self._fruitless = 0

    def feed(self, data: bytes) -> None:
        """Parse bytes.

        Raises:
            BadRequestError: they are not HTTP/1, or a bound is passed.
        """
        self._fruitless += len(data)
        while data:
            data = self._feed_until_upgrade(data)
        if self._fruitless > self._header_bytes:
            raise BadRequestError(431, f"request header is larger than {self._header_bytes} bytes")

    def _feed_until_upgrade(self, data: bytes) -> bytes:
        """Parse bytes; return what is left behind a request that asked for another protocol."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            self._ignore_upgrade()
            return data[exc.args[0] :]
        except httptools.HttpParserError as exc:
            cause = exc.__context__ if isinstance(exc.__context__, BadRequestError) else None
            raise cause or BadRequestError(400, f"bad request: {exc}") from exc
        return b""

    def _ignore_upgrade(self) -> None:
        """Go on in HTTP/1.1, as RFC 9110 section 7.8 allows; httptools would drop the body.

        A fresh parser is told what the head said about the body, and nothing else.
        """
        self._upgrade = False
        framing = [
            f"{name}: {self._headers[name]}\r\n"
            for name in ("content-length", "transfer-encoding")
            if name in self._headers
        ]
        self._parser = httptools.HttpRequestParser(self)
        self._replaying = True
        self._parser.feed_data(f"POST / HTTP/1.1\r\n{''.join(framing)}\r\n".encode("latin-1"))
        self._fruitless = 0

    # httptools calls these.

    def on_message_begin(self) -> None:
        self.in_head = True
        if not self._replaying:
            self._clear()

    def on_url(self, url: bytes) -> None:
        if not self._replaying:
            self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._replaying or self._body is not None:
            return  # the second time, or a trailer
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > self._header_bytes:
            raise BadRequestError(431, f"request header is larger than {self._header_bytes} bytes")
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        self.in_head = False
        self._fruitless = 0
        if self._replaying:
            return
        if self._parser.get_method() == b"CONNECT":
            raise BadRequestError(405, "method CONNECT is not supported")
        if self._parser.get_http_version() not in ("1.0", "1.1"):
            raise BadRequestError(505, "HTTP version not supported: use HTTP/1.1")
        if self._headers.get("transfer-encoding", "chunked").strip().lower() != "chunked":
            raise BadRequestError(501, "only the transfer coding chunked is supported")  # RFC 9112, section 6.1
        self._upgrade = bool(self._parser.should_upgrade())
        self._body = self._request(self)

    def on_body(self, data: bytes) -> None:
        self._fruitless = 0
        if self._body is not None:
            self._body.feed(data)

    def on_message_complete(self) -> None:
        if self._upgrade or self._body is None:
            return
        self._replaying = False
        self._fruitless = 0
        body, self._body = self._body, None
        body.finish()

    def head(self) -> Head:
        """Return the head just parsed."""
        target = self._url.decode("latin-1")
        authority = None
        if not target.startswith(("/", "*")):
            try:
                parts = urlsplit(target)
            except ValueError as exc:
                raise BadRequestError(400, "bad request: the target is neither a path nor a URL") from exc
            authority = parts.netloc
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        path, _, query = target.partition("?")
        if "%" in path:
            path = unquote_to_bytes(path).decode("utf-8", "replace")
        return Head(
            method=self._parser.get_method().decode("latin-1"),
            path=path,
            query=query,
            headers=self._headers,
            http11=self._parser.get_http_version() == "1.1",
            authority=authority,
        )
