"""A program that swaps names in a tree for links to what only root may read, for as long as a test runs."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NOBODY = 65534
SECRET = "TOPSECRET"
HARMLESS = "harmless"
SECRET_NAME = "named-in-secret"
_CONTENT = f"{SECRET}\n" * 3
_FILES = 5

# RENAME_EXCHANGE is 2; renameat2(2). It says when it has begun, and never ends by itself.
_RACER = """
import ctypes, os, sys
uid = int(sys.argv[1])
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
swap = ctypes.CDLL(None).renameat2
pairs = [[os.fsencode(path) for path in pair.split(":")] for pair in sys.argv[2:]]
print("begun", flush=True)
while True:
    for one, other in pairs:
        swap(-100, one, -100, other, 2)
"""

State = dict[str, tuple[int, int, int, str]]


@dataclass(frozen=True, slots=True)
class Race:
    """A tree in which a directory and a file are swapped for links, and what these lead to."""

    tree: Path
    secret: Path
    before: State

    def leaked(self, text: str) -> bool:
        return SECRET in text or SECRET_NAME in text

    def leaked_to(self, top: Path) -> bool:
        """Whether anything of the secret is in a copy."""
        if not top.is_dir() or top.is_symlink():
            return False
        files = [Path(at) / name for at, _, names in os.walk(top) for name in names]
        return any(self.leaked(path.name + path.read_text()) for path in files if not path.is_symlink())

    def changed(self) -> bool:
        return _state_of(self.secret) != self.before


def _state_of(top: Path) -> State:
    found: State = {}
    for at, directories, files in os.walk(top):
        for name in (".", *directories, *files):
            path = Path(at) / name
            st = path.lstat()
            content = path.read_text() if stat.S_ISREG(st.st_mode) else ""
            found[str(path)] = (st.st_uid, st.st_mode, st.st_mtime_ns, content)
    return found


def make_tree(top: Path, secret: Path, *, files: int = _FILES) -> None:
    """A harmless tree, belonging to nobody, with the links that the race swaps in."""
    (top / "d/x").mkdir(parents=True)
    for number in range(files):
        (top / f"d/x/f{number}").write_text(f"{HARMLESS}\n")
    (top / "f").write_text(f"{HARMLESS}\n")
    (top / "l").symlink_to(secret)
    (top / "fl").symlink_to(secret / "x/f0")
    if os.geteuid() == 0:
        for at, directories, names in os.walk(top):
            for name in (".", *directories, *names):
                os.chown(os.path.join(at, name), NOBODY, NOBODY, follow_symlinks=False)


@contextmanager
def racing(base: Path) -> Iterator[Race]:
    """Run the race below a directory."""
    base.chmod(0o755)
    secret, tree = base / "secret", base / "home/tree"
    (secret / "x").mkdir(parents=True)
    for name in (*(f"f{number}" for number in range(_FILES)), SECRET_NAME):
        (secret / "x" / name).write_text(_CONTENT)
    secret.chmod(0o700)
    tree.mkdir(parents=True)
    make_tree(tree, secret)
    if os.geteuid() == 0:
        os.chown(tree.parent, NOBODY, NOBODY)
    pairs = [f"{tree}/d:{tree}/l", f"{tree}/f:{tree}/fl"]
    with subprocess.Popen(
        [sys.executable, "-c", _RACER, str(NOBODY), *pairs], stdout=subprocess.PIPE, text=True
    ) as racer:
        try:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "begun\n"
            yield Race(tree, secret, _state_of(secret))
        finally:
            racer.kill()
