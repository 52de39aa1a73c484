"""Web pages: which of them may call while no access token keeps others out.

A browser lets any page send requests to the machine it runs on, and DNS rebinding lets a page do so under a name of its
own. It always says, though, which page asks (Origin, Sec-Fetch-Site) and which name was looked up (Host). Programs that
are no browsers send no Origin. With a token a page would have to know it, and a unix socket no browser can reach.

Source: Fetch standard, "Origin header"; Fetch Metadata, "Sec-Fetch-Site"; RFC 9110, sections 4.3.1 and 7.2.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence

from envd.errors import Code, EnvdError

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]*)?")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@ ,]+")  # what the command takes for one
_OWN_SITES = ("same-origin", "none")  # none: typed, or a bookmark
_SHOWN = 100
_INSTEAD = "set an access token (--access-token-file, ENVD_ACCESS_TOKEN or /init)"


class Ingress(enum.Enum):
    """The kind of address a listener is bound to."""

    UNIX = "unix"
    LOOPBACK = "loopback"
    NETWORK = "network"


class Origins:
    """Refuses what browsers send for pages of others; lets everything through that is no browser's.

    Args:
        token_required: tells whether there is an access token; then nothing is refused here.
        origins: that may call all the same, as browsers write them; "*" for any.
        hosts: names without a port under which the daemon may be called besides the loopback's; "*.example.com" is
            everything below example.com, "*" is any. If there are some, they are the only ones on every address.
    """

    def __init__(
        self, token_required: Callable[[], bool], origins: Sequence[str] = (), hosts: Sequence[str] = ()
    ) -> None:
        self._token_required = token_required
        self._origins = frozenset(origin.lower() for origin in origins)
        self._hosts = frozenset(host.lower().rstrip(".") for host in hosts)

    def apply(self, place: Ingress) -> bool:
        """Tell whether calls that come in at such a listener have to be checked now."""
        return place is not Ingress.UNIX and not self._token_required()

    def check(self, place: Ingress, headers: Mapping[str, str], authority: str | None = None) -> None:
        """Check one request.

        Args:
            place: of the listener it came in at.
            headers: by lower-case name; several of one name are joined.
            authority: of an absolute request target, or HTTP/2's; None if there is none.

        Raises:
            EnvdError: PERMISSION_DENIED; the message says what to change.
        """
        if not self.apply(place):
            return
        hosts = [host for host in (authority, headers.get("host")) if host]
        if place is Ingress.LOOPBACK or self._hosts:
            for host in hosts:
                self._check_host(host)
        origin = headers.get("origin")
        if origin is not None:
            self._check_origin(origin, hosts)
        elif headers.get("sec-fetch-site", "none").strip().lower() not in _OWN_SITES:
            raise EnvdError(
                Code.PERMISSION_DENIED,
                "a web page of another site sent this request, and while there is no access token pages may not call "
                f"this daemon: {_INSTEAD}",
            )

    def _check_host(self, host: str) -> None:
        if "*" in self._hosts or self._is_own(host):
            return
        excerpt = _excerpt(host)
        raise EnvdError(
            Code.PERMISSION_DENIED,
            f"Host '{excerpt}' is no name of this daemon's: while there is no access token it answers to localhost and "
            f"loopback addresses only, for a web page could have made up another name. Call it by one of these, or "
            f"{_INSTEAD}{_option('--allow-host', _without_port(host))}",
        )

    def _check_origin(self, origin: str, hosts: Sequence[str]) -> None:
        origin = origin.strip().lower()
        if "*" in self._origins or origin in self._origins:
            return
        own = bool(hosts) and all(origin == f"http://{host.lower()}" and self._is_own(host) for host in hosts)
        if own:
            return
        excerpt = _excerpt(origin)
        raise EnvdError(
            Code.PERMISSION_DENIED,
            f"this request is a web page's, of origin '{excerpt}', and while there is no access token pages of others "
            f"may not call this daemon: {_INSTEAD}"
            f"{_option('--allow-origin', origin if _ORIGIN.fullmatch(origin) else None)}",
        )

    def _is_own(self, host: str) -> bool:
        match = _HOST.fullmatch(host.strip().lower())
        if match is None:
            return False
        name = match[1].rstrip(".")
        if name in self._hosts or any(
            name.endswith(pattern[1:]) for pattern in self._hosts if pattern.startswith("*.")
        ):
            return True
        return name == "localhost" or name.endswith(".localhost") or _is_loopback(name.strip("[]"))


def _is_loopback(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)  # before Python 3.13 such an address is no loopback address
    return (mapped or address).is_loopback


def _without_port(host: str) -> str | None:
    """Return a host as the command takes it; None if it is none."""
    match = _HOST.fullmatch(host.strip().lower())
    return match[1] if match else None


def _option(name: str, value: str | None) -> str:
    """Say how to let something in, if that can be."""
    return "" if value is None or len(value) > _SHOWN else f", or start it with {name} {_excerpt(value)}"


def _excerpt(text: str) -> str:
    return text[:_SHOWN].encode("ascii", "backslashreplace").decode()
