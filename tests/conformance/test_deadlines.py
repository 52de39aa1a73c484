"""The deadline of a call, however the wire spells it. What it does to a program is in test_process_end.py.

That a deadline of nothing starts nothing is shown with each wire, where a test can write the header itself: a gRPC
client rounds up, and a fast answer may come before its clock does.
"""

from __future__ import annotations

import pytest

from tests.support.process import Processes, pid, start_request
from tests.support.wires import RpcError

pytestmark = pytest.mark.every_wire


@pytest.mark.line(35)
async def test_a_stream_ends_at_its_deadline(processes: Processes):
    async with processes.start(start_request("sleep", "1000")) as program:
        with pytest.raises(RpcError) as error:
            async with processes.connect(pid(program.pid), timeout_s=2) as follower:
                await follower.rest()
    assert error.value.code == "deadline_exceeded"


async def test_a_long_deadline_is_no_trouble(processes: Processes):
    # More milliseconds than fit into the digits that some wires have for them.
    outcome = await processes.run(start_request("true"), timeout_s=100 * 24 * 3600)
    assert outcome.end.exit_code == 0
