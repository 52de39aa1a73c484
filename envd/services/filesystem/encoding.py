"""Entries and file content as messages, written straight into both encodings.

These are the paths that hundreds of thousands of entries and gigabytes of content take; the general codecs cost several
times as much. Field numbers: filesystem.proto.
"""

from __future__ import annotations

import base64
import functools
import json
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from envd.errors import readable
from envd.filesystem.entries import Entry, Link, kind_of, name_of, permissions_of
from envd.filesystem.lossy_names import raw_of
from envd.varint import delimited, varint

_KIND_NAMES = {1: "FILE_TYPE_FILE", 2: "FILE_TYPE_DIRECTORY"}
_BILLION = 1_000_000_000
# What a protobuf timestamp can hold, the years 1 to 9999; a file's time can be anything.
_FIRST_NS, _LAST_NS = -62_135_596_800 * _BILLION, 253_402_300_800 * _BILLION - 1


def _number(tag: bytes, value: int) -> bytes:
    return tag + varint(value) if value else b""


_cached_varint = functools.lru_cache(4096)(varint)


@functools.lru_cache(4096)
def _date(seconds: int) -> str:
    found = time.gmtime(seconds)
    return f"{found.tm_year:04d}-{found.tm_mon:02d}-{found.tm_mday:02d}T" + time.strftime("%H:%M:%S", found)


def time_of(time_ns: int) -> tuple[int, int]:
    """Return a time as seconds and nanoseconds of a protobuf timestamp."""
    return divmod(min(max(time_ns, _FIRST_NS), _LAST_NS), _BILLION)


def _date_text(time_ns: int) -> str:
    seconds, nanos = time_of(time_ns)
    text = _date(seconds)
    if not nanos:
        return text + "Z"
    if not nanos % 1_000_000:
        return f"{text}.{nanos // 1_000_000:03d}Z"
    if not nanos % 1000:
        return f"{text}.{nanos // 1000:06d}Z"
    return f"{text}.{nanos:09d}Z"


class NameLookup(Protocol):
    """A lookup of the names of users and groups."""

    def owner(self, uid: int, /) -> str:
        """Return the name of a user."""

    def group(self, gid: int, /) -> str:
        """Return the name of a group."""


class EntryEncoder:
    """Writes entries. For one listing: what is alike in its entries is worked out once.

    Args:
        names: of users and groups.
        brief: only name, type and path, all that an old client knows.
    """

    def __init__(self, names: NameLookup, *, brief: bool = False) -> None:
        self._names = names
        self._brief = brief
        self._proto_common = functools.lru_cache(1024)(self._make_proto_common)
        self._json_common = functools.lru_cache(1024)(self._make_json_common)

    def proto(self, entry: Entry) -> bytes:
        """Return an EntryInfo in binary."""
        end = entry.end
        path = entry.path
        try:
            shown = path.encode()
        except UnicodeEncodeError:
            shown = readable(path).encode()
        name = shown[shown.rfind(b"/") + 1 :]
        if name in (b"", b".", b".."):
            name = readable(name_of(path)).encode()
        kind = kind_of(end.st_mode) if end else 0
        parts = [b"\x0a", varint(len(name)), name, b"\x1a", varint(len(shown)), shown]
        if kind:
            parts.append(b"\x10" + varint(kind))
        if not self._brief:
            self._proto_rest(entry, parts)
        return b"".join(parts)

    def _proto_rest(self, entry: Entry, parts: list[bytes]) -> None:
        st, end = entry.stat, entry.end
        seconds, nanos = time_of(st.st_mtime_ns)
        when = (b"\x08" + _cached_varint(seconds) if seconds else b"") + (b"\x10" + varint(nanos) if nanos else b"")
        parts.append(self._proto_common(st.st_mode, end.st_mode & 0o777 if end else 0, st.st_uid, st.st_gid))
        if st.st_size:
            parts.append(b"\x20" + varint(st.st_size))
        if when:
            parts += (b"\x4a", bytes((len(when),)), when)
        etag = entry.etag
        if etag:
            parts += (b"\xe2\x3e", bytes((len(etag),)), etag.encode())
        for key, value in entry.metadata.items():
            parts.append(delimited(b"\x5a", delimited(b"\x0a", key.encode()) + delimited(b"\x12", value.encode())))
        if entry.link is not None:
            parts.append(delimited(b"\x52", readable(entry.link.leads_to).encode()))
            parts.append(delimited(b"\xda\x3e", entry.link.text))
            raw_target = raw_of(entry.link.leads_to)
            if raw_target is not None:
                parts.append(delimited(b"\xf2\x3e", raw_target))
        raw = raw_of(entry.path)
        if raw is not None:
            parts.append(delimited(b"\xea\x3e", raw))

    def _make_proto_common(self, st_mode: int, mode: int, uid: int, gid: int) -> bytes:
        return b"".join(
            [
                _number(b"\x28", mode),
                delimited(b"\x32", permissions_of(st_mode).encode()),
                delimited(b"\x3a", readable(self._names.owner(uid)).encode()),
                delimited(b"\x42", readable(self._names.group(gid)).encode()),
                _number(b"\xc0\x3e", st_mode),
                _number(b"\xc8\x3e", uid),
                _number(b"\xd0\x3e", gid),
            ]
        )

    def json(self, entry: Entry) -> str:
        """Return an EntryInfo in JSON."""
        end = entry.end
        path = readable(entry.path)
        name = path[path.rfind("/") + 1 :]
        if name in ("", ".", ".."):
            name = readable(name_of(entry.path))
        kind = kind_of(end.st_mode) if end else 0
        parts = [f'{{"name":{_quote(name)},"path":{_quote(path)}']
        if kind:
            parts.append(f',"type":"{_KIND_NAMES[kind]}"')
        if not self._brief:
            self._json_rest(entry, parts)
        parts.append("}")
        return "".join(parts)

    def _json_rest(self, entry: Entry, parts: list[str]) -> None:
        st, end = entry.stat, entry.end
        parts.append(self._json_common(st.st_mode, end.st_mode & 0o777 if end else 0, st.st_uid, st.st_gid))
        if st.st_size:
            parts.append(f',"size":"{st.st_size}"')
        if st.st_mtime_ns:
            parts.append(f',"modifiedTime":"{_date_text(st.st_mtime_ns)}"')
        etag = entry.etag
        if etag:
            parts.append(f',"etag":"{etag}"')
        if entry.metadata:
            parts.append(f',"metadata":{json.dumps(dict(entry.metadata), ensure_ascii=False, separators=(",", ":"))}')
        if entry.link is not None:
            parts.append(_json_of_link(entry.link))
        raw = raw_of(entry.path)
        if raw is not None:
            parts.append(f',"rawPath":"{base64.b64encode(raw).decode()}"')

    def _make_json_common(self, st_mode: int, mode: int, uid: int, gid: int) -> str:
        fields = {
            "mode": mode,
            "permissions": permissions_of(st_mode),
            "owner": readable(self._names.owner(uid)),
            "group": readable(self._names.group(gid)),
            "stMode": st_mode,
            "uid": uid,
            "gid": gid,
        }
        text = json.dumps({key: value for key, value in fields.items() if value}, ensure_ascii=False)
        return f",{text[1:-1]}"


_quote: Callable[[str], str] = json.encoder.encode_basestring


def _json_of_link(link: Link) -> str:
    text = base64.b64encode(link.text).decode()
    raw = raw_of(link.leads_to)
    more = "" if raw is None else f',"rawSymlinkTarget":"{base64.b64encode(raw).decode()}"'
    return f',"symlinkTarget":{_quote(readable(link.leads_to))},"linkText":"{text}"{more}'


class EncodedMessage:
    """One message that was encoded beforehand, in a thread. Implements envd.rpc.Encoded.

    Args:
        in_json: which encoding `payload` is in.
        again: makes the other one, should the guess which one is needed have been wrong.
    """

    position = None

    def __init__(self, payload: bytes, *, in_json: bool, again: Callable[[], bytes]) -> None:
        self._payload = payload
        self._in_json = in_json
        self._again = again

    def proto(self) -> Sequence[bytes]:
        """Return the message in binary."""
        return (self._again() if self._in_json else self._payload,)

    def json(self) -> Sequence[bytes]:
        """Return the message in JSON."""
        return (self._payload if self._in_json else self._again(),)
