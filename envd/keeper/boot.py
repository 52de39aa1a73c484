"""The start of the keeper and of a server, each in an interpreter of its own: in UTF-8, and under names of their own.

The locale decides nothing: a daemon in a sandbox speaks UTF-8 to its clients, and file names are bytes to the kernel.
`-X utf8` says so to the interpreter; -I keeps the environment from saying otherwise.

The environment tells: ENVD_INTERPRETER, the interpreter; ENVD_PACKAGES, where this package is; ENVD_CONFIG, the
server's configuration; ENVD_LISTENERS, the numbers of the listening sockets. Processes of clients never get any of it.
"""

from __future__ import annotations

import os
import sys

from .keeper import Keeper
from .naming import call_this_process, program_name

# Collecting garbage is for later; asyncio takes a third less time to import without ssl, which this daemon does not
# speak. Code that starts processes finds the interpreter under its real name.
_SERVER = (
    "import gc,os,sys;gc.disable();sys.modules['ssl']=None;sys.executable=os.environ['ENVD_INTERPRETER'];"
    "sys.path.append(os.environ['ENVD_PACKAGES']);from envd.server import main;del sys.modules['ssl'];main()"
)


def main() -> None:
    """Run the keeper; never returns."""
    call_this_process("envd")
    server = [program_name("envd-server"), "-I", "-Xutf8", "-c", _SERVER]
    listeners = [int(number) for number in os.environ["ENVD_LISTENERS"].split()]
    sys.exit(Keeper(os.environ["ENVD_INTERPRETER"], server, listeners).run())
