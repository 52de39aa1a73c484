"""Output of one program: what followers hold back, for how long, and what a late one still gets."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from envd.config import Output
from envd.errors import Code, EnvdError
from envd.process.events import STDERR, STDOUT, Gap, Position, Run
from envd.process.expected import return_wait_s, wait_after_kill_s
from envd.process.journal import Journal
from envd.process.journal_budget import JournalBudget
from envd.process.ledger import Ledger
from envd.process.output import Finished, ProcessOutput
from envd.process.stream import PipeStream
from envd.process.subscription import Subscription
from envd.rpc import Call

KIB = 1024
KEEP = 256 * KIB
STALL_S = 0.5
RETURN_S = 0.3
LONG_S = 60.0  # longer than any test
SIZES = Output(live_bytes=KEEP, finished_bytes=64 * KIB, trimmed_bytes=64 * KIB, total_bytes=1 << 30)


class Program:
    """Real pipes with an output at their end; `prints` writes as the program would, as far as the pipe takes it."""

    def __init__(self, pool: JournalBudget | None = None, stall_s: float = STALL_S, return_s: float = RETURN_S) -> None:
        self.pool = pool or JournalBudget(SIZES)
        self.closed = 0
        streams, self._writers = {}, {}
        for number in (STDOUT, STDERR):
            ours, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            self._writers[number] = theirs
            streams[number] = PipeStream(number, Journal.create("test"), ours)
        waits = Output(stall_s=stall_s, return_s=return_s, return_after_kill_s=2 * return_s)
        self.output = ProcessOutput(streams, Ledger.create("test", b""), self.pool, waits, self._pipe_closed)
        self.output.start()

    def _pipe_closed(self) -> None:
        self.closed += 1

    def prints(self, data: bytes, stream: int = STDOUT) -> int:
        """Write what the pipe takes now."""
        try:
            return os.write(self._writers[stream], data)
        except BlockingIOError:
            return 0

    async def prints_all(self, size: int, *, timeout_s: float = 60.0) -> None:
        """Write so many bytes, waiting as a program would; TimeoutError if it has to wait too long."""
        async with asyncio.timeout(timeout_s):
            while size:
                done = self.prints(bytes(min(size, 32 * KIB)))
                size -= done
                await asyncio.sleep(0 if done else 0.005)

    async def prints_until_it_waits(self) -> int:
        """Write until nothing has been taken for a while; how much it was."""
        total, since = 0, time.monotonic()
        async with asyncio.timeout(60):
            while time.monotonic() - since < 0.1:
                done = self.prints(bytes(32 * KIB))
                total += done
                if done:
                    since = time.monotonic()
                await asyncio.sleep(0)
        return total

    async def settle(self, size: int, stream: int = STDOUT) -> None:
        """Wait until so many bytes are in the journal."""
        async with asyncio.timeout(60):
            while self.output.ends[stream] < size:
                await asyncio.sleep(0)

    def end(self, stream: int = STDOUT) -> None:
        os.close(self._writers.pop(stream))

    def close(self) -> None:
        """Close everything; may be called again."""
        if self.output.ledger.fd >= 0:
            for fd in self._writers.values():
                os.close(fd)
            self.output.close()


class Reader:
    """A follower whose peer has received whatever it took, unless told otherwise."""

    def __init__(
        self,
        program: Program,
        position: Position | None = (0, 0, 0),
        *,
        gaps: bool | None = None,
        unread_at_most: int = 0,
    ) -> None:
        """Follow; one that names no place understands no gaps unless told otherwise."""
        gaps = position is not None if gaps is None else gaps
        self.received: Position | None = None
        self.read_ahead = 0  # bytes of the standard output received that lie in the library
        receipts = Call(acknowledged=lambda: self.received, consumed=self._consumed, unread_at_most=unread_at_most)
        self.follower: Subscription = program.output.follow(position, gaps=gaps, receipts=receipts)
        self.data = bytearray()
        self.gaps: list[Gap] = []
        self._task: asyncio.Task[None] | None = None

    def _consumed(self) -> Position | None:
        return self.received and (max(self.received[STDOUT] - self.read_ahead, 0), *self.received[1:])

    def take(self) -> Run | Gap | None:
        event = self.follower.take()
        if isinstance(event, Run):
            self.data += event.data
            self.received = event.position
        elif isinstance(event, Gap):
            self.gaps.append(event)
        return event

    def take_all(self) -> int:
        """Take everything there is; how many bytes that was."""
        before = len(self.data)
        while self.take() is not None:
            pass
        return len(self.data) - before

    def read_on(self) -> None:
        """Read for as long as the test runs."""
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while True:
            if self.take() is None:
                await self.follower.wait(60)
            await asyncio.sleep(0)

    async def has_everything(self, size: int) -> None:
        """Read so many bytes, all that were printed; fails if one of them is gone."""
        self.read_on()
        async with asyncio.timeout(60):
            while len(self.data) < size:
                assert self.gaps == []
                await asyncio.sleep(0)
        self.stop()

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()


Make = Callable[..., Program]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    made: list[Program] = []

    def program(*arguments: object, **options: object) -> Program:
        made.append(Program(*arguments, **options))  # type: ignore[arg-type]
        return made[-1]

    yield program
    for one in made:
        one.close()


@pytest.fixture
async def program(make: Make) -> Program:
    return make()


# Reading.


async def test_what_is_printed_can_be_read_at_its_offset(program: Program):
    program.prints(b"hello")
    await program.settle(5)
    reader = Reader(program)
    event = reader.take()
    assert event == Run(STDOUT, 0, b"hello", (5, 0, 0))
    assert reader.take() is None


async def test_a_reader_is_woken_by_output_and_by_its_own_time(program: Program):
    reader = Reader(program)
    assert not await reader.follower.wait(0.01)
    waiting = asyncio.create_task(reader.follower.wait(10))
    await asyncio.sleep(0)
    assert not waiting.done()
    program.prints(b"x")
    assert await waiting
    assert reader.take_all() == 1


@pytest.mark.parametrize("position", [(4, 0, 0), (0, 1, 0), (0, 0, 1)])
async def test_a_place_beyond_the_end_is_out_of_range(program: Program, position):
    program.prints(b"abc")
    await program.settle(3)
    with pytest.raises(EnvdError) as refused:
        program.output.follow(position, gaps=True, receipts=Call())
    assert refused.value.code == Code.OUT_OF_RANGE
    assert not program.output.subscribers


async def test_the_ends_of_the_pipes_are_told(program: Program):
    program.prints(b"last")
    program.end(STDOUT)
    async with asyncio.timeout(60):
        while program.closed < 1:
            await asyncio.sleep(0)
    assert program.output.open
    program.end(STDERR)
    async with asyncio.timeout(60):
        while program.closed < 2:
            await asyncio.sleep(0)
    assert not program.output.open
    assert program.output.ends[STDOUT] == 4


# Who holds up the program.


async def test_with_no_reader_the_program_never_waits_and_the_newest_is_kept(program: Program):
    await program.prints_all(8 * KEEP)
    await program.settle(8 * KEEP)
    head = program.output.heads[STDOUT]
    assert KEEP <= 8 * KEEP - head <= KEEP * 5 // 4 + 1024 * KIB
    reader = Reader(program)
    assert reader.take() == Gap(STDOUT, 0, head)
    assert reader.take_all() == 8 * KEEP - head


async def test_a_sole_reader_that_does_not_read_holds_up_the_program_for_good(program: Program):
    reader = Reader(program)
    printed = await program.prints_until_it_waits()
    assert KEEP <= printed <= KEEP + 512 * KIB
    assert program.output.waiting
    with pytest.raises(TimeoutError):
        await program.prints_all(KEEP, timeout_s=2 * STALL_S)
    reader.take_all()
    assert not program.output.waiting
    await program.prints_all(KEEP)
    assert reader.gaps == []


async def test_the_program_goes_on_at_once_when_a_reader_leaves_that_cannot_come_back_to_its_place(make: Make):
    """It has no place to name, and has not read for the stall deadline: this is no client that reads."""
    program = make(return_s=LONG_S)
    reader = Reader(program, None)
    await program.prints_until_it_waits()
    await asyncio.sleep(STALL_S * 1.2)  # the stall deadline itself passes
    program.output.leave(reader.follower)
    assert not program.output.subscribers.expected
    await program.prints_all(4 * KEEP)


async def test_the_program_goes_on_when_one_that_was_expected_back_does_not_come(program: Program):
    reader = Reader(program)
    await program.prints_until_it_waits()
    program.output.leave(reader.follower)
    assert program.output.subscribers.expected
    await program.prints_all(4 * KEEP)
    assert not program.output.subscribers.expected
    assert program.output.ledger.followed == 0


# Who is expected back.


async def test_whoever_had_it_started_is_waited_for_before_there_is_a_reader(make: Make):
    program = make(return_s=LONG_S)
    assert program.output.ledger.followed == 1  # a later server waits too, whatever happens to this one now
    program.output.expect_starter()
    printed = await program.prints_until_it_waits()
    await Reader(program, (0, 0, 0)).has_everything(printed)


async def test_a_later_server_waits_for_whoever_had_it_started(make: Make):
    program = make(return_s=LONG_S)
    later = Ledger.adopt(os.dup(program.output.ledger.fd))
    assert later.followed == 1
    later.close()
    program.output.expect_subscribers()
    printed = await program.prints_until_it_waits()
    await Reader(program, (0, 0, 0)).has_everything(printed)


@pytest.mark.parametrize("position", [(0, 0, 0), None])
async def test_a_reader_that_pauses_is_expected_back_whatever_it_left_unread(make: Make, position):
    program = make(return_s=LONG_S, stall_s=LONG_S)
    reader = Reader(program, position)
    printed = await program.prints_until_it_waits()
    await asyncio.sleep(STALL_S)  # a callback that takes long
    program.output.leave(reader.follower)
    again = Reader(program, position)
    await again.has_everything(printed)


async def test_one_that_names_its_place_is_expected_back_beyond_the_stall_deadline_too(make: Make):
    program = make(return_s=LONG_S)
    reader = Reader(program, (0, 0, 0))
    printed = await program.prints_until_it_waits()
    await asyncio.sleep(STALL_S * 1.2)  # the stall deadline itself passes
    program.output.leave(reader.follower)
    again = Reader(program, (0, 0, 0))
    await again.has_everything(printed)


def test_the_longer_a_reader_pauses_the_longer_it_is_expected_back_up_to_the_stall_deadline():
    waits = Output(stall_s=30.0, return_s=5.0, return_after_kill_s=10.0)
    assert [return_wait_s(waits, pause_s) for pause_s in (0.0, 3.0, 60.0)] == [5.0, 11.0, 30.0]
    assert [wait_after_kill_s(waits, pause_s) for pause_s in (0.0, 3.0, 60.0)] == [10.0, 16.0, 30.0]
    assert return_wait_s(Output(stall_s=1.0, return_s=5.0), 60.0) == 5.0


async def test_how_long_a_reader_pauses_is_known_to_a_later_server(program: Program):
    reader = Reader(program)
    program.prints(b"x")
    await program.settle(1)
    await asyncio.sleep(0.4)  # a callback that takes long
    reader.take_all()
    program.output.subscribers.note_progress(reader.follower)
    later = Ledger.adopt(os.dup(program.output.ledger.fd))
    assert later.pause_s >= 0.39
    later.close()


async def test_one_of_several_is_expected_back_while_the_others_read_on(make: Make):
    program = make(return_s=LONG_S, stall_s=LONG_S)
    slow, fast = Reader(program), Reader(program)
    fast.read_on()
    printed = await program.prints_until_it_waits()
    program.output.leave(slow.follower)
    assert await program.prints_until_it_waits() == 0
    again = Reader(program)
    again.read_on()
    await program.prints_all(4 * KEEP - printed)
    await program.settle(4 * KEEP)
    for reader in (fast, again):
        reader.stop()
        reader.take_all()
        assert (len(reader.data), reader.gaps) == (4 * KEEP, [])


async def test_one_that_comes_back_does_not_stand_for_another_one(make: Make):
    """Both followed when the server was killed; nobody knows any more how far they had come."""
    program = make(return_s=LONG_S, stall_s=LONG_S)
    program.output.ledger.set_followed(2)
    program.output.expect_subscribers()
    fast = Reader(program)
    fast.read_on()
    await program.prints_until_it_waits()
    slow = Reader(program)
    slow.read_on()
    await program.prints_all(4 * KEEP)
    for reader in (fast, slow):
        reader.stop()
        reader.take_all()
        assert reader.gaps == []


async def test_one_without_a_place_does_not_stand_for_one_that_will_name_its_own(make: Make):
    program = make(return_s=LONG_S, stall_s=LONG_S)
    first = Reader(program, (0, 0, 0))
    program.output.leave(first.follower)
    passer_by = Reader(program, None)
    passer_by.read_on()
    printed = await program.prints_until_it_waits()
    again = Reader(program, (0, 0, 0))
    passer_by.stop()
    await again.has_everything(printed)


async def test_one_that_others_had_given_up_is_not_expected_back(make: Make):
    program = make(return_s=LONG_S)
    stalled, reader = Reader(program), Reader(program)
    reader.read_on()
    await program.prints_all(8 * KEEP)
    program.output.leave(stalled.follower)
    assert not program.output.subscribers.expected
    reader.stop()


async def test_no_more_than_thirty_two_are_expected_back(make: Make):
    program = make(return_s=LONG_S)
    for reader in [Reader(program) for _ in range(40)]:
        program.output.leave(reader.follower)
    assert len(program.output.subscribers.expected) == 32
    assert program.output.ledger.followed == 32


async def test_an_instant_between_one_and_another_reader_is_no_moment_without_any(program: Program):
    """A server that is killed at any instant leaves a ledger that says so."""
    seen = set()
    write = program.output.ledger.set_followed

    def note(count: int) -> None:
        write(count)
        seen.add(program.output.ledger.followed)

    program.output.ledger.set_followed = note  # type: ignore[method-assign]
    program.output.expect_starter()
    reader = Reader(program)
    program.prints(b"x")
    await program.settle(1)
    program.output.leave(reader.follower)
    assert seen == {1}


async def test_a_reader_that_stopped_holds_up_others_no_longer_than_the_stall_deadline(program: Program):
    stalled, reader = Reader(program), Reader(program)
    reader.read_on()
    began = time.monotonic()
    await program.prints_all(8 * KEEP)
    waited = time.monotonic() - began
    reader.stop()
    assert waited >= STALL_S * 0.9
    reader.take_all()
    assert (len(reader.data), reader.gaps) == (8 * KEEP, [])
    gap = stalled.take()
    assert isinstance(gap, Gap)
    assert (gap.stream, gap.begin) == (STDOUT, 0)
    assert stalled.take_all() == 8 * KEEP - gap.end


async def test_one_without_gaps_is_told_where_to_resume(program: Program):
    stalled, reader = Reader(program, gaps=False), Reader(program)
    reader.read_on()
    await program.prints_all(8 * KEEP)
    reader.stop()
    with pytest.raises(EnvdError) as lost:
        stalled.take()
    assert lost.value.code == Code.DATA_LOSS
    assert f"resume.stdout = {program.output.heads[STDOUT]}" in lost.value.message


async def test_a_reader_that_joins_a_program_that_waits_gets_on_after_the_stall_deadline(program: Program):
    Reader(program)
    printed = await program.prints_until_it_waits()
    reader = Reader(program)
    reader.read_on()
    await program.prints_all(4 * KEEP)
    await program.settle(printed + 4 * KEEP)
    reader.stop()


async def test_a_reader_that_joins_at_the_end_long_after_the_other_stopped_gets_on_at_once(program: Program):
    Reader(program)
    await program.prints_until_it_waits()
    await asyncio.sleep(STALL_S * 1.2)  # the stall deadline itself passes
    reader = Reader(program, program.output.position)
    reader.read_on()
    await program.prints_all(4 * KEEP)
    reader.stop()


async def test_a_slow_reader_that_never_stops_loses_nothing_beside_a_fast_one(program: Program):
    slow, fast = Reader(program), Reader(program)
    fast.read_on()

    async def read_slowly() -> None:
        while len(slow.data) < 6 * KEEP:
            slow.take()
            await asyncio.sleep(STALL_S / 5)  # its pace

    reading = asyncio.create_task(read_slowly())
    await program.prints_all(6 * KEEP)
    async with asyncio.timeout(60):
        await reading
    fast.stop()
    assert slow.gaps == []


async def test_readers_that_all_have_stopped_are_all_waited_for(program: Program):
    one, other = Reader(program), Reader(program)
    await program.prints_until_it_waits()
    with pytest.raises(TimeoutError):
        await program.prints_all(KEEP, timeout_s=3 * STALL_S)
    assert one.take_all() == other.take_all()
    assert (one.gaps, other.gaps) == ([], [])


async def test_one_stream_that_is_held_up_does_not_hold_up_the_other(program: Program):
    reader = Reader(program)
    await program.prints_until_it_waits()
    assert program.prints(b"error", STDERR) == 5
    await program.settle(5, STDERR)
    reader.take_all()
    assert b"error" in reader.data


# What a reader's peer has not received stays.


async def test_what_was_taken_but_not_received_is_kept(program: Program):
    reader = Reader(program)
    taken = 0
    for _ in range(6):
        await program.prints_all(KEEP)
        await program.settle(taken + KEEP)
        taken += reader.take_all()
        reader.received = (KEEP, 0, 0)
    assert program.output.heads[STDOUT] <= KEEP
    reader.received = (taken, 0, 0)
    await program.prints_all(KEEP)
    await program.settle(taken + KEEP)
    program.output.trim()
    assert program.output.kept <= 2 * KEEP


async def test_what_was_received_but_not_consumed_is_kept_but_holds_up_nobody(program: Program):
    reader = Reader(program)
    reader.read_ahead = 3 * KEEP
    reader.read_on()
    await program.prints_all(6 * KEEP)
    await program.settle(6 * KEEP)
    reader.stop()
    reader.take_all()
    program.output.trim()
    assert program.output.heads[STDOUT] == 3 * KEEP


async def test_what_a_kernel_may_hold_unread_is_kept_for_who_can_name_its_place(program: Program):
    reader = Reader(program, unread_at_most=3 * KEEP)
    unable = Reader(program, gaps=False, unread_at_most=4 * KEEP)
    for each in (reader, unable):
        each.read_on()
    await program.prints_all(6 * KEEP)
    await program.settle(6 * KEEP)
    for each in (reader, unable):
        each.stop()
        each.take_all()
    program.output.trim()
    assert program.output.heads[STDOUT] == 3 * KEEP


async def test_what_a_kernel_may_hold_unread_goes_before_memory_is_short(make: Make):
    program = make(JournalBudget(replace(SIZES, total_bytes=8 * KEEP)))
    reader = Reader(program, unread_at_most=100 * KEEP)
    reader.read_on()
    await program.prints_all(12 * KEEP)
    await program.settle(12 * KEEP)
    reader.stop()
    assert program.output.kept <= 6 * KEEP


async def test_what_was_not_consumed_is_kept_for_a_moment_when_the_connection_breaks(program: Program):
    reader = Reader(program)
    reader.read_ahead = 3 * KEEP
    reader.read_on()
    await program.prints_all(4 * KEEP)
    await program.settle(4 * KEEP)
    reader.stop()
    reader.take_all()
    program.output.leave(reader.follower)
    # As far as its kernel had it, nobody has to wait.
    await program.prints_all(KEEP)
    program.output.trim()
    assert program.output.heads[STDOUT] == KEEP
    assert Reader(program, None).follower.position == (4 * KEEP, 0, 0)


async def test_when_memory_is_short_what_the_kernel_received_is_enough(make: Make):
    program = make(JournalBudget(replace(SIZES, total_bytes=KEEP)))
    reader = Reader(program)
    reader.read_ahead = 3 * KEEP
    reader.read_on()
    await program.prints_all(6 * KEEP)
    await program.settle(6 * KEEP)
    reader.stop()
    reader.take_all()
    program.output.trim()
    assert program.output.kept <= KEEP


async def test_who_comes_without_a_place_begins_with_what_nobody_received(program: Program):
    program.prints(b"0123456789")
    await program.settle(10)
    first = Reader(program)
    first.take_all()
    first.received = (6, 0, 0)
    second = Reader(program, None)
    assert second.follower.position == (6, 0, 0)
    program.output.leave(first.follower)
    first.received = (8, 0, 0)  # an acknowledgement that came after it had left
    assert Reader(program, None).follower.position == (8, 0, 0)


async def test_who_comes_without_a_place_first_begins_at_the_beginning(program: Program):
    program.prints(b"0123456789")
    await program.settle(10)
    assert Reader(program, None).follower.position == (0, 0, 0)


async def test_who_comes_without_a_place_is_not_told_of_what_is_gone(program: Program):
    await program.prints_all(8 * KEEP)
    await program.settle(8 * KEEP)
    reader = Reader(program, None, gaps=False)
    assert reader.follower.position == (program.output.heads[STDOUT], 0, 0)
    assert isinstance(reader.take(), Run)


async def test_who_comes_without_a_place_is_told_of_what_is_gone_if_it_understands(program: Program):
    await program.prints_all(8 * KEEP)
    await program.settle(8 * KEEP)
    head = program.output.heads[STDOUT]
    reader = Reader(program, None, gaps=True)
    assert reader.take() == Gap(STDOUT, 0, head)
    assert reader.take_all() == 8 * KEEP - head


# After the end, and when memory is short.


async def test_of_a_finished_program_less_is_kept_but_not_less_than_its_readers_need(program: Program):
    reader = Reader(program)
    await program.prints_all(KEEP)
    await program.settle(KEEP)
    program.output.settle(Finished(keep=64 * KIB, untaken=64 * KIB))
    assert program.output.heads[STDOUT] == 0
    assert reader.take_all() == KEEP
    program.output.leave(reader.follower)
    assert program.output.kept == 64 * KIB


async def test_what_was_not_consumed_of_a_finished_program_is_kept_for_a_moment(program: Program):
    reader = Reader(program)
    reader.read_ahead = KEEP // 2
    await program.prints_all(KEEP)
    await program.settle(KEEP)
    reader.take_all()
    for stream in (STDOUT, STDERR):
        program.end(stream)
    async with asyncio.timeout(60):
        while program.output.open:
            await asyncio.sleep(0)
    program.output.settle(Finished(keep=64 * KIB, untaken=64 * KIB))
    program.output.leave(reader.follower)
    assert program.output.kept == KEEP // 2
    assert program.output.ledger.followed  # so that a new server keeps it too
    async with asyncio.timeout(60):
        while program.output.kept > 64 * KIB:
            await asyncio.sleep(0.05)
    assert not program.output.ledger.followed


async def test_what_nobody_took_of_a_finished_program_is_kept_a_while_longer(program: Program):
    await program.prints_all(KEEP)
    await program.settle(KEEP)
    program.output.settle(Finished(keep=64 * KIB, untaken=128 * KIB))
    assert program.output.kept == 128 * KIB


async def test_the_pool_knows_what_is_kept(make: Make):
    pool = JournalBudget(SIZES)
    one, other = make(pool), make(pool)
    for program, size in ((one, 3 * KEEP), (other, KEEP // 2)):
        await program.prints_all(size)
        await program.settle(size)
    assert pool.kept == one.output.kept + other.output.kept
    one.output.say(STDERR, b"a word of our own\n")
    assert pool.kept == one.output.kept + other.output.kept
    one.output.trim(0)
    assert pool.kept == one.output.kept + other.output.kept
    one.close()
    assert pool.kept == other.output.kept
    other.close()
    assert pool.kept == 0


async def test_a_pool_that_is_full_asks_for_what_it_needs(make: Make):
    asked: list[int] = []
    pool = JournalBudget(replace(SIZES, total_bytes=2 * KEEP))
    pool.reclaim = asked.append
    pool.count(2 * KEEP)
    assert (asked, pool.keep_live) == ([], KEEP)
    pool.count(100)
    assert asked == [KEEP // 4 + 100]
    assert pool.keep_live == 64 * KIB
    pool.count(-200)
    assert len(asked) == 1
    assert pool.keep_live == KEEP


async def test_a_sole_reader_loses_nothing_when_the_pool_is_full(make: Make):
    pool = JournalBudget(
        Output(live_bytes=KEEP, finished_bytes=64 * KIB, trimmed_bytes=64 * KIB, total_bytes=KEEP // 2)
    )
    program = make(pool)
    pool.reclaim = lambda _: program.output.trim(64 * KIB)
    reader = Reader(program)
    printed = await program.prints_until_it_waits()
    assert printed <= KEEP + 512 * KIB
    total = printed
    async with asyncio.timeout(60):
        while total < 6 * KEEP:
            total += program.prints(bytes(32 * KIB))
            reader.take_all()
            await asyncio.sleep(0)
    await program.settle(total)
    reader.take_all()
    assert (len(reader.data), reader.gaps) == (total, [])


async def test_closing_leaves_no_descriptor():
    before = set(os.listdir("/proc/self/fd"))
    program = Program()
    program.prints(b"x")
    program.close()
    assert set(os.listdir("/proc/self/fd")) <= before
