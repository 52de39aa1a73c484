"""The service side of system."""
