"""Which bytes are there: compared with a plain set of offsets."""

from __future__ import annotations

import random

import pytest

from envd.filesystem.uploads.extents import Extents, Segment

SPAN = 60


def offsets(extents: Extents) -> set[int]:
    return {offset for begin, end in extents.behind(0, SPAN) for offset in range(begin, end)}


def runs(there: set[int]) -> list[tuple[int, int]]:
    begins = [one for one in sorted(there) if one - 1 not in there]
    ends = [one + 1 for one in sorted(there) if one + 1 not in there]
    return list(zip(begins, ends, strict=True))


@pytest.mark.parametrize("seed", range(20))
def test_runs_are_what_was_added(seed):
    chance = random.Random(seed)
    extents, there = Extents(), set()
    for _ in range(40):
        begin = chance.randrange(SPAN)
        end = min(begin + chance.randrange(8), SPAN)
        before = extents
        extents = extents.having(begin, end)
        assert offsets(before) == there
        there |= set(range(begin, end))
        assert extents.behind(0, SPAN) == runs(there)
        assert (len(extents), extents.total) == (len(runs(there)), len(there))
        assert extents.end == max(there, default=-1) + 1
        assert extents.contiguous == (runs(there)[0][1] if 0 in there else 0)
        assert Extents.from_bytes(extents.to_bytes()).behind(0, SPAN) == runs(there)
        look = sorted(chance.sample(range(SPAN + 1), 2))
        segments = list(extents.segments(*look))
        assert [offset for one in segments if one.there for offset in range(one.begin, one.end)] == sorted(
            there & set(range(*look))
        )
        assert [one.begin for one in segments] + look[1:] == look[:1] + [one.end for one in segments]
        assert extents.overlaps(*look) == bool(there & set(range(*look)))
        assert extents.behind(look[0], 2) == [run for run in runs(there) if run[1] > look[0]][:2]


def test_it_reaches_to_the_last_offset_a_file_has():
    extents = Extents().having(2**63 - 2, 2**63 - 1).having(0, 1)
    assert Extents.from_bytes(extents.to_bytes()).behind(0, 9) == [(0, 1), (2**63 - 2, 2**63 - 1)]
    assert extents.behind(2**64 - 1, 9) == []
    assert list(extents.segments(0, 2)) == [Segment(0, 1, there=True), Segment(1, 2, there=False)]
