"""The address of a daemon, and the metadata of every call to it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Address:
    """A daemon, and what it asks of its callers.

    Attributes:
        target: as grpc has it, "127.0.0.1:49983" or "unix:/run/envd.sock".
        tls: spoken there.
        metadata: sent with every call.
        url: of the REST half; "" on a unix socket.
        token: access token, or None.
    """

    target: str
    tls: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    token: str | None = field(default=None, repr=False)
    proxy: str | None = None

    @property
    def local(self) -> bool:
        """On this machine: no proxy of the environment's is asked."""
        return self.target.startswith(("unix:", "127.", "localhost:", "[::1]:"))

    def headers(self, user: str | None) -> Metadata:
        """The metadata of one call."""
        metadata = [(name.lower(), value) for name, value in self.metadata.items()]
        if self.token is not None:
            metadata.append(("x-access-token", self.token))
        if user is not None:
            metadata.append(("authorization", "Basic " + base64.b64encode(f"{user}:".encode()).decode()))
        return tuple(metadata)

    def with_token(self, token: str | None) -> Address:
        return replace(self, token=token)


def address_from(text: str) -> Address:
    """Read `HOST:PORT`, `unix:PATH`, or a URL with http or https.

    Raises:
        ValueError: it is none of these.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
        if not path.startswith("/"):
            raise ValueError(f"{text!r} is no address: the path of a unix socket must be absolute")
        return Address(f"unix:{path}")
    parts = urlsplit(text if "://" in text else f"http://{text}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{text!r} is no address: give HOST:PORT, unix:PATH, or a URL with http or https")
    if "://" not in text and parts.port is None:
        raise ValueError(f"{text!r} is no address: the port is missing, as in HOST:49983")
    tls = parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return Address(f"{host}:{port}", tls, url=f"{parts.scheme}://{host}:{port}")
