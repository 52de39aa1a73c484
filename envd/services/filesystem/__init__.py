"""The service side of filesystem."""
