"""Run a command, write a file and read it back, in a sandbox on this machine."""

from __future__ import annotations

from envd_sdk import CommandExitException, Sandbox


def main() -> None:
    with Sandbox.local() as sandbox:
        print(sandbox.commands.run("echo hello from $(uname)").stdout, end="")

        path = sandbox.commands.run("mktemp").stdout.strip()
        sandbox.files.write(path, "3\n1\n2\n")
        print(sandbox.commands.run(f"sort {path} | paste -sd ' '").stdout, end="")
        print(repr(sandbox.files.read(path)))
        sandbox.files.remove(path)

        try:
            sandbox.commands.run("ls /no/such/place")
        except CommandExitException as error:
            print(f"status {error.exit_code}: {error.stderr.strip()}")


if __name__ == "__main__":
    main()
