"""The daemon inside a sandbox. Imports nothing: the keeper imports it, and the SDK for the version on every system."""

__version__ = "0.7.0"
