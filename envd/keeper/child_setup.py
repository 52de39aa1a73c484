"""The steps of a forked child between fork and exec.

Order matters. Foreign descriptors are closed before anything that can hang, or a child stuck on a dead mount would
hold other processes' pipes open. Privileged steps come before the credentials change; the working directory comes after
it, so that it is entered with the user's own rights.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # what `signal` wraps, without its import of enum
import errno
import os
import resource
from _collections_abc import Callable

# Signals that CPython ignores at start, and a process must not inherit ignored.
_IGNORED_BY_PYTHON = (_signal.SIGPIPE, _signal.SIGXFSZ)
_OOM_SCORE_ADJ = 100  # of every process unless it asks for another
CAUGHT = (_signal.SIGCHLD, _signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP)
_BEST_EFFORT = (errno.EACCES, errno.EPERM, errno.ENOENT)  # the last without /proc


class Recipe:
    """The recipe of one process; built from the plain dict the server sends.

    Keys: argv and env (bytes); cwd; fallback_cwd, entered if cwd does not exist (empty for none); credentials ((uid,
    gid, groups) or None); rlimits ((resource, soft, hard) triples); nice; oom_score_adj; mark (the value
    of RLIMIT_LOCKS, 0 for none); tty (True if the standard descriptors are a terminal that is to control it).
    """

    __slots__ = ("argv", "credentials", "cwd", "env", "fallback_cwd", "mark", "nice", "oom_score_adj", "rlimits", "tty")

    def __init__(self, fields: dict[str, object]) -> None:
        for name in self.__slots__:
            setattr(self, name, fields[name])

    argv: list[bytes]
    env: dict[bytes, bytes]
    cwd: bytes
    fallback_cwd: bytes
    credentials: tuple[int, int, list[int]] | None
    rlimits: list[tuple[int, int, int]]
    nice: int
    oom_score_adj: int
    mark: int
    tty: bool


class ChildSetup:
    """Facts of the keeper that every child must undo."""

    def __init__(self, nofile: tuple[int, int]) -> None:
        self.nofile = nofile
        self.signals = [*_IGNORED_BY_PYTHON, *CAUGHT, *_signals_ignored_at_start()]
        self.privileged = os.geteuid() == 0


def fork() -> int:
    """Fork with all signals blocked; the child must call `default_signals`, the parent's mask is restored.

    One that arrived in between would otherwise run the keeper's handler in the child, which shares the keeper's wake-up
    pipe: the keeper would take it for its own.
    """
    old_mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
    pid = -1
    try:
        pid = os.fork()
    finally:
        if pid != 0:
            _signal.pthread_sigmask(_signal.SIG_SETMASK, old_mask)
    return pid


def default_signals(numbers: list[int]) -> None:
    """In a forked child: give up the keeper's handlers, then take what was blocked."""
    _signal.set_wakeup_fd(-1)
    for number in numbers:
        _signal.signal(number, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, [])


def _signals_ignored_at_start() -> list[int]:
    skip = {_signal.SIGKILL, _signal.SIGSTOP, *_IGNORED_BY_PYTHON}
    return [n for n in range(1, _signal.NSIG) if n not in skip and _signal.getsignal(n) == _signal.SIG_IGN]


def run_child(recipe: Recipe, stdio: list[int], report: int, setup: ChildSetup) -> None:
    """Execute the file; on failure write `errno stage` to the descriptor `report` and exit. Never returns."""
    stage = "descriptors"
    try:
        _take_descriptors(stdio, report)
        stage = "session"
        if recipe.tty:
            os.login_tty(0)  # setsid(2) and TIOCSCTTY
        else:
            os.setsid()
        default_signals(setup.signals)
        stage = "limits"
        _set_limits(recipe, setup)
        stage = "credentials"
        if recipe.credentials is not None:
            uid, gid, groups = recipe.credentials
            os.setgroups(groups)
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
        stage = "cwd"
        _enter(recipe.cwd, recipe.fallback_cwd)
        stage = "exec"
        _exec(recipe.argv, recipe.env)
    except OSError as exc:
        os.write(report, b"%d %s" % (exc.errno or errno.EINVAL, stage.encode()))
    except (ValueError, OverflowError, TypeError, MemoryError):
        os.write(report, b"%d %s" % (errno.EINVAL, stage.encode()))
    finally:
        os._exit(127)


def _enter(cwd: bytes, fallback: bytes) -> None:
    try:
        os.chdir(cwd)
    except FileNotFoundError:
        if not fallback:
            raise
        os.chdir(fallback)


def _take_descriptors(stdio: list[int], report: int) -> None:
    # stdio are all above 2, for the keeper never lets 0, 1 or 2 be closed.
    for target, fd in enumerate(stdio):
        os.dup2(fd, target)
    os.closerange(3, report)
    os.closerange(report + 1, 0x7FFFFFFF)


def _set_limits(recipe: Recipe, setup: ChildSetup) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, setup.nofile)
    if recipe.mark:
        # The kernel no longer enforces this limit, but hands it down to every descendant: it marks the tree, also what
        # left its session and its parent. getrlimit(2), RLIMIT_LOCKS.
        _try_setrlimit(10, recipe.mark, resource.RLIM_INFINITY)
    for which, soft, hard in recipe.rlimits:
        resource.setrlimit(which, (soft, hard))
    # Without root only what was asked for is tried: it may be more than the daemon has, never less.
    if setup.privileged or recipe.oom_score_adj != _OOM_SCORE_ADJ:
        _best_effort(_write_oom_score_adj, recipe.oom_score_adj)
    if setup.privileged or recipe.nice:
        _best_effort(_set_nice, recipe.nice)


def _try_setrlimit(which: int, soft: int, hard: int) -> None:
    try:  # noqa: SIM105 - contextlib is too large for the keeper
        resource.setrlimit(which, (soft, hard))
    except (OSError, ValueError):
        pass  # a sandboxing kernel may not know it


def _best_effort(step: Callable[[int], None], value: int) -> None:
    try:
        step(value)
    except OSError as exc:
        if exc.errno not in _BEST_EFFORT:
            raise


def _write_oom_score_adj(value: int) -> None:
    fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, b"%d" % value)
    finally:
        os.close(fd)


def _set_nice(value: int) -> None:
    if os.getpriority(os.PRIO_PROCESS, 0) != value:
        os.setpriority(os.PRIO_PROCESS, 0, value)


def _exec(argv: list[bytes], env: dict[bytes, bytes]) -> None:
    """Exec as execvp(3) does, with PATH of the process's own environment; a script without `#!` goes to /bin/sh."""
    denied = None
    command = argv[0]
    if not command:
        raise FileNotFoundError(errno.ENOENT, "empty command")
    if b"/" in command:
        _exec_file(command, argv, env)
    for folder in env.get(b"PATH", b"/usr/local/bin:/usr/bin:/bin").split(b":"):
        try:
            _exec_file((folder or b".") + b"/" + command, argv, env)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as exc:
            denied = exc
    raise denied or FileNotFoundError(errno.ENOENT, "not found on PATH")


def _exec_file(path: bytes, argv: list[bytes], env: dict[bytes, bytes]) -> None:
    try:
        os.execve(path, argv, env)
    except OSError as exc:
        if exc.errno != errno.ENOEXEC:
            raise
    os.execve(b"/bin/sh", [b"sh", path, *argv[1:]], env)
