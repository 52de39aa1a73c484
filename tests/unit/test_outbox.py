"""What was found, on its way to the server."""

from __future__ import annotations

import threading

import pytest

from envd.filesystem.search.outbox import Outbox


def test_what_waits_is_sent_though_the_search_takes_no_further_step():
    sent: list[int] = []
    arrived = threading.Event()

    def send(items: list[int]) -> None:
        sent.extend(items)
        arrived.set()

    with Outbox(send) as outbox:
        outbox.put(1, 1)
        assert arrived.wait(60)
    assert sent == [1]


def test_everything_is_sent_once_and_in_order_by_whichever_thread():
    sent: list[int] = []
    with Outbox(sent.extend) as outbox:
        for number in range(100_000):
            outbox.put(number, 100)
            outbox.breathe()
    assert sent + outbox.take() == list(range(100_000))


def test_a_search_fails_if_the_thread_could_not_send():
    tried = threading.Event()

    def send(_: list[int]) -> None:
        tried.set()
        raise MemoryError

    def search() -> None:
        with Outbox(send) as outbox:
            outbox.put(1, 1)
            assert tried.wait(60)

    with pytest.raises(MemoryError):
        search()
