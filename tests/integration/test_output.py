"""Output: all of it arrives, in order, in bounded memory, whatever the readers do."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from envd.config import Config, Output
from envd_proto.process.process_pb2 import SIGNAL_SIGKILL, OutputPosition, ProcessEvent
from tests.support.connect import Codec, ConnectError
from tests.support.daemon import Daemon, running_daemon
from tests.support.kernel import Gate, exited, is_running, kill
from tests.support.process import Processes, pid, shell, start_request
from tests.support.readers import (
    MIB,
    Progress,
    Rest,
    Tap,
    at_rest,
    configured,
    configured_daemon,
    descriptors,
    memory_file_bytes,
    pattern,
    printing,
    tap_connect,
    tap_start,
    until,
    watching_memory,
)

GIB = 1 << 30
LIVE = Output().live_bytes
FINISHED = Output().finished_bytes
SMALL_BUFFER = 64 * 1024
# Journals may exceed their size by a quarter and by what one splice brings, a ledger holds at most 512 KiB, and what a
# reader's kernel has not acknowledged stays: at most a socket's send buffer.
JOURNAL_BOUND = LIVE * 5 // 4 + MIB + MIB + 8 * MIB
RESIDENT_BOUND = 48 * MIB
# What may be under way to a reader that does not read: journal, pipe, and the socket's buffers on both sides.
IN_FLIGHT = JOURNAL_BOUND + 8 * MIB
BEGINNING = OutputPosition()
# Only what hangs takes so long, however busy the machine is.
HANG_S = 60


@pytest.fixture(scope="module")
def own_daemon() -> Iterator[Daemon]:
    """A daemon that waits two seconds for a stalled reader and one for a lost one, so that tests need not wait."""
    with configured(Config(output=Output(stall_s=2.0, return_s=1.0))) as daemon:
        yield daemon


@pytest.fixture
def processes(own_daemon: Daemon) -> Processes:
    return Processes.on(own_daemon.port, Codec.PROTO)


@pytest.fixture
async def big() -> AsyncIterator[Daemon]:
    """A daemon of one's own, with all defaults."""
    async with running_daemon() as daemon:
        yield daemon


def pattern_sha256(size: int) -> str:
    digest = hashlib.sha256()
    for begin in range(0, size, 16 * MIB):
        digest.update(pattern(begin, min(begin + 16 * MIB, size)))
    return digest.hexdigest()


def read_digest(tap: Tap) -> tuple[int, str, ProcessEvent.EndEvent]:
    """Read to the end; how much it was, its SHA-256, and the end."""
    digest, size, end = hashlib.sha256(), 0, None
    for event in tap.events():
        if event.HasField("data"):
            assert event.data.offset == size
            digest.update(event.data.stdout)
            size += len(event.data.stdout)
        elif event.HasField("end"):
            end = event.end
    assert end is not None
    return size, digest.hexdigest(), end


# A gigabyte.


@pytest.mark.slow
async def test_a_gigabyte_arrives_unchanged_in_bounded_memory(big: Daemon):
    processes = Processes.on(big.port, Codec.PROTO)
    async with watching_memory(big.server_pid()) as peak, tap_start(processes, printing(GIB)) as tap:
        expected = asyncio.create_task(asyncio.to_thread(pattern_sha256, GIB))
        size, digest, end = await asyncio.to_thread(read_digest, tap)
        assert (size, digest) == (GIB, await expected)
    assert (end.exit_code, end.output.stdout) == (0, GIB)
    assert peak.memory_files <= JOURNAL_BOUND
    assert peak.resident_growth <= RESIDENT_BOUND


@pytest.mark.slow
async def test_a_gigabyte_that_nobody_reads_is_printed_in_bounded_memory_and_its_end_kept(big: Daemon):
    processes = Processes.on(big.port, Codec.PROTO)
    program = shell(f"sleep 1; exec head -c {GIB} /dev/zero")
    async with watching_memory(big.server_pid()) as peak, tap_start(processes, program) as tap:
        number = tap.pid
        tap.reset()
        await exited(number, timeout_s=60)
    assert peak.memory_files <= JOURNAL_BOUND
    assert peak.resident_growth <= RESIDENT_BOUND
    outcome = await processes.replay(pid(number), resume=BEGINNING)
    assert outcome.end.output.stdout == GIB
    assert outcome.kinds[:2] == ["start", "gap"]
    gap = outcome.events[1].gap
    assert (gap.stream, gap.begin) == (ProcessEvent.STREAM_STDOUT, 0)
    assert len(outcome.stdout) == GIB - gap.end


@pytest.mark.slow
async def test_a_slow_reader_of_a_gigabyte_gets_all_of_it_in_bounded_memory(big: Daemon, tmp_path: Path):
    processes, progress = Processes.on(big.port, Codec.PROTO), Progress(tmp_path)

    def read(tap: Tap) -> tuple[int, str]:
        slowly = tap.read_stdout(8 * MIB, bytes_per_s=2 * MIB)
        held_back.append(progress() - len(slowly))
        digest, size = hashlib.sha256(slowly), len(slowly)
        for event in tap.events():
            digest.update(event.data.stdout)
            size += len(event.data.stdout)
        return size, digest.hexdigest()

    held_back: list[int] = []
    async with watching_memory(big.server_pid()) as peak, tap_start(processes, printing(GIB, progress)) as tap:
        expected = asyncio.create_task(asyncio.to_thread(pattern_sha256, GIB))
        assert await asyncio.to_thread(read, tap) == (GIB, await expected)
    assert held_back[0] <= IN_FLIGHT, "the program ran ahead of its only reader"
    assert peak.memory_files <= JOURNAL_BOUND
    assert peak.resident_growth <= RESIDENT_BOUND


# A reader that has stopped.


async def test_a_program_waits_for_its_only_reader_and_goes_on_when_it_reads_again(big: Daemon, tmp_path: Path):
    processes, progress, total = Processes.on(big.port, Codec.PROTO), Progress(tmp_path), 32 * MIB
    async with watching_memory(big.server_pid()) as peak, tap_start(processes, printing(total, progress)) as tap:
        assert await at_rest(progress) <= IN_FLIGHT
        assert is_running(tap.pid)
        rest = await asyncio.to_thread(tap.rest)
    assert rest.stdout == pattern(0, total)
    assert rest.end is not None
    assert rest.end.exit_code == 0
    assert peak.memory_files <= JOURNAL_BOUND
    assert peak.resident_growth <= RESIDENT_BOUND


@pytest.mark.parametrize("way", ["reset", "close"])
async def test_a_program_goes_on_when_its_only_reader_is_gone_and_does_not_come_back(
    processes: Processes, tmp_path: Path, way
):
    progress, total = Progress(tmp_path), 32 * MIB
    async with tap_start(processes, printing(total, progress)) as tap:
        assert await at_rest(progress) < total
        getattr(tap, way)()
        await exited(tap.pid, timeout_s=60)
    assert progress() == total


async def test_a_reader_that_joins_a_waiting_program_gets_on_after_the_stall_deadline(
    processes: Processes, own_daemon: Daemon, tmp_path: Path
):
    """The one that stopped was alone when the program began to wait."""
    progress, total = Progress(tmp_path), 32 * MIB
    async with tap_start(processes, printing(total, progress)) as stalled:
        await at_rest(progress, quiet_s=0.3)
        async with tap_connect(own_daemon.port, pid(stalled.pid), resume=BEGINNING) as reader:
            rest = await asyncio.to_thread(reader.rest)
        # What the kernel of the stalled one has received may be gone; the rest is not.
        begin = sum(end - start for _, start, end in rest.gaps)
        assert begin <= len(stalled.in_kernel())
        assert rest.stdout == pattern(begin, total)


async def test_a_reader_that_joins_at_the_end_of_what_there_is_gets_on_too(
    processes: Processes, own_daemon: Daemon, tmp_path: Path
):
    """The one that stopped did so longer ago than the stall deadline, and the new one has nothing to take at first."""
    progress, total = Progress(tmp_path), 32 * MIB
    async with tap_start(processes, printing(total, progress)) as stalled:
        await at_rest(progress, quiet_s=2.5)
        async with tap_connect(own_daemon.port, pid(stalled.pid), resume=BEGINNING) as reader:
            await asyncio.to_thread(reader.read_stdout, LIVE // 2)
        # Its place: as far as the journal goes, found by asking for more than there is.
        with pytest.raises(ConnectError, match="it has") as refused:
            async with tap_connect(own_daemon.port, pid(stalled.pid), resume=OutputPosition(stdout=1 << 40)):
                pass
        end = int(refused.value.message.split("it has ")[1].split()[0])
        async with tap_connect(own_daemon.port, pid(stalled.pid), resume=OutputPosition(stdout=end)) as reader:
            rest = await asyncio.to_thread(reader.rest)
        assert rest.stdout == pattern(end, total)


async def test_stalled_readers_delay_another_one_at_most_the_stall_deadline(
    processes: Processes, own_daemon: Daemon, tmp_path: Path
):
    """Then who announced that it knows gaps gets one, the other an error."""
    progress, total = Progress(tmp_path), 48 * MIB
    async with tap_start(processes, printing(total, progress), receive_buffer_bytes=SMALL_BUFFER) as plain:
        with_resume = tap_connect(own_daemon.port, pid(plain.pid), resume=BEGINNING, receive_buffer_bytes=SMALL_BUFFER)
        prompt = tap_connect(own_daemon.port, pid(plain.pid), resume=BEGINNING, receive_buffer_bytes=SMALL_BUFFER)
        async with with_resume as knowing, prompt as reader:
            rest = await asyncio.to_thread(_rest_patiently, reader)
            assert rest.stdout == pattern(0, total)
            lagging = await asyncio.to_thread(knowing.rest)
            [(stream, begin, end)] = lagging.gaps
            assert stream == ProcessEvent.STREAM_STDOUT
            assert lagging.stdout[:begin] == pattern(0, begin)
            assert lagging.stdout[begin:] == pattern(end, total)
            assert lagging.end is not None
            with pytest.raises(ConnectError) as lost:
                await asyncio.to_thread(plain.rest)
            assert lost.value.code == "data_loss"
            assert f"resume.stdout = {end}" in lost.value.message


def _rest_patiently(tap: Tap) -> Rest:
    tap.socket.settimeout(60)
    return tap.rest()


async def test_the_offset_named_to_a_reader_without_gaps_is_the_next_that_is_there(
    processes: Processes, own_daemon: Daemon
):
    """The program stays: when one ends, less is kept."""
    total, printer = 32 * MIB, printing(32 * MIB).process
    staying = start_request("/bin/sh", "-c", '"$@"; exec sleep 1000', "sh", printer.cmd, *printer.args, stdin=False)
    async with tap_start(processes, staying, receive_buffer_bytes=SMALL_BUFFER) as plain:
        prompt = tap_connect(own_daemon.port, pid(plain.pid), resume=BEGINNING, receive_buffer_bytes=SMALL_BUFFER)
        async with prompt as reader:
            await asyncio.to_thread(reader.read_stdout, total)
            with pytest.raises(ConnectError) as lost:
                await asyncio.to_thread(plain.rest)
        offset = int(lost.value.message.rsplit("resume.stdout = ", 1)[1])
        async with tap_connect(own_daemon.port, pid(plain.pid), resume=OutputPosition(stdout=offset)) as again:
            assert await asyncio.to_thread(again.read_stdout, total - offset) == pattern(offset, total)


async def test_when_no_reader_reads_the_program_waits_for_all_of_them(
    processes: Processes, own_daemon: Daemon, tmp_path: Path
):
    progress, total = Progress(tmp_path), 32 * MIB
    async with (
        tap_start(processes, printing(total, progress)) as one,
        tap_connect(own_daemon.port, pid(one.pid), resume=BEGINNING) as other,
    ):
        assert await at_rest(progress, quiet_s=3.0) < total  # longer than the stall deadline
        both = await asyncio.gather(asyncio.to_thread(one.rest), asyncio.to_thread(other.rest))
        assert both[1].gaps == []
        assert [rest.stdout == pattern(0, total) for rest in both] == [True, True]


# Connect without a position: what nobody took.


async def test_a_reader_that_took_everything_and_left_leaves_nothing_to_repeat(processes: Processes, gate: Gate):
    async with processes.start(shell(f"echo one; read _ < {gate.path}; echo two")) as program:
        await program.until(b"one\n")
        program.stream.connection.close()
        async with processes.connect(pid(program.pid)) as follower:
            gate.open()
            outcome = await follower.rest()
    assert outcome.stdout == b"two\n"
    assert outcome.events[0].start.position.stdout == len(b"one\n")


async def test_output_from_before_the_first_reader_left_and_after_is_complete(processes: Processes, gate: Gate):
    """Nobody is there while the second line is printed."""
    async with processes.start(shell(f"echo one; read _ < {gate.path}; echo two")) as program:
        await program.until(b"one\n")
        program.stream.connection.reset()
        gate.open()
        await exited(program.pid)
        outcome = await processes.replay(pid(program.pid))
    assert outcome.stdout in (b"two\n", b"one\ntwo\n")
    assert outcome.end.exit_code == 0


async def test_what_a_reader_that_read_nothing_did_not_get_goes_to_the_next(
    processes: Processes, own_daemon: Daemon, tmp_path: Path
):
    progress, total = Progress(tmp_path), 3 * MIB
    async with tap_start(processes, printing(total, progress), receive_buffer_bytes=4096) as tap:
        await until(lambda: progress() == total)
        surely = Rest()
        for event in tap.received():
            surely.add(event)
        await _vanish(own_daemon, tap)
        async with tap_connect(own_daemon.port, pid(tap.pid)) as after:
            rest = await asyncio.to_thread(after.rest)
    _check_nothing_lost(surely, rest, total)


async def test_what_a_reader_that_vanished_half_way_did_not_get_goes_to_the_next(
    processes: Processes, own_daemon: Daemon
):
    """It vanishes while it reads: the program is held up until it, or another one, is back."""
    total, surely = 32 * MIB, Rest()

    def read_and_vanish(tap: Tap) -> None:
        surely.stdout += tap.read_stdout(16 * MIB)
        for event in tap.received():
            surely.add(event)
        tap.reset()

    async with tap_start(processes, printing(total), receive_buffer_bytes=SMALL_BUFFER) as tap:
        server = own_daemon.server_pid()
        before = descriptors(server)
        await asyncio.to_thread(read_and_vanish, tap)
        await until(lambda: descriptors(server) < before)
        async with tap_connect(own_daemon.port, pid(tap.pid)) as after:
            rest = await asyncio.to_thread(after.rest)
    _check_nothing_lost(surely, rest, total)


async def test_what_a_stopped_reader_did_not_get_goes_to_the_next_though_it_is_still_there(
    processes: Processes, own_daemon: Daemon, tmp_path: Path
):
    """As when a network breaks: the client is back before the server knows that it had gone."""
    progress, total = Progress(tmp_path), 3 * MIB
    async with tap_start(processes, printing(total, progress), receive_buffer_bytes=4096) as tap:
        await until(lambda: progress() == total)
        surely = Rest()
        for event in tap.received():
            surely.add(event)
        async with tap_connect(own_daemon.port, pid(tap.pid)) as after:
            rest = await asyncio.to_thread(after.rest)
        tap.reset()
    _check_nothing_lost(surely, rest, total)


def _check_nothing_lost(surely: Rest, rest: Rest, total: int) -> None:
    """What the kernel of a lost reader had, and what the next reader got, are everything."""
    have = len(surely.stdout)
    assert surely.stdout == pattern(0, have)
    assert have < total, "the lost reader was too good a reader for this test"
    begin = rest.first_stdout
    assert begin is not None
    assert begin <= have, f"bytes {have} to {begin} reached nobody"
    assert rest.stdout == pattern(begin, total)
    assert rest.end is not None


@pytest.mark.slow
async def test_a_client_that_vanishes_again_and_again_has_everything_in_the_end(
    processes: Processes, own_daemon: Daemon
):
    total, have, dice = 3 * MIB, bytearray(), random.Random(3)

    async def take_some(tap: Tap) -> None:
        for event in [*await _read_some(tap, dice.randrange(MIB // 4)), *tap.received()]:
            offset, data = event.data.offset, event.data.stdout
            if data:
                assert offset <= len(have), f"bytes {len(have)} to {offset} reached nobody"
                have[offset : offset + len(data)] = data
        await _vanish(own_daemon, tap)

    async with tap_start(processes, printing(total), receive_buffer_bytes=SMALL_BUFFER) as first:
        await take_some(first)
        async with asyncio.timeout(HANG_S):
            while len(have) < total:
                async with tap_connect(own_daemon.port, pid(first.pid), receive_buffer_bytes=SMALL_BUFFER) as tap:
                    await take_some(tap)
    assert have == pattern(0, total)


async def _vanish(daemon: Daemon, tap: Tap) -> None:
    """Reset a connection, and wait until the server has closed its end."""
    server, before = daemon.server_pid(), descriptors(daemon.server_pid())
    tap.reset()
    await until(lambda: descriptors(server) < before)


async def _read_some(tap: Tap, size: int) -> list[ProcessEvent]:
    def read() -> list[ProcessEvent]:
        found, got = [], 0
        for event in tap.events():
            found.append(event)
            got += len(event.data.stdout)
            if got >= size:
                break
        return found

    return await asyncio.to_thread(read)


# Connect with a position: exactly that.


async def test_from_any_offset_of_what_is_kept_every_byte_comes_exactly_once(processes: Processes, own_daemon: Daemon):
    total, dice = FINISHED // 2, random.Random(5)
    async with tap_start(processes, printing(total)) as tap:
        await asyncio.to_thread(tap.rest)
        for offset in [0, 1, 4095, 4096, total - 1, total, *(dice.randrange(total) for _ in range(20))]:
            async with tap_connect(own_daemon.port, pid(tap.pid), resume=OutputPosition(stdout=offset)) as again:
                assert again.begin == (offset, 0)
                rest = await asyncio.to_thread(again.rest)
            assert not rest.gaps
            assert rest.stdout == pattern(offset, total)


async def test_a_client_that_resumes_at_its_offset_gets_every_byte_exactly_once(
    processes: Processes, own_daemon: Daemon
):
    total, have, dice = 24 * MIB, bytearray(), random.Random(9)
    async with tap_start(processes, printing(total), receive_buffer_bytes=SMALL_BUFFER) as tap:
        number = tap.pid
        have += await asyncio.to_thread(tap.read_stdout, dice.randrange(2 * MIB))
        tap.reset()
        while len(have) < total:
            place = OutputPosition(stdout=len(have))
            async with tap_connect(own_daemon.port, pid(number), resume=place) as again:
                wanted = dice.randrange(1, 4 * MIB)
                for event in await _read_some(again, wanted):
                    # Alone again for a moment, the program may have run on: then the loss is announced.
                    if event.HasField("gap"):
                        assert event.gap.begin == len(have)
                        have += pattern(event.gap.begin, event.gap.end)
                    if event.data.stdout:
                        assert event.data.offset == len(have)
                        have += event.data.stdout
                again.reset()
    assert have == pattern(0, total)


@pytest.mark.parametrize("buffer", [None, 32 * MIB], ids=["", "large-buffer"])
@pytest.mark.parametrize("way", ["reset", "close"])
async def test_what_lay_unread_in_a_slow_clients_kernel_is_there_when_it_comes_back(tmp_path: Path, way, buffer):
    """HTTP/1.1 does not say what a client has read: to the daemon, what its kernel has received has arrived.

    How much its kernel can hold says its kernel: up to 32 MiB since Linux 6.16 without having been asked.
    """
    total, progress = 64 * MIB, Progress(tmp_path)
    program = printing(total, progress)
    program.resume.CopyFrom(BEGINNING)
    async with (
        configured_daemon(Config(output=Output(stall_s=120.0, return_s=60.0))) as daemon,
        tap_start(Processes.on(daemon.port, Codec.PROTO), program, receive_buffer_bytes=buffer) as tap,
    ):
        have = await asyncio.to_thread(tap.read_stdout, 16 * MIB)
        await until(lambda: tap.unread_bytes() > (24 * MIB if buffer else MIB // 2), timeout_s=HANG_S)
        await at_rest(progress)
        getattr(tap, way)()
        place = OutputPosition(stdout=len(have))
        async with tap_connect(daemon.port, pid(tap.pid), resume=place) as again:
            rest = await asyncio.to_thread(again.rest)
    assert rest.gaps == []
    assert have + rest.stdout == pattern(0, total)


@pytest.mark.parametrize("stream", ["stdout", "stderr", "pty"])
@pytest.mark.parametrize("finished", [False, True], ids=["running", "finished"])
async def test_a_position_beyond_the_end_is_out_of_range(processes: Processes, gate: Gate, stream, finished):
    async with processes.start(shell(f"printf 12345; printf 12345 >&2; read _ < {gate.path}")) as program:
        while not (program.seen.stdout and program.seen.stderr):
            await program.next()
        if finished:
            gate.open()
            await program.rest()
        beyond = OutputPosition(**{stream: 1 if stream == "pty" else 6})
        with pytest.raises(ConnectError) as refused:
            async with processes.connect(pid(program.pid), resume=beyond):
                pass
        assert refused.value.code == "out_of_range"
        assert stream in refused.value.message


# Order.


async def test_a_late_reader_sees_stdout_and_stderr_in_the_order_they_came(processes: Processes):
    """The program prints the next piece only when a reader has seen the one before, so the order is certain."""
    script = "i=0; while read word; do i=$((i+1)); echo out$i; read word; echo err$i >&2; done"
    async with processes.start(shell(script)) as program:
        for number in range(1, 31):
            for name in ("out", "err"):
                await processes.send_input(pid(program.pid), b"go\n")
                await program.until(f"{name}{number}\n".encode())
        await processes.close_stdin(pid(program.pid))
        await program.rest()
        late = await processes.replay(pid(program.pid), resume=BEGINNING)
    expected = [text for number in range(1, 31) for text in (f"out{number}\n", f"err{number}\n")]
    assert [(data.stdout or data.stderr).decode() for data in late.data] == expected


@pytest.mark.slow
async def test_order_is_kept_over_a_new_server(tmp_path: Path):
    script = "i=0; while read word; do i=$((i+1)); echo out$i; read word; echo err$i >&2; done"
    expected = [text for number in range(1, 5) for text in (f"out{number}\n", f"err{number}\n")]
    async with running_daemon() as daemon:
        processes = Processes.on(daemon.port, Codec.PROTO)
        async with processes.start(shell(script)) as program:
            await processes.send_input(pid(program.pid), b"go\n")
            await program.until(b"out1\n")
            for text in expected[1:]:
                daemon.kill_server()
                place = OutputPosition(stdout=0, stderr=0)
                await processes.send_input(pid(program.pid), b"go\n")
                async with processes.connect(pid(program.pid), resume=place) as follower:
                    await follower.until(text.encode())
            await processes.close_stdin(pid(program.pid))
            late = await processes.replay(pid(program.pid), resume=BEGINNING)
    assert "".join((data.stdout or data.stderr).decode() for data in late.data) == "".join(expected)


# The end, when something still holds the output.


async def test_the_end_comes_after_a_short_drain_while_a_child_holds_the_output(processes: Processes):
    async with processes.start(shell("sleep 1000 & echo $!; exit 3")) as program:
        child = int(await program.line())
        try:
            end = (await program.rest()).end
            waited = time.time() - end.ended_at.ToNanoseconds() / 1e9
            assert is_running(child)
        finally:
            kill(child)
    assert end.exit_code == 3
    assert list(end.held_by) == [child]
    assert waited >= 0.2


async def test_what_a_child_prints_within_the_drain_comes_before_the_end():
    """Each line comes within the quiet that the drain waits for, which is longer here: the machine may be busy."""
    script = "(for i in 1 2 3 4 5 6; do sleep 0.05; echo $i; done) & echo 0"
    async with configured_daemon(Config(output=Output(drain_s=3.0, drain_at_most_s=60.0))) as daemon:
        outcome = await Processes.on(daemon.port, Codec.PROTO).run(shell(script))
    assert outcome.stdout == b"0\n1\n2\n3\n4\n5\n6\n"
    assert not outcome.end.held_by


async def test_a_child_that_prints_without_end_does_not_hold_back_the_end(processes: Processes):
    async with processes.start(shell("yes & echo $! >&2; exit 4")) as program:
        await program.until(b"\n")
        child = None
        try:
            while not program.seen.stderr:
                await program.next()
            child = int(program.seen.stderr)
            async with asyncio.timeout(HANG_S):
                while program.seen.events[-1].WhichOneof("event") != "end":
                    await program.next()
                    del program.seen.events[1:-1]
        finally:
            if child is not None:
                kill(child)
    assert program.seen.end.exit_code == 4


async def test_what_is_printed_after_the_end_reaches_who_connects_later(processes: Processes, gate: Gate):
    async with processes.start(shell(f"(read _ < {gate.path}; echo late) & echo $!")) as program:
        child = int(await program.line())
        ended = await program.rest()
        gate.open()
        await exited(child)
        async with asyncio.timeout(HANG_S):
            while (late := await processes.replay(pid(program.pid), resume=ended.end.output)).stdout != b"late\n":
                pass
        without_position = await processes.replay(pid(program.pid))
    assert b"late\n" in without_position.stdout or late.end.exit_code == 0
    assert late.end.exit_code == 0


# What is kept of finished programs.


async def test_of_a_finished_program_the_newest_megabyte_is_kept(processes: Processes, own_daemon: Daemon):
    total = 3 * MIB
    async with tap_start(processes, printing(total)) as tap:
        await asyncio.to_thread(tap.rest)
    async with asyncio.timeout(HANG_S):
        while len((rest := await _kept(own_daemon.port, tap.pid)).stdout) > FINISHED + 4096:
            await asyncio.sleep(1.0)  # a reader that leaves is expected back a moment, also this one
    assert len(rest.stdout) >= FINISHED
    assert rest.stdout == pattern(total - len(rest.stdout), total)
    assert rest.gaps == [(ProcessEvent.STREAM_STDOUT, 0, total - len(rest.stdout))]


async def test_a_reader_that_lagged_at_the_end_leaves_no_more_than_that_behind(tmp_path: Path):
    progress, total = Progress(tmp_path), 3 * MIB
    async with configured_daemon(Config(output=Output(return_s=0.1))) as daemon:
        processes = Processes.on(daemon.port, Codec.PROTO)
        async with tap_start(processes, printing(total, progress), receive_buffer_bytes=4096) as tap:
            await exited(tap.pid)
            rest = await asyncio.to_thread(tap.rest)
            assert rest.stdout == pattern(0, total), "the end of the program took bytes from a reader that was there"
            tap.close()

            async def trimmed() -> int:
                return len((await _kept(daemon.port, tap.pid)).stdout)

            async with asyncio.timeout(HANG_S):
                while await trimmed() > FINISHED + 4096:
                    # Whoever looks is expected back a moment, and what it may not have read is kept for so long.
                    await asyncio.sleep(0.5)


async def _kept(port: int, number: int) -> Rest:
    async with tap_connect(port, pid(number), resume=BEGINNING) as tap:
        return await asyncio.to_thread(tap.rest)


async def test_all_journals_together_are_bounded_and_the_oldest_finished_programs_go_first():
    total = 16 * MIB
    config = Config(output=Output(total_bytes=total))
    async with configured_daemon(config) as daemon:
        processes = Processes.on(daemon.port, Codec.PROTO)
        pids = [(await processes.run(shell(f"head -c {MIB} /dev/zero"))).pid for _ in range(40)]
        kept = {info.pid for info in await processes.list(include_finished=True)}
        assert kept == set(pids[-len(kept) :]), "a younger one went before an older one"
        assert 12 <= len(kept) <= 16
        # A ledger of one page and an empty stderr come on top of the journal itself.
        assert memory_file_bytes(daemon.server_pid()) <= total + 40 * 8192
        await until(lambda: memory_file_bytes(daemon.pid) <= total + 40 * 8192)
        with pytest.raises(ConnectError) as refused:
            await processes.replay(pid(pids[0]))
        assert refused.value.code == "not_found"


async def test_live_journals_are_trimmed_when_all_together_are_too_large(tmp_path: Path):
    """Ten programs that nobody reads, each with more to keep than its share."""
    total = 16 * MIB
    async with configured_daemon(Config(output=Output(total_bytes=total))) as daemon:
        processes, gate = Processes.on(daemon.port, Codec.PROTO), Gate(tmp_path)
        pids = []
        try:
            for _ in range(10):
                script = f"head -c {4 * MIB} /dev/zero; echo printed >&2; read _ < {gate.path}"
                async with processes.start(shell(script)) as program:
                    await program.until(b"printed")
                    pids.append(program.pid)
                    program.seen.events.append(ProcessEvent(end=ProcessEvent.EndEvent()))  # it is not to be killed
            assert memory_file_bytes(daemon.server_pid()) <= total + MIB + 10 * 8192
            assert await processes.pids() == set(pids)
        finally:
            for number in pids:
                with suppress(ConnectError):
                    await processes.signal(pid(number), SIGNAL_SIGKILL)
            gate.close()


async def test_a_sole_reader_loses_nothing_when_memory_for_journals_is_short(tmp_path: Path):
    total, size = 8 * MIB, 6 * MIB
    async with configured_daemon(Config(output=Output(total_bytes=total))) as daemon:
        processes = Processes.on(daemon.port, Codec.PROTO)
        taps, managers = [], []
        try:
            for _ in range(6):
                managers.append(tap_start(processes, printing(size), receive_buffer_bytes=4096))
                taps.append(await managers[-1].__aenter__())
            await at_rest(lambda: memory_file_bytes(daemon.server_pid()), quiet_s=0.5)
            rests = await asyncio.gather(*(asyncio.to_thread(tap.rest) for tap in taps))
        finally:
            for manager in reversed(managers):
                await manager.__aexit__(None, None, None)
    assert [rest.stdout == pattern(0, size) for rest in rests] == [True] * 6
