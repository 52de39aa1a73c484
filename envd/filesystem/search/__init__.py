"""Finding files, finding and replacing text in them, and reading lines."""
