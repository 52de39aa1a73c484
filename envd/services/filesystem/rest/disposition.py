"""File names in headers: Content-Disposition, written and read. Sources: RFC 6266, RFC 8187, RFC 2183."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote_to_bytes

_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_PLAIN = frozenset(b"!#$&+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")  # RFC 8187, attr-char

# A parameter: its name, and a value that is quoted, with backslashes before quotes, or not.
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;"]*))\s*', re.DOTALL)
_KIND = re.compile(r"\s*([^\s;]*)\s*")


def inline(name: str) -> str:
    """Return the header that names a file to show: bare, quoted, or encoded, as the name needs."""
    return f"inline; {_filename(name)}"


def attachment(name: str) -> str:
    """Return the header that names a file to keep."""
    return f"attachment; {_filename(name)}"


def _filename(name: str) -> str:
    if name and _TOKEN.issuperset(name):
        return f"filename={name}"
    if name.isascii() and name.isprintable():
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        return f'filename="{escaped}"'
    encoded = "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in os.fsencode(name))
    return f"filename*=utf-8''{encoded}"


def parameters(header: str) -> tuple[str, dict[str, str]]:
    """Read such a header: its kind and its parameters by lower-case name, `x*` decoded as `x`.

    A quoted value ends at the first quote without a backslash before it. Browsers send the backslashes of names as they
    are, so only quotes and backslashes are unescaped.

    Raises:
        ValueError: it cannot be read.
    """
    kind = _KIND.match(header)
    assert kind is not None
    plain: dict[str, str] = {}
    extended: dict[str, str] = {}
    position = kind.end()
    while position < len(header):
        match = _PARAMETER.match(header, position)
        if match is None:
            if not header[position:].strip("; \t"):
                break
            raise ValueError(f"malformed parameter at {header[position : position + 40]!r}")
        name, quoted, bare = match[1].lower(), match[2], match[3]
        value = re.sub(r'\\(["\\])', r"\1", quoted) if quoted is not None else bare.strip()
        if name.endswith("*"):
            extended[name[:-1]] = _extended(value)
        else:
            plain.setdefault(name, value)
        position = match.end()
    return kind[1].lower(), {**plain, **extended}


def _extended(value: str) -> str:
    charset, mark, tagged = value.partition("'")
    _, second, encoded = tagged.partition("'")
    if not (mark and second) or charset.lower() not in ("utf-8", "us-ascii", "iso-8859-1"):
        raise ValueError(f"malformed extended value {value[:40]!r}")
    raw = unquote_to_bytes(encoded)
    return raw.decode("latin-1") if charset.lower() == "iso-8859-1" else raw.decode("utf-8", "surrogateescape")
