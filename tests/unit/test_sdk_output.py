"""From events to text: each byte once, no character cut in two."""

from __future__ import annotations

import random
import re

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from envd_proto.process import process_pb2 as pb
from envd_sdk import OutputGap, OutputPosition
from envd_sdk.output import AnotherError, HoleError, Output, Piece
from envd_sdk.output_matcher import WINDOW, Deadline, OutputMatcher
from envd_sdk.results import StreamName

STDOUT, STDERR, PTY = (
    pb.ProcessEvent.STREAM_STDOUT,
    pb.ProcessEvent.STREAM_STDERR,
    pb.ProcessEvent.STREAM_PTY,
)


def data(offset: int, **content: bytes) -> pb.ProcessEvent:
    return pb.ProcessEvent(data=pb.ProcessEvent.DataEvent(offset=offset, **content))


def gap(stream: int, begin: int, end: int) -> pb.ProcessEvent:
    return pb.ProcessEvent(gap=pb.ProcessEvent.GapEvent(stream=stream, begin=begin, end=end))


def end(code: int = 0, **more) -> pb.ProcessEvent:
    return pb.ProcessEvent(end=pb.ProcessEvent.EndEvent(exit_code=code, **more))


def begun(**position: int) -> Output:
    return Output(begin=OutputPosition(**position))


def test_bytes_that_came_before_are_left_out():
    output = begun()
    assert output.pieces(data(0, stdout=b"abc")) == [Piece(stdout="abc")]
    assert output.pieces(data(0, stdout=b"abc")) == []
    assert output.pieces(data(1, stdout=b"bcde")) == [Piece(stdout="de")]
    assert output.position == pb.OutputPosition(stdout=5)
    assert output.stdout == "abcde"


def test_bytes_that_are_missing_are_noticed():
    output = begun()
    output.pieces(data(0, stdout=b"abc"))
    with pytest.raises(HoleError, match="goes on at 4, but ended at 3"):
        output.pieces(data(4, stdout=b"e"))
    assert output.position.stdout == 3


def test_bytes_that_are_gone_are_announced_once():
    output = begun()
    output.pieces(data(0, stderr=b"ab"))
    assert output.pieces(gap(STDERR, 2, 10)) == []
    assert output.pieces(gap(STDERR, 2, 10)) == []
    assert output.pieces(data(10, stderr=b"k")) == [Piece(stderr="k")]
    assert output.gaps == [OutputGap("stderr", 2, 10)]
    output.pieces(gap(PTY, 0, 5))
    assert output.position == pb.OutputPosition(stderr=11, pty=5)


def test_a_character_before_a_gap_is_not_joined_with_one_behind_it():
    output = begun()
    output.pieces(data(0, stdout=b"\xe2"))
    assert output.pieces(gap(STDOUT, 1, 3)) == [Piece(stdout="\N{REPLACEMENT CHARACTER}")]
    assert output.pieces(data(3, stdout=b"a")) == [Piece(stdout="a")]


def test_the_streams_are_apart():
    output = begun()
    assert output.pieces(data(0, stdout=b"\xe2\x82")) == []
    assert output.pieces(data(0, stderr="ä".encode())) == [Piece(stderr="ä")]
    assert output.pieces(data(2, stdout=b"\xac")) == [Piece(stdout="€")]
    assert output.pieces(data(0, pty=b"\xff\x00")) == [Piece(pty=b"\xff\x00")]


@pytest.mark.parametrize("seed", range(20))
def test_any_cutting_and_any_repetition_gives_the_same_text(seed):
    chance = random.Random(seed)
    text = "".join(chance.choice("aä€𝄞\n") for _ in range(500))
    raw = text.encode()
    output, pieces = begun(), []
    at = 0
    while at < len(raw):
        begin = max(0, at - chance.choice((0, 0, 3, 50)))
        until = min(len(raw), at + chance.randint(1, 9))
        pieces += output.pieces(data(begin, stdout=raw[begin:until]))
        at = until
    pieces += output.pieces(end())
    assert "".join(piece.stdout or "" for piece in pieces) == text == output.stdout


def test_what_is_cut_off_in_the_end_is_shown():
    output = begun()
    output.pieces(data(0, stdout=b"a\xe2\x82"))
    assert output.pieces(end(3, error="exit status 3")) == [Piece(stdout="\N{REPLACEMENT CHARACTER}")]
    found = output.result()
    assert (found.exit_code, found.error, found.stdout) == (3, "exit status 3", "a\N{REPLACEMENT CHARACTER}")


def test_a_stream_says_where_it_begins_unless_it_was_told():
    start = pb.ProcessEvent.StartEvent(pid=1, position=pb.OutputPosition(stdout=100))
    free, bound = Output(), begun()
    free.started(start)
    bound.started(start)
    assert (free.position.stdout, bound.position.stdout) == (100, 0)


@pytest.mark.parametrize(
    ("cause", "timed_out"),
    [
        (pb.ProcessEvent.CAUSE_WALL_TIMEOUT, True),
        (pb.ProcessEvent.CAUSE_DEADLINE, True),
        (pb.ProcessEvent.CAUSE_ITSELF, False),
        (pb.ProcessEvent.CAUSE_SIGNAL_REQUEST, False),
    ],
)
def test_an_end_by_time_is_told_from_others(cause, timed_out):
    output = begun()
    output.pieces(end(-1, cause=cause))
    assert output.ending is not None
    assert output.ending.timed_out is timed_out


def test_nothing_is_kept_that_shall_not_be():
    output = Output(retain=False, begin=OutputPosition())
    assert output.pieces(data(0, stdout=b"abc")) == [Piece(stdout="abc")]
    assert output.stdout == ""


def find(matcher: OutputMatcher, pattern: str, stream: StreamName | None = None) -> str | None:
    found = matcher.find(re.compile(pattern), stream)
    return None if found is None else found.group()


def matcher_of(*pieces: Piece) -> OutputMatcher:
    matcher = OutputMatcher()
    for piece in pieces:
        matcher.add(piece)
    return matcher


def test_an_expression_is_found_across_pieces():
    matcher = matcher_of(Piece(stdout="po"), Piece(stderr="rt 1!"))
    assert find(matcher, "port ([0-9]+)!") is None
    assert matcher.add(Piece(stdout="rt 80!")) == "stdout"
    assert find(matcher, "port ([0-9]+)!") == "port 80!"
    assert find(matcher_of(Piece(stdout="ä")), "ä", "pty") is None
    matcher = matcher_of(Piece(pty=b"\xc3"))
    assert find(matcher, "ä") is None
    matcher.add(Piece(pty=b"\xa4"))
    assert find(matcher, "ä") == "ä"


def test_an_expression_is_compared_with_the_newest_output_only():
    matcher = matcher_of(Piece(stdout="a"), Piece(stdout="x" * WINDOW), Piece(stdout="b"))
    assert find(matcher, "^a.*b$", "stdout") is None


def test_what_lies_behind_a_match_stays_for_the_next_expression():
    matcher = matcher_of(Piece(stdout="one two\nthree"), Piece(stderr="one"))
    assert find(matcher, "never") is None
    assert find(matcher, "tw") == "tw"
    assert find(matcher, r"^o|\bo") == "o"  # of stderr: behind the match no line and no word begins
    assert find(matcher, "(?m)^thr") == "thr"
    matcher.add(Piece(stdout="ee"))
    assert find(matcher, "^e") is None
    assert find(matcher, "one", "stdout") is None
    assert find(matcher, "eeeee") is None
    assert find(matcher, "(?<=r)eeee") == "eeee"
    matcher.clear()
    assert find(matcher, "e") is None


def test_a_deadline_passes_or_never_does():
    now = [10.0]
    deadline, never = Deadline(5, lambda: now[0]), Deadline(None, lambda: now[0])
    assert (deadline.left_s(), deadline.passed(), never.left_s()) == (5, False, None)
    now[0] = 16
    assert (deadline.left_s(), deadline.passed(), never.passed()) == (0.001, True, False)


def test_a_place_lies_before_a_character_that_has_come_in_part():
    output = begun()
    [piece] = output.pieces(data(0, stdout="a€".encode()[:3]))
    assert (piece.stdout, piece.position) == ("a", OutputPosition(stdout=1))
    assert output.position == pb.OutputPosition(stdout=3)
    [piece] = output.pieces(data(3, stdout="€".encode()[2:]))
    assert (piece.stdout, piece.position) == ("€", OutputPosition(stdout=4))


def test_a_stream_of_another_program_is_noticed():
    output = Output(begin=OutputPosition(started_at_us=1_000_001))
    same = pb.ProcessEvent.StartEvent(pid=1, started_at=Timestamp(seconds=1, nanos=1000))
    output.started(same)
    output.started(pb.ProcessEvent.StartEvent(pid=1))  # a daemon that does not say
    with pytest.raises(AnotherError):
        output.started(pb.ProcessEvent.StartEvent(pid=1, started_at=Timestamp(seconds=2)))
