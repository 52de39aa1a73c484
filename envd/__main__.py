"""The command: arguments to configuration, sockets bound, then the process becomes the keeper."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import socket
import stat
import sys
import time

from envd import __version__, access_token

DEFAULT_PORT = 49983
_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
_SYS_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}  # ioprio_set(2), which the C library does not wrap
_IOPRIO_WHO_PROCESS = 1
_IOPRIO_BEST_EFFORT_4 = (2 << 13) | 4
_BACKLOG = 4096
_BIND_ATTEMPTS = 40
_LEVELS = ("debug", "info", "warning", "error")
# Appended, not inserted: nothing beside the package may shadow the standard library.
_KEEPER = "import os,sys;sys.path.append(os.environ['ENVD_PACKAGES']);from envd.keeper.boot import main;main()"


def main() -> None:
    """Run the daemon; exits with 2 on a wrong command line, 1 if address or access token cannot be used."""
    for fd in (0, 1, 2):
        _keep_open(fd)
    options = _parser().parse_args()
    try:
        token = access_token.from_operator(options.access_token_file, os.environ)
    except OSError as exc:
        sys.exit(f"envd: cannot read the access token from {options.access_token_file}: {exc.strerror}")
    except ValueError as exc:
        sys.exit(f"envd: access token: {exc}")
    try:
        listener = _bind(options.listen, options.port)
    except (OSError, ValueError) as exc:
        sys.exit(f"envd: cannot listen on {options.listen}: {exc}")
    os.set_inheritable(listener.fileno(), True)
    level = "debug" if options.verbose else options.log_level
    # What envd.config.Config reads; importing it here would cost as much as the rest of this file.
    config = {
        "listeners": [listener.detach()],
        "log_level": level,
        "in_sandbox": not options.isnotfc,
        "token_fd": None if token is None else access_token.to_memory(token),
        "allow_origins": options.allow_origin,
        "allow_hosts": options.allow_host,
        "strict_users": options.strict_users,
    }
    _become_keeper(json.dumps(config), level)


def _become_keeper(config: str, log_level: str) -> None:
    """Exec the keeper, telling it how to start the server: with a configuration as JSON.

    The place of the code travels in the environment, which processes of clients do not get. In a command line it would
    be seen by `pkill -f python`: most installations have the word in their paths.
    """
    _prepare_process()
    os.environ["ENVD_INTERPRETER"] = sys.executable
    # The server finds the package where this process did, installed or in a source tree.
    os.environ["ENVD_PACKAGES"] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    os.environ["ENVD_CONFIG"] = config
    os.environ["ENVD_LISTENERS"] = " ".join(str(number) for number in json.loads(config)["listeners"])
    os.environ["ENVD_LOG_LEVEL"] = log_level  # the keeper's own lines
    sys.stdout.flush()
    os.execv(sys.executable, [_program_name(), "-I", "-S", "-Xutf8", "-c", _KEEPER])


def _program_name() -> str:
    """Return a path to `envd` beside the interpreter, which need not be there.

    An interpreter finds its library and its virtual environment from the directory in argv[0], whatever the name.
    Source: Modules/getpath.py of CPython 3.11 to 3.14.
    """
    folder = os.path.dirname(sys.executable)
    if sys.prefix == sys.base_prefix:
        folder = os.path.dirname(os.path.realpath(sys.executable))  # it may be a link from somewhere else
        if os.path.dirname(folder) != os.path.realpath(sys.base_prefix):
            return sys.executable  # an unusual layout: only under its own name does it find what it needs
    return os.path.join(folder, "envd")


def _prepare_process() -> None:
    """Do what the keeper must not import ctypes for; both attributes survive exec."""
    # Late: libffi opens a file as it is loaded, which would take the number of a closed standard descriptor.
    import ctypes  # noqa: PLC0415

    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    number = _SYS_IOPRIO_SET.get(platform.machine())
    if number is not None and os.geteuid() == 0:
        # Programs inherit it: the ordinary class, whatever the operator gave the daemon.
        libc.syscall(number, _IOPRIO_WHO_PROCESS, 0, _IOPRIO_BEST_EFFORT_4)


def _keep_open(fd: int) -> None:
    """Fill a closed standard descriptor, so that no later one takes its number, here or after exec."""
    try:
        os.fstat(fd)
    except OSError:
        os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _bind(listen: str, port: int) -> socket.socket:
    """Bind and listen, so that a bad address fails at once and connections queue while the server restarts."""
    if listen.startswith("unix:"):
        return _bind_unix(listen.removeprefix("unix:"))
    host, port = _host_and_port(listen, port)
    addresses = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = addresses[0]
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    for attempt in range(_BIND_ATTEMPTS):
        try:
            sock.bind(address)
            break
        except OSError:
            # The default port lies in the ephemeral range: an outgoing connection may hold it for a moment.
            if attempt == _BIND_ATTEMPTS - 1 or port == 0:
                raise
            time.sleep(0.05)
    sock.listen(_BACKLOG)
    return sock


def _host_and_port(listen: str, port: int) -> tuple[str, int]:
    if listen.startswith("["):
        host, _, port_part = listen[1:].partition("]")
        return host, int(port_part.removeprefix(":") or port)
    if listen.count(":") == 1:
        host, _, port_text = listen.partition(":")
        return host, int(port_text)
    return listen, port


def _bind_unix(path: str) -> socket.socket:
    """Bind a unix socket, replacing one that has no listener any more."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise OSError("it is there and no socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            if probe.connect_ex(path) == 0:
                raise OSError("address already in use")
        os.unlink(path)
    sock.bind(path)
    sock.listen(_BACKLOG)
    return sock


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="envd",
        description="Serve this sandbox's files, processes and terminals over gRPC, Connect, gRPC-Web and REST.",
        allow_abbrev=False,
    )
    for name in ("version", "commit"):
        parser.add_argument(*_flags(name), action="version", version=__version__, help=f"print the {name}")
    parser.add_argument(
        *_flags("port"), type=_port, default=DEFAULT_PORT, help="TCP port; 0 takes a free one (%(default)s)"
    )
    parser.add_argument(
        *_flags("listen"), default="0.0.0.0", help="HOST, HOST:PORT, [IPv6]:PORT or unix:PATH (%(default)s)"
    )
    parser.add_argument(*_flags("log-level"), choices=_LEVELS, default="info", help="what is logged (%(default)s)")
    _add_access_options(parser)
    _add_reference_options(parser)
    return parser


def _add_access_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        *_flags("access-token-file"),
        metavar="PATH",
        help=f"a file with the access token; or give the token in the environment as {access_token.VARIABLE}",
    )
    parser.add_argument(
        *_flags("allow-origin"),
        type=_origin,
        action="append",
        default=[],
        metavar="ORIGIN",
        help="of web pages that may call while there is no token, as http://localhost:3000; may be repeated",
    )
    parser.add_argument(
        *_flags("allow-host"),
        type=_host,
        action="append",
        default=[],
        metavar="NAME",
        help="by which the daemon may be called while there is no token, as box.example or *.example; may be repeated",
    )
    parser.add_argument(
        *_flags("strict-users"),
        action="store_true",
        help="a call as a user writes only where that user may, and not where only root may, as in /app",
    )


def _flags(name: str) -> tuple[str, str]:
    """Return an option as this daemon spells it, and as Go's flags are often spelt."""
    return f"--{name}", f"-{name}"


def _add_reference_options(parser: argparse.ArgumentParser) -> None:
    reference = parser.add_argument_group("accepted so that this daemon can stand in for E2B's")
    for name, meaning in (
        ("isnotfc", "E2B_SANDBOX is false for processes"),
        ("verbose", "as --log-level debug"),
        ("no-cgroups", "no effect: none are used yet"),
        ("resume-handover", "no effect"),
    ):
        # As Go's flags: alone, or with =true or =false.
        reference.add_argument(
            *_flags(name), help=meaning, nargs="?", const=True, default=False, type=_switch, metavar="BOOL"
        )
    reference.add_argument(*_flags("cgroup-root"), metavar="PATH", help="no effect: none are used yet")


def _switch(text: str) -> bool:
    values = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
    if text.lower() not in values:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return values[text.lower()]


def _origin(text: str) -> str:
    scheme, separator, host = text.partition("://")
    if text != "*" and not (scheme and separator and host and not set(host) & set("/?#@ ,")):
        raise argparse.ArgumentTypeError(f"{text!r} is no origin: give scheme://host[:port], or * for any")
    return text


def _host(text: str) -> str:
    if not text or set(text) & set("/?#@ ,") or (":" in text and not text.startswith("[")):
        raise argparse.ArgumentTypeError(f"{text!r} is no host: give it without scheme and port, or * for any")
    return text


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 0xFFFF:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: give a number from 0 to 65535")
    return int(text)


if __name__ == "__main__":
    main()
