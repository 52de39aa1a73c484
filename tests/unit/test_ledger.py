"""Ledgers: in which order pieces came, how far they were taken, and both again for a new server."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from envd.process.events import PTY, STDERR, STDOUT
from envd.process.ledger import Ledger

PAGE = 4096
REMEMBERED = 65536


class Output:
    """Streams of known pieces, and the ledger that saw them come."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.ends = [0, 0, 0]
        self.pieces: list[tuple[int, int]] = []

    def prints(self, stream: int, size: int = 10) -> None:
        self.ledger.arrived(stream, list(self.ends))
        self.ends[stream] += size
        if self.pieces and self.pieces[-1][0] == stream:
            self.pieces[-1] = (stream, self.ends[stream])
        else:
            self.pieces.append((stream, self.ends[stream]))

    def adopted(self) -> Output:
        """What a new server makes of it."""
        other = Output(Ledger.adopt(os.dup(self.ledger.fd)))
        other.ledger.settle(list(self.ends))
        other.ends, other.pieces = list(self.ends), list(self.pieces)
        return other


@pytest.fixture
def output() -> Iterator[Output]:
    made = Output(Ledger.create("test", b"facts"))
    yield made
    made.ledger.close()


def replay(output: Output, offsets: list[int] | None = None) -> list[tuple[int, int]]:
    """What a reader from these offsets reads: stream and end of each piece, runs of one stream joined."""
    at, found, segment = list(offsets or [0, 0, 0]), [], 0
    while (piece := output.ledger.next_piece(segment, at, output.ends)) is not None:
        segment, stream, end = piece
        assert end > at[stream]
        at[stream] = end
        if found and found[-1][0] == stream:
            found[-1] = (stream, end)
        else:
            found.append((stream, end))
    assert at == output.ends
    return found


def test_pieces_are_read_in_the_order_they_came(output: Output):
    for stream in (STDOUT, STDERR, STDERR, STDOUT, STDOUT, STDERR, PTY, STDOUT):
        output.prints(stream)
    assert replay(output) == output.pieces


def test_nothing_printed_is_nothing_to_read(output: Output):
    assert output.ledger.next_piece(0, [0, 0, 0], output.ends) is None


def test_a_reader_in_the_middle_sees_what_is_left_in_order(output: Output):
    for stream in (STDOUT, STDERR, STDOUT, STDERR):
        output.prints(stream)
    assert replay(output, [15, 5, 0]) == [(STDERR, 10), (STDOUT, 20), (STDERR, 20)]


def test_any_order_is_read_back_from_any_place(output: Output):
    dice = random.Random(1)
    for _ in range(2000):
        output.prints(dice.choice((STDOUT, STDERR)), dice.randrange(1, 5000))
    assert replay(output) == output.pieces
    for _ in range(20):
        cut = dice.randrange(len(output.pieces))
        offsets = [0, 0, 0]
        for stream, end in output.pieces[:cut]:
            offsets[stream] = end
        assert replay(output, offsets) == output.pieces[cut:]


def test_a_reader_that_keeps_up_reads_the_same(output: Output):
    dice, at, found, segment = random.Random(2), [0, 0, 0], [], 0
    for _ in range(500):
        output.prints(dice.choice((STDOUT, STDERR)), dice.randrange(1, 100))
        while (piece := output.ledger.next_piece(segment, at, output.ends)) is not None:
            segment, stream, at[stream] = piece
            if found and found[-1][0] == stream:
                found[-1] = (stream, at[stream])
            else:
                found.append((stream, at[stream]))
    assert found == output.pieces


# A new server.


def test_a_new_server_reads_facts_order_and_what_was_taken(output: Output):
    for stream in (STDOUT, STDERR, STDOUT, STDERR, STDOUT):
        output.prints(stream)
    output.ledger.take((20, 10, 0))
    successor = output.adopted()
    assert successor.ledger.metadata == b"facts"
    assert successor.ledger.taken == (20, 10, 0)
    assert replay(successor) == output.pieces
    successor.ledger.close()


def test_order_goes_on_under_a_new_server(output: Output):
    """Also for the piece that was being printed when the old one died."""
    for stream in (STDOUT, STDERR, STDOUT):
        output.prints(stream)
    successor = output.adopted()
    for stream in (STDERR, STDOUT, STDERR):
        successor.prints(stream)
    assert replay(successor) == successor.pieces
    successor.ledger.close()


def test_order_goes_on_under_one_new_server_after_another(output: Output):
    dice = random.Random(4)
    for _ in range(50):
        for _ in range(dice.randrange(4)):
            output.prints(dice.choice((STDOUT, STDERR)))
        successor = output.adopted()
        output.ledger.close()
        output.ledger, output.ends, output.pieces = successor.ledger, successor.ends, successor.pieces
    assert replay(output) == output.pieces


@pytest.mark.parametrize("size", [0, 1, PAGE - 64, PAGE - 63, 5 * PAGE])
def test_facts_of_any_size_do_not_touch_the_order(size):
    facts = os.urandom(size)
    output = Output(Ledger.create("test", facts))
    for stream in (STDOUT, STDERR) * 10:
        output.prints(stream)
    successor = output.adopted()
    assert successor.ledger.metadata == facts
    assert replay(successor) == output.pieces
    output.ledger.close()
    successor.ledger.close()


def test_something_else_is_no_ledger():
    fd = os.memfd_create("test", os.MFD_CLOEXEC)
    os.write(fd, b"x" * PAGE)
    with pytest.raises(ValueError, match="ledger"):
        Ledger.adopt(fd)
    os.close(fd)


# What was taken.


def test_what_was_taken_never_goes_back(output: Output):
    output.ledger.take((10, 0, 5))
    output.ledger.take((4, 7, 5))
    assert output.ledger.taken == (10, 7, 5)


def test_taking_after_closing_is_remembered(output: Output):
    ledger = Ledger.create("test", b"")
    ledger.close()
    ledger.take((1, 2, 3))
    assert ledger.taken == (1, 2, 3)


# Bounds.


def test_order_of_bytes_no_longer_kept_is_dropped(output: Output):
    for stream in (STDOUT, STDERR) * 5000:
        output.prints(stream)
    heads = [output.ends[0] - 500, output.ends[1] - 500, 0]
    output.ledger.forget_before(heads)
    kept = [piece for piece in output.pieces if piece[1] > heads[piece[0]]]
    assert replay(output, heads) == kept
    successor = output.adopted()
    assert replay(successor, heads) == kept
    successor.ledger.close()


def test_memory_for_the_order_is_given_back(output: Output):
    heads = [0, 0, 0]
    for number in range(100_000):
        output.prints(number % 2)
        if number % 100 == 99:
            heads = [max(end - 1000, 0) for end in output.ends]
            output.ledger.forget_before(heads)
    assert os.fstat(output.ledger.fd).st_blocks * 512 <= 6 * PAGE
    assert replay(output, heads) == [piece for piece in output.pieces if piece[1] > heads[piece[0]]]


def test_of_too_many_pieces_only_the_order_of_the_oldest_is_forgotten(output: Output):
    more = 5000
    for number in range(REMEMBERED + more):
        output.prints(number % 2, 1)
    assert os.fstat(output.ledger.fd).st_blocks * 512 <= (REMEMBERED * 8) + 4 * PAGE
    found = replay(output)
    # The bytes are all there; the newest pieces stand where they belong.
    assert found[-REMEMBERED + more :] == output.pieces[-REMEMBERED + more :]
