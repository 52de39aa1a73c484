"""How much of an input was written under its key: in the program's ledger, for repeated calls and later servers."""

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
    """What a caller wants written under a key: digests of key and input, and the input's size."""

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
class Note:
    """One input.

    Attributes:
        slot: where it is noted.
        content: digest of all of it.
        written: bytes of it that the kernel has.
        uncertain: bytes that an earlier server was just writing when it was killed.
    """

    slot: int
    content: bytes = _UNKNOWN
    written: int = 0
    uncertain: int = 0


class IdempotentInput:
    """What was written of a program's inputs, by key. The last 102 keys are remembered.

    Each write is announced before the kernel gets it and noted behind it: if a server is killed in between, the next
    one knows that it does not know.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._notes: dict[bytes, Note] = {}  # the one used last comes last
        self._uses = 0
        for uses, digest, note in sorted(_read(ledger), key=lambda found: found[0]):
            self._notes[digest] = note
            self._uses = uses
        taken = {note.slot for note in self._notes.values()}
        self._free = [slot for slot in reversed(range(_SLOTS)) if slot not in taken]

    def find(self, wanted: IdempotentWrite) -> Note:
        """Return what is known of an input; nothing was written of one whose key is new.

        Raises:
            EnvdError: ALREADY_EXISTS if the key was used for another input, ABORTED if nobody knows how much was
                written.
        """
        note = self._notes.pop(wanted.key, None)
        if note is None:
            note = Note(self._free.pop() if self._free else self._forget_oldest(), wanted.content)
        self._notes[wanted.key] = note
        _check(note, wanted)
        return note

    def has_all(self, wanted: IdempotentWrite) -> bool:
        """Return whether an input was written whole.

        Raises:
            EnvdError: as find.
        """
        note = self._notes.get(wanted.key)
        if note is None:
            return False
        _check(note, wanted)
        return note.written == wanted.size

    @contextmanager
    def writing(self, wanted: IdempotentWrite, note: Note, size: int) -> Iterator[None]:
        """Announce that at most so many bytes are about to be written; what has been is in the note at the end."""
        self._write(wanted.key, note, size)
        try:
            yield
        finally:
            self._write(wanted.key, note, 0)

    def _write(self, digest: bytes, note: Note, being_written: int) -> None:
        self._uses += 1
        if self._ledger.version == OLDEST_VERSION:
            record = _SLOT_2.pack(digest, self._uses, note.written, being_written)
        else:
            record = _SLOT.pack(digest, note.content, self._uses, note.written, being_written)
        self._ledger.write_input(note.slot * _SLOT.size, record)

    def _forget_oldest(self) -> int:
        return self._notes.pop(next(iter(self._notes))).slot


def _read(ledger: Ledger) -> Iterator[tuple[int, bytes, Note]]:
    page = ledger.read_input()
    for slot in range(min(_SLOTS, len(page) // _SLOT.size)):
        at = slot * _SLOT.size
        if ledger.version == OLDEST_VERSION:
            digest, uses, written, uncertain = _SLOT_2.unpack_from(page, at)
            content = _UNKNOWN
        else:
            digest, content, uses, written, uncertain = _SLOT.unpack_from(page, at)
        if uses:
            yield uses, digest, Note(slot, content, written, uncertain)


def _content(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_CONTENT_BYTES).digest()


def _check(note: Note, wanted: IdempotentWrite) -> None:
    if note.written > wanted.size or note.content not in (_UNKNOWN, wanted.content):
        raise EnvdError(
            Code.ALREADY_EXISTS,
            f"idempotency_key was used for another input, of which {note.written} bytes were written: use another key",
        )
    if note.uncertain:
        raise EnvdError(
            Code.ABORTED,
            f"the server was killed while it wrote this input: {note.written} bytes were written, and perhaps "
            f"{note.uncertain} more: look at the program's output, and send what is missing with another key",
        )
