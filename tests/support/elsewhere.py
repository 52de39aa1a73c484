"""Runs a script as on a system that lacks what only POSIX has: `python -P elsewhere.py PLATFORM SCRIPT ...`.

No such system is at hand. What is taken away is what the standard library's documentation says Windows lacks; what the
interpreter and the third parties had loaded themselves stays theirs.
"""

import os
import runpy
import signal
import sys

# Loaded first: these work there too, by other means.
import asyncio.subprocess  # isort: skip
import concurrent.futures.thread  # noqa: F401
import ctypes
import multiprocessing.connection  # noqa: F401
import platform  # noqa: F401
import socket  # noqa: F401
import ssl  # noqa: F401
import tarfile  # noqa: F401
import tempfile  # noqa: F401

import google.protobuf.json_format  # noqa: F401
import grpc.aio  # noqa: F401

MODULES = ("fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty")
OF_OS = """
    chown fchdir fchmod fchown fork forkpty fwalk getegid geteuid getgid getgroups getloadavg getpgid getpgrp getresuid
    getsid getuid initgroups killpg lchown lockf major makedev memfd_create mkfifo mknod nice openpty pathconf
    pidfd_open pipe2 posix_spawn pread preadv pwrite pwritev register_at_fork sched_yield sendfile setegid seteuid
    setgid setgroups setpgid setsid setuid splice statvfs sysconf tcgetpgrp tcsetpgrp uname wait wait3 wait4 waitid
    O_CLOEXEC O_DIRECTORY O_DSYNC O_NOCTTY O_NOFOLLOW O_NONBLOCK O_PATH O_SYNC O_TMPFILE WNOHANG
"""
OF_SIGNAL = """
    SIGALRM SIGBUS SIGCHLD SIGCONT SIGHUP SIGIO SIGKILL SIGPIPE SIGPROF SIGQUIT SIGSTOP SIGTRAP SIGTSTP SIGUSR1 SIGUSR2
    SIGWINCH alarm pause pthread_kill pthread_sigmask setitimer sigtimedwait sigwait
"""


def take_away() -> None:
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment]  # so an import fails
    for module, names in ((os, OF_OS), (signal, OF_SIGNAL)):
        for name in names.split():
            if hasattr(module, name):
                delattr(module, name)
    os.supports_dir_fd.clear()


if __name__ == "__main__":
    assert asyncio.subprocess
    assert ctypes
    if sys.argv[1] == "win32":
        take_away()
    sys.platform = sys.argv[1]
    sys.argv = sys.argv[2:]
    runpy.run_path(sys.argv[0], run_name="__main__")
