"""The service side of pty."""
