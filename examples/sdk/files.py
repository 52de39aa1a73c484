"""Files: several at once, streams up and down with progress, ranges, conditions, waiting for one to appear."""

from __future__ import annotations

from collections.abc import Iterator

from envd_sdk import ConflictException, Sandbox, WriteEntry, WriteOptions

MIB = 1024 * 1024


def pieces() -> Iterator[bytes]:
    """Content that is never in memory as a whole."""
    for number in range(8):
        yield bytes([number]) * MIB


def main() -> None:
    with Sandbox.local() as sandbox:
        files = sandbox.files
        root = sandbox.commands.run("mktemp -d").stdout.strip()
        files.write_files([WriteEntry(f"{root}/{name}.txt", f"I am {name}\n") for name in ("one", "two")])
        print("listed:", [entry.name for entry in files.list(root)])

        sent: list[int] = []
        files.write(f"{root}/large", pieces(), on_progress=sent.append)
        with files.read(f"{root}/large", "stream") as stream:
            print("up and down:", sent[-1] // MIB, "MiB,", sum(map(len, stream)) // MIB, "MiB")
        print("a range:", bytes(files.read(f"{root}/large", "bytes", offset=3 * MIB - 1, length=2)))

        # Of several writers with the same condition one succeeds.
        etag = files.get_info(f"{root}/one.txt").etag
        files.write(f"{root}/one.txt", "changed\n", options=WriteOptions(if_match=etag))
        try:
            files.write(f"{root}/one.txt", "changed again\n", options=WriteOptions(if_match=etag))
        except ConflictException:
            print("somebody else was quicker:", files.read(f"{root}/one.txt").strip())

        sandbox.commands.run(f"(sleep 0.2; echo done > {root}/report) >/dev/null 2>&1 &")
        print("appeared:", files.wait_for(f"{root}/report", timeout=10).name)
        files.remove(root)


if __name__ == "__main__":
    main()
