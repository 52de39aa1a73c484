# Made by scripts/unasync from envd_sdk/_async/__init__.py; change that one.
"""The SDK for threads."""
