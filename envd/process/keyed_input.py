"""How much of an input was written under its key: in the program's ledger, for repeated calls and later servers."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from envd.errors import Code, EnvdError

from .ledger import INPUT_BYTES, Ledger

# Digest of the key; number that grows with each use, 0 for an empty slot; bytes written; bytes that were being written.
_SLOT = struct.Struct("<16sQQQ")
_SLOTS = INPUT_BYTES // _SLOT.size
_DIGEST_BYTES = 16


@dataclass(slots=True)
class Note:
    """One input.

    Attributes:
        slot: where it is noted.
        written: bytes of it that the kernel has.
        uncertain: bytes that an earlier server was just writing when it was killed.
    """

    slot: int
    written: int = 0
    uncertain: int = 0


class KeyedInput:
    """What was written of a program's inputs, by key. The last 102 keys are remembered.

    Each write is announced before the kernel gets it and noted behind it: if a server is killed in between, the next
    one knows that it does not know.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._notes: dict[bytes, Note] = {}  # the one used last comes last
        self._uses = 0
        found = sorted(_read(ledger.read_input()))
        for uses, slot, digest, written, uncertain in found:
            self._notes[digest] = Note(slot, written, uncertain)
            self._uses = uses
        taken = {note.slot for note in self._notes.values()}
        self._free = [slot for slot in reversed(range(_SLOTS)) if slot not in taken]

    def find(self, key: str, size: int) -> Note:
        """Return what is known of an input of so many bytes; nothing was written of one whose key is new.

        Raises:
            EnvdError: INVALID_ARGUMENT if the key was used for less, ABORTED if nobody knows how much was written.
        """
        digest = _digest(key)
        note = self._notes.pop(digest, None)
        if note is None:
            note = Note(self._free.pop() if self._free else self._forget_oldest())
        self._notes[digest] = note
        _check(note, size)
        return note

    def has_all(self, key: str, size: int) -> bool:
        """Return whether an input of so many bytes was written whole.

        Raises:
            EnvdError: as find.
        """
        note = self._notes.get(_digest(key))
        if note is None:
            return False
        _check(note, size)
        return note.written == size

    @contextmanager
    def writing(self, key: str, note: Note, size: int) -> Iterator[None]:
        """Announce that at most so many bytes are about to be written; what has been is in the note at the end."""
        digest = _digest(key)
        self._write(digest, note, size)
        try:
            yield
        finally:
            self._write(digest, note, 0)

    def _write(self, digest: bytes, note: Note, being_written: int) -> None:
        self._uses += 1
        record = _SLOT.pack(digest, self._uses, note.written, being_written)
        self._ledger.write_input(note.slot * _SLOT.size, record)

    def _forget_oldest(self) -> int:
        return self._notes.pop(next(iter(self._notes))).slot


def _read(page: bytes) -> Iterator[tuple[int, int, bytes, int, int]]:
    for slot, (digest, uses, written, uncertain) in enumerate(_SLOT.iter_unpack(page[: _SLOTS * _SLOT.size])):
        if uses:
            yield uses, slot, digest, written, uncertain


def _digest(key: str) -> bytes:
    return hashlib.blake2b(key.encode(), digest_size=_DIGEST_BYTES).digest()


def _check(note: Note, size: int) -> None:
    if note.uncertain:
        raise EnvdError(
            Code.ABORTED,
            f"the server was killed while it wrote this input: {note.written} bytes were written, and perhaps "
            f"{note.uncertain} more: look at the program's output, and send what is missing with another key",
        )
    if note.written > size:
        raise EnvdError(
            Code.INVALID_ARGUMENT,
            f"idempotency_key was used for other input, of which {note.written} bytes were written: use another one",
        )
