"""Writes under a key: the ledger keeps how much of each was written, for repeated calls and later servers."""

from __future__ import annotations

import asyncio
import hashlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from envd.errors import Code, EnvdError

from .ledger import INPUT_BYTES, OLDEST_VERSION, Ledger

# Digest of the key; digest of the input, zeros if it is not known; number that grows with each use, 0 for an empty
# slot; bytes written; bytes that were being written.
_SLOT = struct.Struct("<16s8sQII")
# In ledgers of version 2 without the second; of the same size.
_SLOT_2 = struct.Struct("<16sQQQ")
_SLOTS = INPUT_BYTES // _SLOT.size
_DIGEST_BYTES = 16
_CONTENT_BYTES = 8
_UNKNOWN = bytes(_CONTENT_BYTES)
_AT_ONCE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class IdempotentWrite:
    """A write under a key: digests of key and input, and the input's size."""

    key: bytes
    content: bytes
    size: int

    @classmethod
    async def of(cls, key: str, data: bytes) -> IdempotentWrite:
        """Return it for an input; a large one is looked through in a thread."""
        digest = hashlib.blake2b(key.encode(), digest_size=_DIGEST_BYTES).digest()
        content = _content(data) if len(data) <= _AT_ONCE_BYTES else await asyncio.to_thread(_content, data)
        return cls(digest, content, len(data))


@dataclass(slots=True)
class WriteRecord:
    """The record of one write.

    Attributes:
        slot: its place in the ledger.
        content: digest of all of it.
        written: bytes of it that the kernel has.
        uncertain: bytes that an earlier server was just writing when it was killed.
    """

    slot: int
    content: bytes = _UNKNOWN
    written: int = 0
    uncertain: int = 0


class IdempotentInput:
    """The record of a process's inputs, by key. The last 102 keys are remembered.

    Each write is announced before the kernel gets it and noted behind it: if a server is killed in between, the next
    one knows that it does not know.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._records: dict[bytes, WriteRecord] = {}  # the one used last comes last
        self._uses = 0
        for uses, digest, record in sorted(_read(ledger), key=lambda entry: entry[0]):
            self._records[digest] = record
            self._uses = uses
        used_slots = {record.slot for record in self._records.values()}
        self._free = [slot for slot in reversed(range(_SLOTS)) if slot not in used_slots]

    def find(self, request: IdempotentWrite) -> WriteRecord:
        """Return what is known of an input; nothing was written of one whose key is new.

        Raises:
            EnvdError: ALREADY_EXISTS if the key was used for another input, ABORTED if nobody knows how much was
                written.
        """
        record = self._records.pop(request.key, None)
        if record is None:
            record = WriteRecord(self._free.pop() if self._free else self._forget_oldest(), request.content)
        self._records[request.key] = record
        _check(record, request)
        return record

    def has_all(self, request: IdempotentWrite) -> bool:
        """Return whether an input was written whole.

        Raises:
            EnvdError: as find.
        """
        record = self._records.get(request.key)
        if record is None:
            return False
        _check(record, request)
        return record.written == request.size

    @contextmanager
    def writing(self, request: IdempotentWrite, record: WriteRecord, size: int) -> Iterator[None]:
        """Announce that at most so many bytes are about to be written; what has been is in the record at the end."""
        self._write(request.key, record, size)
        try:
            yield
        finally:
            self._write(request.key, record, 0)

    def _write(self, digest: bytes, record: WriteRecord, being_written: int) -> None:
        self._uses += 1
        if self._ledger.version == OLDEST_VERSION:
            packed = _SLOT_2.pack(digest, self._uses, record.written, being_written)
        else:
            packed = _SLOT.pack(digest, record.content, self._uses, record.written, being_written)
        self._ledger.write_input(record.slot * _SLOT.size, packed)

    def _forget_oldest(self) -> int:
        return self._records.pop(next(iter(self._records))).slot


def _read(ledger: Ledger) -> Iterator[tuple[int, bytes, WriteRecord]]:
    page = ledger.read_input()
    for slot in range(min(_SLOTS, len(page) // _SLOT.size)):
        offset = slot * _SLOT.size
        if ledger.version == OLDEST_VERSION:
            digest, uses, written, uncertain = _SLOT_2.unpack_from(page, offset)
            content = _UNKNOWN
        else:
            digest, content, uses, written, uncertain = _SLOT.unpack_from(page, offset)
        if uses:
            yield uses, digest, WriteRecord(slot, content, written, uncertain)


def _content(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_CONTENT_BYTES).digest()


def _check(record: WriteRecord, request: IdempotentWrite) -> None:
    if record.written > request.size or record.content not in (_UNKNOWN, request.content):
        raise EnvdError(
            Code.ALREADY_EXISTS,
            f"idempotency_key was used for another input, of which {record.written} bytes were written: "
            "use another key",
        )
    if record.uncertain:
        raise EnvdError(
            Code.ABORTED,
            f"the server was killed while it wrote this input: {record.written} bytes were written, and perhaps "
            f"{record.uncertain} more: look at the process's output, and send what is missing with another key",
        )
