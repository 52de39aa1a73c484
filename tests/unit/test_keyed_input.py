"""What is known of input that was written under keys."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from envd.errors import Code, EnvdError
from envd.process.keyed_input import KeyedInput
from envd.process.ledger import Ledger

REMEMBERED = 102


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    made = Ledger.create("test", b"facts")
    yield made
    made.close()


def adopted(ledger: Ledger) -> KeyedInput:
    """What a later server knows."""
    return KeyedInput(Ledger.adopt(ledger.fd))


def write(keyed: KeyedInput, key: str, size: int, upto: int) -> None:
    note = keyed.find(key, size)
    with keyed.writing(key, note, size - note.written):
        note.written = upto


def test_a_later_server_knows_what_was_written(ledger: Ledger):
    keyed = KeyedInput(ledger)
    write(keyed, "half", 10, 5)
    write(keyed, "whole", 10, 10)
    keyed.find("untouched", 10)
    for known in (keyed, adopted(ledger)):
        assert known.find("half", 10).written == 5
        assert (known.has_all("half", 10), known.has_all("whole", 10), known.has_all("other", 10)) == (
            False,
            True,
            False,
        )


def test_a_kill_in_the_middle_of_a_write_is_known(ledger: Ledger):
    keyed = KeyedInput(ledger)
    write(keyed, "key", 10, 5)
    writing = keyed.writing("key", keyed.find("key", 10), 5)
    writing.__enter__()
    later = adopted(ledger)
    for known in (later, adopted(ledger)):
        for ask in (known.find, known.has_all):
            with pytest.raises(EnvdError) as error:
                ask("key", 10)
            assert error.value.code is Code.ABORTED
            assert "5 bytes were written, and perhaps 5 more" in error.value.message


def test_the_keys_used_last_are_remembered_also_by_later_servers(ledger: Ledger):
    keyed = KeyedInput(ledger)
    for number in range(REMEMBERED):
        write(keyed, str(number), 1, 1)
    write(keyed, "0", 1, 1)  # now the oldest is 1
    keyed.find("given up before a byte was written", 1)
    keyed = adopted(ledger)
    write(keyed, "new", 1, 1)
    write(keyed, "newer", 1, 1)
    for known in (keyed, adopted(ledger)):
        found = [number for number in range(REMEMBERED) if known.has_all(str(number), 1)]
        assert found == [0, *range(3, REMEMBERED)]
        assert known.has_all("new", 1)
        assert known.has_all("newer", 1)


def test_what_is_noted_does_not_touch_the_rest_of_the_ledger(ledger: Ledger):
    keyed = KeyedInput(ledger)
    ledger.write_end(b"end" * 1000)
    ledger.arrived(0, [0, 0, 0])
    ledger.arrived(1, [7, 0, 0])
    for number in range(2 * REMEMBERED):
        write(keyed, str(number), 1, 1)
    later = Ledger.adopt(os.dup(ledger.fd))
    assert (later.metadata, later.read_end()) == (b"facts", b"end" * 1000)
    assert later.next_piece(0, [0, 0, 0], [7, 0, 0]) == (0, 0, 7)
    later.close()
