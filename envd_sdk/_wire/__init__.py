"""Calls over the network, once for asyncio and once for threads. No other package imports grpc."""
