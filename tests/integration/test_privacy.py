"""What the daemon logs never holds what programs are given or print."""

from __future__ import annotations

import base64
import itertools
import json
from contextlib import suppress

import pytest

from envd_proto.process.process_pb2 import (
    SIGNAL_SIGTERM,
    ConnectRequest,
    OutputPosition,
    ProcessInput,
    SendInputRequest,
    UpdateRequest,
)
from tests.support.connect import Client, Codec, ConnectError, basic, frame
from tests.support.daemon import Daemon, running_daemon
from tests.support.http1 import connection, exchange
from tests.support.process import (
    CLOSE_STDIN,
    CONNECT,
    LIST,
    SEND_INPUT,
    SEND_SIGNAL,
    START,
    STREAM_INPUT,
    UPDATE,
    Processes,
    input_data,
    input_for,
    pid,
    shell,
    start_request,
    tag,
)
from tests.support.terminals import resize, send_pty, terminal_shell, until

METHODS = (LIST, CONNECT, START, UPDATE, STREAM_INPUT, SEND_INPUT, SEND_SIGNAL, CLOSE_STDIN)


class Markers:
    """Texts that stand nowhere else, to be looked for in every shape they may take."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self.made: list[str] = []

    def new(self, kind: str) -> str:
        # 18 bytes, so that the base64 of one is the same wherever it stands in a run of them.
        made = f"secret-{kind[:5]:x<5}-{next(self._numbers):05}"
        assert len(made) == 18
        self.made.append(made)
        return made

    def found_in(self, text: str) -> list[str]:
        return [made for made in self.made for shape in self._shapes(made) if shape in text]

    @staticmethod
    def _shapes(made: str) -> tuple[str, str, str]:
        return made, base64.b64encode(made.encode()).decode(), made.encode().hex()


async def _succeed(processes: Processes, markers: Markers) -> None:
    """Every kind of call that works, with something to hide wherever there is room for it."""
    argument, variable, name = markers.new("arg"), markers.new("env"), markers.new("tag")
    request = shell(f"echo {markers.new('print')}; echo {markers.new('error')} >&2; cat; : {argument}", tag=name)
    request.process.envs["SECRET"] = variable
    request.process.args.append(markers.new("arg"))
    request.idempotency_key = markers.new("key")
    async with processes.start(request) as program:
        await program.until(b"secret-print")
        await processes.send_input(tag(name), (markers.new("stdin") * 3 + "\n").encode())
        await program.until(b"secret-stdin")
        data = (markers.new("stdin") * 3 + "\n").encode()
        await processes.stream_input([input_for(tag(name)), input_data(data)])
        await program.until(data)
        async with processes.connect(tag(name), resume=OutputPosition()) as follower:
            await follower.until(data)
        await processes.update(UpdateRequest(process=tag(name)))
        await processes.list(include_finished=True)
        await processes.close_stdin(tag(name))
        await program.rest()
    typed = markers.new("pty").encode()
    async with processes.start(terminal_shell("cat", envs={"SECRET": markers.new("env")})) as program:
        await send_pty(processes, pid(program.pid), typed + b"\r")
        await until(program, typed)
        await resize(processes, pid(program.pid), 100, 30)
    async with processes.start(start_request("sleep", "1000", envs={"SECRET": markers.new("env")})) as program:
        await processes.signal(pid(program.pid), SIGNAL_SIGTERM)
        await program.rest()


async def _fail(processes: Processes, markers: Markers) -> None:
    """Calls that are refused, for as many reasons as there are."""
    pair = {"envs": {"SECRET": markers.new("env")}}
    refused = [
        start_request("nosuchcommand", markers.new("arg"), **pair),
        start_request("/etc/passwd", markers.new("arg"), **pair),
        shell(f"exit 3 # {markers.new('arg')}", cwd="/nosuch/directory", **pair),
        start_request("true", markers.new("arg") + "\0", **pair),
        start_request("true", markers.new("arg"), envs={"A=B": markers.new("env")}),
        start_request("true", markers.new("arg") * 20000, **pair),
        terminal_shell(markers.new("arg"), cols=70000, **pair),
    ]
    for request in refused:
        with suppress(ConnectError):
            await processes.run(request)
    with suppress(ConnectError):
        await processes.run(start_request("sleep", markers.new("arg")), headers={"Connect-Timeout-Ms": "0"})
    with suppress(ConnectError):
        await processes.run(shell("sleep 1000", **pair), headers={"Connect-Timeout-Ms": "100"})
    for selector in (pid(1), tag(markers.new("tag"))):
        with suppress(ConnectError):
            await processes.send_input(selector, markers.new("stdin").encode())
        with suppress(ConnectError):
            await processes.stream_input([input_for(selector), input_data(markers.new("stdin").encode())])
    with suppress(ConnectError):
        await processes.stream_input([input_data(markers.new("stdin").encode())])
    async with processes.start(start_request("sleep", "1000", stdin=False)) as program:
        with suppress(ConnectError):
            await processes.send_input(pid(program.pid), markers.new("stdin").encode())
        with suppress(ConnectError):
            request = SendInputRequest(process=pid(program.pid), input=ProcessInput(pty=markers.new("pty").encode()))
            await processes.client.unary_raw(SEND_INPUT, processes.client.codec.encode(request))


async def _speak_nonsense(client: Client, markers: Markers) -> None:
    """Bodies that cannot be read, each with something to hide in it."""
    for method in METHODS:
        for text in (
            '{"process": {"cmd": "%s"',
            '{"process": {"cmd": ["%s"]}}',
            '{"process": {"envs": {"A": 5, "%s": {}}}}',
            '{"input": {"stdin": "***%s***"}}',
            '{"process": {"pid": "%s"}}',
            '"%s"',
            '{"process": {"tag": "\\ud800%s"}}',
            "%s\xff",
        ):
            body = text.replace("%s", markers.new("json")).encode("latin-1")
            await client.unary_raw(method, body)
            await client.stream_whole(method, frame(body))
            await client.stream_whole(method, frame(body)[:-3])
            await client.stream_whole(method, frame(body, flags=1))
    marked = {"Authorization": f"Bearer {markers.new('token')}", "X-Access-Token": markers.new("token")}
    await client.unary_raw(LIST, b"{}", headers=marked)
    await client.unary_raw(LIST, b"{}", headers=basic("root", markers.new("passw")))
    await client.unary_raw(LIST, b"{}", headers=basic("nosuchuser", markers.new("passw")))
    await client.unary_raw(LIST, b"{}", headers={"Connect-Timeout-Ms": markers.new("time")})
    await exchange(client.port, "GET", f"/nowhere/{markers.new('path')}?{markers.new('query')}")
    async with connection(client.port) as conn:
        await conn.send(f"BAD {markers.new('line')}\r\n: {markers.new('head')}\r\n\r\n".encode())
        await conn.read_to_end()


async def _break_off(processes: Processes, markers: Markers) -> None:
    """Streams that are cut while something is under way."""
    async with processes.start(shell(f"yes {markers.new('print')}")) as program:
        await program.until(b"secret")
        program.stream.connection.reset()
        body = frame(processes.client.codec.encode(ConnectRequest(process=pid(program.pid))))
        async with connection(processes.client.port) as conn:
            await conn.send(processes.client.request(CONNECT, body, streaming=True))
            await conn.read_head()
            conn.reset()


@pytest.mark.parametrize("level", ["debug", "info"])
async def test_nothing_given_to_programs_or_printed_by_them_is_logged(level):
    markers = Markers()
    async with running_daemon("--port", "0", "--listen", "127.0.0.1", "--log-level", level) as daemon:
        await _every_call(daemon, markers)
    lines = list(daemon.stderr)
    assert any("process started" in line for line in lines), "nothing was logged at all"
    for line in lines:
        assert not markers.found_in(line), line
        assert json.loads(line)["level"] in ("debug", "info", "warning"), line


async def _every_call(daemon: Daemon, markers: Markers) -> None:
    for codec in Codec:
        processes = Processes.on(daemon.port, codec)
        await _succeed(processes, markers)
        await _fail(processes, markers)
        await _speak_nonsense(processes.client, markers)
        await _break_off(processes, markers)
    async with Processes.on(daemon.port, Codec.PROTO).start(
        shell(f"echo {markers.new('print')}; cat", envs={"SECRET": markers.new("env")})
    ) as program:
        await program.until(b"secret-print")
        daemon.kill_server()
        replay = Processes.on(daemon.port, Codec.PROTO)
        await replay.send_input(pid(program.pid), markers.new("stdin").encode())
        await replay.close_stdin(pid(program.pid))
        await replay.replay(pid(program.pid), resume=OutputPosition())


async def test_what_a_start_says_of_a_program_is_its_command_alone():
    """The name of the command is logged, on purpose: without it no line could be told from another."""
    async with running_daemon() as daemon:
        await Processes.on(daemon.port, Codec.PROTO).run(start_request("/bin/echo", "some", "arguments"))
    [started] = [json.loads(line) for line in daemon.stderr if "process started" in line]
    assert started["cmd"] == "/bin/echo"
    assert "arguments" not in json.dumps(started)
