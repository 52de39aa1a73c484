"""Run the tests of a project again whenever one of its files changes."""

from __future__ import annotations

import asyncio

from envd_sdk import AsyncSandbox, CommandExitException, FilesystemEvent

TEST = "from add import add\nassert add(2, 2) == 4, add(2, 2)\nprint('all well')\n"


async def test(sandbox: AsyncSandbox, root: str) -> None:
    try:
        print("tests:", (await sandbox.commands.run("python3 -B test_add.py", cwd=root)).stdout.strip())
    except CommandExitException as error:
        print("tests:", error.stderr.strip().splitlines()[-1])


async def main() -> None:
    async with await AsyncSandbox.local() as sandbox:
        root = (await sandbox.commands.run("mktemp -d")).stdout.strip()
        await sandbox.files.write(f"{root}/test_add.py", TEST)
        await sandbox.files.write(f"{root}/add.py", "def add(a, b):\n    return a - b\n")
        changed = asyncio.Event()

        def on_event(event: FilesystemEvent) -> None:
            if event.name.endswith(".py"):
                changed.set()

        watch = await sandbox.files.watch_dir(root, on_event=on_event, recursive=True, timeout=0)
        await test(sandbox, root)
        # Whoever edits the file: here it is this program.
        await sandbox.files.write(f"{root}/add.py", "def add(a, b):\n    return a + b\n")
        async with asyncio.timeout(20):
            await changed.wait()
        await test(sandbox, root)
        await watch.stop()
        await sandbox.files.remove(root)


if __name__ == "__main__":
    asyncio.run(main())
