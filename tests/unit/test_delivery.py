"""How much of what was written the peer has: real sockets, for the kernel keeps the count."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from envd.transport.delivery import Delivery, Marks


@dataclass(frozen=True, slots=True)
class Pair:
    """A sender, and a receiver that takes little before it is read."""

    sender: socket.socket
    receiver: socket.socket

    def write(self, delivery: Delivery, data: bytes) -> None:
        """Hand bytes to the kernel, as the transport does when nothing is buffered."""
        delivery.writing(len(data))
        assert self.sender.send(data) == len(data)
        delivery.flushed()

    def has(self, delivery: Delivery, size: int) -> bool:
        """Whether so many bytes get acknowledged; the acknowledgement takes its way through the kernel."""
        deadline = time.monotonic() + 5
        while delivery.acknowledged() < size:
            if time.monotonic() > deadline:
                return False
        return delivery.acknowledged() == size


@pytest.fixture
def pair() -> Iterator[Pair]:
    with socket.socket() as listener, socket.socket() as receiver:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        receiver.connect(listener.getsockname())
        sender, _ = listener.accept()
        with sender:
            sender.setblocking(False)
            yield Pair(sender, receiver)


def overfill(pair: Pair, delivery: Delivery) -> int:
    """Write until the kernel takes no more; how much it took."""
    total = 0
    try:
        while True:
            total += pair.sender.send(bytes(65536))
    except BlockingIOError:
        delivery.writing(total)
        delivery.flushed()
    return total


def test_what_has_arrived_is_acknowledged_though_nobody_read_it(pair: Pair):
    delivery = Delivery(pair.sender)
    pair.write(delivery, b"x" * 1000)
    assert pair.has(delivery, 1000)


def test_what_our_own_buffer_may_hold_does_not_count(pair: Pair):
    delivery = Delivery(pair.sender)
    pair.write(delivery, b"x" * 1000)
    delivery.writing(500)  # it is with the transport, not with the kernel
    assert pair.has(delivery, 1000)
    assert delivery.written == 1500
    delivery.flushed()
    assert delivery.acknowledged() == 1500


def test_what_lies_in_the_kernel_does_not_count_until_the_peer_has_it(pair: Pair):
    delivery = Delivery(pair.sender)
    total = overfill(pair, delivery)
    got = delivery.acknowledged()
    assert got < 64 * 1024 < total
    read = len(pair.receiver.recv(1 << 20))
    while read < total:
        read += len(pair.receiver.recv(1 << 20))
    assert pair.has(delivery, total)


def test_the_count_stays_when_the_connection_is_reset(pair: Pair):
    """And is no more than what the peer's kernel had."""
    delivery = Delivery(pair.sender)
    overfill(pair, delivery)
    held = len(pair.receiver.recv(1 << 20, socket.MSG_PEEK))
    pair.receiver.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    pair.receiver.close()
    delivery.close()
    pair.sender.close()
    assert 0 <= delivery.acknowledged() <= held
    assert delivery.acknowledged() == delivery.acknowledged()


def test_unix_sockets_count_what_was_read():
    sender, receiver = socket.socketpair()
    with sender, receiver:
        delivery = Delivery(sender)
        delivery.writing(10)
        sender.send(b"0123456789")
        delivery.flushed()
        assert delivery.acknowledged() < 10
        receiver.recv(100)
        assert delivery.acknowledged() == 10


def test_a_mark_is_reached_when_all_before_it_was_received(pair: Pair):
    delivery = Delivery(pair.sender)
    marks = Marks(delivery)
    assert marks.acknowledged() is None
    pair.write(delivery, b"x" * 100)
    marks.add("first")
    assert pair.has(delivery, 100)
    assert marks.acknowledged() == "first"
    delivery.writing(100)
    marks.add("second")
    assert marks.acknowledged() == "first"
    pair.sender.send(b"x" * 99)
    assert marks.acknowledged() == "first"
    pair.sender.send(b"x")
    delivery.flushed()
    assert pair.has(delivery, 200)
    assert marks.acknowledged() == "second"


def test_marks_are_still_told_after_the_connection(pair: Pair):
    delivery = Delivery(pair.sender)
    marks = Marks(delivery)
    pair.write(delivery, b"x" * 100)
    marks.add("reached")
    delivery.writing(1000)
    marks.add("never sent")
    assert pair.has(delivery, 100)
    delivery.close()
    pair.sender.close()
    assert marks.acknowledged() == "reached"
    assert marks.acknowledged() == "reached"


def test_many_marks_are_thinned_out_and_never_say_too_much(pair: Pair):
    delivery = Delivery(pair.sender)
    marks = Marks(delivery)
    for number in range(1, 5001):
        delivery.writing(1)
        marks.add(number)
    assert len(marks._marks) <= 1024
    assert marks.acknowledged() is None
    for _ in range(50):
        assert pair.sender.send(b"x" * 100) == 100
    # It is with the kernel, but so far the transport has not said so.
    assert marks.acknowledged() is None
    delivery.flushed()
    read = 0
    while read < 5000:
        read += len(pair.receiver.recv(1 << 16))
    assert pair.has(delivery, 5000)
    assert marks.acknowledged() == 5000


def test_a_thinned_out_mark_answers_with_an_earlier_one(pair: Pair):
    delivery = Delivery(pair.sender)
    marks = Marks(delivery)
    delivery.writing(1)
    pair.sender.send(b"x")
    for number in range(1, 3001):
        marks.add((number,))
        if number == 1:
            delivery.flushed()
        delivery.writing(1)
    reached = marks.acknowledged()
    assert reached is None or reached <= (1,)
