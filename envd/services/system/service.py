"""The System service: the sandbox as a whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from envd.errors import Code, EnvdError
from envd.host.init import Init
from envd.host.metrics import Meter
from envd.host.session import Session
from envd.rpc import Call
from envd_proto.system import system_pb2 as pb

from . import messages

_NO_CGROUPS = "there are no cgroups to freeze: processes cannot be stopped as a whole here"


@dataclass(frozen=True, slots=True)
class Birth:
    """Of the daemon and the server that answers.

    Attributes:
        version: the daemon's.
        started_at: when the daemon was started, in Unix seconds.
        server_started_at: when this server was.
        generation: counts servers of this daemon, from 1.
        pid: the daemon's, which is the one to signal.
    """

    version: str
    started_at: float
    server_started_at: float
    generation: int
    pid: int


class SystemService:
    """Serves system.System.

    Args:
        count_processes: returns how many processes of clients run.
    """

    def __init__(
        self, birth: Birth, session: Session, initialiser: Init, meter: Meter, count_processes: Callable[[], int]
    ) -> None:
        self._birth = birth
        self._session = session
        self._initialiser = initialiser
        self._meter = meter
        self._count_processes = count_processes

    async def info(self, _: pb.InfoRequest, __: Call) -> pb.InfoResponse:
        """Return version, state and abilities of the daemon."""
        birth, session, kernel = self._birth, self._session, os.uname()
        return pb.InfoResponse(
            version=birth.version,
            started_at=messages.timestamp_from(birth.started_at),
            server_started_at=messages.timestamp_from(birth.server_started_at),
            server_restarts=birth.generation - 1,
            pid=birth.pid,
            initialized=session.state.initialized,
            token_required=session.state.token is not None,
            default_user=session.default_user,
            default_workdir=session.default_workdir,
            privileged=session.privileged,
            can_freeze=False,
            kernel=kernel.release,
            architecture=kernel.machine,
            programs=self._count_processes(),
        )

    async def init(self, request: pb.InitRequest, _: Call) -> pb.InitResponse:
        """Set access token, variables and defaults of the sandbox."""
        applied = await self._initialiser.apply(messages.settings_from(request))
        return pb.InitResponse(applied=applied, version=self._birth.version)

    async def metrics(self, _: pb.MetricsRequest, __: Call) -> pb.MetricsResponse:
        """Return how much of the machine is in use."""
        return messages.metrics_from(await self._meter.measure())

    async def envs(self, _: pb.EnvsRequest, __: Call) -> pb.EnvsResponse:
        """Return the variables that every process gets."""
        return pb.EnvsResponse(envs=self._session.environment)

    async def freeze(self, _: pb.FreezeRequest, __: Call) -> pb.FreezeResponse:
        """Refuse: waiting for cgroups."""
        raise EnvdError(Code.UNIMPLEMENTED, _NO_CGROUPS)

    async def thaw(self, _: pb.ThawRequest, __: Call) -> pb.ThawResponse:
        """Refuse: waiting for cgroups."""
        raise EnvdError(Code.UNIMPLEMENTED, _NO_CGROUPS)
