"""Serves files and directories: looks at them, changes them, transfers them."""
