"""Records of extended headers. Source: pax(1p), "pax Extended Header"."""

from __future__ import annotations

from collections.abc import Iterator

from envd.errors import Code, EnvdError

XATTR = b"SCHILY.xattr."
"""Begins the keyword of an extended attribute, as star, GNU tar and libarchive write them."""

_MOST_DIGITS = 10


def record(keyword: bytes, value: bytes) -> bytes:
    """Return one record; its length counts itself."""
    unprefixed = len(keyword) + len(value) + 3  # blank, equals sign, newline
    size = unprefixed + len(str(unprefixed))
    size = unprefixed + len(str(size))
    return b"%d %b=%b\n" % (size, keyword, value)


def records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield keyword and value of each record, in order; some come several times.

    Raises:
        EnvdError: INVALID_ARGUMENT if they are malformed.
    """
    begin = 0
    while begin < len(data):
        blank = data.find(b" ", begin, begin + _MOST_DIGITS)
        digits = data[begin:blank] if blank > begin else b""
        end = begin + int(digits) if digits.isdigit() else 0
        keyword, equals, value = data[blank + 1 : end - 1].partition(b"=")
        if end <= blank + 1 or end > len(data) or data[end - 1] != 0x0A or not equals or not keyword:
            raise EnvdError(Code.INVALID_ARGUMENT, "the archive is damaged: an extended header is malformed")
        yield keyword, value
        begin = end


def time_text(time_ns: int) -> bytes:
    """Return a time as decimal seconds, exactly."""
    seconds, nanos = divmod(abs(time_ns), 1_000_000_000)
    sign = b"-" if time_ns < 0 else b""
    return b"%b%d.%09d" % (sign, seconds, nanos) if nanos else b"%b%d" % (sign, seconds)


def time_from(text: bytes) -> int:
    """Return a time in nanoseconds; finer digits are cut off.

    Raises:
        ValueError: it is no time.
    """
    seconds, _, fraction = text.removeprefix(b"-").partition(b".")
    if not (seconds or b"0").isdigit() or not (fraction or b"0").isdigit() or len(seconds) > 2 * _MOST_DIGITS:
        raise ValueError("no decimal number of seconds")
    time_ns = int(seconds or b"0") * 1_000_000_000 + int((fraction[:9] or b"0").ljust(9, b"0"))
    return -time_ns if text.startswith(b"-") else time_ns


def quoted(name: str) -> bytes:
    """Return an attribute's name as a keyword can have it; as GNU tar does."""
    raw = name.encode(errors="surrogateescape")
    return raw.replace(b"%", b"%25").replace(b"=", b"%3D") if b"%" in raw or b"=" in raw else raw


def unquoted(keyword: bytes) -> str:
    """Return the name that `quoted` made a keyword of."""
    return keyword.replace(b"%3D", b"=").replace(b"%25", b"%").decode(errors="surrogateescape")
