"""The service side of process."""
