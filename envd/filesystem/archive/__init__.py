"""Whole directories as tar streams, out and in."""
