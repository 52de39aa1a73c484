"""Programs whose every byte is known, and following them over connections that are cut."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field

from envd_proto.process.process_pb2 import OutputPosition, ProcessEvent, ProcessSelector, StartRequest, StartResponse
from tests.support.process import START, Follower, Processes, shell
from tests.support.wires import RpcError, Wire

_LINES = 300  # of standard output in one turn, and one of standard error
_MOST_EVENTS = 40  # after so many at most a client leaves
_AGAIN_S = 0.1
_SILENCE_S = 60.0  # no program here is silent for longer than ten seconds, and no server away
_CUT_OFF = (EOFError, OSError, RpcError)


@dataclass(slots=True)
class Tally:
    """What was found out.

    Attributes:
        lost: bytes that came twice, not at all, or wrong.
        gaps: announced by the daemon.
        counts: how often each thing was done.
        wrong: in words, the first of each kind.
    """

    lost: int = 0
    gaps: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def script(number: int, turns: int, pause_s: float) -> StartRequest:
    """A program that prints lines in turns, each of them with its own numbers."""
    text = (
        f"turn=0; while [ $turn -lt {turns} ]; do "
        f"seq -f 'program {number} line %.0f' $((turn * {_LINES} + 1)) $((turn * {_LINES} + {_LINES})); "
        f'echo "complaint {number} $turn" >&2; turn=$((turn + 1)); sleep {pause_s}; done; exit $(({number} % 100))'
    )
    return shell(text)


def expected(number: int, turns: int) -> tuple[bytes, bytes]:
    """What it prints to both streams."""
    out = "".join(f"program {number} line {line}\n" for line in range(1, turns * _LINES + 1))
    return out.encode(), "".join(f"complaint {number} {turn}\n" for turn in range(turns)).encode()


class Followed:
    """One program, followed to its end by a client that comes and goes, each time with the position it has reached."""

    def __init__(self, wire: Wire, number: int, turns: int, tally: Tally, chance: random.Random) -> None:
        self._processes = Processes(wire)
        self._number = number
        self._expected = expected(number, turns)
        self._tally = tally
        self._chance = chance
        self._at = [0, 0]
        self._pid = 0
        self._starts = 0

    async def run(self, request: StartRequest) -> None:
        """Start it, and read all of it."""
        request.idempotency_key = f"program {self._number}"
        end = None
        while end is None:
            try:
                async with asyncio.timeout(_SILENCE_S) as silence:
                    end = await self._follow(request, silence)
            except TimeoutError:
                self._tally.wrong.append(f"program {self._number}: nothing for {_SILENCE_S:g} s, at {self._at}")
            except _CUT_OFF as exc:
                if isinstance(exc, RpcError) and exc.code == "not_found":
                    self._note(1, f"program {self._number}, pid {self._pid}, at {self._at}: {exc}")
                    return
                self._tally.counts["connections broken"] += 1
                await asyncio.sleep(_AGAIN_S)
        missing = sum(len(whole) - at for whole, at in zip(self._expected, self._at, strict=True))
        self._note(missing, f"program {self._number}: {missing} bytes missing at its end")
        if end.exit_code != self._number % 100:
            self._note(1, f"program {self._number}: exit code {end.exit_code}, signal {end.signal}")
        self._tally.counts["programs"] += 1

    async def _follow(self, request: StartRequest, silence: asyncio.Timeout) -> ProcessEvent.EndEvent | None:
        events = self._chance.randint(1, _MOST_EVENTS)
        if not self._pid:
            first, self._starts = self._starts == 0, self._starts + 1
            async with self._processes.wire.server_stream(START, request, StartResponse) as incoming:
                follower = Follower(incoming)
                self._pid = (await follower.next()).start.pid
                # The stream of an earlier Start may have brought bytes this far that nobody here has read: a Start
                # cannot say where this client is, a Connect can.
                return await self._read(follower, events if first else 0, silence)
        resume = OutputPosition(stdout=self._at[0], stderr=self._at[1])
        # By its key: so many programs end in a quarter of an hour that the kernel uses pids again.
        program = ProcessSelector(idempotency_key=request.idempotency_key)
        async with self._processes.connect(program, resume=resume) as follower:
            return await self._read(follower, events, silence)

    async def _read(self, follower: Follower, events: int, silence: asyncio.Timeout) -> ProcessEvent.EndEvent | None:
        for _ in range(events):
            event = await follower.next()
            silence.reschedule(asyncio.get_running_loop().time() + _SILENCE_S)
            kind = event.WhichOneof("event")
            if kind == "data":
                self._take(event.data)
            elif kind == "gap":
                self._tally.gaps += 1
                self._note(1, f"program {self._number}: {event}")
            elif kind == "end":
                return event.end
        follower.leave()
        self._tally.counts["clients that left"] += 1
        return None

    def _take(self, data: ProcessEvent.DataEvent) -> None:
        which = ("stdout", "stderr").index(str(data.WhichOneof("output")))
        content = data.stderr if which else data.stdout
        at = self._at[which]
        if data.offset != at or self._expected[which][at : at + len(content)] != content:
            self._note(len(content), f"program {self._number}: other bytes at {data.offset}, after {at}")
        self._at[which] = data.offset + len(content)
        self._tally.counts["bytes"] += len(content)

    def _note(self, lost: int, what: str) -> None:
        if lost:
            self._tally.lost += lost
            self._tally.wrong.append(what)
