"""Following changes in directories."""
