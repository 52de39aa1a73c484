"""The service side of filesystem, uploads."""
