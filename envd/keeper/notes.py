"""Log lines of the keeper, in the server's format, written so that a full or closed stderr cannot stop it."""

from __future__ import annotations

import os
import select
import time

_LEVELS = ("debug", "info", "warning", "error")
_LINE_BYTES = 4096  # PIPE_BUF: a pipe that is ready takes this much without blocking


def note(level: str, message: str, **fields: int) -> None:
    """Write one JSON line; dropped if stderr does not take it now. Message and names are constants, values integers."""
    if _LEVELS.index(level) < _LEVELS.index(os.environ.get("ENVD_LOG_LEVEL", "info")):
        return
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    extra = "".join([f', "{name}": {value}' for name, value in fields.items()])
    line = f'{{"timestamp": "{stamp}", "level": "{level}", "logger": "envd.keeper", "message": "{message}"{extra}}}\n'
    poll = select.poll()
    poll.register(2, select.POLLOUT)
    try:
        if poll.poll(0):
            os.write(2, line.encode()[:_LINE_BYTES])
    except OSError:
        pass
