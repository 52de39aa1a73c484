"""Code that differs between asyncio and threads. All else is written once, in _async; _sync is made from it."""
