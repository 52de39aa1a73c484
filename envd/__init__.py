"""The daemon inside a sandbox. Import-light on purpose: the keeper imports it too."""

__version__ = "0.8.0"
