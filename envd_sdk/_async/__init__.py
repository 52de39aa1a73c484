"""The SDK for asyncio. The folder beside it is made from this one: scripts/unasync."""
