"""Who may stay when there is no room for everybody."""

from __future__ import annotations

from envd.transport.admission import Admission


class Guest:
    def __init__(self, *, busy: bool = False) -> None:
        self.busy = busy
        self.gone = False

    def cut_off(self) -> None:
        self.gone = True

    def check(self, now: float) -> None:
        """Nothing to look after."""

    def close(self) -> None:
        """Nothing to close."""


def admitted(admission: Admission, count: int, *, held: int = 1, descriptors: int = 1) -> list[Guest]:
    guests = [Guest() for _ in range(count)]
    assert all(admission.admit(guest, descriptors, held) for guest in guests)
    return guests


def test_who_holds_most_is_cut_off_first():
    admission = Admission(100, 100, newcomers_bytes=100)
    small, large = admitted(admission, 2, held=10)
    admission.hold(large, 95)
    assert (small.gone, large.gone) == (False, True)


def test_of_equal_ones_the_oldest_goes_first():
    admission = Admission(100, 100, newcomers_bytes=100)
    guests = admitted(admission, 11, held=10)
    assert [guest.gone for guest in guests] == [True] * 4 + [False] * 7


def test_who_was_vouched_for_holds_what_it_likes():
    admission = Admission(100, 100, newcomers_bytes=100)
    (guest,) = admitted(admission, 1)
    admission.vouch(guest)
    admission.hold(guest, 1000)
    admitted(admission, 50)
    assert not guest.gone


def test_a_newcomer_takes_the_place_of_an_idle_one_and_never_of_one_with_a_token():
    admission = Admission(3, 100)
    vouched, working, idle = admitted(admission, 3)
    admission.vouch(vouched)
    working.busy = True
    admitted(admission, 1)
    assert [guest.gone for guest in (vouched, working, idle)] == [False, False, True]


def test_where_all_have_a_token_there_is_no_room():
    admission = Admission(3, 100)
    for guest in admitted(admission, 3):
        admission.vouch(guest)
    assert not admission.admit(Guest(), 1, 1)


def test_descriptors_are_counted_and_not_only_connections():
    admission = Admission(100, 10)
    guests = admitted(admission, 4, descriptors=3)
    assert [guest.gone for guest in guests] == [True, False, False, False]


def test_what_has_left_counts_no_more():
    admission = Admission(2, 6, newcomers_bytes=100)
    for _ in range(10):
        for guest in admitted(admission, 2, held=40, descriptors=3):
            admission.leave(guest)
            assert not guest.gone
    assert admission.released == 800


def test_one_that_takes_the_place_of_another_is_as_old():
    admission = Admission(100, 4)
    first, _ = admitted(admission, 2)
    other = Guest()
    assert admission.replace(first, other, 2, 1)
    admitted(admission, 1, descriptors=2)
    assert (first.gone, other.gone) == (False, True)
    assert first not in admission


def test_one_that_needs_more_than_there_is_makes_room_of_older_ones_only():
    admission = Admission(100, 4)
    old, young = admitted(admission, 2, descriptors=2)
    assert not admission.replace(old, Guest(), 3, 1)
    assert (young.gone, young in admission) == (False, True)


def test_the_newest_are_not_taken_for_idle():
    admission = Admission(4, 100)
    *working, newest = admitted(admission, 4)
    for one in working:
        one.busy = True
    admitted(admission, 1)
    assert (working[0].gone, newest.gone) == (True, False)
