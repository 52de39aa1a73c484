"""The service side of filesystem, watching."""
