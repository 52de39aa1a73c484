"""How much of what was written the peer has: real sockets, for the kernel keeps the count."""

from __future__ import annotations

import random
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from envd.transport.ack_tracking import AckTracker, Marks, StreamAckTracker
from envd.transport.peer import unread_at_most


@dataclass(frozen=True, slots=True)
class Pair:
    """A sender, and a receiver that takes little before it is read."""

    sender: socket.socket
    receiver: socket.socket

    def write(self, acks: AckTracker, data: bytes) -> None:
        """Hand bytes to the kernel, as the transport does when nothing is buffered."""
        acks.writing(len(data))
        assert self.sender.send(data) == len(data)
        acks.flushed()

    def has(self, acks: AckTracker, size: int) -> bool:
        """Whether so many bytes get acknowledged; the acknowledgement takes its way through the kernel."""
        deadline = time.monotonic() + 60
        while acks.acknowledged() < size:
            if time.monotonic() > deadline:
                return False
        return acks.acknowledged() == size


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


def overfill(pair: Pair, acks: AckTracker) -> int:
    """Write until the kernel takes no more; how much it took."""
    total = 0
    try:
        while True:
            total += pair.sender.send(bytes(65536))
    except BlockingIOError:
        acks.writing(total)
        acks.flushed()
    return total


def test_what_has_arrived_is_acknowledged_though_nobody_read_it(pair: Pair):
    acks = AckTracker(pair.sender)
    pair.write(acks, b"x" * 1000)
    assert pair.has(acks, 1000)


def test_what_our_own_buffer_may_hold_does_not_count(pair: Pair):
    acks = AckTracker(pair.sender)
    pair.write(acks, b"x" * 1000)
    acks.writing(500)  # it is with the transport, not with the kernel
    assert pair.has(acks, 1000)
    assert acks.written == 1500
    acks.flushed()
    assert acks.acknowledged() == 1500


def test_what_lies_in_the_kernel_does_not_count_until_the_peer_has_it(pair: Pair):
    acks = AckTracker(pair.sender)
    total = overfill(pair, acks)
    got = acks.acknowledged()
    assert got < 64 * 1024 < total
    read = len(pair.receiver.recv(1 << 20))
    while read < total:
        read += len(pair.receiver.recv(1 << 20))
    assert pair.has(acks, total)


def test_the_count_stays_when_the_connection_is_reset(pair: Pair):
    """And is no more than what the peer's kernel had."""
    acks = AckTracker(pair.sender)
    overfill(pair, acks)
    held = len(pair.receiver.recv(1 << 20, socket.MSG_PEEK))
    pair.receiver.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    pair.receiver.close()
    acks.close()
    pair.sender.close()
    assert 0 <= acks.acknowledged() <= held
    assert acks.acknowledged() == acks.acknowledged()


def test_unix_sockets_count_what_was_read():
    sender, receiver = socket.socketpair()
    with sender, receiver:
        acks = AckTracker(sender)
        acks.writing(10)
        sender.send(b"0123456789")
        acks.flushed()
        assert acks.acknowledged() < 10
        receiver.recv(100)
        assert acks.acknowledged() == 10


def test_a_mark_is_reached_when_all_before_it_was_received(pair: Pair):
    acks = AckTracker(pair.sender)
    marks = Marks(acks)
    assert marks.acknowledged() is None
    pair.write(acks, b"x" * 100)
    marks.add("first")
    assert pair.has(acks, 100)
    assert marks.acknowledged() == "first"
    acks.writing(100)
    marks.add("second")
    assert marks.acknowledged() == "first"
    pair.sender.send(b"x" * 99)
    assert marks.acknowledged() == "first"
    pair.sender.send(b"x")
    acks.flushed()
    assert pair.has(acks, 200)
    assert marks.acknowledged() == "second"


def test_marks_are_still_told_after_the_connection(pair: Pair):
    acks = AckTracker(pair.sender)
    marks = Marks(acks)
    pair.write(acks, b"x" * 100)
    marks.add("reached")
    acks.writing(1000)
    marks.add("never sent")
    assert pair.has(acks, 100)
    acks.close()
    pair.sender.close()
    assert marks.acknowledged() == "reached"
    assert marks.acknowledged() == "reached"


def test_many_marks_are_thinned_out_and_never_say_too_much(pair: Pair):
    acks = AckTracker(pair.sender)
    marks = Marks(acks)
    for number in range(1, 5001):
        acks.writing(1)
        marks.add(number)
    assert len(marks._acknowledged._values) <= 1024
    assert len(marks._consumed._values) <= 1024
    assert marks.acknowledged() is None
    for _ in range(50):
        assert pair.sender.send(b"x" * 100) == 100
    # It is with the kernel, but so far the transport has not said so.
    assert marks.acknowledged() is None
    acks.flushed()
    read = 0
    while read < 5000:
        read += len(pair.receiver.recv(1 << 16))
    assert pair.has(acks, 5000)
    assert marks.acknowledged() == 5000


def test_a_thinned_out_mark_answers_with_an_earlier_one(pair: Pair):
    acks = AckTracker(pair.sender)
    marks = Marks(acks)
    acks.writing(1)
    pair.sender.send(b"x")
    for number in range(1, 3001):
        marks.add((number,))
        if number == 1:
            acks.flushed()
        acks.writing(1)
    reached = marks.acknowledged()
    assert reached is None or reached <= (1,)


# How much the application has.

KIB = 1024
MIB = 1024 * KIB
# What a library may hold beyond its window, and what it may hold at all.
SLACK = 256 * KIB
MOST_UNREAD = 16 * MIB


class Received(AckTracker):
    """A connection whose peer's kernel has everything at once."""

    def __init__(self) -> None:
        self.reached = 0

    def acknowledged(self) -> int:
        return self.reached


class Client:
    """The other end of a stream, with a window: what was sent, and what its application has read of that."""

    def __init__(self, window: int) -> None:
        self.connection = Received()
        self.acks = StreamAckTracker(self.connection)
        self.sent = self.read = 0
        self._window = window
        self._granted = 0

    @property
    def room(self) -> int:
        return self._window + self._granted - self.sent

    def is_sent(self, size: int) -> None:
        assert size <= self.room
        self.sent += size
        self.connection.reached += size
        self.acks.carried(size, self.sent)

    def reads(self, size: int) -> None:
        self.read += size
        assert self.read <= self.sent

    def grants(self, size: int) -> None:
        self._granted += size
        self.acks.granted(size)

    def changes_window(self, change: int) -> None:
        """As SETTINGS do: for all streams that are open."""
        self._window += change

    @property
    def consumed(self) -> int:
        consumed = self.acks.consumed()
        assert 0 <= consumed <= self.read
        return consumed


def test_on_http1_what_the_kernel_has_counts_as_consumed(pair: Pair):
    acks = AckTracker(pair.sender)
    marks = Marks(acks)
    pair.write(acks, b"x" * 100)
    marks.add("all")
    assert pair.has(acks, 100)
    assert (acks.consumed(), marks.consumed()) == (100, "all")


def test_what_a_client_has_not_given_back_is_not_consumed():
    client = Client(4 * MIB)
    client.is_sent(4 * MIB)
    assert client.acks.acknowledged() == 4 * MIB
    assert client.consumed == 0


def test_a_reader_that_keeps_up_is_at_most_two_windows_late():
    client = Client(MIB)
    for _ in range(200):
        client.is_sent(client.room)
        client.reads(client.sent - client.read)
        client.grants(MIB)
        assert client.consumed >= client.sent - 2 * MIB - SLACK
    assert client.consumed > 190 * MIB


def test_a_window_made_larger_by_grants_is_not_taken_for_reading():
    client = Client(64 * KIB)
    client.grants(8 * MIB)
    client.is_sent(client.room)
    assert client.consumed == 0
    client.reads(2 * MIB)
    client.grants(2 * MIB)
    client.is_sent(2 * MIB)
    assert client.consumed == 2 * MIB - 64 * KIB - SLACK


@pytest.mark.parametrize("change", [4 * MIB, -512 * KIB])
def test_a_change_of_the_initial_window_is_not_taken_for_reading(change: int):
    client = Client(MIB)
    client.is_sent(300 * KIB)
    client.changes_window(change)
    client.is_sent(client.room)
    assert client.consumed == 0


def test_a_stream_that_sends_little_at_a_time_is_consumed_but_for_the_last_of_it():
    client = Client(MIB)
    for _ in range(10_000):
        client.is_sent(1000)
        client.reads(1000)
        client.grants(1000)
    assert client.consumed >= client.sent - 1000 - SLACK


def test_who_has_a_window_without_end_is_not_kept_everything_for():
    client = Client(2**31 - 1)
    for _ in range(100):
        client.is_sent(MIB)
        client.reads(MIB)
    assert client.consumed == 100 * MIB - MOST_UNREAD


def test_any_client_is_never_said_to_have_more_than_it_read():
    dice = random.Random(5)
    client = Client(MIB)
    owed = 0
    for _ in range(20_000):
        step = dice.randrange(4)
        if step == 0 and client.room > 0:
            client.is_sent(dice.randint(1, client.room))
        elif step == 1 and client.sent > client.read:
            size = dice.randint(1, client.sent - client.read)
            client.reads(size)
            owed += size
        elif step == 2 and owed:
            client.grants(owed)
            owed = 0
        elif step == 3 and dice.random() < 0.01:
            client.changes_window(dice.randint(-100, 300) * KIB)
        assert client.consumed <= client.read
    assert client.consumed > client.read - 40 * MIB


def test_a_stream_of_an_unknown_connection_is_never_consumed():
    acks = StreamAckTracker()
    acks.carried(100 * MIB, 100 * MIB)
    acks.granted(100 * MIB)
    assert (acks.acknowledged(), acks.consumed()) == (0, 0)


def test_what_a_kernel_may_hold_unread_is_what_its_windows_can_span():
    """A buffer of a size of one's own has the kernel choose the scale for it."""
    bounds = []
    for size in (64 * KIB, 2 * MIB):
        with socket.socket() as listener, socket.socket() as receiver:
            receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            receiver.connect(listener.getsockname())
            sender, _ = listener.accept()
            with sender:
                bounds.append(unread_at_most(sender))
                assert 16 * MIB <= AckTracker(sender).unread_at_most <= 64 * MIB
    small, large = bounds
    assert 128 * KIB <= small < large


def test_on_a_unix_socket_nothing_that_is_acknowledged_is_unread():
    one, other = socket.socketpair()
    with one, other:
        assert unread_at_most(one) == 0
