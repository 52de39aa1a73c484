"""Files over plain HTTP: /files, and what its headers mean."""
