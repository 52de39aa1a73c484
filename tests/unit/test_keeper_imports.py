"""The keeper stays small: what it imports, what it weighs, how long it is."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.support.daemon import ROOT
from tests.test_architecture import code_lines, sources

# What the interpreter itself loads on the way to these: `os` with its path module and `abc` (before 3.14 every
# interpreter begins with that one), the encoding of file names.
ALLOWED = {
    "__future__",
    "_abc",
    "_collections_abc",
    "_socket",
    "_stat",
    "abc",
    "errno",
    "gc",
    "genericpath",
    "os",
    "os.path",
    "posixpath",
    "resource",
    "select",
    "stat",
}
OWN = {
    "boot",
    "heartbeat",
    "keeper",
    "loop",
    "naming",
    "notes",
    "outage",
    "children",
    "child_setup",
    "server_child",
    "wire",
}

# A bare interpreter of these flags has 2.6 MB of memory of its own, the keeper 3.1 MB; fork copies the page tables of
# all of it, which is what a program's start waits for. One module like typing, json or dataclasses costs 0.5 to 2 MB.
OWN_MEMORY_KIB = 1024

# Nobody else can wait for the programs, so all of it is read before a change.
CODE_LINES = 980

PROBE = """
import sys
before = set(sys.modules)
def memory():
    for line in open("/proc/self/status"):
        if line.startswith("RssAnon"):
            return int(line.split()[1])
bare = memory()
sys.path.append(sys.argv[1])
import envd.keeper.keeper
print([sorted(set(sys.modules) - before), bare, memory()])
"""


def probe() -> tuple[set[str], int, int]:
    """What importing the keeper in its own lean interpreter loads, and the memory in KiB before and after."""
    command = [sys.executable, "-I", "-S", "-c", PROBE, str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    modules, bare, loaded = json.loads(done.stdout.replace("'", '"'))
    return set(modules), bare, loaded


def test_the_keeper_loads_only_what_it_is_allowed_to() -> None:
    modules, _, _ = probe()
    assert modules - ALLOWED == {"envd", "envd.keeper", *(f"envd.keeper.{name}" for name in OWN - {"boot", "naming"})}


def test_importing_the_keeper_adds_little_to_the_image_every_fork_copies() -> None:
    # The smallest of three: the kernel rounds its counters per processor.
    assert min(loaded - bare for _, bare, loaded in (probe() for _ in range(3))) <= OWN_MEMORY_KIB


def test_the_keeper_is_short_enough_to_be_read_at_once() -> None:
    lines = {name: code_lines(sources()[f"envd.keeper.{name}"]) for name in OWN}
    assert sum(lines.values()) <= CODE_LINES, lines
