"""A terminal: type into it, leave it, come back and see what was missed."""

from __future__ import annotations

from envd_sdk import PtySize, Sandbox


def main() -> None:
    with Sandbox.local() as sandbox:
        shell = sandbox.pty.create(PtySize(rows=24, cols=80), cmd="/bin/sh", args=(), envs={"PS1": "$ "}, timeout=0)
        # What is waited for is not what was typed, which a terminal echoes.
        sandbox.pty.send_stdin(shell.pid, "stty size; echo typed-$((1 + 1))\n")
        shell.wait_for("typed-2")
        print("size and echo seen:", shell.pid > 0)

        # Leave: the shell goes on.
        shell.disconnect()
        sandbox.pty.send_stdin(shell.pid, "echo while-nobody-looked-$((40 + 2))\n")

        again = sandbox.pty.attach(shell.pid, scrollback=4096)
        print("missed:", again.wait_for(r"while-nobody-looked-42").group())
        sandbox.pty.resize(shell.pid, PtySize(rows=50, cols=120))
        sandbox.pty.send_stdin(shell.pid, "stty size; exit\n")
        print("now:", again.wait_for(r"(\d+ 120)\s").group(1))
        print("status:", again.wait().exit_code)


if __name__ == "__main__":
    main()
