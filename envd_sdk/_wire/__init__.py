"""The network, behind a few functions: once for asyncio, once for threads. Nothing above it knows grpc."""
