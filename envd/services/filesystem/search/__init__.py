"""The service side of filesystem, search."""
