"""Signals have the numbers of the sandbox's system, whatever the caller's has."""

from __future__ import annotations

import signal
from enum import IntEnum

import pytest

from envd_sdk import InvalidArgumentException
from envd_sdk.signals import SIGKILL, linux_number


class MacSignals(IntEnum):
    """Those of macOS that Linux numbers otherwise, or does not have."""

    SIGSTOP = 17
    SIGCONT = 19
    SIGINFO = 29
    SIGUSR1 = 30


def test_every_signal_of_linux_has_its_number():
    assert {number: linux_number(number) for number in signal.Signals} == {number: number for number in signal.Signals}
    assert linux_number(signal.SIGKILL) == SIGKILL


@pytest.mark.parametrize(
    ("given", "expected"), [(MacSignals.SIGSTOP, 19), (MacSignals.SIGCONT, 18), (30, 30), (64, 64)]
)
def test_a_signals_name_counts_and_a_plain_number_is_linuxs(given: int, expected: int):
    assert linux_number(given) == expected
    assert linux_number(MacSignals.SIGUSR1) == signal.SIGUSR1


def test_what_linux_does_not_have_is_refused():
    with pytest.raises(InvalidArgumentException, match="SIGINFO"):
        linux_number(MacSignals.SIGINFO)
