"""Headers of archives as they are written: ustar, with extended headers for what does not fit. Source: pax(1p)."""

from __future__ import annotations

import functools
import os
import posixpath

from . import pax, sparse
from .member import Member, MemberKind

BLOCK = 512
END = bytes(2 * BLOCK)
"""The blocks after the last entry."""

_NAME_BYTES = 100
_OWNER_BYTES = 31
_MOST_ID = 0o7777777
_MOST_SIZE = 0o77777777777
_BILLION = 1_000_000_000


def head_of(member: Member) -> bytes:
    """Return all that comes before the content of an entry, the map of a sparse file included."""
    name = os.fsencode(member.name) + (b"/" if member.kind is MemberKind.DIRECTORY else b"")
    link = os.fsencode(member.link)
    table = b"" if member.extents is None else sparse.to_map(member.extents, member.size)
    stored = stored_bytes(member) + len(table)
    seconds, nanos = divmod(member.modified_ns, _BILLION)
    records = b""
    if nanos or not 0 <= seconds <= _MOST_SIZE:
        records = pax.record(b"mtime", pax.time_text(member.modified_ns))
    if len(name) > _NAME_BYTES or len(link) > _NAME_BYTES or table:
        records = _names(member, name, link) + records
    if stored > _MOST_SIZE or member.uid > _MOST_ID or member.gid > _MOST_ID:
        records += _numbers(member, stored)
    if member.attributes:
        records += b"".join(pax.record(pax.XATTR + pax.quoted(key), value) for key, value in member.attributes.items())
    owner, group = member.owner.encode(errors="replace"), member.group.encode(errors="replace")
    if len(owner) > _OWNER_BYTES or len(group) > _OWNER_BYTES:
        records += pax.record(b"uname", owner) + pax.record(b"gname", group)
    if table:
        name = _sparse_name(name)
    block = _block(name, member, stored, min(max(seconds, 0), _MOST_SIZE), (link, owner, group))
    return (_extended(records) if records else b"") + block + table


def stored_bytes(member: Member) -> int:
    """Return how many bytes of content an entry has in the archive."""
    if member.extents is None:
        return member.size
    return sum(extent.length for extent in member.extents)


def padding(size: int) -> bytes:
    """Return what comes behind so many bytes of content."""
    return bytes(-size % BLOCK)


def _names(member: Member, name: bytes, link: bytes) -> bytes:
    records = b""
    if member.extents is not None:
        records = b"".join(
            [
                pax.record(b"GNU.sparse.major", b"1"),
                pax.record(b"GNU.sparse.minor", b"0"),
                pax.record(b"GNU.sparse.name", name),
                pax.record(b"GNU.sparse.realsize", b"%d" % member.size),
            ]
        )
    elif len(name) > _NAME_BYTES:
        records = pax.record(b"path", name)
    if len(link) > _NAME_BYTES:
        records += pax.record(b"linkpath", link)
    if not _is_text(name) or not _is_text(link):
        records = pax.record(b"hdrcharset", b"BINARY") + records
    return records


def _is_text(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _numbers(member: Member, stored: int) -> bytes:
    fields = ((b"size", stored, _MOST_SIZE), (b"uid", member.uid, _MOST_ID), (b"gid", member.gid, _MOST_ID))
    return b"".join(pax.record(key, b"%d" % value) for key, value, most in fields if value > most)


def _sparse_name(name: bytes) -> bytes:
    """Return the name that readers see which know nothing of holes."""
    directory, base = posixpath.split(name)
    return posixpath.join(directory, b"GNUSparseFile.0", base)


def _extended(records: bytes) -> bytes:
    return _extended_block(len(records)) + records + padding(len(records))


@functools.lru_cache(1024)
def _extended_block(size: int) -> bytes:
    tail, checksum = _constant(b"x", b"", b"", b"")
    return _joined(b"PaxHeader".ljust(_NAME_BYTES, b"\0") + _ids(0o644, 0, 0) + _sizes(size, 0), tail, checksum)


def _block(name: bytes, member: Member, stored: int, seconds: int, texts: tuple[bytes, bytes, bytes]) -> bytes:
    tail, checksum = _constant(member.kind.value, *texts)
    shown = name[:_NAME_BYTES].ljust(_NAME_BYTES, b"\0")
    first = shown + _ids(member.mode, min(member.uid, _MOST_ID), min(member.gid, _MOST_ID))
    return _joined(first + _sizes(min(stored, _MOST_SIZE), seconds), tail, checksum)


def _sizes(size: int, seconds: int) -> bytes:
    return b"%011o\0%011o\0" % (size, seconds)


@functools.lru_cache(1024)
def _ids(mode: int, uid: int, gid: int) -> bytes:
    return b"%07o\0%07o\0%07o\0" % (mode, uid, gid)


@functools.lru_cache(1024)
def _constant(kind: bytes, link: bytes, owner: bytes, group: bytes) -> tuple[bytes, int]:
    """Return all that comes behind the checksum, and what it adds to that."""
    shown = link[:_NAME_BYTES].ljust(_NAME_BYTES, b"\0")
    owners = owner[:_OWNER_BYTES].ljust(32, b"\0") + group[:_OWNER_BYTES].ljust(32, b"\0")
    tail = kind + shown + b"ustar\x0000" + owners + b"0000000\x000000000\0" + bytes(155 + 12)
    return tail, sum(tail) + 8 * 0x20  # the checksum's own field counts as blanks


def _joined(first: bytes, tail: bytes, checksum: int) -> bytes:
    return b"%b%06o\0 %b" % (first, sum(first) + checksum, tail)
