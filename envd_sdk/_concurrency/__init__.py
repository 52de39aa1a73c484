"""Where asyncio and threads differ, written for both. All else is written once, in _async, and made into _sync."""
