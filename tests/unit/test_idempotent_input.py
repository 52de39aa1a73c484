"""What is known of input that was written under keys."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

import pytest

from envd.errors import Code, EnvdError
from envd.process.idempotent_input import IdempotentInput, IdempotentWrite
from envd.process.ledger import Ledger

REMEMBERED = 102


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    made = Ledger.create("test", b"facts")
    yield made
    made.close()


def adopted(ledger: Ledger) -> IdempotentInput:
    """What a later server knows."""
    return IdempotentInput(Ledger.adopt(ledger.fd))


def wanted(key: str, size: int, content: bytes = b"a") -> IdempotentWrite:
    return IdempotentWrite(key.encode().ljust(16, b"-")[-16:], content.ljust(8, b"-"), size)


def write(keyed: IdempotentInput, key: str, size: int, upto: int) -> None:
    note = keyed.find(wanted(key, size))
    with keyed.writing(wanted(key, size), note, size - note.written):
        note.written = upto


def test_a_later_server_knows_what_was_written(ledger: Ledger):
    keyed = IdempotentInput(ledger)
    write(keyed, "half", 10, 5)
    write(keyed, "whole", 10, 10)
    keyed.find(wanted("untouched", 10))
    for known in (keyed, adopted(ledger)):
        assert known.find(wanted("half", 10)).written == 5
        assert (
            known.has_all(wanted("half", 10)),
            known.has_all(wanted("whole", 10)),
            known.has_all(wanted("other", 10)),
        ) == (
            False,
            True,
            False,
        )


def test_a_kill_in_the_middle_of_a_write_is_known(ledger: Ledger):
    keyed = IdempotentInput(ledger)
    write(keyed, "key", 10, 5)
    writing = keyed.writing(wanted("key", 10), keyed.find(wanted("key", 10)), 5)
    writing.__enter__()
    later = adopted(ledger)
    for known in (later, adopted(ledger)):
        for ask in (known.find, known.has_all):
            with pytest.raises(EnvdError) as error:
                ask(wanted("key", 10))
            assert error.value.code is Code.ABORTED
            assert "5 bytes were written, and perhaps 5 more" in error.value.message


def test_the_keys_used_last_are_remembered_also_by_later_servers(ledger: Ledger):
    keyed = IdempotentInput(ledger)
    for number in range(REMEMBERED):
        write(keyed, str(number), 1, 1)
    write(keyed, "0", 1, 1)  # now the oldest is 1
    keyed.find(wanted("given up before a byte was written", 1))
    keyed = adopted(ledger)
    write(keyed, "new", 1, 1)
    write(keyed, "newer", 1, 1)
    for known in (keyed, adopted(ledger)):
        found = [number for number in range(REMEMBERED) if known.has_all(wanted(str(number), 1))]
        assert found == [0, *range(3, REMEMBERED)]
        assert known.has_all(wanted("new", 1))
        assert known.has_all(wanted("newer", 1))


def test_what_is_noted_does_not_touch_the_rest_of_the_ledger(ledger: Ledger):
    keyed = IdempotentInput(ledger)
    ledger.write_end(b"end" * 1000)
    ledger.arrived(0, [0, 0, 0])
    ledger.arrived(1, [7, 0, 0])
    for number in range(2 * REMEMBERED):
        write(keyed, str(number), 1, 1)
    later = Ledger.adopt(os.dup(ledger.fd))
    assert (later.metadata, later.read_end()) == (b"facts", b"end" * 1000)
    assert later.next_piece(0, [0, 0, 0], [7, 0, 0]) == (0, 0, 7)
    later.close()


def test_another_input_under_a_key_is_a_conflict_for_later_servers_too(ledger: Ledger):
    keyed = IdempotentInput(ledger)
    write(keyed, "key", 10, 5)
    for known in (keyed, adopted(ledger)):
        for other in (wanted("key", 10, b"b"), wanted("key", 4)):
            for ask in (known.find, known.has_all):
                with pytest.raises(EnvdError) as error:
                    ask(other)
                assert error.value.code is Code.ALREADY_EXISTS
        assert known.find(wanted("key", 10)).written == 5


async def test_inputs_are_told_from_each_other_by_all_of_their_content():
    for size in (1, 1000, 1_000_000):
        one = await IdempotentWrite.of("key", bytes(size))
        assert one == await IdempotentWrite.of("key", bytes(size))
        other = await IdempotentWrite.of("key", bytes(size - 1) + b"x")
        assert (one.key, one.size) == (other.key, other.size)
        assert one.content != other.content


def test_what_envd_0_7_0_noted_is_understood_and_added_to():
    """Its records say nothing of the content: another input of the same size is not told apart."""
    fd = os.memfd_create("ledger")
    page = bytearray(3 * 4096)
    struct.pack_into("<8s3QQQQ", page, 0, b"envdldg2", 3, 0, 0, 5, 0, 1)
    page[64:69] = b"facts"
    struct.pack_into("<16sQQQ", page, 2 * 4096, b"-" * 13 + b"key", 7, 5, 0)
    os.pwrite(fd, page, 0)
    for ledger in (Ledger.adopt(os.dup(fd)), Ledger.adopt(os.dup(fd))):
        assert (ledger.taken, ledger.followed, ledger.pause_s, ledger.metadata) == ((3, 0, 0), 1, 0.0, b"facts")
        keyed, asked = IdempotentInput(ledger), IdempotentWrite(b"-" * 13 + b"key", b"a" * 8, 10)
        assert keyed.find(asked).written in (5, 8)
        with keyed.writing(asked, keyed.find(asked), 5):
            keyed.find(asked).written = 8
        ledger.close()
    os.close(fd)
