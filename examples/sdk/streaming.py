"""Follow commands while they run: with callbacks, by iterating, several at once, and until a time is up."""

from __future__ import annotations

import asyncio

from envd_sdk import AsyncSandbox, CommandTimeoutException


async def count(sandbox: AsyncSandbox, name: str) -> int:
    """Run a command and watch its output come."""
    lines: list[str] = []
    await sandbox.commands.run(f"for n in 1 2 3; do echo {name}-$n; sleep 0.05; done", on_stdout=lines.append)
    return len("".join(lines).splitlines())


async def main() -> None:
    async with await AsyncSandbox.local() as sandbox:
        # Several at once over one connection.
        print("lines:", await asyncio.gather(*(count(sandbox, name) for name in "abc")))

        # In the background: started now, read when it suits.
        handle = await sandbox.commands.run("echo starting; sleep 0.1; echo ready on port 8080; cat", True, stdin=True)
        found = await handle.wait_for(r"port (\d+)")
        print("port:", found.group(1))
        await handle.send_stdin("echoed by cat\n")
        await handle.close_stdin()
        async for stdout, _, _ in handle:
            print("then:", (stdout or "").strip())
        print("status:", (await handle.wait()).exit_code)

        # A time that is up keeps what was printed until then.
        try:
            await sandbox.commands.run("echo half; sleep 60", timeout=2)
        except CommandTimeoutException as error:
            print("until the time was up:", error.stdout.strip())


if __name__ == "__main__":
    asyncio.run(main())
