"""One value in memory that outlives who wrote it."""

from __future__ import annotations

import fcntl
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from envd.errors import EnvdError
from envd.host.record import VALUE_BYTES, Record
from tests.support.daemon import ROOT

WRITES_FOR_EVER = """
import itertools, os, sys
sys.path.append(sys.argv[2])
from envd.host.record import Record
record = Record(int(sys.argv[1]))
for number in itertools.count(1):
    record.write(b"%08d" % number * (1 + number * 7919 % 100_000))
    os.write(1, b"%08d" % number)
"""


@pytest.fixture
def memory() -> Iterator[int]:
    fd = os.memfd_create("record")
    yield fd
    os.close(fd)


def test_it_is_empty_at_first(memory):
    assert Record(memory).read() == b""


@pytest.mark.parametrize("sizes", [(0,), (1,), (1, 0, 1), (5, 3_000_000, 2), (3_000_000, 2_999_999, 0, 3_000_000)])
def test_the_last_value_is_read_by_anyone(memory, sizes):
    for number, size in enumerate(sizes):
        value = bytes([number + 1]) * size
        Record(memory).write(value)
        assert Record(memory).read() == value


def test_what_was_replaced_is_gone(memory):
    record = Record(memory)
    record.write(b"first-secret" * 1000)
    record.write(b"second")
    offset, found = 0, b""
    while True:
        try:
            offset = os.lseek(memory, offset, os.SEEK_DATA)
        except OSError:
            break
        found += os.pread(memory, 1 << 20, offset)
        offset = os.lseek(memory, offset, os.SEEK_HOLE)
    assert b"second" in found
    assert b"first-secret" not in found


def test_several_share_a_file_and_give_their_memory_back(memory):
    size = 1 << 20
    records = [Record(memory, number * Record.span(size), size) for number in range(3)]
    for round_ in range(3):
        for number, record in enumerate(records):
            record.write(bytes([number + 1]) * (size - round_))
    assert [record.read() for record in records] == [bytes([number + 1]) * (size - 2) for number in range(3)]
    with pytest.raises(EnvdError):
        records[0].write(bytes(size + 1))
    records[0].write(b"")
    assert [len(record.read()) for record in records] == [0, size - 2, size - 2]
    assert os.fstat(memory).st_blocks * 512 < 2 * size + 5 * 4096


def test_without_memory_the_old_value_stays():
    fd = os.memfd_create("record", os.MFD_ALLOW_SEALING)
    try:
        record = Record(fd)
        record.write(b"older")
        record.write(b"old")
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
        with pytest.raises(EnvdError):
            record.write(b"new" * 10_000)
        assert record.read() == b"old"
    finally:
        os.close(fd)


def test_what_is_too_large_is_refused_and_the_old_value_stays(memory):
    record = Record(memory)
    record.write(b"old")
    with pytest.raises(EnvdError):
        record.write(bytes(VALUE_BYTES + 1))
    assert record.read() == b"old"


@pytest.mark.slow
def test_a_writer_killed_at_any_instant_leaves_a_whole_value_and_no_older_one_than_it_told_of(memory):
    seed = 11
    chance = random.Random(seed)
    for _ in range(25):
        writer = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", WRITES_FOR_EVER, str(memory), str(ROOT)],
            pass_fds=[memory],
            stdout=subprocess.PIPE,
        )
        assert writer.stdout is not None
        told = writer.stdout.read(8)
        time.sleep(chance.random() / 100)  # any instant will do
        writer.kill()
        told = (told + writer.stdout.read())[-8:]
        writer.stdout.close()
        writer.wait()
        value = Record(memory).read()
        number = int(value[:8])
        assert value == b"%08d" % number * (1 + number * 7919 % 100_000), f"seed {seed}"
        assert number - int(told) in (0, 1), f"seed {seed}"
