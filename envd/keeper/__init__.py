"""The keeper: the small parent process that outlives the server.

It starts processes, holds duplicates of their descriptors, waits for them, and restarts the server. It imports a short
list of built-in modules only, because every fork copies its image: the smaller it is, the faster processes start.
"""
