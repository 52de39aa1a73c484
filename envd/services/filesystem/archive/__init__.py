"""The service side of filesystem, archive."""
