"""Names that are not UTF-8 where the service is not all there is: the next server, the log, another user."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
from pathlib import Path

import pytest

from envd_proto.filesystem import filesystem_pb2 as pb
from envd_proto.filesystem import uploads_pb2 as uploads
from tests.support.connect import Client, Codec
from tests.support.daemon import Daemon, running_daemon
from tests.support.faults import kill_server, new_server
from tests.support.filesystem import SERVICE, Files
from tests.support.wires import RpcError


async def test_watchers_and_uploads_go_on_with_the_next_server(tmp_path: Path):
    top = os.fsencode(tmp_path) + b"/t\xff"
    os.mkdir(top)
    async with running_daemon() as daemon:
        wire = Client(daemon.port, Codec.JSON)
        request = pb.CreateWatcherRequest(raw_path=top)
        watcher = await wire.unary(f"{SERVICE}/CreateWatcher", request, pb.CreateWatcherResponse)
        create = uploads.CreateUploadRequest(raw_path=top + b"/u\xfe")
        made = await wire.unary(f"{SERVICE}/CreateUpload", create, uploads.CreateUploadResponse)
        await new_server(daemon, await kill_server(daemon))
        with open(top + b"/n\xfe", "wb"):
            pass
        poll = pb.GetWatcherEventsRequest(watcher_id=watcher.watcher_id)
        names: set[bytes] = set()
        async with asyncio.timeout(60):
            while b"n\xfe" not in names:
                answer = await wire.unary(f"{SERVICE}/GetWatcherEvents", poll, pb.GetWatcherEventsResponse)
                names |= {event.raw_name for event in answer.events}
        commit = uploads.CommitUploadRequest(upload_id=made.upload.id)
        done = await wire.unary(f"{SERVICE}/CommitUpload", commit, uploads.CommitUploadResponse)
        assert done.raw_path == top + b"/u\xfe"
        assert sorted(os.listdir(top)) == [b"n\xfe", b"u\xfe"]
        log = [json.loads(line) for line in daemon.log().splitlines() if line.startswith("{")]
        json.dumps(log, ensure_ascii=False).encode()  # no half of a surrogate pair


@pytest.mark.skipif(os.geteuid() != 0, reason="only root acts for another user")
async def test_nobody_learns_of_names_where_they_may_not_look(
    daemon: Daemon, other_user: pwd.struct_passwd, tmp_path: Path
):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with open(os.fsencode(closed) + b"/\xff", "wb"):
        pass
    files = Files(Client(daemon.port, Codec.PROTO)).as_user(other_user.pw_name)
    for name in ("\N{REPLACEMENT CHARACTER}", "other"):
        with pytest.raises(RpcError) as refused:
            await files.stat(closed / name)
        assert refused.value.code in ("not_found", "permission_denied")
