"""Watching directories: changes on the disk become events for clients."""
