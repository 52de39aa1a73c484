"""Programs in terminals, started and driven through the process service."""

from __future__ import annotations

import pwd
import signal

import pytest

from envd_proto.process.process_pb2 import (
    PTY,
    SIGNAL_SIGKILL,
    OutputPosition,
    ProcessEvent,
    ProcessInput,
    SendInputRequest,
    SendInputResponse,
    StartRequest,
    StreamInputRequest,
    UpdateRequest,
)
from tests.support.connect import ConnectError, basic
from tests.support.kernel import Gate
from tests.support.process import SEND_INPUT, Processes, input_data, input_for, pid, shell, start_request, tag
from tests.support.terminals import (
    RAW,
    in_terminal,
    matched,
    printed,
    pty_data,
    resize,
    send_pty,
    terminal_python,
    terminal_shell,
    until,
)

# Says the size once at the start and again whenever the window changes.
WATCHES_SIZE = """
import fcntl, os, signal, struct, termios
def say(*_):
    rows, cols = struct.unpack("HHHH", fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))[:2]
    os.write(1, b"<%dx%d>" % (cols, rows))
signal.signal(signal.SIGWINCH, say)
say()
while True:
    signal.pause()
"""


async def test_a_program_in_a_terminal_has_it_on_all_three_descriptors_and_controls_it(processes: Processes):
    outcome = await processes.run(terminal_shell("tty; tty <&1; tty <&2; tty < /dev/tty; ps -o sid= -p $$; echo $$"))
    *ttys, other, session, leader = printed(outcome).split(b"\r\n")[:-1]
    assert len(set(ttys)) == 1
    assert ttys[0].startswith(b"/dev/pts/")
    assert other == b"/dev/tty"
    assert int(session) == int(leader) == outcome.pid


async def test_its_output_comes_as_terminal_output_with_offsets(processes: Processes):
    outcome = await processes.run(terminal_shell("echo out; echo err >&2"))
    assert printed(outcome) == b"out\r\nerr\r\n"
    assert (outcome.stdout, outcome.stderr) == (b"", b"")
    assert outcome.end.output == OutputPosition(pty=10)
    assert [data.offset for data in outcome.data][0] == 0


@pytest.mark.line(181)
async def test_a_terminal_gets_no_term_from_the_daemon(processes: Processes):
    outcome = await processes.run(terminal_shell('echo "TERM=${TERM-unset}"'))
    # The shell of the machine may invent one of its own for itself; what it was given is in its environment.
    environment = await processes.run(in_terminal(start_request("env")))
    assert b"TERM=" not in printed(environment)
    assert printed(outcome).startswith(b"TERM=")


@pytest.mark.line(181)
async def test_a_terminal_type_of_the_callers_arrives(processes: Processes):
    outcome = await processes.run(in_terminal(start_request("env", envs={"TERM": "xterm-256color"})))
    assert b"TERM=xterm-256color\r\n" in printed(outcome)


async def test_the_size_is_there_before_the_program_runs(processes: Processes):
    outcome = await processes.run(terminal_shell("stty size", cols=132, rows=43))
    assert printed(outcome) == b"43 132\r\n"


@pytest.mark.parametrize("request_pty", [PTY(), PTY(size=PTY.Size(cols=0, rows=0))])
async def test_no_size_at_the_start_means_eighty_by_twentyfour(processes: Processes, request_pty: PTY):
    request = StartRequest(process=shell("stty size").process, pty=request_pty)
    assert printed(await processes.run(request)) == b"24 80\r\n"


@pytest.mark.parametrize(("cols", "rows"), [(80, 70000), (65536, 24)])
async def test_a_start_with_an_impossible_size_is_refused(processes: Processes, cols: int, rows: int):
    with pytest.raises(ConnectError) as error:
        await processes.run(terminal_shell("true", cols=cols, rows=rows))
    assert error.value.code == "invalid_argument"
    assert "from 1 to 65535" in error.value.message


@pytest.mark.line(185)
async def test_terminal_output_comes_in_events_of_at_most_16_kib(processes: Processes):
    outcome = await processes.run(terminal_shell("stty -opost; head -c 300000 /dev/zero"))
    sizes = [len(data.pty) for data in outcome.data]
    assert sum(sizes) == 300000
    assert max(sizes) <= 16 * 1024
    ends = [data.offset + len(data.pty) for data in outcome.data]
    assert [data.offset for data in outcome.data] == [0, *ends[:-1]]


async def test_typed_bytes_are_echoed_and_read(processes: Processes):
    async with processes.start(terminal_shell("read line; echo got $line")) as program:
        await send_pty(processes, pid(program.pid), b"hello\r")
        assert await until(program, b"got hello") == b"hello\r\ngot hello\r\n"[: len(printed(program.seen))]


async def test_ctrl_c_interrupts(processes: Processes):
    async with processes.start(terminal_shell("echo ready; exec sleep 1000")) as program:
        await until(program, b"ready")
        await send_pty(processes, pid(program.pid), b"\x03")
        assert (await program.rest()).end.signal == signal.SIGINT


async def test_ctrl_d_ends_the_input(processes: Processes):
    async with processes.start(in_terminal(start_request("cat"))) as program:
        await send_pty(processes, pid(program.pid), b"\x04")
        assert (await program.rest()).end.exit_code == 0


async def test_every_byte_passes_unchanged_both_ways(processes: Processes):
    every = bytes(range(256)) * 3 + "grüße ✓ 🚀".encode()
    async with processes.start(terminal_shell(f"{RAW} exec head -c {len(every)}")) as program:
        await until(program, b"ready")
        await send_pty(processes, pid(program.pid), every)
        # The line discipline was still cooked when "ready" was asked for, raw when it was printed.
        assert printed(await program.rest()).removeprefix(b"ready\n") == every


async def test_input_streamed_to_a_terminal_arrives_in_order(processes: Processes):
    pieces = [f"{number} ".encode() for number in range(500)]
    expected = b"".join(pieces)
    async with processes.start(terminal_shell(f"{RAW} exec head -c {len(expected)}")) as program:
        await until(program, b"ready")
        await processes.stream_input([input_for(pid(program.pid)), *map(pty_data, pieces)])
        assert printed(await program.rest()).endswith(expected)


@pytest.mark.line(195)
async def test_input_for_stdin_of_a_program_in_a_terminal_is_an_error(processes: Processes):
    async with processes.start(terminal_shell("exec sleep 1000")) as program:
        for send in (
            lambda: processes.send_input(pid(program.pid), b"x"),
            lambda: processes.stream_input([input_for(pid(program.pid)), input_data(b"x")]),
        ):
            with pytest.raises(ConnectError) as error:
                await send()
            assert (error.value.code, error.value.message) == (
                "internal",
                "error writing to stdin: tty assigned to process — input should be written to the pty, not the stdin",
            )


async def test_input_without_bytes_for_anything_is_an_error(processes: Processes):
    async with processes.start(terminal_shell("exec sleep 1000")) as program:
        request = SendInputRequest(process=pid(program.pid), input=ProcessInput())
        with pytest.raises(ConnectError) as error:
            await processes.client.unary(SEND_INPUT, request, SendInputResponse)
    assert error.value.code == "unimplemented"


@pytest.mark.line(197)
async def test_closing_the_stdin_of_a_terminal_is_an_error_that_says_what_to_do(processes: Processes):
    async with processes.start(terminal_shell("exec sleep 1000")) as program:
        with pytest.raises(ConnectError) as error:
            await processes.close_stdin(pid(program.pid))
    assert (error.value.code, error.value.message) == (
        "unknown",
        "error closing stdin: cannot close stdin for PTY process — send Ctrl+D (0x04) instead",
    )


@pytest.mark.line(198)
async def test_update_resizes_and_the_program_is_told(processes: Processes):
    async with processes.start(in_terminal(terminal_python(WATCHES_SIZE), 80, 24)) as program:
        await until(program, b"<80x24>")
        await resize(processes, pid(program.pid), 100, 30)
        await until(program, b"<100x30>")


@pytest.mark.line(198)
async def test_an_update_without_a_size_leaves_the_terminal_as_it_is(processes: Processes):
    async with processes.start(terminal_shell("read _; stty size")) as program:
        await processes.update(UpdateRequest(process=pid(program.pid)))
        await send_pty(processes, pid(program.pid), b"\r")
        await until(program, b"24 80")


@pytest.mark.parametrize(("cols", "rows"), [(80, 70000), (65536, 24), (0, 24), (80, 0)])
async def test_an_impossible_size_is_refused_and_changes_nothing(processes: Processes, cols: int, rows: int):
    async with processes.start(terminal_shell("read _; stty size")) as program:
        with pytest.raises(ConnectError) as error:
            await resize(processes, pid(program.pid), cols, rows)
        assert error.value.code == "invalid_argument"
        assert "from 1 to 65535" in error.value.message
        await send_pty(processes, pid(program.pid), b"\r")
        await until(program, b"24 80")


@pytest.mark.line(204)
@pytest.mark.parametrize("code", [0, 7, 255])
async def test_exit_codes_come_through_a_terminal(processes: Processes, code: int):
    outcome = await processes.run(terminal_shell(f"exit {code}"))
    assert (outcome.end.exit_code, outcome.end.exited, outcome.end.status) == (code, True, f"exit status {code}")
    assert outcome.end.cause == ProcessEvent.CAUSE_ITSELF


@pytest.mark.line(204)
async def test_a_killed_program_in_a_terminal_ends_like_any_other(processes: Processes):
    async with processes.start(terminal_shell("echo up; exec sleep 1000")) as program:
        await until(program, b"up")
        await processes.signal(pid(program.pid), SIGNAL_SIGKILL)
        outcome = await program.rest()
    assert (outcome.end.exit_code, outcome.end.signal, outcome.end.status) == (-1, signal.SIGKILL, "signal: killed")


async def test_an_unknown_command_says_so_on_the_terminal(processes: Processes):
    outcome = await processes.run(in_terminal(start_request("nosuchcommand")))
    assert (outcome.end.exit_code, outcome.end.cause) == (127, ProcessEvent.CAUSE_EXEC_FAILED)
    assert printed(outcome) == b"envd: 'nosuchcommand': No such file or directory\r\n"


async def test_input_after_the_exit_finds_nothing(processes: Processes):
    outcome = await processes.run(terminal_shell("exit 3"))
    for act in (
        lambda: send_pty(processes, pid(outcome.pid), b"x"),
        lambda: resize(processes, pid(outcome.pid), 90, 20),
    ):
        with pytest.raises(ConnectError) as error:
            await act()
        assert error.value.code == "not_found"


async def test_a_terminal_counts_as_a_program_in_the_list_and_can_be_followed_by_tag(processes: Processes):
    async with processes.start(terminal_shell("echo hello; read _", tag="screen")) as program:
        await until(program, b"hello")
        assert program.pid in await processes.pids()
        async with processes.connect(tag("screen"), resume=OutputPosition()) as other:
            assert await until(other, b"hello") == b"hello\r\n"
        async with processes.connect(tag("screen"), resume=OutputPosition(pty=3)) as other:
            assert (await other.next()).data == ProcessEvent.DataEvent(pty=b"lo\r\n", offset=3)


async def test_the_terminal_belongs_to_the_user_who_runs_in_it(processes: Processes, other_user: pwd.struct_passwd):
    request = terminal_shell("stat -c '%u %a' $(tty); echo x > $(tty); id -u")
    outcome = await processes.run(request, headers=basic(other_user.pw_name))
    uid = str(other_user.pw_uid).encode()
    assert printed(outcome) == uid + b" 620\r\nx\r\n" + uid + b"\r\n"


async def test_what_is_printed_late_by_a_background_job_is_kept_and_the_end_names_it(processes: Processes, gate: Gate):
    script = f"trap '' HUP; (read _ < {gate.path}; echo late) & echo $!; exit 5"
    outcome = await processes.run(terminal_shell(script))
    job = int(printed(outcome))
    assert (outcome.end.exit_code, list(outcome.end.held_by)) == (5, [job])
    before = printed(outcome)
    gate.open()
    async with processes.connect(pid(outcome.pid), resume=OutputPosition()) as follower:
        again = printed(await follower.rest())
    assert again.startswith(before)


async def test_stdin_false_means_nothing_to_a_terminal(processes: Processes):
    request = terminal_shell("read line; echo got $line", stdin=False)
    async with processes.start(request) as program:
        await send_pty(processes, pid(program.pid), b"it\r")
        await matched(program, rb"got it")


async def test_a_stream_of_input_can_turn_from_a_pipe_to_a_terminal(processes: Processes):
    async with (
        processes.start(shell("read line; echo got $line")) as piped,
        processes.start(terminal_shell("read line; echo got $line")) as screen,
    ):
        messages: list[StreamInputRequest] = [
            input_for(pid(piped.pid)),
            input_data(b"one\n"),
            input_for(pid(screen.pid)),
            pty_data(b"two\r"),
        ]
        await processes.stream_input(messages)
        await piped.until(b"got one")
        await until(screen, b"got two")
